"""Several writers of one index of referrers, on a registry that knows no other way."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator

import pytest

from buildmatrix.errors import ContentInvalid, ReferrersConflict
from buildmatrix.oci import content, media, referrers
from buildmatrix.oci.content import Descriptor
from buildmatrix.oci.http import Access
from buildmatrix.oci.registry import Registry
from tests import oci_images
from tests.registry_server import RegistryServer, Reply, Request, sha256

SUBJECT = "sha256:" + "5" * 64
TAG = media.referrers_tag(SUBJECT)
QUICK = Access(settle=0.3, backoff=0.001)


def entry(number: int) -> Descriptor:
    return Descriptor(media_type=media.MANIFEST, digest=f"sha256:{number:064x}", size=number)


@pytest.fixture
def server() -> Iterator[RegistryServer]:
    with RegistryServer(referrers=False, check=False) as running:
        yield running


def listed(server: RegistryServer) -> list[int]:
    repo = server.repo("team/app")
    return sorted(item["size"] for item in json.loads(repo.manifests[repo.tags[TAG]][1])["manifests"])


def put(server: RegistryServer, index: object) -> None:
    """Write the index as somebody else would."""
    data = json.dumps(index).encode()
    repo = server.repo("team/app")
    repo.manifests[sha256(data)] = (media.INDEX, data)
    repo.tags[TAG] = sha256(data)


def test_two_writers_that_both_read_first(server: RegistryServer) -> None:
    """Both have read before either writes: the second overwrites the first, which notices and adds again."""
    both_read = threading.Barrier(2, timeout=20)
    reads = threading.Semaphore(2)

    def wait(_: Request) -> None:
        if reads.acquire(blocking=False):
            both_read.wait()

    server.change("GET", TAG, lambda request, _: wait(request), None)
    write_from_two_processes(server)
    assert listed(server) == [1, 2]


def test_a_writer_that_writes_after_the_other_has_looked_once(server: RegistryServer) -> None:
    """The second has read before the first wrote, and writes after the first has found its entry in place."""
    both_read = threading.Barrier(2, timeout=20)
    reads = threading.Semaphore(2)
    looked = threading.Event()

    def read(_: Request, __: Reply) -> None:
        if reads.acquire(blocking=False):
            both_read.wait()
        else:
            looked.set()

    writers: list[Request] = []

    def write(request: Request) -> None:
        writers.append(request)
        if len(writers) == 2:
            assert looked.wait(20)

    server.change("GET", TAG, read, None)
    server.before("PUT", TAG, write)
    write_from_two_processes(server)
    assert len(writers) > 2
    assert listed(server) == [1, 2]


def write_from_two_processes(server: RegistryServer) -> None:
    """Two writers at once. The lock of this process would hide the race: other processes have their own."""
    with contextlib.ExitStack() as stack:
        threads = []
        for number in (1, 2):
            registry = stack.enter_context(Registry(server.host, access=QUICK))
            repository = registry.repository("team/app")
            repository.name = f"process {number}"
            threads.append(threading.Thread(target=referrers.add, args=(repository, SUBJECT, [entry(number)])))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def test_threads_of_one_process_take_turns(server: RegistryServer) -> None:
    with Registry(server.host, access=Access(settle=0.01)) as registry:
        repository = registry.repository("team/app")
        threads = [
            threading.Thread(target=referrers.add, args=(repository, SUBJECT, [entry(number)]))
            for number in range(1, 9)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert listed(server) == list(range(1, 9))
    assert server.seen("PUT", TAG) == 8


def test_an_entity_tag_is_heeded_where_the_registry_knows_it() -> None:
    """Someone writes between our reading and our writing: the registry says so, and nothing is lost."""
    with RegistryServer(referrers=False, check=False, etags=True) as server:
        put(server, {"schemaVersion": 2, "manifests": [entry(1).as_json()]})
        server.before("PUT", TAG, lambda _: put(server, {"schemaVersion": 2, "manifests": [entry(2).as_json()]}), 1)
        with Registry(server.host, access=QUICK) as registry:
            referrers.add(registry.repository("team/app"), SUBJECT, [entry(3)])
        assert listed(server) == [2, 3]
        assert server.seen("PUT", TAG) == 2


def test_a_writer_that_never_stops_is_told(server: RegistryServer) -> None:
    server.change("PUT", TAG, lambda _, __: put(server, {"schemaVersion": 2, "manifests": []}), None)
    registry = Registry(server.host, access=Access(settle=0.001))
    with registry, pytest.raises(ReferrersConflict, match=r"BM808 .*is not in it after 12 attempts"):
        referrers.add(registry.repository("team/app"), SUBJECT, [entry(1)])


def test_what_nobody_here_knows_is_kept(server: RegistryServer) -> None:
    old = {"mediaType": media.MANIFEST, "digest": entry(1).digest, "size": 1, "data": "e30=", "x-other": [1]}
    put(server, {"schemaVersion": 2, "mediaType": media.INDEX, "annotations": {"a": "b"}, "manifests": [old]})
    with Registry(server.host, access=QUICK) as registry:
        referrers.add(registry.repository("team/app"), SUBJECT, [entry(2)])
    repo = server.repo("team/app")
    index = json.loads(repo.manifests[repo.tags[TAG]][1])
    assert index["annotations"] == {"a": "b"}
    assert index["manifests"] == [old, entry(2).as_json()]


def test_something_else_under_the_tag_is_never_overwritten(server: RegistryServer) -> None:
    with Registry(server.host, access=QUICK) as registry:
        repository = registry.repository("team/app")
        held = oci_images.image(repository, tag=TAG)
        with pytest.raises(ContentInvalid, match="expected an index of referrers"):
            referrers.add(repository, SUBJECT, [entry(1)])
    assert server.repo("team/app").tags[TAG] == held.digest


def test_nothing_is_written_where_nothing_changes(server: RegistryServer) -> None:
    with Registry(server.host, access=QUICK) as registry:
        repository = registry.repository("team/app")
        referrers.add(repository, SUBJECT, [entry(1)])
        referrers.add(repository, SUBJECT, [entry(1)])
        referrers.remove(repository, SUBJECT, [entry(7).digest])
    assert server.seen("PUT", TAG) == 1


@pytest.mark.parametrize("status", [400, 404, 405, 406, 501])
def test_ways_to_say_that_there_is_no_such_api(status: int) -> None:
    with RegistryServer(check=False) as server, Registry(server.host, access=QUICK) as registry:
        put(server, {"schemaVersion": 2, "manifests": [entry(1).as_json()]})
        server.fail("GET", "/referrers/", status=status, times=None)
        assert registry.repository("team/app").referrers(SUBJECT) == (entry(1),)


def test_a_page_of_something_else_is_no_api() -> None:
    with RegistryServer(check=False) as server, Registry(server.host, access=QUICK) as registry:
        put(server, {"schemaVersion": 2, "manifests": [entry(1).as_json()]})
        answer = Reply(body=b"<html>", headers={"Content-Type": "text/html"})
        server.before("GET", "/referrers/", lambda _: answer)
        assert registry.repository("team/app").referrers(SUBJECT) == (entry(1),)


def test_an_api_that_fails_is_no_empty_list() -> None:
    with RegistryServer() as server, Registry(server.host, access=QUICK) as registry:
        server.fail("GET", "/referrers/", status=403, times=None)
        with pytest.raises(Exception, match="refused"):
            registry.repository("team/app").referrers(SUBJECT)


def test_the_subject_of_a_subject_with_sha512() -> None:
    data = b"x"
    digest = content.digest_of(data, "sha512")
    assert media.referrers_tag(digest) == "sha512-" + digest.removeprefix("sha512:")[:64]
