"""The direct engine: the same inputs give the same bytes, bases are never cut down, and nothing is half done."""

from __future__ import annotations

import gzip
import json
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

from buildmatrix.artifact import Status
from buildmatrix.errors import MatrixError
from buildmatrix.images import layer as image_layer
from buildmatrix.images import record
from buildmatrix.oci import graph
from buildmatrix.oci.content import Descriptor
from buildmatrix.oci.layout import Layout
from buildmatrix.oci.platform import parse
from tests import factory, image_lab
from tests.image_lab import HandMade, Lab, Member, layer, rules


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path / "project")


def top_of(lab: Lab) -> str:
    return lab.layout.index().manifests[0].digest


def config_of(lab: Lab, platform: str) -> dict[str, Any]:
    node = graph.select(lab.layout, lab.layout.index().manifests[0], parse(platform))
    assert node.manifest.config is not None
    found: dict[str, Any] = json.loads(lab.layout.read(node.manifest.config))
    return found


def files_of(lab: Lab, platform: str) -> dict[str, tarfile.TarInfo]:
    node = graph.select(lab.layout, lab.layout.index().manifests[0], parse(platform))
    found: dict[str, tarfile.TarInfo] = {}
    for each in node.manifest.layers:
        with tarfile.open(lab.layout.blob_path(each.digest)) as archive:
            found |= {member.name: member for member in archive}
    return found


def test_the_same_inputs_give_the_same_index(tmp_path: Path) -> None:
    one, other = Lab(tmp_path / "a"), Lab(tmp_path / "b" / "deeper")
    assert one.build().status is Status.DONE
    before = os.umask(0o077)
    try:
        assert other.build().status is Status.DONE
    finally:
        os.umask(before)
    assert top_of(one) == top_of(other)
    assert record.record_path(one.dist, "app").read_bytes() == record.record_path(other.dist, "app").read_bytes()


def test_unchanged_inputs_are_not_assembled_again(lab: Lab) -> None:
    first = lab.build()
    again = lab.build()
    assert (again.status, again.reason) == (Status.SKIPPED, "unchanged")
    assert again.artifact == first.artifact
    assert lab.build(force=True).status is Status.DONE


@pytest.mark.parametrize(
    "change", [{"env": {"A": "b"}}, {"user": "1"}, {"labels": {"a": "b"}}, {"cmd": ["-x"]}, {"ports": ["1"]}]
)
def test_every_change_gives_another_image(lab: Lab, change: dict[str, Any]) -> None:
    lab.build()
    before = top_of(lab)
    lab.image |= change
    assert lab.build().status is Status.DONE
    assert top_of(lab) != before


def test_a_damaged_layout_is_assembled_again(lab: Lab) -> None:
    lab.build()
    before = top_of(lab)
    victim = max((lab.layout.path / "blobs/sha256").iterdir(), key=lambda path: path.stat().st_size)
    victim.unlink()
    assert lab.build().status is Status.DONE
    assert top_of(lab) == before


def test_a_flipped_byte_in_an_unchanged_image_is_found_and_mended(lab: Lab) -> None:
    lab.build()
    before = top_of(lab)
    victim = max((lab.layout.path / "blobs/sha256").iterdir(), key=lambda path: path.stat().st_size)
    data = bytearray(victim.read_bytes())
    data[-1] ^= 1
    victim.write_bytes(data)
    assert rules(lab.prove(lab.layout, lab.layout.index().manifests[0])) == {"BM853"}
    assert lab.build().status is Status.DONE
    assert top_of(lab) == before
    assert rules(lab.prove(lab.layout, lab.layout.index().manifests[0])) == set()


def test_old_blobs_are_removed(lab: Lab) -> None:
    lab.build()
    count = len(list((lab.layout.path / "blobs/sha256").iterdir()))
    lab.image["env"] = {"A": "b"}
    lab.build()
    assert len(list((lab.layout.path / "blobs/sha256").iterdir())) == count


def test_the_config_is_what_the_matrix_says(lab: Lab) -> None:
    lab.image = {
        "user": "1000:50", "cmd": ["-v"], "env": {"LANG": "C"}, "ports": ["8080", "53/udp"], "workdir": "/data",
        "labels": {"com.example.team": "core"}, "health-check": ["/usr/local/bin/app", "-health"],
        "health-interval": 7, "stop-signal": "SIGTERM",
    }  # fmt: skip
    assert not lab.build().failed
    config = config_of(lab, "linux/arm64")
    own = config["config"]
    assert (config["os"], config["architecture"], config["created"]) == ("linux", "arm64", "2023-11-14T22:13:20Z")
    assert own["Entrypoint"] == ["/usr/local/bin/app"] and own["Cmd"] == ["-v"] and own["User"] == "1000:50"
    assert own["Env"] == ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C"]
    assert own["ExposedPorts"] == {"8080/tcp": {}, "53/udp": {}} and own["WorkingDir"] == "/data"
    assert own["Labels"]["com.example.team"] == "core"
    assert own["Labels"]["org.opencontainers.image.version"] == "1.2.3"
    assert own["Healthcheck"] == {"Test": ["CMD", "/usr/local/bin/app", "-health"], "Interval": 7_000_000_000}
    assert own["StopSignal"] == "SIGTERM"


def test_nobody_runs_as_root_by_default(lab: Lab) -> None:
    lab.build()
    assert config_of(lab, "linux/amd64")["config"]["User"] == "65532:65532"


def test_files_and_certificates_of_the_project(lab: Lab) -> None:
    (lab.root / "www").mkdir(parents=True)
    (lab.root / "www/index.html").write_text("hello")
    (lab.root / "ca.pem").write_text("-----BEGIN CERTIFICATE-----\n")
    lab.image = {"files": {"/srv/www": "www"}, "ca-certificates": "ca.pem"}
    assert not lab.build().failed
    found = files_of(lab, "linux/arm64")
    assert {"srv/www/index.html", "etc/ssl/certs/ca-certificates.crt", "tmp", "usr/local/bin/app"} <= set(found)
    assert found["tmp"].mode == 0o1777
    images = [node for node in graph.walk(lab.layout, lab.layout.index().manifests[0]) if node.is_image]
    assert len({node.manifest.layers[0].digest for node in images}) == 1, "what all share is one blob"


def test_links_out_of_the_project_are_refused(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    lab.root.mkdir()
    (lab.root / "innocent").symlink_to(tmp_path / "secret")
    lab.image = {"files": {"/x": "innocent"}}
    outcome = lab.build()
    assert outcome.failed and "leads out of the project" in outcome.reason


# Bases


def base(lab: Lab, *platforms: str, **words: Any) -> HandMade:
    made = HandMade(Layout(lab.root / "base"))
    for platform in platforms:
        runs = {"Env": ["PATH=/opt/bin:/bin", "A=base"], "User": "7:8", "WorkingDir": "/base", "Labels": {"of": "base"}}
        made.add(
            platform, layer(Member(name="etc/base-release", data=platform.encode(), mode=0o644)), runs=runs, **words
        )
    made.top()
    return made


def test_a_base_layout_is_built_upon(lab: Lab) -> None:
    made = base(lab, *image_lab.PLATFORMS)
    lab.image = {"base": "oci:base", "env": {"B": "own"}}
    assert not lab.build().failed
    config = config_of(lab, "linux/arm64")
    assert config["config"]["Env"] == ["PATH=/opt/bin:/bin", "A=base", "B=own"]
    assert (config["config"]["User"], config["config"]["WorkingDir"]) == ("7:8", "/base")
    assert config["config"]["Labels"]["of"] == "base"
    assert config["config"]["Labels"]["org.opencontainers.image.base.digest"] == made.layout.index().manifests[0].digest
    assert {"etc/base-release", "usr/local/bin/app"} <= set(files_of(lab, "linux/arm64"))
    assert len(config["rootfs"]["diff_ids"]) == 2


def test_a_base_without_a_platform_is_an_error_never_an_intersection(lab: Lab) -> None:
    base(lab, "linux/amd64", "linux/s390x")
    lab.image = {"base": "oci:base"}
    outcome = lab.build()
    assert outcome.failed
    assert "has no image for linux/arm64" in outcome.reason
    assert "got linux/amd64, linux/s390x, expected every platform" in outcome.reason
    assert not lab.layout.path.exists()


def test_a_base_whose_config_lies_is_an_error(lab: Lab) -> None:
    made = HandMade(Layout(lab.root / "base"))
    made.add("linux/amd64", layer(Member(name="a")))
    made.add("linux/arm64", layer(Member(name="a")), says="linux/amd64")
    made.top()
    lab.image = {"base": "oci:base"}
    assert "has a config for linux/amd64" in lab.build().reason


def test_a_base_in_a_nested_index_is_found(lab: Lab) -> None:
    made = base(lab, *image_lab.PLATFORMS)
    inner = made.layout.index().manifests[0]
    made.entries.clear()
    made.list(inner, None)
    made.top()
    lab.image = {"base": "oci:base"}
    assert not lab.build().failed


def test_a_foreign_program_in_the_base_is_found(lab: Lab) -> None:
    made = HandMade(Layout(lab.root / "base"))
    made.add("linux/amd64", layer(Member(name="bin/tool", data=image_lab.elf("static-amd64"))))
    made.add("linux/arm64", layer(Member(name="bin/tool", data=image_lab.elf("static-amd64"))))
    made.top()
    lab.image = {"base": "oci:base"}
    outcome = lab.build()
    assert rules(outcome.findings) == {"BM854"}
    assert not (lab.layout.path / "index.json").exists() or not lab.layout.index().manifests


@pytest.mark.parametrize("where", ["oci:missing", "oci:project.toml"])
def test_a_base_that_is_not_there_is_told(lab: Lab, where: str) -> None:
    lab.image = {"base": where}
    outcome = lab.build()
    assert outcome.failed and "got no OCI layout inside the project" in outcome.reason


# Layers that are taken where they lie


@pytest.fixture
def compressed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was compressed: the last path of each layer."""
    seen: list[str] = []
    write = image_layer.write

    def written(entries: Any, *words: Any, **options: Any) -> Any:
        seen.append(list(entries)[-1].path)
        return write(entries, *words, **options)

    monkeypatch.setattr(image_layer, "write", written)
    return seen


def test_a_layer_of_the_same_files_is_not_compressed_again(lab: Lab, compressed: list[str]) -> None:
    assert not lab.build().failed
    first = {one.digest for entry in entries_of_index(lab) for one in lab.layout.manifest(entry).manifest().layers}
    compressed.clear()
    lab.image = {"env": {"A": "1"}}
    outcome = lab.build()
    assert outcome.status is Status.DONE and compressed == []
    again = {one.digest for entry in entries_of_index(lab) for one in lab.layout.manifest(entry).manifest().layers}
    assert again == first
    lab.files["arm64"] = "pie-glibc-arm64"
    lab.build()
    assert compressed == ["/usr/local/bin/app"], "the other one alone"


@pytest.mark.parametrize("damage", ["blob", "memory", "garbage", "time", "force"])
def test_what_is_remembered_is_held_to_its_bytes(lab: Lab, compressed: list[str], damage: str) -> None:
    assert not lab.build().failed
    first = lab.layout.index().manifests[0].digest
    memory = lab.dist.state("image-app", "layers")
    lab.image = {"env": {"A": "1"}}
    if damage == "blob":
        for entry in entries_of_index(lab):
            path = lab.layout.blob_path(lab.layout.manifest(entry).manifest().layers[-1].digest)
            path.write_bytes(bytes(path.stat().st_size))
    elif damage == "memory":
        rows = json.loads(memory.read_bytes())
        memory.write_text(json.dumps({key: [row[0], row[1], f"sha256:{'0' * 64}"] for key, row in rows.items()}))
    elif damage == "garbage":
        memory.write_bytes(b"[1")
    compressed.clear()
    outcome = lab.build(force=damage == "force", created=image_lab.CREATED + (damage == "time"))
    assert outcome.status is Status.DONE, outcome.findings
    assert "/usr/local/bin/app" in compressed
    lab.image = {}
    assert not lab.build().failed
    assert lab.layout.index().manifests[0].digest == first


def entries_of_index(lab: Lab) -> tuple[Descriptor, ...]:
    return lab.layout.manifest(lab.layout.index().manifests[0]).manifest().manifests


# The matrix


@pytest.mark.parametrize(
    ("image", "key", "said"),
    [
        ({"targets": ["arm7"]}, "images.app.targets[0]", "a glob that matches one of amd64, arm64"),
        ({"targets": []}, "images.app.targets", "at least one"),
        ({"binaries": ["other"]}, "images.app.binaries[0]", "one of app"),
        ({"files": {"/a/../b": "x"}}, "images.app.files./a/../b", "without . and .."),
        ({"files": {"/a": "../x"}}, "images.app.files./a", "stays inside the project"),
        ({"tags": ["{branch}"]}, "images.app.tags[0]", "no other placeholder than {version}"),
        ({"engine": "buildx"}, "images.app.dockerfile", "buildx runs one"),
        ({"engine": "direct", "dockerfile": "Dockerfile"}, "images.app.engine", "only buildx runs a Dockerfile"),
        ({"base": "oci:/abs"}, "images.app.base", "stays inside the project"),
        ({"build-args": {"A": "1"}}, "images.app.build-args", "no Dockerfile is run"),
        ({"context": "sub"}, "images.app.context", "no Dockerfile is run"),
        ({"emulation": True}, "images.app.emulation", "no Dockerfile is run"),
    ],
)  # fmt: skip
def test_mistakes_in_the_matrix_are_told(image: dict[str, Any], key: str, said: str) -> None:
    with pytest.raises(MatrixError) as caught:
        image_lab.matrix_of(Path("/project"), **image)
    (problem,) = caught.value.problems
    assert problem.key == key and said in problem.expected


@pytest.mark.parametrize(
    ("setting", "value", "word"),
    [
        ("entrypoint", ["/usr/local/bin/app", "-x"], "ENTRYPOINT"), ("cmd", ["-v"], "CMD"), ("env", {"A": "1"}, "ENV"),
        ("ports", ["8080"], "EXPOSE"), ("files", {"/etc/app.conf": "app.conf"}, "COPY"),
        ("ca-certificates", "system", "COPY"), ("zoneinfo", True, "COPY"), ("health-check", ["/app"], "HEALTHCHECK"),
        ("health-interval", 5, "HEALTHCHECK --interval"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("engine", ["auto", "buildx"])
def test_what_a_dockerfile_decides_is_refused_in_the_matrix(setting: str, value: Any, word: str, engine: str) -> None:
    """BuildKit would never see it, and the image would lack it in silence."""
    with pytest.raises(MatrixError) as caught:
        image_lab.matrix_of(Path("/project"), dockerfile="Dockerfile", engine=engine, **{setting: value})
    (problem,) = caught.value.problems
    assert problem.key == f"images.app.{setting}" and "the buildx engine has no use for" in problem.got
    assert "the Dockerfile decides it" in problem.expected and problem.hint == f"write {word} in the Dockerfile"
    image_lab.matrix_of(Path("/project"), **{setting: value})


@pytest.mark.parametrize("suffix", [".json", ".documents"])
def test_an_image_is_not_called_like_anothers_files(suffix: str) -> None:
    document = factory.document(
        targets={"amd64": {"goarch": "amd64"}},
        images={name: {"targets": ["*"], "binaries": ["app"]} for name in ("web", f"web{suffix}")},
    )
    with pytest.raises(MatrixError, match=r"the name of what images\.web writes"):
        factory.parse(document)


@pytest.mark.parametrize(
    ("targets", "said"),
    [
        ({"arm64": {"goarch": "arm64"}, "arm64-v8.2": {"goarch": "arm64", "level": "v8.2"}}, "both linux/arm64"),
        ({"mac": {"goarch": "arm64", "goos": "darwin"}}, "for darwin"),
    ],
)
def test_targets_that_cannot_share_an_index(targets: dict[str, Any], said: str) -> None:
    with pytest.raises(MatrixError, match=said):
        factory.parse(factory.document(targets=targets, images={"app": {"targets": ["*"]}}))


def test_a_binary_that_is_not_built_for_a_platform_is_told() -> None:
    document = factory.document(
        binaries={"app": {"package": "."}, "side": {"package": "./side", "targets": ["amd64"]}},
        targets={"amd64": {"goarch": "amd64"}, "arm64": {"goarch": "arm64"}},
        images={"app": {"targets": ["*"], "binaries": ["app", "side"]}},
    )
    with pytest.raises(MatrixError, match="never left out in silence"):
        factory.parse(document)


def test_layers_are_gzip_without_a_time(lab: Lab) -> None:
    lab.build()
    for node in graph.walk(lab.layout, lab.layout.index().manifests[0]):
        for each in node.manifest.layers:
            data = lab.layout.blob_path(each.digest).read_bytes()
            assert data[4:8] == bytes(4) and gzip.decompress(data)
