"""Tags last: whatever fails on the way, no tag is moved, and what has a tag was pulled back and proven."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from buildmatrix import errors
from buildmatrix.images import publish, record, tags
from buildmatrix.imagespec import ImageSpec
from buildmatrix.oci.http import Access
from buildmatrix.oci.platform import parse
from buildmatrix.oci.registry import Registry
from buildmatrix.signing.registry import Subject
from tests import image_lab
from tests.image_lab import Lab, rules
from tests.registry_server import RegistryServer, Reply, Request

QUICK = Access(backoff=0.01, attempts=2, settle=0.01, read_timeout=2.0)
VERSION_TAGS = {"1.2.3", "1.2.3-x86_64-20231114T2213Z", "1.2.3-aarch64-20231114T2213Z"}


@pytest.fixture
def server() -> Iterator[RegistryServer]:
    with RegistryServer() as running:
        yield running


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    lab = Lab(tmp_path)
    assert not lab.build().failed
    return lab


def push(lab: Lab, server: RegistryServer, sign: publish.Sign | None = None) -> publish.Pushed:
    matrix, kept = lab.matrix, record.read(lab.dist, "app")
    assert kept is not None
    with Registry(server.host, access=QUICK) as registry:
        return publish.push(
            publish.Push(
                spec=matrix.images[0],
                plan=lab.plan(),
                dist=lab.dist,
                base_digest=kept.base_digest,
                recipe=kept.recipe,
                repository=registry.repository("team/app"),
                version=lab.version,
                revision="0123456789abcdef",
                created=image_lab.CREATED,
                threads=2,
                sign=sign,
                told=lambda _: None,
            )
        )


def tagged(server: RegistryServer) -> dict[str, str]:
    return dict(server.repo("team/app").tags)


def test_everything_is_pushed_and_tagged(lab: Lab, server: RegistryServer) -> None:
    done = push(lab, server)
    assert not done.failed and set(tagged(server)) == VERSION_TAGS
    assert tagged(server)["1.2.3"] == done.index.digest == lab.layout.index().manifests[0].digest
    index = lab.layout.manifest(done.index).manifest()
    platforms = {str(entry.platform): entry.digest for entry in index.manifests}
    assert tagged(server)["1.2.3-aarch64-20231114T2213Z"] == platforms["linux/arm64"]
    assert tagged(server)["1.2.3-x86_64-20231114T2213Z"] == platforms["linux/amd64"]


def test_a_second_push_moves_nothing(lab: Lab, server: RegistryServer) -> None:
    push(lab, server)
    before = tagged(server)
    assert push(lab, server).moved == 0
    assert tagged(server) == before


def test_tags_come_after_everything_else(lab: Lab, server: RegistryServer) -> None:
    push(lab, server)
    puts = [item.path.rpartition("/")[2] for item in server.requests("PUT", "/manifests/")]
    assert [name for name in puts if ":" not in name] == puts[-3:]
    assert puts[-1] == "1.2.3", "the index is tagged last of all"


def test_what_comes_back_is_proven(lab: Lab, server: RegistryServer) -> None:
    """A registry that gives out other bytes than it took: nothing is tagged."""
    image = lab.layout.manifest(lab.layout.manifest(lab.layout.index().manifests[0]).manifest().manifests[0])

    def alter(_request: Request, reply: Reply) -> None:
        reply.body = reply.body[:-1] + bytes([reply.body[-1] ^ 1])

    server.change("GET", f"/blobs/{image.manifest().layers[0].digest}", alter, times=None)
    done = push(lab, server)
    assert done.failed and rules(done.findings) == {"BM853"}
    assert tagged(server) == {}


def test_a_foreign_binary_is_caught_before_any_tag(lab: Lab, server: RegistryServer, tmp_path: Path) -> None:
    """The layout in dist/ was swapped for one with an amd64 binary in the arm64 image."""
    made = image_lab.HandMade(lab.layout)
    for platform in image_lab.PLATFORMS:
        made.add(platform, image_lab.layer(image_lab.app("static-amd64")))
    made.top()
    done = push(lab, server)
    assert done.failed and {"BM854", "BM855"} <= rules(done.findings)
    assert tagged(server) == {}


@pytest.mark.parametrize(
    ("method", "pattern", "status"),
    [
        ("PUT", "/manifests/sha256", 500),
        ("POST", "/uploads", 503),
        ("PUT", "/uploads", 500),
        ("GET", "/manifests/", 500),
    ],
)
def test_a_registry_that_fails_leaves_no_tag(
    lab: Lab, server: RegistryServer, method: str, pattern: str, status: int
) -> None:
    server.fail(method, pattern, status=status, times=None)
    with pytest.raises(errors.RegistryFailed):
        push(lab, server)
    assert tagged(server) == {}


@pytest.mark.parametrize("which", sorted(VERSION_TAGS))
@pytest.mark.parametrize("existing", [False, True])
def test_a_failure_between_two_tags_sets_the_first_back(
    lab: Lab, server: RegistryServer, which: str, existing: bool
) -> None:
    before = {}
    if existing:
        lab.image["moving-tags"] = ["*"]
        push(lab, server)
        before = tagged(server)
        lab.image["env"] = {"CHANGED": "1"}
        assert not lab.build().failed
    server.fail("PUT", f"/manifests/{which}$", status=500, times=2)
    with pytest.raises(errors.RegistryFailed):
        push(lab, server)
    assert tagged(server) == before


def test_signing_comes_before_tags_and_its_failure_stops_them(lab: Lab, server: RegistryServer) -> None:
    asked: list[int] = []

    def sign(repository: object, subjects: tuple[Subject, ...]) -> None:
        assert tagged(server) == {}
        asked.extend(len(subject.attestations) for subject in subjects)
        raise errors.RegistryFailed("the signer is out")

    with pytest.raises(errors.RegistryFailed, match="signer"):
        push(lab, server, sign)
    assert asked == [1, 3, 3] and tagged(server) == {}


def test_a_taken_tag_is_refused_before_anything_is_sent(lab: Lab, server: RegistryServer) -> None:
    push(lab, server)
    lab.image["env"] = {"CHANGED": "1"}
    assert not lab.build().failed
    before, sent = tagged(server), server.seen("PUT")
    with pytest.raises(errors.TagTaken, match="is taken"):
        push(lab, server)
    assert tagged(server) == before and server.seen("PUT") == sent


def test_a_tag_that_somebody_moves_meanwhile_is_told(lab: Lab, server: RegistryServer) -> None:
    """Another push sets the tag while ours is on its way."""
    lab.version = "9.9.9"
    assert not lab.build().failed
    push(lab, server)
    lab.version = "1.2.3"
    other = tagged(server)["9.9.9"]

    def sign(*_: object) -> None:
        server.repo("team/app").tags["1.2.3"] = other

    lab.image["env"] = {"CHANGED": "1"}
    lab.image["moving-tags"] = ["*"]
    assert not lab.build().failed
    with pytest.raises(errors.TagTaken, match="moved meanwhile"):
        push(lab, server, sign)
    assert tagged(server)["1.2.3"] == other
    assert set(tagged(server)) & VERSION_TAGS == {"1.2.3"}


def test_two_pushes_at_once_leave_whole_sets_of_tags(lab: Lab, server: RegistryServer, tmp_path: Path) -> None:
    """Two images race for the same moving tags: at least one is told, and no tag points to nothing."""
    other = Lab(tmp_path / "other", image={"env": {"OTHER": "1"}, "moving-tags": ["*"]})
    lab.image["moving-tags"] = ["*"]
    for each in (lab, other):
        assert not each.build().failed
    results: list[object] = []

    def run(each: Lab) -> None:
        try:
            results.append(push(each, server))
        except errors.BuildmatrixError as error:
            results.append(error)

    threads = [threading.Thread(target=run, args=(each,)) for each in (lab, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 2
    assert all(isinstance(item, (publish.Pushed, errors.TagTaken)) for item in results), results
    manifests = server.repo("team/app").manifests
    assert all(digest in manifests for digest in tagged(server).values())


# Names


def spec(lab_root: Path, **image: object) -> ImageSpec:
    return image_lab.matrix_of(lab_root, **image).images[0]


BOTH = tuple(parse(platform) for platform in image_lab.PLATFORMS)


def names(spec_of: ImageSpec, version: str = "1.2.3", revision: str = "0123456789abcdef") -> list[str]:
    return [tag.name for tag in tags.expand(spec_of, BOTH, version=version, revision=revision, created=1_700_000_000)]


def test_placeholders(tmp_path: Path) -> None:
    assert names(spec(tmp_path)) == [
        "1.2.3-x86_64-20231114T2213Z", "1.2.3-aarch64-20231114T2213Z", "1.2.3",
    ]  # fmt: skip
    assert names(spec(tmp_path, tags=["r-{commit}"])) == ["r-0123456789ab"]
    assert names(spec(tmp_path, tags=["{version}"]), version="1.2.3+build.5") == ["1.2.3-build.5"]


@pytest.mark.parametrize("name", ["latest", "v2.3", "2", "v2", "stable", "main"])
def test_names_that_float_must_be_declared(tmp_path: Path, name: str) -> None:
    with pytest.raises(errors.TagTaken, match="keeps naming one image"):
        names(spec(tmp_path, tags=[name]))
    assert names(spec(tmp_path, tags=[name], moving_tags=[name])) == [name]


def test_the_version_may_float_too(tmp_path: Path) -> None:
    with pytest.raises(errors.TagTaken, match=r"got v2\.3"):
        names(spec(tmp_path), version="v2.3")


@pytest.mark.parametrize(
    ("given", "said"), [(["{version}", "1.2.3"], "twice"), (["x-{commit}"], "stands for nothing"), (["{machine}"], "")]
)
def test_names_that_cannot_be_used(tmp_path: Path, given: list[str], said: str) -> None:
    if not said:
        assert names(spec(tmp_path, tags=given)) == ["x86_64", "aarch64"]
        return
    with pytest.raises(errors.TagTaken, match=said):
        names(spec(tmp_path, tags=given), revision="")


def test_arm_variants_have_their_own_machine_names() -> None:
    assert [tags.machine(parse(text)) for text in ("linux/arm/v7", "linux/arm/v6", "linux/386")] == [
        "armv7l", "armv6l", "i686",
    ]  # fmt: skip
