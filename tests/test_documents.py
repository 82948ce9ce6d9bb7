"""SBOMs and provenance of built artifacts: every way of altering them fails verify, and is named."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from buildmatrix import attest, elf, matrix, proof
from buildmatrix.artifact import Document, Record
from buildmatrix.dist import PROVENANCE, SBOMS, Dist, canonical
from buildmatrix.finding import Finding
from buildmatrix.plan import make
from buildmatrix.toolchain import find_go
from tests import project
from tests.project import Project

NAMES = (*SBOMS.values(), PROVENANCE)
REQUIRED = "module example.org/dep/v2\n\ngo 1.21\n"
MAIN = """\
package main

import (
	"os"

	"example.org/dep/v2"
)

var version = "unknown"

func main() { os.Stdout.WriteString(version + dep.Name + "\\n") }
"""
MIT = """\
MIT License

Copyright (c) 2020 Somebody

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
documentation files (the "Software"), to deal in the Software without restriction, including without limitation the
rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit
persons to whom the Software is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the
Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR
COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR
OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
"""


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Two cells of a program with one dependency, which lies in a folder and has a licence."""
    made = project.create(tmp_path_factory.mktemp("pristine"), main=MAIN)
    made.write(
        "go.mod",
        "module example.org/hello\n\ngo 1.21\n\nrequire example.org/dep/v2 v2.1.0\n\n"
        "replace example.org/dep/v2 => ./dep\n",
    )
    made.write("dep/go.mod", REQUIRED)
    made.write("dep/dep.go", 'package dep\n\nconst Name = "dep"\n')
    made.write("dep/LICENSE", MIT)
    made.write("matrix.toml", project.MATRIX.replace('"1.2.3"', '"1.2.3"\nsupplier = "Example Org"\nlicense = "MIT"'))
    done = made.run("build")
    assert done.returncode == 0, done.stdout + done.stderr
    return made


@pytest.fixture
def hello(pristine: Project, tmp_path: Path) -> Project:
    shutil.copytree(pristine.root, tmp_path / "copy")
    return Project(root=tmp_path / "copy")


def document(hello: Project, name: str, target: str = "amd64") -> Path:
    return hello.dist / f"hello_{target}" / name


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Alter a document's content and write it in the form in which documents are written."""
    value = json.loads(path.read_bytes())
    change(value)
    path.write_bytes(canonical(value))


class Judge:
    """What verify says of one cell's documents, in this process: for thousands of alterations."""

    def __init__(self, hello: Project, number: int = 0) -> None:
        parsed = matrix.read(hello.root / "matrix.toml")
        planned = make(
            parsed, parsed.cells, dist=hello.dist, version="1.2.3", go=find_go(parsed, os.environ), compilers={},
            passed={}, cores=1, memory=1 << 30,
        ).cells  # fmt: skip
        dist = Dist(hello.dist)
        records = [dist.read_record(item.cell.id) for item in planned]
        assert all(records)
        record = records[number]
        assert record is not None
        self.record: Record = record
        self.basis = attest.Basis(
            planned=planned[number], matrix=parsed, artifact=record.artifact, origin=attest.Origin(),
            facts=elf.read_facts(dist.folder(record.cell) / record.artifact.name), inputs=record.inputs,
        )  # fmt: skip
        owners = {item.artifact.sha256: item.cell for item in records if item is not None}
        self.context = proof.Context(dist=dist, environment={}, owners=owners)

    def findings(self, record: Record | None = None) -> list[Finding]:
        return list(proof.findings(self.basis, record or self.record, self.context))

    def codes(self, record: Record | None = None) -> list[str]:
        return [item.rule for item in self.findings(record)]


def verify(hello: Project) -> str:
    """What verify says of the documents of both cells."""
    found = [finding for number in (0, 1) for finding in Judge(hello, number).findings()]
    assert found
    return "\n".join(line for finding in found for line in finding.lines())


def verify_as_a_user(hello: Project) -> str:
    done = hello.run("verify")
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stderr == ""
    return done.stdout


def test_every_cell_has_its_documents(pristine: Project) -> None:
    for target in ("amd64", "arm64"):
        for name in NAMES:
            assert document(pristine, name, target).read_bytes() == canonical(
                json.loads(document(pristine, name, target).read_bytes())
            )
    done = pristine.run("verify")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_documents_name_what_is_in_the_artifact(pristine: Project) -> None:
    bom = json.loads(document(pristine, "sbom.cdx.json").read_bytes())
    parts = {item["name"]: item for item in bom["components"]}
    assert parts["example.org/hello"]["version"] == "1.2.3"
    assert parts["example.org/dep/v2"]["purl"] == "pkg:golang/example.org/dep/v2@v2.1.0"
    assert parts["example.org/dep/v2"]["licenses"][0]["license"]["id"] == "MIT"
    assert parts["stdlib"]["version"].startswith("go1.")
    assert bom["metadata"]["component"]["supplier"] == {"name": "Example Org"}
    statement = json.loads(document(pristine, PROVENANCE).read_bytes())
    assert statement["predicateType"] == "https://slsa.dev/provenance/v1"
    assert statement["predicate"]["buildDefinition"]["externalParameters"]["goarch"] == "amd64"


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_document_is_named_and_made_again(hello: Project, name: str) -> None:
    path = document(hello, name)
    good = path.read_bytes()
    path.unlink()
    assert f"BM711 hello_amd64: {name} missing" in verify_as_a_user(hello)
    done = hello.run("build")
    assert "0 built, 2 unchanged" in done.stdout, done.stdout
    assert "hello_amd64  described anew" in done.stdout
    assert path.read_bytes() == good
    assert hello.run("verify").returncode == 0


@pytest.mark.parametrize("name", NAMES)
def test_a_link_in_a_documents_place_is_none(hello: Project, name: str, tmp_path: Path) -> None:
    path = document(hello, name)
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    assert f"BM711 hello_amd64: {name} missing, or not a regular file" in verify(hello)
    assert hello.run("build").returncode == 0
    assert not path.is_symlink(), "what verify refuses, build mends"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda data: b"", "BM712 hello_amd64: {name} is empty"),
        (lambda data: b"\n \n", "BM712 hello_amd64: {name} is empty"),
        (lambda data: data[: len(data) // 2], "BM713 hello_amd64: {name} is truncated"),
        (lambda data: data[:-3], "BM713 hello_amd64: {name} is truncated"),
        (lambda data: b"<xml/>", "BM713 hello_amd64: {name} is not JSON"),
        (lambda data: b"\xff" + data, "BM713 hello_amd64: {name} is not JSON: byte 0 is not UTF-8"),
        (lambda data: b"[" * 100_000, "BM713 hello_amd64: {name} is "),
        (lambda data: b"[]", "BM713 hello_amd64: {name} is not a document of its format: got a JSON list"),
        (lambda data: b"{}", "BM716 hello_amd64: {name} is about other bytes"),
        (
            lambda data: data.replace(b"{", b'{"x": 1, "x": 2, ', 1),
            "BM714 hello_amd64: {name} is ambiguous: the key 'x'",
        ),
        (lambda data: data.replace(b"\n", b"\r\n"), "BM720 hello_amd64: {name} is rewritten"),
    ],
    ids=["empty", "blank", "half", "cut", "xml", "bytes", "deep", "list", "object", "twice", "rewritten"],
)
def test_damage_is_told_apart(hello: Project, name: str, damage: Callable[[bytes], bytes], words: str) -> None:
    path = document(hello, name)
    path.write_bytes(damage(path.read_bytes()))
    told = verify(hello)
    assert words.format(name=name) in told
    assert "fix: buildmatrix build --target amd64" in told
    assert "hello_arm64" not in told


def test_verify_tells_what_the_documents_lack(hello: Project) -> None:
    document(hello, "sbom.cdx.json").write_bytes(b"")
    told = verify_as_a_user(hello)
    assert "FAIL  hello_amd64  BM712" in told
    assert "BM712 hello_amd64: sbom.cdx.json is empty" in told
    assert "ok    hello_arm64" in told


@pytest.mark.parametrize("name", NAMES)
def test_swapped_documents_are_named(hello: Project, name: str) -> None:
    one, two = document(hello, name, "amd64"), document(hello, name, "arm64")
    first, second = one.read_bytes(), two.read_bytes()
    one.write_bytes(second)
    two.write_bytes(first)
    told = verify(hello)
    assert f"BM715 hello_amd64: {name} is another cell's: it is about hello_arm64" in told
    assert f"BM715 hello_arm64: {name} is another cell's: it is about hello_amd64" in told


def _drop(name: str) -> Callable[[dict[str, Any]], object]:
    def change(value: dict[str, Any]) -> None:
        part = "components" if "components" in value else "packages"
        value[part] = [item for item in value[part] if item["name"] != name]

    return change


def _version(name: str) -> Callable[[dict[str, Any]], object]:
    def change(value: dict[str, Any]) -> None:
        for item in (*value.get("components", ()), *value.get("packages", ())):
            if item["name"] == name:
                item["version" if "bomFormat" in value else "versionInfo"] = "v9.9.9"

    return change


@pytest.mark.parametrize("name", SBOMS.values())
@pytest.mark.parametrize("part", ["example.org/dep/v2", "stdlib", "example.org/hello"])
def test_a_missing_component_is_named(hello: Project, name: str, part: str) -> None:
    edit(document(hello, name), _drop(part))
    assert f"BM717 hello_amd64: {name} is not about what is in the artifact: it does not list {part}" in verify(hello)


@pytest.mark.parametrize("name", SBOMS.values())
@pytest.mark.parametrize("part", ["example.org/dep/v2", "stdlib", "example.org/hello"])
def test_a_wrong_version_is_named(hello: Project, name: str, part: str) -> None:
    edit(document(hello, name), _version(part))
    told = verify(hello)
    assert f"BM718 hello_amd64: {name} is wrong about a version: {part}: got version v9.9.9" in told


def test_a_component_too_many_is_named(hello: Project) -> None:
    edit(
        document(hello, "sbom.cdx.json"),
        lambda value: value["components"].append({"type": "library", "name": "innocent", "bom-ref": "x"}),
    )
    assert "it lists innocent, which the bytes do not contain" in verify(hello)


def test_a_wrong_digest_is_named(hello: Project) -> None:
    edit(
        document(hello, "sbom.cdx.json"),
        lambda value: value["metadata"]["component"]["hashes"][0].update(content="00" * 32),
    )
    edit(document(hello, PROVENANCE), lambda value: value["subject"][0]["digest"].update(sha256="00" * 32))
    told = verify(hello)
    for name in ("sbom.cdx.json", PROVENANCE):
        assert f"BM716 hello_amd64: {name} is about other bytes: sha256: got {'00' * 32}, expected " in told


def test_an_altered_property_is_named_by_its_path(hello: Project) -> None:
    def change(value: dict[str, Any]) -> None:
        for item in value["metadata"]["component"]["properties"]:
            if item["name"] == "buildmatrix:elf:machine":
                item["value"] = "aarch64"

    edit(document(hello, "sbom.cdx.json"), change)
    told = verify(hello)
    assert "BM719 hello_amd64: sbom.cdx.json is altered or outdated: metadata.component.properties[" in told
    assert "got 'aarch64', expected 'x86_64'" in told


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda p: p["buildDefinition"]["externalParameters"].update(goarch="arm64"), "goarch: got 'arm64'"),
        (lambda p: p["buildDefinition"]["internalParameters"]["command"].pop(), "command: got a list of"),
        (lambda p: p["buildDefinition"]["resolvedDependencies"].pop(), "resolvedDependencies: got a list of"),
        (lambda p: p["runDetails"]["builder"].update(id="https://ci.example.org"), "got 'https://ci.example.org'"),
    ],
)
def test_altered_provenance_is_named(hello: Project, change: Callable[[Any], object], words: str) -> None:
    edit(document(hello, PROVENANCE), lambda value: change(value["predicate"]))
    told = verify(hello)
    assert "BM723 hello_amd64: provenance.intoto.json is altered or outdated" in told
    assert words in told


def test_an_invented_licence_is_named(hello: Project) -> None:
    """On a machine without the sources, too, a licence must be one that could have been detected."""

    def change(value: dict[str, Any]) -> None:
        for item in value["components"]:
            for each in item.get("licenses", ()) if item["name"] == "example.org/dep/v2" else ():
                each["license"]["id"] = "Proprietary"

    edit(document(hello, "sbom.cdx.json"), change)
    assert "BM721 hello_amd64: sbom.cdx.json is wrong about a licence: example.org/dep/v2@v2.1.0" in verify(hello)


def test_documents_of_another_commit_are_outdated_and_made_again(hello: Project) -> None:
    """The artifact does not change, and is not built again; what is said about it is."""
    env = {"SOURCE_DATE_EPOCH": "1700000000"}
    told = hello.run("verify", env=env).stdout
    assert "metadata.timestamp: got nothing, expected '2023-11-14T22:13:20Z'" in told
    done = hello.run("build", env=env)
    assert "0 built, 2 unchanged" in done.stdout, done.stdout
    assert hello.run("verify", env=env).returncode == 0
    assert "BM719" in hello.run("verify").stdout


def test_a_bad_source_date_epoch_is_refused(hello: Project) -> None:
    done = hello.run("build", env={"SOURCE_DATE_EPOCH": "yesterday"})
    assert done.returncode == 2
    assert "SOURCE_DATE_EPOCH: got 'yesterday', expected seconds" in done.stderr


def test_checksums_cover_the_documents(pristine: Project) -> None:
    lines = (pristine.dist / "checksums.txt").read_text().splitlines()
    assert [line.split("  ")[1] for line in lines] == [
        f"hello_{arch}/{name}" for arch in ("amd64", "arm64") for name in ("hello", *NAMES)
    ]


def test_another_builder_makes_the_documents_again(hello: Project) -> None:
    hello.write("matrix.toml", (hello.root / "matrix.toml").read_text() + '\n[provenance]\nbuilder = "https://ci"\n')
    assert "BM723" in verify(hello)
    done = hello.run("build")
    assert "0 built, 2 unchanged" in done.stdout, done.stdout
    assert (
        json.loads(document(hello, PROVENANCE).read_bytes())["predicate"]["runDetails"]["builder"]["id"] == "https://ci"
    )
    assert hello.run("verify").returncode == 0


def test_a_format_that_is_not_asked_for_is_a_stray_file(hello: Project) -> None:
    hello.write("matrix.toml", (hello.root / "matrix.toml").read_text() + '\n[sbom]\nformats = ["spdx"]\n')
    hello.run("build")
    assert "BM703 dist: file that nothing accounts for: hello_amd64/sbom.cdx.json" in verify_as_a_user(hello)
    hello.run("clean")
    assert hello.run("verify").returncode == 0


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("sources_at_hand", [True, False])
def test_any_flipped_byte_of_a_document_is_caught(hello: Project, name: str, sources_at_hand: bool) -> None:
    if not sources_at_hand:
        shutil.rmtree(hello.root / "dep")
    judge = Judge(hello)
    path = document(hello, name)
    good = path.read_bytes()
    assert judge.codes() == []
    for offset in range(0, len(good), 7):
        data = bytearray(good)
        data[offset] ^= 1 << (offset % 8)
        path.write_bytes(data)
        assert judge.codes(), f"offset {offset}: {bytes(data[max(0, offset - 20) : offset + 20])!r}"


def test_a_licence_changed_together_with_its_record_is_caught_where_the_sources_are(hello: Project) -> None:
    judge = Judge(hello)
    path = document(hello, "sbom.cdx.json")
    path.write_bytes(path.read_bytes().replace(b'"id": "MIT"', b'"id": "ISC"'))
    forged = tuple(
        attest.document(item.name, path.read_bytes()) if item.name == path.name else item
        for item in judge.record.documents
    )
    assert "BM719" in judge.codes(replace(judge.record, documents=forged))


def test_a_document_that_was_swapped_for_another_valid_one_is_not_the_recorded_one(hello: Project) -> None:
    judge = Judge(hello)
    forged = replace(judge.record, documents=(Document(name="sbom.cdx.json", size=1, sha256="00" * 32),))
    assert judge.codes(forged) == ["BM722"] * 3
