"""The registry client against a registry of this process: the common suite with every set of abilities."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from buildmatrix.oci import media
from buildmatrix.oci.http import Access
from buildmatrix.oci.registry import Registry, Repository
from tests import oci_images
from tests.registry_server import RegistryServer
from tests.registry_suite import Suite

QUICK = Access(chunk=4096, monolithic=8192, settle=0.01, backoff=0.01, read_timeout=5)


@pytest.fixture
def registry(server: RegistryServer) -> Iterator[Registry]:
    with Registry(server.host, access=QUICK) as opened:
        yield opened


class _Local(Suite):
    options: dict[str, Any] = {}  # noqa: RUF012

    @pytest.fixture
    def server(self) -> Iterator[RegistryServer]:
        with RegistryServer(**self.options) as running:
            yield running

    @pytest.fixture
    def repository(self, registry: Registry) -> Repository:
        return registry.repository("team/app")

    @pytest.fixture
    def other(self, registry: Registry) -> Repository:
        return registry.repository("other/app")


class TestComplete(_Local):
    options = {"page": 2}  # noqa: RUF012

    def test_no_index_is_tagged_where_the_api_is(self, server: RegistryServer, repository: Repository) -> None:
        subject = oci_images.image(repository)
        oci_images.attach(repository, subject)
        assert media.referrers_tag(subject.digest) not in server.repo("team/app").tags


class TestWithoutReferrers(_Local):
    options = {"referrers": False, "etags": True}  # noqa: RUF012


class TestWithToken(_Local):
    options = {"login": "bearer", "public": True}  # noqa: RUF012


class TestWithoutChunks(_Local):
    options = {"chunks": False}  # noqa: RUF012
