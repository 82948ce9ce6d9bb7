"""The registry client against Debian's docker-registry, which has no referrers API."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from buildmatrix.oci import media
from buildmatrix.oci.http import Access
from buildmatrix.oci.registry import Registry, Repository
from tests import oci_images
from tests.integration.services import DockerRegistry
from tests.registry_suite import Suite

pytestmark = pytest.mark.integration


@pytest.fixture
def registry(docker_registry: DockerRegistry) -> Iterator[Registry]:
    access = Access(chunk=1 << 20, monolithic=2 << 20, settle=0.02, backoff=0.05)
    with Registry(docker_registry.host, access=access) as opened:
        yield opened


class TestDockerRegistry(Suite):
    @pytest.fixture
    def repository(self, registry: Registry) -> Repository:
        return registry.repository(f"team/{uuid.uuid4().hex}")

    @pytest.fixture
    def other(self, registry: Registry) -> Repository:
        return registry.repository(f"other/{uuid.uuid4().hex}")

    def test_referrers_lie_under_the_tag(self, repository: Repository) -> None:
        subject = oci_images.image(repository)
        oci_images.attach(repository, subject)
        assert repository.resolve(media.referrers_tag(subject.digest)) is not None
