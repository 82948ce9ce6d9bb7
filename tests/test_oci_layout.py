"""Image layouts and documents: what is written, what is read, and what is refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildmatrix.errors import ContentInvalid, ContentMismatch, NotInRegistry, ScanFailed
from buildmatrix.oci import content, copy, graph, media, platform
from buildmatrix.oci.content import Blob, Descriptor
from buildmatrix.oci.layout import Layout, is_layout
from buildmatrix.preflight import tarfs
from tests import factory, oci_images, registry_suite


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "layout").create()


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def index_json(layout: Layout, *entries: dict[str, Any]) -> None:
    (layout.path / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": list(entries)}))


def add(layout: Layout, value: object, **more: Any) -> dict[str, Any]:
    """Store a JSON document as a blob; its descriptor as JSON."""
    data = content.canonical(value)
    layout.put_blob(content.blob_of(data))
    return {"digest": content.digest_of(data), "size": len(data)} | more


# Writing


def test_a_new_layout_is_one(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "a/b").create()
    assert is_layout(layout.path)
    assert files(layout.path) == {
        "index.json": b'{"manifests":[],"mediaType":"application/vnd.oci.image.index.v1+json","schemaVersion":2}',
        "oci-layout": b'{"imageLayoutVersion":"1.0.0"}',
    }
    assert layout.tags() == ()


def test_making_it_again_keeps_what_is_there(layout: Layout) -> None:
    entry = oci_images.image(layout, tag="v1")
    before = files(layout.path)
    layout.create()
    assert files(layout.path) == before
    assert layout.resolve("v1") is not None
    assert layout.manifest(entry.digest).digest == entry.digest


def test_the_same_calls_give_the_same_bytes(tmp_path: Path) -> None:
    one, two = (Layout(tmp_path / name).create() for name in ("one", "two"))
    registry_suite.everything(one)
    registry_suite.everything(two)
    assert files(one.path) == files(two.path)
    assert len(files(one.path)) > 20
    copied = Layout(tmp_path / "three").create()
    copy.copy(one, copied, "v1", tags=("v1",), threads=4)
    again = Layout(tmp_path / "four").create()
    copy.copy(one, again, "v1", tags=("v1",), threads=1)
    assert files(copied.path) == files(again.path)


def test_a_tag_moves_and_others_stay(layout: Layout) -> None:
    first = oci_images.image(layout, "linux/amd64", tag="v1")
    layout.put_manifest(layout.manifest(first), "stable")
    second = oci_images.image(layout, "linux/arm64", tag="v1")
    assert layout.tags() == ("stable", "v1")
    assert [item.digest for item in layout.index().manifests] == [first.digest, second.digest]


@pytest.mark.parametrize("kind", ["bytes", "short", "long", "break"])
def test_a_blob_that_is_not_what_it_should_be_leaves_nothing(layout: Layout, kind: str) -> None:
    good = os.urandom(3_000_000)
    digest = content.digest_of(good)

    def read(_: int) -> Iterator[bytes]:
        yield from {"bytes": (bytes(3_000_000),), "short": (good[:-1],), "long": (good, b"x"), "break": (good[:9],)}[
            kind
        ]
        if kind == "break":
            raise OSError(5, "Input/output error")

    with pytest.raises((ContentMismatch, OSError)):
        layout.put_blob(Blob(digest=digest, size=len(good), open=read))
    assert not layout.has_blob(digest)
    assert set(files(layout.path)) == {"index.json", "oci-layout"}


def test_a_blob_that_is_damaged_on_the_disk_is_written_again(layout: Layout) -> None:
    blob = content.blob_of(b"abc")
    layout.blob_path(blob.digest).write_bytes(b"ab")
    assert layout.put_blob(blob) is True
    assert layout.blob_path(blob.digest).read_bytes() == b"abc"
    assert layout.blob_path(blob.digest).stat().st_mode & 0o777 == 0o644


def test_index_json_is_replaced_whole(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    oci_images.image(layout, tag="v1")
    before = files(layout.path)["index.json"]
    monkeypatch.setattr("os.fsync", _full)
    with pytest.raises(OSError, match="No space"):
        layout.write_index(())
    assert files(layout.path)["index.json"] == before
    assert not [name for name in files(layout.path) if name.endswith(".part")]


def _full(_: int) -> None:
    raise OSError(28, "No space left on device")


def test_referrers_are_listed_and_found(layout: Layout) -> None:
    subject = oci_images.image(layout, tag="v1")
    one = oci_images.attach(layout, subject, "application/a", b"1")
    two = oci_images.attach(layout, subject, "application/b", b"2")
    assert layout.referrers(subject.digest) == (one, two)
    assert layout.referrers(subject.digest, "application/b") == (two,)
    assert layout.referrers(one.digest) == ()


# Reading


def test_a_nested_index_and_the_first_match(layout: Layout) -> None:
    first = oci_images.image(layout, "linux/arm64/v8", files={"a": b"1"})
    second = oci_images.image(layout, "linux/arm64", files={"a": b"2"})
    amd64 = oci_images.image(layout, "linux/amd64")
    nested = oci_images.index(layout, [first], docker=True)
    top = oci_images.index(layout, [amd64, nested, second], "v1")
    for name in ("linux/arm64", "linux/arm64/v8.2", "linux/aarch64"):
        assert graph.select(layout, top, platform.parse(name)).descriptor.digest == first.digest
    assert layout.manifest("v1").digest == top.digest


def test_a_platform_that_only_the_config_names(layout: Layout) -> None:
    one = oci_images.image(layout, "linux/arm64")
    top = oci_images.index(layout, [replace(one, platform=None)])
    assert graph.select(layout, top, platform.parse("arm64")).descriptor.digest == one.digest


def test_attestations_and_signatures_are_no_images(layout: Layout) -> None:
    one = oci_images.image(layout, "linux/arm64")
    signature = oci_images.sign_with_tag(layout, one.digest)
    entries = [oci_images.attestation(layout, one), replace(signature.descriptor, platform=one.platform), one]
    top = oci_images.index(layout, entries)
    assert [node.descriptor.digest for _, node in graph.images_of(layout, top)] == [one.digest]
    assert len(list(graph.walk(layout, top))) == 4


def test_unknown_media_types_are_passed_over(layout: Layout) -> None:
    one = oci_images.image(layout)
    strange = Descriptor(media_type="application/vnd.example.thing+json", digest="sha256:" + "9" * 64, size=5)
    top = oci_images.index(layout, [strange, one])
    assert [node.descriptor.digest for node in graph.walk(layout, top)] == [top.digest, one.digest]


def test_entries_without_a_media_type_are_read(layout: Layout) -> None:
    config = add(layout, {"architecture": "arm64", "os": "linux"}, mediaType=media.CONFIG)
    image = add(layout, {"schemaVersion": 2, "config": config, "layers": []})
    index_json(layout, image)
    entry = layout.index().manifests[0]
    (pair,) = graph.images_of(layout, entry)
    assert str(pair[0]) == "linux/arm64"


def test_an_index_that_lists_itself_is_refused(layout: Layout) -> None:
    """A digest cannot be part of what it is made from: such a blob has other bytes than its name says."""
    digest = "sha256:" + "7" * 64
    loop = {"schemaVersion": 2, "manifests": [{"mediaType": media.INDEX, "digest": digest, "size": 200}]}
    layout.blob_path(digest).write_bytes(content.canonical(loop))
    index_json(layout, {"mediaType": media.INDEX, "digest": digest, "size": 200})
    with pytest.raises(ContentMismatch, match=f"expected {digest}"):
        list(graph.walk(layout, layout.index().manifests[0]))


def test_indexes_nested_too_deeply(layout: Layout) -> None:
    entry = oci_images.image(layout)
    for _ in range(content.MAX_DEPTH):
        entry = oci_images.index(layout, [entry])
    assert len(list(graph.walk(layout, entry))) == content.MAX_DEPTH + 1
    with pytest.raises(ContentInvalid, match="nested more than 8 deep"):
        list(graph.walk(layout, oci_images.index(layout, [entry])))


def test_an_index_that_multiplies(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """Few bytes that lead to very many manifests: ten to the fifth here."""
    entry = oci_images.image(layout)
    for _ in range(5):
        entry = oci_images.index(layout, [entry] * 10)
    monkeypatch.setattr(graph, "MAX_NODES", 500)
    with pytest.raises(ContentInvalid, match="more than 500 manifests"):
        list(graph.walk(layout, entry))


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (lambda it: (it.path / "oci-layout").unlink(), NotInRegistry, "oci-layout: is not in the layout"),
        (lambda it: (it.path / "oci-layout").write_text("{}"), ContentInvalid, "got the layout version ''"),
        (lambda it: (it.path / "oci-layout").write_text('{"imageLayoutVersion":"2.0"}'), ContentInvalid, "'2.0'"),
        (lambda it: (it.path / "index.json").unlink(), NotInRegistry, "index.json: is not in the layout"),
        (lambda it: (it.path / "index.json").write_text("{"), ContentInvalid, "is not JSON"),
        (lambda it: (it.path / "index.json").write_text("[" * 100_000), ContentInvalid, "is not JSON"),
        (lambda it: (it.path / "index.json").write_text('{"config":{}}'), ContentInvalid, "media type"),
        (lambda it: index_json(it, {"digest": "sha256:../../x", "size": 1}), ContentInvalid, "got the digest"),
        (lambda it: index_json(it, {"digest": "sha256:" + "a" * 64}), ContentInvalid, "size: got None"),
        (lambda it: index_json(it, {"digest": "sha256:" + "a" * 64, "size": -1}), ContentInvalid, "size: got -1"),
        (lambda it: index_json(it, {"digest": "sha256:" + "a" * 64, "size": True}), ContentInvalid, "size: got True"),
        (lambda it: index_json(it, *({"digest": "sha256:" + "a" * 64, "size": 1},) * 5000), ContentInvalid, "4096"),
        (lambda it: (it.path / "index.json").write_bytes(b" " * (5 << 20)), ContentInvalid, "more than 4194304 bytes"),
    ],
)  # fmt: skip
def test_layouts_that_are_none(layout: Layout, change: Any, error: type[Exception], words: str) -> None:
    change(layout)
    with pytest.raises(error) as caught:
        layout.index()
    assert words in str(caught.value)


def test_what_the_layout_lacks_or_has_damaged(layout: Layout, tmp_path: Path) -> None:
    entry = oci_images.image(layout, "linux/arm64", tag="v1")
    config = layout.manifest("v1").manifest().config
    assert config is not None
    with pytest.raises(NotInRegistry, match=r"has no tag v2\n  fix: it has v1"):
        layout.manifest("v2")
    layout.blob_path(config.digest).write_bytes(bytes(config.size))
    with pytest.raises(ContentMismatch, match=config.digest):
        layout.read(config)
    layout.blob_path(config.digest).unlink()
    with pytest.raises(NotInRegistry, match=config.digest):
        layout.read(config)
    with pytest.raises(ContentInvalid, match="expected at most 10"):
        layout.read(config, limit=10)
    layout.blob_path(entry.digest).write_bytes(b"{}")
    with pytest.raises(ContentMismatch, match=r"\(linux/arm64\)"):
        layout.manifest(entry)
    layout.blob_path(entry.digest).write_bytes(b"{" * (content.MAX_MANIFEST + 1))
    with pytest.raises(ContentInvalid, match="at most 4194304"):
        layout.manifest(entry.digest)


# Documents

ONE = {"mediaType": media.CONFIG, "digest": "sha256:" + "a" * 64, "size": 2}


@pytest.mark.parametrize(
    ("value", "media_type", "words"),
    [
        ([], "", "got a JSON list"),
        ({}, "", "neither manifests nor a config"),
        ({"manifests": [], "config": ONE}, "", "read as two things"),
        ({"manifests": [], "layers": []}, media.INDEX, "read as two things"),
        ({"manifests": []}, media.MANIFEST, "not those of its media type"),
        ({"config": ONE}, media.INDEX, "not those of its media type"),
        ({"mediaType": media.MANIFEST, "config": ONE}, media.DOCKER_MANIFEST, "calls itself"),
        ({"mediaType": 1, "config": ONE}, "", "calls itself"),
        ({"schemaVersion": 1, "config": ONE}, "", "schema 1"),
        ({"config": ONE}, media.DOCKER_SCHEMA_1[1], "schema 1"),
        ({"manifests": {}}, "", "expected an array"),
        ({"manifests": [1]}, "", "expected a descriptor"),
        ({"config": ONE, "layers": [ONE | {"digest": "x"}]}, "", "got the digest"),
        ({"config": ONE | {"mediaType": 1}}, "", "mediaType: got int"),
        ({"config": ONE, "annotations": {"a": 1}}, "", "expected an object of texts"),
        ({"config": ONE, "annotations": []}, "", "expected an object of texts"),
        ({"config": ONE, "artifactType": []}, "", "artifactType: got list"),
        ({"config": ONE, "subject": "x"}, "", "expected a descriptor"),
    ],
)
def test_documents_that_are_refused(value: object, media_type: str, words: str) -> None:
    with pytest.raises(ContentInvalid) as caught:
        content.parse_manifest(json.dumps(value).encode(), media_type, "it")
    assert words in str(caught.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=8) | st.just(ONE),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ("manifests", "config", "layers", "mediaType", "subject", "annotations", "platform", "digest")
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(JSON, st.sampled_from(("", media.INDEX, media.MANIFEST, "x")))
def test_any_document_is_read_or_refused(value: object, media_type: str) -> None:
    try:
        found = content.parse_manifest(json.dumps(value).encode(), media_type, "it")
    except ContentInvalid:
        return
    assert found.is_index == (found.config is None)
    for item in (*found.manifests, *found.blobs):
        assert content.parse_descriptor(item.as_json(), "it") == item


def test_a_descriptor_keeps_its_members() -> None:
    value = {
        "mediaType": media.MANIFEST, "digest": "sha512:" + "a" * 128, "size": 5, "artifactType": "a/b",
        "platform": {"architecture": "arm64", "os": "linux", "variant": "v8"}, "annotations": {"a": "b"}, "urls": ["https://x"],
    }  # fmt: skip
    assert content.parse_descriptor(value, "it").as_json() == value


def test_the_preflight_looks_at_no_layer_whose_bytes_were_changed(layout: Layout) -> None:
    entry = oci_images.image(layout, "linux/arm64", tag="v1")
    assert tarfs.image_root(layout.path, "linux/arm64").top.children
    layer = layout.blob_path(layout.manifest(entry).manifest().layers[0].digest)
    layer.write_bytes(oci_images.layer({"app": b"other"}))
    with pytest.raises(ScanFailed, match=r"expected sha256:|bytes"):
        tarfs.image_root(layout.path, "linux/arm64")


def test_the_preflight_takes_one_image_of_several_variants(layout: Layout) -> None:
    v6 = oci_images.image(layout, "linux/arm/v6", files={"v6": b""})
    v7 = oci_images.image(layout, "linux/arm/v7", files={"v7": b""})
    oci_images.index(layout, [v6, v7], "v1")
    assert set(tarfs.image_root(layout.path, "linux/arm").top.children or {}) == {"v7"}
    assert set(tarfs.image_root(layout.path, "linux/arm/v6").top.children or {}) == {"v6"}


def test_scanning_plain_files_loads_no_layout_reader() -> None:
    script = "import buildmatrix.commands._inputs, buildmatrix.preflight.tarfs, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=factory.ROOT)
    assert not {"buildmatrix.oci.layout", "buildmatrix.oci.content", "httpx"} & set(done.stdout.split())


def test_a_registry_loads_its_http_library_when_it_is_used() -> None:
    script = (
        "import buildmatrix.oci.registry, buildmatrix.oci.copy, buildmatrix.oci.inspection, sys; print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=factory.ROOT)
    assert not {"httpx", "ssl"} & set(done.stdout.split())
