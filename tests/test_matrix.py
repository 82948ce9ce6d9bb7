"""Reading matrix.toml: good files into values, bad ones into every problem at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from hypothesis import given, settings
from hypothesis import strategies as st

from buildmatrix import dist, faultspec, matrix, schema, signed
from buildmatrix.errors import BuildmatrixError, MatrixError, MatrixMissing, MatrixSyntax
from tests import factory

MANY_PROBLEMS = """\
schema = 2
colour = "red"

[project]
name = "a b"
supplyer = "Example"
version = 1

[go]
module = "../elsewhere"
toolchain = "newest"
ldflags = ["-X main.version={versoin}"]

[binaries.app]
package = "cmd/app"
targets = ["amd64", "riscv"]

[binaries."../app"]
package = "./a/../../b"

[targets.amd64]
goarch = "x86_64"
cgo = "yes"

[targets.arm64]
goarch = "arm64"
levle = "v8.2"
page-sizes = [4096, "16K"]
libc = "gnu"

[targets.all]
goos = "windows"
goarch = "s390x"

[targets.ARM64]
goarch = "arm64"
env = { GOARCH = "386", "A B" = "x", C = 1 }

[[overrides]]
select = "*-msul"
tags-append = ["a b"]

[[overrides]]
cgo = true
"""


def problems(value: dict[str, Any] | str | bytes) -> dict[str, str]:
    """Every problem of a document by key path."""
    with pytest.raises(MatrixError) as caught:
        factory.parse(value)
    return {problem.key: str(problem) for problem in caught.value.problems}


def test_a_minimal_file_gets_every_default() -> None:
    parsed = factory.parse(factory.document())
    assert parsed.root == Path("/project")
    assert parsed.module_dir == Path("/project")
    assert parsed.go.flags == ("-trimpath", "-buildvcs=false")
    (cell,) = parsed.cells
    assert (cell.id, cell.file_name) == ("app_amd64", "app")
    assert (cell.target.level, cell.target.libc, cell.target.static) == ("v1", "none", True)


def test_the_repositorys_own_matrix_is_good() -> None:
    parsed = matrix.read(factory.ROOT / matrix.FILE_NAME)
    assert len({cell.id for cell in parsed.cells}) == len(parsed.cells) >= len(parsed.targets)


def test_windows_artifacts_end_in_exe() -> None:
    assert factory.cell(goos="windows").file_name == "app.exe"


def test_every_problem_is_told_at_once(golden: Callable[[str, str], None]) -> None:
    with pytest.raises(MatrixError) as caught:
        factory.parse(MANY_PROBLEMS)
    golden("matrix-problems.txt", f"{caught.value}\n")
    assert caught.value.exit_status == 2


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"schema = ", "Invalid value"),
        (b"\xff\xfe", "utf-8"),
        (b"a = " + b"[" * 100_000, "recursion"),
        (b"[targets]\n[targets]\n", "twice"),
        (b"a = 1\na = 2\n", "overwrite"),
    ],
)
def test_what_is_not_toml(data: bytes, words: str) -> None:
    with pytest.raises(MatrixSyntax, match=words):
        factory.parse(data)


def test_an_empty_file_says_what_it_lacks() -> None:
    assert set(problems(b"")) >= {"schema", "project.name", "binaries", "targets"}


def test_a_huge_file_is_refused_before_it_is_parsed(tmp_path: Path) -> None:
    path = tmp_path / matrix.FILE_NAME
    path.write_bytes(b"#" * (5 << 20))
    with pytest.raises(MatrixSyntax, match="more than 4194304 bytes"):
        matrix.read(path)


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.mkdir()], ids=["missing", "a folder"])
def test_an_unreadable_file(tmp_path: Path, make: Callable[[Path], None]) -> None:
    path = tmp_path / matrix.FILE_NAME
    make(path)
    with pytest.raises(MatrixMissing) as caught:
        matrix.read(path)
    assert (caught.value.code, caught.value.exit_status) == ("BM102", 2)
    assert caught.value.why
    assert "--matrix" in caught.value.fix


def test_duplicates_that_differ_in_case_only() -> None:
    targets = {"arm64": {"goarch": "arm64"}, "ARM64": {"goarch": "arm64"}}
    assert "more than its case" in problems(factory.document(targets=targets))["targets.ARM64"]


@pytest.mark.parametrize("module", ["..", "../x", "/abs", "a/../../b", ""])
def test_the_module_stays_inside(module: str) -> None:
    assert "stays inside" in problems(factory.document(go={"module": module}))["go.module"]


def test_a_linked_module_stays_inside(tmp_path: Path) -> None:
    outside, root = tmp_path / "outside", tmp_path / "root"
    outside.mkdir()
    root.mkdir()
    (root / "module").symlink_to(outside)
    with pytest.raises(MatrixError, match="leads out of it"):
        factory.parse(factory.document(go={"module": "module"}), root)
    (root / "inner").mkdir()
    (root / "linked").symlink_to("inner")
    assert factory.parse(factory.document(go={"module": "linked"}), root).module_dir == root / "linked"


@pytest.mark.parametrize("package", ["cmd/app", "/cmd", "./a b", "./..", "./a/..", "./...", "./cmd/...", "-x", ""])
def test_a_package_is_one_folder_of_the_module(package: str) -> None:
    assert "binaries.app.package" in problems(factory.document(binaries={"app": {"package": package}}))


@pytest.mark.parametrize("name", ["", "a/b", "..", ".a", "-a", "a b", "a;b", "$(id)", "`id`", "a\nb", "a" * 64, "ä"])
@pytest.mark.parametrize("table", ["targets", "binaries"])
def test_names_that_a_path_or_a_shell_would_misread(name: str, table: str) -> None:
    values: dict[str, Any] = {"goarch": "amd64"} if table == "targets" else {"package": "./cmd/app"}
    assert f"{table}.{name}" in problems(factory.document(**{table: {name: values}}))


def test_target_names_hold_no_underscore() -> None:
    assert "targets.a_b" in problems(factory.document(targets={"a_b": {"goarch": "amd64"}}))
    assert factory.cell(binary="a_b").id == "a_b_amd64"


@pytest.mark.parametrize("text", ["; rm -rf /", "$(id)", "`id`", "a && b", "'\"", "$HOME", "|", "*"])
def test_shell_metacharacters_stay_what_they_are(text: str) -> None:
    cell = factory.cell(flags=[text], cgo=True, cflags=[text], env={"X": text})
    assert cell.target.flags == (text,)
    assert cell.target.cflags == (text,)
    assert dict(cell.target.env) == {"X": text}


@pytest.mark.parametrize("text", ["a\x00b", "a\nb", "\x1b[31m", "\x7f"])
def test_control_characters_are_refused_everywhere(text: str) -> None:
    found = problems(
        factory.document(
            project={"name": "app", "supplier": text},
            go={"flags": [text]},
            targets={"amd64": {"goarch": "amd64", "cc": text, "ldflags": ["-s", text], "env": {"X": text}}},
        )
    )
    assert set(found) >= {
        "project.supplier", "go.flags[0]", "targets.amd64.cc", "targets.amd64.ldflags[1]", "targets.amd64.env.X",
    }  # fmt: skip


WRONG: dict[str, list[object]] = {
    "string": [1, True, 1.5, [], {}, ["a"]],
    "boolean": ["true", 0, 1, [], {}],
    "integer": ["1", True, 1.0, [], {}],
    "strings": ["a", 1, True, {}, [1], ["a", []], [True]],
    "integers": [1, "4096", {}, ["4096"], [True], [1.0]],
    "table": ["a", 1, [], {"a": 1}, {"a": ["x"]}, {"a\x07": "x"}, {"": "x"}],
    "environment": ["A=1", 1, [], {"A": 1}, {"A": True}, {"A": ["x"]}, {"A B": "x"}, {"GOOS": "linux"}],
}


def _wrong_values() -> list[Any]:
    cases = []
    for title, keys, _ in schema.TABLES:
        for key in keys:
            wrong = list(WRONG[key.kind])
            wrong += ["no such choice", "LINUX"] if key.choices else []
            cases += [pytest.param(title, key.name, value, id=f"{title}.{key.name}={value!r}") for value in wrong]
    return cases


def fault_with(name: str) -> dict[str, Any]:
    """A fault of a kind that has this key, with what the kind needs."""
    samples = {"calls": ["fsync"], "error": "EIO", "programs": ["/bin/true"], "loss": 1}
    kind = faultspec.ONLY_WITH.get(name, ("kill",))[0]
    return {"kind": kind} | {key: samples[key] for key in faultspec.NEEDED_BY.get(kind, ())}


def place(title: str, name: str, value: object) -> tuple[dict[str, Any], str]:
    """A document with one key of one table set, and that key's path."""
    tables = factory.document(project={"name": "app"}, go={}, sbom={}, provenance={}, signing={}, release={})
    if title == "[[overrides]]":
        tables["overrides"] = [{"select": "amd64", name: value}]
        return tables, f"overrides[0].{name}"
    tables |= {"fleet": {"a": {"arch": "arm64"}}} if title.startswith("fleet") else {}
    tables |= {"roots": {"a": {"path": "root"}}} if title.startswith("roots") else {}
    tables |= {"images": {"app": {"targets": ["*"]}}} if title.startswith("images") else {}
    builder = {"driver": "remote", "nodes": {"linux/amd64": "tcp://127.0.0.1:1"}}
    tables |= {"builders": {"a": builder}} if title.startswith("builders") else {}
    tables |= {"deploy": {}, "pools": {"a": {"arch": "arm64"}}} if title.startswith(("deploy", "pools")) else {}
    tables |= {"workloads": {"app": {}}} if title.startswith(("workloads", "faults")) else {}
    tables |= {"faults": {"a": fault_with(name)}} if title.startswith("faults") else {}
    section, _, entry = title.partition(".")
    inner = tables[section]
    if entry:
        entry = next(iter(inner))
        inner = inner[entry]
    inner[name] = value
    return tables, f"{section}.{entry}.{name}" if entry else f"{section}.{name}"


@pytest.mark.parametrize(("title", "name", "value"), _wrong_values())
def test_every_key_refuses_values_of_other_types(title: str, name: str, value: object) -> None:
    tables, path = place(title, name, value)
    found = problems(tables)
    assert any(key == path or key.startswith((f"{path}[", f"{path}.")) for key in found), found
    assert all(": got " in text and ", expected " in text for text in found.values())


@pytest.mark.parametrize(("title", "keys"), [(title, keys) for title, keys, _ in schema.TABLES])
def test_misspelt_keys_get_the_closest_one(title: str, keys: tuple[schema.Key, ...]) -> None:
    longest = max(keys, key=lambda key: len(key.name)).name
    tables, path = place(title, longest[:-1], "x")
    assert f"did you mean {longest!r}?" in problems(tables)[path]


@pytest.mark.parametrize("tables", [{"targets": []}, {"binaries": 1}, {"project": "x"}, {"go": []}, {"overrides": {}},
                                    {"overrides": ["x"]}, {"targets": {"a": 1}}, {"binaries": {"a": []}}])  # fmt: skip
def test_tables_must_be_tables(tables: dict[str, Any]) -> None:
    assert any("table" in text for text in problems(factory.document(**tables)).values())


@pytest.mark.parametrize(
    ("expression", "words"),
    [("Apache2", "LicenseRef-NAME"), ("apache-2.0", "did you mean 'Apache-2.0'?"), ("MIT AND", "an SPDX expression")],
)
def test_a_license_is_one_that_sboms_can_carry(expression: str, words: str) -> None:
    project = {"name": "app", "version": "1", "license": expression}
    assert words in problems(factory.document(project=project))["project.license"]


@pytest.mark.parametrize("expression", ["", "MIT OR Apache-2.0", "GPL-2.0-only WITH Classpath-exception-2.0"])
def test_good_licenses(expression: str) -> None:
    project = {"name": "app", "version": "1", "license": expression}
    assert factory.parse(factory.document(project=project)).project.license == expression


def test_a_missing_key_is_told_with_its_type() -> None:
    assert problems(factory.document(targets={"amd64": {}}))["targets.amd64.goarch"].endswith(
        "a string: it is required"
    )


def overridden(*overrides: dict[str, Any], **base: Any) -> dict[str, Any]:
    """Targets by cell id of two binaries and two targets under overrides."""
    values = {"goarch": "amd64", **base}
    tables = factory.document(
        targets={"amd64": values, "amd64-musl": dict(values)},
        binaries={"app": {"package": "./app"}, "tool": {"package": "./tool"}},
        overrides=list(overrides),
    )
    return {cell.id: cell.target for cell in factory.parse(tables).cells}


def test_later_overrides_win() -> None:
    found = overridden({"select": "*", "level": "v2"}, {"select": "*-musl", "level": "v3"})
    assert found["app_amd64"].level == "v2"
    assert found["app_amd64-musl"].level == "v3"


def test_an_override_can_select_one_cell() -> None:
    found = overridden({"select": "tool/amd64", "level": "v3"})
    assert [name for name, target in found.items() if target.level == "v3"] == ["tool_amd64"]
    found = overridden({"select": "tool/*", "level": "v3"})
    assert [name for name, target in found.items() if target.level == "v3"] == ["tool_amd64", "tool_amd64-musl"]


def test_appending_keeps_what_was_there_in_order() -> None:
    found = overridden({"select": "*", "tags-append": ["b"]}, {"select": "*", "tags-append": ["c"]}, tags=["a"])
    assert found["app_amd64"].tags == ("a", "b", "c")
    found = overridden({"select": "*", "tags": ["x"]}, {"select": "*", "tags-append": ["c"]}, tags=["a"])
    assert found["app_amd64"].tags == ("x", "c")


def test_appending_to_a_derived_default_never_narrows_it() -> None:
    parsed = factory.parse(
        factory.document(targets={"a": {"goarch": "arm64"}}, overrides=[{"select": "a", "page-sizes-append": [4096]}])
    )
    assert parsed.cells[0].target.page_sizes == (4096, 16384, 65536)


def test_a_problem_in_an_override_names_the_override() -> None:
    tables = factory.document(overrides=[{"select": "*", "level": "v9"}])
    assert "overrides[0].level" in problems(tables)


def test_an_override_that_selects_nothing_is_an_error_with_the_closest_name() -> None:
    tables = factory.document(overrides=[{"select": "amd46"}])
    assert "did you mean 'amd64'?" in problems(tables)["overrides[0].select"]
    tables = factory.document(overrides=[{"select": "ap/amd64"}])
    assert "did you mean 'app/amd64'?" in problems(tables)["overrides[0].select"]


def test_a_target_without_a_binary_is_an_error() -> None:
    tables = factory.document(
        targets={"amd64": {"goarch": "amd64"}, "arm64": {"goarch": "arm64"}},
        binaries={"app": {"package": "./cmd/app", "targets": ["arm*"]}},
    )
    assert set(problems(tables)) == {"targets.amd64"}


@pytest.mark.parametrize("flag", ["{verson}", "{", "}", "{version", "{0}"])
def test_placeholders(flag: str) -> None:
    assert "{version}" in problems(factory.document(go={"ldflags": [flag]}))["go.ldflags[0]"]


def test_the_users_words_are_quoted_in_messages() -> None:
    assert "got 'nothing'" in problems(factory.document(targets={"a": {"goarch": "nothing"}}))["targets.a.goarch"]
    assert "got 'nothing at all'" in problems(factory.document(project={"name": "nothing at all"}))["project.name"]


SCALARS = st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 63) - 1) | st.text(max_size=8) | st.floats()
NAMES = st.sampled_from(
    ["schema", "project", "go", "binaries", "targets", "overrides", "name", "amd64", "app", "select", "path"]
    + [key.name for _, keys, _ in schema.TABLES for key in keys]
) | st.text(max_size=5)
WORDS = st.sampled_from(["linux", "amd64", "arm64", "glibc", "musl", "*", "./cmd", "auto", "zig", "v8.2,lse", "2.28"])
VALUES = st.recursive(
    SCALARS | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=6),
    max_leaves=12,
)


def _toml(value: Any) -> Any:
    """The nearest thing that TOML can hold."""
    if isinstance(value, dict):
        return {name: _toml(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_toml(item) for item in value]
    return "" if value is None else value


@settings(max_examples=80, deadline=None)
@given(st.dictionaries(NAMES, VALUES, max_size=6))
def test_arbitrary_documents_raise_nothing_else(value: dict[str, Any]) -> None:
    _reads_or_complains(tomli_w.dumps(_toml(value)).encode("utf-8", "surrogatepass"))


@settings(max_examples=80, deadline=None)
@given(st.dictionaries(st.sampled_from([key.name for key in schema.OVERRIDE]), VALUES, max_size=8), st.booleans())
def test_arbitrary_settings_raise_nothing_else(values: dict[str, Any], override: bool) -> None:
    if override:
        tables = factory.document(overrides=[_toml({"select": "*", **values})])
    else:
        tables = factory.document(targets={"amd64": _toml({"goarch": "amd64", **values})})
    _reads_or_complains(tomli_w.dumps(tables).encode("utf-8", "surrogatepass"))


@settings(max_examples=80, deadline=None)
@given(st.binary(max_size=200))
def test_arbitrary_bytes_raise_nothing_else(data: bytes) -> None:
    _reads_or_complains(data)


def _reads_or_complains(data: bytes) -> None:
    try:
        factory.parse(data)
    except BuildmatrixError as error:
        str(error).encode("utf-8", "surrogateescape")


@pytest.mark.parametrize(
    "name",
    [
        "record.json", "signatures.json", "sbom.cdx.json", "sbom.spdx.json", "provenance.intoto.json",
        "app.sigstore.json", "Record.JSON", "SHA256SUMS", "sha256sums", "SHA512SUMS", "checksums.txt",
        "effective.toml", "app.cdx.json",
    ],
)  # fmt: skip
def test_a_binary_is_not_called_like_a_document(name: str) -> None:
    with pytest.raises(MatrixError, match="a file that is written beside artifacts has it"):
        factory.parse(factory.document(binaries={name: {"package": "."}}))


def test_every_file_beside_an_artifact_is_a_document_by_its_name() -> None:
    written = (dist.RECORD, *dist.SBOMS.values(), dist.PROVENANCE, *dist.INDEX_FILES, *signed.names("app", ("x",)))
    assert all(schema.DOCUMENT_NAME.fullmatch(name) for name in written), written
    assert not any(schema.DOCUMENT_NAME.fullmatch(name) for name in ("app", "json", "jsonlint", "sha256sum", "a.toml"))
