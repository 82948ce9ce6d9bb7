"""`buildmatrix inspect` over indexes with every defect that it looks for."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest

from buildmatrix import cli, codes, errors
from buildmatrix.finding import Finding
from buildmatrix.oci import inspection, media
from buildmatrix.oci.content import Descriptor
from buildmatrix.oci.layout import Layout
from tests import factory, oci_images
from tests.registry_server import RegistryServer

SIGN = "https://sigstore.dev/cosign/sign/v1"


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "layout").create()


def signed(layout: Layout, *entries: Descriptor) -> Descriptor:
    """The index of these entries, all of them signed."""
    top = oci_images.index(layout, entries, "v1")
    for item in (top, *(entry for entry in entries if not entry.is_attestation)):
        oci_images.sign_with_tag(layout, item.digest)
    return top


def findings(layout: Layout, tag: str = "v1") -> tuple[Finding, ...]:
    return inspection.inspect(layout, layout.manifest(tag)).findings


def rules(layout: Layout) -> list[str]:
    return [item.rule for item in findings(layout)]


def test_a_good_index_has_no_findings(layout: Layout) -> None:
    amd64, arm64 = (
        oci_images.image(layout, "linux/amd64"),
        oci_images.image(layout, "linux/arm64/v8", config="linux/arm64"),
    )
    signed(layout, amd64, arm64, oci_images.attestation(layout, amd64))
    assert findings(layout) == ()


@pytest.mark.parametrize(
    ("named", "config", "contradict"),
    [
        ("linux/arm64", "linux/amd64", True),
        ("linux/arm64", "windows/arm64", True),
        ("linux/arm64/v8", "linux/arm64", False),
        ("linux/arm64", "linux/arm64/v8", False),
        ("linux/arm/v6", "linux/arm", False),
        ("linux/arm/v6", "linux/arm/v7", True),
        ("linux/amd64/v3", "linux/amd64/v1", True),
    ],
)
def test_a_config_of_another_platform(layout: Layout, named: str, config: str, contradict: bool) -> None:
    signed(layout, oci_images.image(layout, named, config=config))
    found = findings(layout)
    assert [item.rule for item in found] == (["BM821"] if contradict else [])
    if contradict:
        assert f"the index says {named}, its config says {config}" in found[0].what


def test_a_config_without_a_platform(layout: Layout) -> None:
    signed(layout, oci_images.image(layout, "linux/arm64", config="/"))
    assert rules(layout) == ["BM821"]


def test_a_platform_twice_in_two_spellings(layout: Layout) -> None:
    one = oci_images.image(layout, "linux/arm64", files={"a": b""})
    two = oci_images.image(layout, "linux/arm64/v8", files={"b": b""})
    signed(layout, one, oci_images.image(layout, "linux/arm64/v8.2"), two)
    (found,) = findings(layout)
    assert found.rule == "BM822"
    assert found.cell.endswith(two.digest)
    assert one.digest in found.evidence


def test_every_missing_signature_is_named(layout: Layout) -> None:
    entries = [oci_images.image(layout, name) for name in ("linux/amd64", "linux/arm64")]
    top = oci_images.index(layout, entries, "v1")
    oci_images.sign_with_tag(layout, top.digest)
    oci_images.attach(layout, entries[0], media.SIGSTORE_BUNDLE, b"1", **{media.BUNDLE_PREDICATE: SIGN})
    (found,) = findings(layout)
    assert (found.rule, found.cell) == ("BM823", f"linux/arm64 {entries[1].digest}")


@pytest.mark.parametrize(
    ("kind", "annotations", "is_signature"),
    [
        (media.SIGSTORE_BUNDLE, {media.BUNDLE_PREDICATE: SIGN}, True),
        (media.SIGSTORE_BUNDLE, {media.BUNDLE_CONTENT: "message-signature"}, True),
        (media.SIGSTORE_BUNDLE, {media.BUNDLE_PREDICATE: "https://cyclonedx.org/bom"}, False),
        (media.SIGSTORE_BUNDLE, {media.BUNDLE_CONTENT: "dsse-envelope"}, False),
        (media.NOTATION, {}, True),
        ("application/vnd.cyclonedx+json", {}, False),
    ],
)  # fmt: skip
def test_an_attestation_does_not_pass_for_a_signature(
    layout: Layout, kind: str, annotations: dict[str, str], is_signature: bool
) -> None:
    top = signed(layout)
    one = oci_images.image(layout, "linux/arm64")
    top = oci_images.index(layout, [one], "v1")
    oci_images.sign_with_tag(layout, top.digest)
    oci_images.attach(layout, one, kind, b"x", **annotations)
    assert rules(layout) == ([] if is_signature else ["BM823"])


def test_a_tag_that_holds_no_signature_is_none(layout: Layout) -> None:
    top = oci_images.image(layout, "linux/arm64", tag="v1")
    oci_images.image(layout, "linux/arm64", files={"x": b""}, tag=media.legacy_tag(top.digest, "sig"))
    assert rules(layout) == ["BM823"]


def test_a_child_and_a_layer_that_are_not_there(layout: Layout) -> None:
    amd64, arm64 = oci_images.image(layout, "linux/amd64"), oci_images.image(layout, "linux/arm64")
    signed(layout, amd64, arm64)
    layer = layout.manifest(amd64).manifest().layers[0]
    layout.blob_path(layer.digest).unlink()
    layout.blob_path(arm64.digest).unlink()
    found = findings(layout)
    assert [(item.rule, item.cell.split()[0]) for item in found] == [("BM824", "linux/amd64"), ("BM824", "linux/arm64")]
    assert found[0].evidence == layer.digest


def test_a_layer_of_another_size(layout: Layout) -> None:
    one = oci_images.image(layout, "linux/amd64")
    signed(layout, one)
    path = layout.blob_path(layout.manifest(one).manifest().layers[0].digest)
    path.write_bytes(path.read_bytes()[:-1])
    assert rules(layout) == ["BM824"]


def test_layers_that_lie_elsewhere_by_design_are_not_missed(layout: Layout) -> None:
    foreign = Descriptor(
        media_type="application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        digest="sha256:" + "f" * 64, size=9, urls=("https://elsewhere.example/layer",),
    )  # fmt: skip
    one = oci_images.image(layout, "windows/amd64", layers=[foreign.as_json()])
    signed(layout, one)
    assert rules(layout) == []


def test_a_damaged_child(layout: Layout) -> None:
    one, two = oci_images.image(layout, "linux/amd64"), oci_images.image(layout, "linux/arm64")
    signed(layout, one, two)
    layout.blob_path(one.digest).write_bytes(b"{}")
    found = findings(layout)
    assert [item.rule for item in found] == ["BM827"]
    assert f"expected {one.digest}" in found[0].what


def test_an_attestation_of_nothing_in_the_index(layout: Layout) -> None:
    one, other = oci_images.image(layout, "linux/amd64"), oci_images.image(layout, "linux/arm64")
    signed(layout, one, oci_images.attestation(layout, other))
    (found,) = findings(layout)
    assert found.rule == "BM825"
    assert other.digest in found.what


def test_an_index_without_an_image(layout: Layout) -> None:
    signed(layout, oci_images.attestation(layout, oci_images.image(layout)))
    assert rules(layout) == ["BM825", "BM826"]
    signed(layout)
    assert rules(layout) == ["BM826"]


def test_an_entry_of_an_unknown_kind_is_a_warning(layout: Layout) -> None:
    strange = Descriptor(media_type="application/vnd.example\x1b[31m", digest="sha256:" + "9" * 64, size=5)
    one = oci_images.image(layout)
    signed(layout, one, strange)
    assert rules(layout) == ["BM828"]
    assert cli.main(["inspect", f"{layout.path}:v1"]) == 0


def test_every_code_is_known_and_has_its_status() -> None:
    known = {item.code: item for item in codes.every()}
    assert all(known[code].exit_status == (0 if code in inspection.WARNINGS else 1) for code in inspection.CODES)


# The command


def settled(text: str) -> str:
    """Without what depends on the compressor: digests become numbers in order of appearance, sizes too."""
    numbers: dict[str, int] = {}

    def number(found: re.Match[str]) -> str:
        digits = found[1]
        return "sha256:" + str(numbers.setdefault(digits[:16], len(numbers))).ljust(len(digits), ".")

    return re.sub(r"\b2\d\d B", "NNN B", re.sub(r"sha256:([0-9a-f]{16,})", number, text))


@pytest.fixture
def image(layout: Layout) -> Layout:
    amd64 = oci_images.image(layout, "linux/amd64")
    arm64 = oci_images.image(layout, "linux/arm64/v8", config="linux/amd64")
    signed(layout, amd64, arm64, oci_images.attestation(layout, amd64))
    return layout


def test_the_table(
    image: Layout,
    capsys: pytest.CaptureFixture[str],
    golden: Callable[[str, str], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(image.path.parent)
    assert cli.main(["inspect", "layout"]) == errors.EXIT_FINDINGS
    golden("inspect.txt", settled(capsys.readouterr().out))


def test_the_json_fits_its_schema(image: Layout, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["inspect", "--json", f"{image.path}:v1"]) == errors.EXIT_FINDINGS
    document = json.loads(capsys.readouterr().out)
    text = (factory.ROOT / "docs/images.md").read_text()
    jsonschema.validate(document, json.loads(text.partition("```json\n")[2].partition("```")[0]))
    assert [entry["kind"] for entry in document["entries"]] == ["index", "image", "image", "attestation"]
    assert (
        document["entries"][2] | {"platform": "linux/arm64/v8", "configPlatform": "linux/amd64"}
        == document["entries"][2]
    )
    assert [item["rule"] for item in document["findings"]] == ["BM821"]


def test_an_image_in_a_registry(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from buildmatrix.oci.registry import Registry

    (tmp_path / "config.json").write_text('{"auths": {}}')
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    with RegistryServer() as server:
        with Registry(server.host) as registry:
            one = oci_images.image(registry.repository("team/app"), "linux/arm64", tag="v1")
        name = f"{server.host}/team/app:v1"
        assert cli.main(["inspect", name]) == errors.EXIT_FINDINGS
        out = capsys.readouterr().out
        assert f"BM823 image {one.digest}: is not signed" in out
        assert cli.main(["inspect", name, "--allow-unsigned"]) == errors.EXIT_OK
        assert cli.main(["inspect", f"{server.host}/team/app@{one.digest}", "--allow-unsigned"]) == errors.EXIT_OK
        assert cli.main(["inspect", f"{server.host}/team/app:v2"]) == errors.EXIT_FINDINGS
        assert "BM804" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("/no/such/folder", "BM104 /no/such/folder: there is no such folder"),
        ("./none:v1", "BM104 ./none:v1: there is no such folder"),
        ("Upper/Case", "BM801 'Upper/Case' is not an image reference"),
        ("r.example/a:b:c", "BM801 'r.example/a:b:c' is not an image reference"),
    ],
)
def test_what_is_neither_a_layout_nor_a_reference(text: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["inspect", text]) == errors.EXIT_USAGE
    assert words in capsys.readouterr().err


def test_a_folder_that_is_no_layout(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["inspect", str(tmp_path)]) == errors.EXIT_FINDINGS
    assert "oci-layout: is not in the layout" in capsys.readouterr().err


def test_a_layout_of_several_images_is_read_as_their_index(layout: Layout, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("linux/amd64", "linux/arm64"):
        one = oci_images.image(layout, name, tag=name.replace("/", "-"))
        oci_images.sign_with_tag(layout, one.digest)
    assert cli.main(["inspect", "--json", str(layout.path)]) == errors.EXIT_OK
    kinds = [entry["kind"] for entry in json.loads(capsys.readouterr().out)["entries"]]
    assert kinds == ["index", "image", "artifact", "image", "artifact"]


def test_what_a_registry_says_cannot_steer_a_terminal(layout: Layout, capsys: pytest.CaptureFixture[str]) -> None:
    one = oci_images.image(layout)
    strange = Descriptor(media_type="application/x\x1b[2Jx", digest="sha256:" + "9" * 64, size=5)
    signed(layout, one, replace(strange, annotations={"a": "b"}))
    cli.main(["inspect", f"{layout.path}:v1"])
    assert "\x1b" not in capsys.readouterr().out
