"""What registries and networks do to clients, each once: the defence, and that nothing is half-published."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from buildmatrix.errors import (
    BuildmatrixError,
    ContentInvalid,
    ContentMismatch,
    NotInRegistry,
    RegistryDenied,
    RegistryFailed,
    RegistryUnreachable,
)
from buildmatrix.oci import content, copy, graph, media, platform
from buildmatrix.oci.content import Blob, Descriptor
from buildmatrix.oci.http import Access, Cancel
from buildmatrix.oci.layout import Layout
from buildmatrix.oci.registry import Registry, Repository
from tests import oci_images, registry_suite
from tests.registry_server import RegistryServer, Reply, Request

QUICK = Access(chunk=4096, monolithic=8192, settle=0.01, backoff=0.001, attempts=4, read_timeout=10)
DATA = os.urandom(30_000)
SMALL = os.urandom(3_000)


@pytest.fixture
def server() -> Iterator[RegistryServer]:
    with RegistryServer() as running:
        yield running


@pytest.fixture
def open_repository(server: RegistryServer) -> Iterator[Callable[..., Repository]]:
    """Opens a repository of the server; keywords change how it is reached."""
    opened: list[Registry] = []

    def make(**members: Any) -> Repository:
        from dataclasses import replace

        access = replace(QUICK, **{key: value for key, value in members.items() if key in QUICK.__slots__})
        rest = {key: value for key, value in members.items() if key not in QUICK.__slots__}
        registry = Registry(server.host, access=access, **rest)
        opened.append(registry)
        return registry.repository("team/app")

    yield make
    for registry in opened:
        registry.close()


@pytest.fixture
def repository(open_repository: Callable[..., Repository]) -> Repository:
    return open_repository()


def blob(data: bytes, media_type: str = media.LAYER) -> Descriptor:
    return Descriptor(media_type=media_type, digest=content.digest_of(data), size=len(data))


def stored(server: RegistryServer, data: bytes) -> Descriptor:
    server.repo("team/app").blobs[content.digest_of(data)] = data
    return blob(data)


def read(repository: Repository, descriptor: Descriptor) -> bytes:
    return b"".join(repository.blob(descriptor).open(0))


# Errors of the registry


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_one_failure_of_each_request_is_got_over(server: RegistryServer, repository: Repository, status: int) -> None:
    for method, pattern in (
        ("HEAD", "/blobs/"), ("POST", "/uploads/"), ("PUT", "/uploads/"), ("PATCH", "/uploads/"),
        ("PUT", "/manifests/"), ("GET", "/manifests/"), ("HEAD", "/manifests/"),
        ("GET", "/blobs/sha"), ("GET", "/tags/"),
    ):  # fmt: skip
        server.fail(method, pattern, status=status)
    repository.put_blob(content.blob_of(DATA))
    repository.put_blob(content.blob_of(SMALL))
    entry = oci_images.image(repository, tag="v1")
    assert repository.manifest("v1").digest == entry.digest
    assert repository.resolve("v1") is not None
    assert repository.tags() == ("v1",)
    assert read(repository, blob(DATA)) == DATA
    assert read(repository, blob(SMALL)) == SMALL


@pytest.mark.parametrize(
    ("method", "pattern"),
    [("POST", "/uploads/"), ("PUT", "/uploads/"), ("PATCH", "/uploads/"), ("HEAD", "/blobs/"), ("PUT", "/manifests/")],
)
def test_a_registry_that_always_fails_publishes_nothing(
    server: RegistryServer, repository: Repository, tmp_path: Path, method: str, pattern: str
) -> None:
    layout = Layout(tmp_path / "layout").create()
    oci_images.image(layout, files={"app": DATA}, tag="v1")
    server.fail(method, pattern, status=500, body=b'{"errors":[{"code":"UNKNOWN","message":"disk"}]}', times=None)
    with pytest.raises(RegistryFailed, match=r"BM805 .*: the registry failed") as caught:
        copy.copy(layout, repository, "v1", tags=("v1",))
    assert "answered 500" in caught.value.why
    assert method == "HEAD" or "UNKNOWN: disk" in caught.value.why
    assert server.repo("team/app").tags == {}
    assert 4 <= server.seen(method, pattern) <= 16


def test_what_a_client_got_wrong_is_not_sent_again(server: RegistryServer, repository: Repository) -> None:
    server.fail("GET", "/manifests/", status=400, times=None)
    with pytest.raises(RegistryFailed):
        repository.manifest("v1")
    assert server.seen("GET", "/manifests/") == 1


def test_a_lost_answer_is_not_a_lost_blob(server: RegistryServer, repository: Repository) -> None:
    server.lose("PUT", "/uploads/")
    assert repository.put_blob(content.blob_of(SMALL)) is True
    server.lose("PUT", "/uploads/")
    assert repository.put_blob(content.blob_of(DATA)) is True
    assert server.seen("PUT", "/uploads/") == 2
    server.lose("PUT", "/manifests/")
    oci_images.image(repository, tag="v1")
    assert server.repo("team/app").tags.keys() == {"v1"}


@pytest.mark.parametrize("stage", range(40))
def test_whatever_write_is_refused_no_tag_appears(stage: int, tmp_path: Path) -> None:
    """Stage n lets n writes pass and refuses all others; past the last one the copy is whole."""
    layout = Layout(tmp_path / "layout").create()
    top = registry_suite.everything(layout)
    left = [stage]

    def refuse(_: Request) -> Reply | None:
        left[0] -= 1
        return Reply(status=403) if left[0] < 0 else None

    with RegistryServer(referrers=stage % 2 == 0) as server:
        for method in ("POST", "PUT", "PATCH"):
            server.before(method, "", refuse)
        with Registry(server.host, access=QUICK) as registry:
            repository = registry.repository("team/app")
            try:
                copy.copy(layout, repository, "v1", tags=("v1",), threads=1)
            except RegistryDenied:
                assert "v1" not in server.repo("team/app").tags
                return
            assert registry_suite.digests(repository, top) == registry_suite.digests(layout, top)


def test_a_registry_without_nested_indexes_says_what_it_cannot(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "layout").create()
    registry_suite.everything(layout)
    with RegistryServer(nested=False) as server, Registry(server.host, access=QUICK) as registry:
        with pytest.raises(RegistryFailed, match="MANIFEST_INVALID") as caught:
            copy.copy(layout, registry.repository("team/app"), "v1", tags=("v1",))
        assert "does not take this kind of manifest" in caught.value.fix
        assert server.repo("team/app").tags == {}


def test_what_is_missing_at_the_source_is_told_before_anything_is_written(
    server: RegistryServer, repository: Repository, tmp_path: Path
) -> None:
    top = registry_suite.everything(repository)
    victim = next(node for node in graph.walk(repository, top) if node.is_image).manifest.layers[0]
    del server.repo("team/app").blobs[victim.digest]
    layout = Layout(tmp_path / "layout").create()
    with pytest.raises(NotInRegistry, match=victim.digest):
        copy.copy(repository, layout, "v1", tags=("v1",))
    assert layout.index().manifests == ()
    assert list((tmp_path / "layout/blobs/sha256").iterdir()) == []


# Connections that end


def test_a_download_goes_on_where_it_broke(server: RegistryServer, repository: Repository) -> None:
    found = stored(server, DATA)
    for after in (1, 9_999, 0, 12_000):
        server.cut("GET", "/blobs/", after=after)
    assert read(repository, found) == DATA
    ranges = [request.headers.get("range", "") for request in server.requests("GET", "/blobs/")]
    assert ranges == ["", "bytes=1-29999", "bytes=10000-29999", "bytes=10000-29999", "bytes=22000-29999"]


def test_a_registry_that_ignores_ranges(server: RegistryServer, repository: Repository) -> None:
    def whole(_: Request, reply: Reply) -> None:
        reply.status, reply.body = 200, DATA

    found = stored(server, DATA)
    server.cut("GET", "/blobs/", after=12_345)
    server.change("GET", "/blobs/", whole, None)
    assert read(repository, found) == DATA
    assert server.seen("GET", "/blobs/") == 2


def test_a_registry_that_answers_another_range(server: RegistryServer, repository: Repository) -> None:
    found = stored(server, DATA)
    server.cut("GET", "/blobs/", after=100)
    server.change(
        "GET", "/blobs/", lambda _, reply: reply.headers.update({"Content-Range": "bytes 0-29999/30000"}), None
    )
    with pytest.raises(RegistryFailed, match="expected bytes from 100"):
        read(repository, found)


def test_a_download_that_brings_nothing_ends(server: RegistryServer, repository: Repository) -> None:
    found = stored(server, DATA)
    server.cut("GET", "/blobs/", after=0, times=None)
    with pytest.raises(RegistryUnreachable, match=r"BM802 .*in 4 attempts"):
        read(repository, found)
    assert server.seen("GET", "/blobs/") == 4


def test_an_upload_goes_on_where_it_broke(server: RegistryServer, repository: Repository) -> None:
    server.swallow("PATCH", "/uploads/", after=1_000)
    server.swallow("PATCH", "/uploads/", after=0)
    assert repository.put_blob(content.blob_of(DATA)) is True
    assert server.repo("team/app").blobs == {content.digest_of(DATA): DATA}
    ranges = [request.headers["content-range"] for request in server.requests("PATCH")]
    assert ranges[:4] == ["0-4095", "1000-4095", "1000-4095", "4096-8191"]
    assert server.seen("POST", "/uploads/") == 1


def test_an_upload_in_one_request_begins_anew(server: RegistryServer, repository: Repository) -> None:
    server.swallow("PUT", "/uploads/", after=1_000)
    repository.put_blob(content.blob_of(SMALL))
    assert server.repo("team/app").blobs == {content.digest_of(SMALL): SMALL}
    assert server.seen("POST", "/uploads/") == 2


def test_an_upload_that_the_registry_forgot_begins_anew(server: RegistryServer, repository: Repository) -> None:
    server.swallow("PATCH", "/uploads/", after=10)
    server.fail("GET", "/uploads/", status=404)
    repository.put_blob(content.blob_of(DATA))
    assert server.repo("team/app").blobs == {content.digest_of(DATA): DATA}


def test_a_stale_range_in_the_answer_to_a_chunk_is_not_believed(server: RegistryServer, repository: Repository) -> None:
    server.change("PATCH", "/uploads/", lambda _, reply: reply.headers.update({"Range": "0-4095"}), None)
    repository.put_blob(content.blob_of(DATA))
    assert server.repo("team/app").blobs == {content.digest_of(DATA): DATA}


@pytest.mark.parametrize("status", [404, 405, 413, 416])
def test_chunks_that_are_refused_become_one_request(
    server: RegistryServer, repository: Repository, status: int
) -> None:
    server.fail("PATCH", "", status=status, times=None)
    repository.put_blob(content.blob_of(DATA))
    assert server.repo("team/app").blobs == {content.digest_of(DATA): DATA}
    assert server.seen("PATCH") == 1


def test_a_registry_that_is_not_there() -> None:
    nowhere = Registry("127.0.0.1:1", access=QUICK)
    expected = r"127.0.0.1:1: no answer to HEAD http://127.0.0.1:1/v2/a/manifests/x"
    with nowhere, pytest.raises(RegistryUnreachable, match=expected):
        nowhere.repository("a").resolve("x")


# Wrong bytes


def test_a_blob_with_a_wrong_digest(server: RegistryServer, repository: Repository) -> None:
    found = stored(server, DATA)
    server.corrupt("GET", "/blobs/")
    with pytest.raises(ContentMismatch, match=f"BM806 .*got sha256:.*, expected {found.digest}"):
        read(repository, found)


@pytest.mark.parametrize("size", [29_999, 30_001])
def test_a_blob_of_another_size(server: RegistryServer, repository: Repository, size: int) -> None:
    found = stored(server, DATA)
    wrong = Descriptor(media_type=media.LAYER, digest=found.digest, size=size)
    with pytest.raises((ContentMismatch, RegistryUnreachable), match=f"{size} bytes"):
        read(repository, wrong)


@pytest.mark.parametrize("by", ["tag", "digest", "entry"])
def test_a_manifest_with_a_wrong_digest_is_named(server: RegistryServer, repository: Repository, by: str) -> None:
    entry = oci_images.image(repository, "linux/arm64", tag="v1")
    server.corrupt("GET", "/manifests/")
    target: str | Descriptor = {"tag": "v1", "digest": entry.digest, "entry": entry}[by]  # type: ignore[assignment]
    with pytest.raises(ContentMismatch, match=f"expected {entry.digest}") as caught:
        repository.manifest(target)
    assert ("(linux/arm64)" in caught.value.what) is (by == "entry")


def test_a_manifest_of_another_size(repository: Repository) -> None:
    entry = oci_images.image(repository)
    wrong = Descriptor(media_type=entry.media_type, digest=entry.digest, size=entry.size + 1)
    with pytest.raises(ContentMismatch, match="expected"):
        repository.manifest(wrong)


def test_answers_that_name_another_digest(server: RegistryServer, repository: Repository) -> None:
    other = {"Docker-Content-Digest": "sha256:" + "1" * 64}
    entry = oci_images.image(repository)
    server.change("HEAD", "/manifests/", lambda _, reply: reply.headers.update(other))
    with pytest.raises(ContentMismatch, match="got sha256:1"):
        repository.resolve(entry.digest)
    server.change("PUT", "/manifests/", lambda _, reply: reply.headers.update(other))
    with pytest.raises(ContentMismatch, match="stored: got sha256:1"):
        oci_images.image(repository, tag="v1")
    server.change("PUT", "/uploads/", lambda _, reply: reply.headers.update(other))
    with pytest.raises(RegistryFailed, match="stored"):
        repository.put_blob(content.blob_of(SMALL))


def test_a_file_never_holds_what_was_not_verified(
    server: RegistryServer, repository: Repository, tmp_path: Path
) -> None:
    oci_images.image(repository, files={"app": DATA}, tag="v1")
    layout = Layout(tmp_path / "layout").create()
    server.corrupt("GET", "/blobs/sha256:")
    with pytest.raises(ContentMismatch):
        copy.copy(repository, layout, "v1", tags=("v1",), threads=1)
    assert layout.tags() == ()
    for path in (tmp_path / "layout/blobs/sha256").iterdir():
        assert content.digest_of(path.read_bytes()) == f"sha256:{path.name}"


# Bad documents


def test_truncated_json(server: RegistryServer, repository: Repository) -> None:
    oci_images.image(repository, tag="v1")

    def cut(_: Request, reply: Reply) -> None:
        reply.body = reply.body[:-20]
        reply.headers.pop("Docker-Content-Digest", None)

    server.change("GET", "/manifests/v1", cut)
    with pytest.raises(ContentInvalid, match="is not JSON"):
        repository.manifest("v1").manifest()
    server.change("GET", "/tags/", cut)
    with pytest.raises(ContentInvalid, match="is not JSON"):
        repository.tags()
    server.change("GET", "/referrers/", cut)
    with pytest.raises(ContentInvalid, match="is not JSON"):
        repository.referrers("sha256:" + "0" * 64)


@pytest.mark.parametrize("declared", [True, False])
def test_a_huge_manifest_is_not_read(server: RegistryServer, repository: Repository, declared: bool) -> None:
    body = b" " * (content.MAX_MANIFEST + 2_000_000)

    def grow(_: Request, reply: Reply) -> None:
        reply.status, reply.body = 200, body
        if not declared:
            reply.headers |= {"Content-Length": "", "Connection": "close"}

    server.change("GET", "/manifests/", grow, None)
    with pytest.raises((RegistryFailed, RegistryUnreachable), match=r"more than 4194304 bytes|no answer"):
        repository.manifest("v1")


@pytest.mark.parametrize("tags", [{"a": 1}, ["a", 2], "a"])
def test_a_list_of_tags_that_is_none(server: RegistryServer, repository: Repository, tags: object) -> None:
    server.fail("GET", "/tags/", status=200, body=json.dumps({"tags": tags}).encode())
    with pytest.raises(RegistryFailed, match="expected an array of texts"):
        repository.tags()


def test_pages_in_a_circle_and_on_another_host(server: RegistryServer, repository: Repository) -> None:
    oci_images.image(repository, tag="v1")

    def follow(link: str) -> Callable[[Request, Reply], None]:
        return lambda _, reply: reply.headers.update({"Link": f'<{link}>; rel="next"'})

    server.change("GET", "/tags/", follow("/v2/team/app/tags/list?n=1000"), None)
    with pytest.raises(RegistryFailed, match="in a circle"):
        repository.tags()
    server.faults.clear()
    server.change("GET", "/tags/", follow("http://registry.example/v2/team/app/tags/list"))
    with pytest.raises(RegistryFailed, match="expected the same registry"):
        repository.tags()


def test_an_upload_without_a_place_to_go_on(server: RegistryServer, repository: Repository) -> None:
    server.change("POST", "/uploads/", lambda _, reply: reply.headers.clear())
    with pytest.raises(RegistryFailed, match="got no Location"):
        repository.put_blob(content.blob_of(SMALL))


# Time


def test_a_slow_answer_is_asked_for_again(server: RegistryServer, open_repository: Callable[..., Repository]) -> None:
    repository = open_repository(read_timeout=0.5)
    entry = oci_images.image(repository, tag="v1")
    server.slow("GET", "/manifests/", 3)
    assert repository.manifest("v1").digest == entry.digest


def test_an_answer_that_never_comes(server: RegistryServer, open_repository: Callable[..., Repository]) -> None:
    repository = open_repository(read_timeout=0.2, attempts=2)
    server.slow("GET", "/manifests/", 2, times=None)
    started = time.monotonic()
    with pytest.raises(RegistryUnreachable, match="nothing came within the time-out"):
        repository.manifest("v1")
    assert time.monotonic() - started < 10
    assert server.seen("GET", "/manifests/") == 2


def test_an_answer_that_drips(server: RegistryServer, open_repository: Callable[..., Repository]) -> None:
    repository = open_repository(total_timeout=0.3, attempts=1)
    oci_images.image(repository, tag="v1")
    server.change("GET", "/manifests/", lambda _, reply: setattr(reply, "drip", 0.05), None)
    with pytest.raises(RegistryUnreachable, match="too slowly"):
        repository.manifest("v1")


def test_a_rate_limit_is_kept_to(server: RegistryServer, repository: Repository) -> None:
    oci_images.image(repository, tag="v1")
    server.fail("GET", "/manifests/", status=429, headers={"Retry-After": "1"})
    started = time.monotonic()
    repository.manifest("v1")
    assert time.monotonic() - started >= 1
    server.fail("POST", "/uploads/", status=429, headers={"Retry-After": "0"}, times=2)
    repository.put_blob(content.blob_of(SMALL))


def test_a_rate_limit_that_takes_too_long_is_told_at_once(
    server: RegistryServer, open_repository: Callable[..., Repository]
) -> None:
    server.fail("GET", "/manifests/", status=429, headers={"Retry-After": "3600"}, times=None)
    started = time.monotonic()
    with pytest.raises(RegistryFailed, match="limits requests"):
        open_repository(longest_wait=5).manifest("v1")
    assert time.monotonic() - started < 5
    assert server.seen("GET", "/manifests/") == 1


@pytest.mark.parametrize("what", ["wait", "answer", "body"])
def test_cancelling_ends_at_once(server: RegistryServer, open_repository: Callable[..., Repository], what: str) -> None:
    cancel = Cancel()
    repository = open_repository(cancel=cancel, backoff=60.0, longest_wait=600.0, read_timeout=60)
    oci_images.image(repository, tag="v1")
    reached = threading.Event()

    def fail(_: Request) -> Reply:
        reached.set()
        return Reply(status=503)

    def dawdle(_: Request) -> None:
        reached.set()
        time.sleep(10)

    def drip(_: Request, reply: Reply) -> None:
        reply.drip = 0.5
        reached.set()

    def end() -> None:
        reached.wait(20)
        time.sleep(0.3)
        cancel.set()

    if what == "body":
        server.change("GET", "/manifests/", drip)
    else:
        server.before("GET", "/manifests/", {"wait": fail, "answer": dawdle}[what])
    threading.Thread(target=end, daemon=True).start()
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        repository.manifest("v1")
    assert time.monotonic() - started < 8
    with pytest.raises(KeyboardInterrupt):
        repository.resolve("v1")


def test_progress_is_told_to_the_end(server: RegistryServer) -> None:
    told: list[tuple[str, int, int]] = []
    with Registry(server.host, access=QUICK, progress=lambda *words: told.append(words)) as registry:
        repository = registry.repository("team/app")
        for data in (DATA, SMALL):
            repository.put_blob(content.blob_of(data))
            read(repository, blob(data))
    for data in (DATA, SMALL):
        mine = [done for digest, done, total in told if digest == content.digest_of(data) and total == len(data)]
        assert mine.count(len(data)) == 2
        assert len(mine) >= 2


def test_a_large_blob_is_not_held_in_memory(server: RegistryServer, open_repository: Callable[..., Repository]) -> None:
    """The connection ends after one MiB: far less than the whole has been read by then, in either way to send it."""
    for monolithic in (1 << 40, 0):
        taken = [0]

        def endless(_: int, taken: list[int] = taken) -> Iterator[bytes]:
            while taken[0] < 1 << 30:
                taken[0] += 1 << 20
                yield bytes(1 << 20)

        repository = open_repository(monolithic=monolithic, chunk=4 << 20, attempts=1)
        server.swallow("PUT", "/uploads/", after=1 << 20, times=None)
        server.swallow("PATCH", "/uploads/", after=1 << 20, times=None)
        with pytest.raises(BuildmatrixError):
            repository.put_blob(Blob(digest="sha256:" + "0" * 64, size=1 << 30, open=endless))
        assert taken[0] <= 64 << 20


# Other hosts


def test_a_redirect_takes_no_authorization_along() -> None:
    with RegistryServer() as storage, RegistryServer(login="basic") as server:
        storage.foreign["one"] = DATA
        found = stored(server, DATA)

        def redirect(_: Request) -> Reply:
            return Reply(status=307, headers={"Location": f"{storage.url}/elsewhere/one?signature=s3cret"})

        server.before(
            "GET", "/blobs/", lambda request: redirect(request) if "authorization" in request.headers else None
        )
        with Registry(server.host, access=QUICK, credentials=_Known()) as registry:
            assert read(registry.repository("team/app"), found) == DATA
        assert [request.headers.get("authorization") for request in storage.log] == [None]
        assert "authorization" in server.requests("GET", "/blobs/")[-1].headers


class _Known:
    def find(self, registry: str) -> Any:
        from buildmatrix.oci.credentials import Credentials

        return Credentials(username="user", password="secret")  # noqa: S106


def test_another_host_gets_no_credentials_when_it_asks(server: RegistryServer) -> None:
    with RegistryServer(login="basic") as storage:
        found = stored(server, DATA)
        place = f"{storage.url}/v2/team/app/blobs/{found.digest}"
        server.before("GET", "/blobs/", lambda _: Reply(status=307, headers={"Location": place}))
        registry = Registry(server.host, access=QUICK, credentials=_Known())
        with registry, pytest.raises(RegistryDenied) as caught:
            read(registry.repository("team/app"), found)
        assert "s3cret" not in str(caught.value)
        assert [request.headers.get("authorization") for request in storage.log] == [None]


def test_redirects_in_a_circle(server: RegistryServer, repository: Repository) -> None:
    found = stored(server, DATA)
    server.before("GET", "/blobs/", lambda request: Reply(status=302, headers={"Location": request.path}))
    with pytest.raises(RegistryFailed, match="more than 5 redirects"):
        read(repository, found)
    server.faults.clear()
    server.before("GET", "/blobs/", lambda _: Reply(status=302))
    with pytest.raises(RegistryFailed, match="names no location"):
        read(repository, found)


def test_signed_addresses_stay_out_of_messages(server: RegistryServer, repository: Repository) -> None:
    found = stored(server, DATA)
    place = f"{server.url}/elsewhere/none?signature=s3cret"
    server.before("GET", "/blobs/", lambda _: Reply(status=307, headers={"Location": place}))
    with pytest.raises(NotInRegistry) as caught:
        read(repository, found)
    assert "/elsewhere/none" in str(caught.value)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("status", [201, 202, 400, 401, 403, 404, 405])
def test_a_mount_that_is_refused_sends_the_bytes(server: RegistryServer, repository: Repository, status: int) -> None:
    """A registry may also claim a mount that it has not made."""
    server.before("POST", "/uploads/", lambda request: Reply(status=status) if request.one("mount") else None)
    assert repository.put_blob(content.blob_of(SMALL), mount_from="other/app") is True
    assert server.repo("team/app").blobs == {content.digest_of(SMALL): SMALL}


def test_the_first_failure_ends_the_other_transfers(
    server: RegistryServer, repository: Repository, tmp_path: Path
) -> None:
    layout = Layout(tmp_path / "layout").create()
    entries = [oci_images.image(layout, f"linux/{name}") for name in ("amd64", "arm64", "s390x", "riscv64", "ppc64le")]
    oci_images.index(layout, entries, "v1")
    server.fail("POST", "/uploads/", status=403, times=None)
    with pytest.raises(RegistryDenied):
        copy.copy(layout, repository, "v1", threads=3)
    assert server.seen("POST", "/uploads/") <= 6
    assert platform.parse("arm64") == entries[1].platform


def test_an_interrupt_ends_the_transfers_of_other_threads(
    server: RegistryServer, open_repository: Callable[..., Repository], tmp_path: Path
) -> None:
    """Control-C reaches the main thread alone, while workers wait for a registry that does not answer."""
    repository = open_repository(read_timeout=60)
    layout = Layout(tmp_path / "layout").create()
    oci_images.index(layout, [oci_images.image(layout, f"linux/{name}") for name in ("amd64", "arm64")], "v1")
    reached = threading.Event()

    def dawdle(_: Request) -> None:
        reached.set()
        time.sleep(15)

    def interrupt() -> None:
        reached.wait(20)
        os.kill(os.getpid(), signal.SIGINT)  # as a terminal does it: to the process, not to this thread

    server.before("POST", "/uploads/", dawdle)
    threading.Thread(target=interrupt, daemon=True).start()
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        copy.copy(layout, repository, "v1", tags=("v1",))
    assert time.monotonic() - started < 10
    assert server.repo("team/app").tags == {}
