"""The JSON Schema, the reference page and the reader's types say the same."""

from __future__ import annotations

import dataclasses
import tomllib
from typing import Any

import jsonschema
import pytest

from buildmatrix import faultspec, matrix, schema
from buildmatrix.errors import MatrixError
from buildmatrix.schema import page
from buildmatrix.target import Target
from tests import factory
from tests.test_matrix import WRONG, place

VALIDATOR = jsonschema.Draft202012Validator(page.json_schema())

GOOD: list[dict[str, Any]] = [
    factory.document(),
    factory.document(project={"name": "a.b-c_d", "version": "v1.2.3-rc1+build", "supplier": "Änne & Co."}),
    factory.document(go={"module": "sub", "toolchain": "1.26.8", "zig": "0.17.1.post1", "flags": []}),
    factory.document(binaries={"app": {"package": "."}, "a_b": {"package": "./cmd/a", "targets": ["*"]}}),
    factory.document(
        targets={
            "arm64-glibc": {
                "goarch": "arm64", "level": "v8.2,crypto", "cgo": True, "cc": "zig", "libc": "glibc",
                "libc-floor": "2.28", "link": "external", "pie": True, "rpath": ["$ORIGIN/../lib", "/opt/lib"],
                "needed": ["libz.so.*"], "page-sizes": [4096, 65536], "flags": ["-x"], "ldflags": ["-s"],
                "tags": ["netgo"], "cflags": ["-DX=1"], "extldflags": ["-Wl,-z,now"], "env": {"GOEXPERIMENT": "x"},
            }
        },
        overrides=[{"select": "*-glibc", "tags-append": ["osusergo"]}, {"select": "app/*", "pie": False}],
    ),
    factory.document(
        binaries={"app": {"package": ".", "exec": ["/usr/bin/curl", "sh"]}},
        fleet={
            "a": {"arch": "graviton2", "page": "64k", "kernel": "5.10", "compat32": False, "features": ["lse"]},
            "b": {"arch": "x86_64", "cpu": "v3", "binfmt": ["qemu-aarch64", "qemu-arm"], "stack": 8388608},
        },
        roots={"base": {"path": "images/base.tar", "targets": ["amd*"], "path-env": "/bin:/sbin", "user": "65534:7"}},
    ),
]  # fmt: skip


def test_it_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(page.json_schema())


@pytest.mark.parametrize("value", GOOD, ids=range(len(GOOD)))
def test_good_examples_pass_both(value: dict[str, Any]) -> None:
    VALIDATOR.validate(value)
    assert factory.parse(value).cells


def test_the_repositorys_matrix_passes() -> None:
    VALIDATOR.validate(tomllib.loads((factory.ROOT / matrix.FILE_NAME).read_text()))


BAD: list[dict[str, Any]] = [
    {},
    factory.document(schema=2),
    factory.document(schema="1"),
    factory.document(colour="red"),
    factory.document(targets={}),
    factory.document(binaries={}),
    factory.document(targets={"a_b": {"goarch": "amd64"}}),
    factory.document(targets={"a" * 64: {"goarch": "amd64"}}),
    factory.document(targets={"a": {}}),
    factory.document(targets={"a": {"goarch": "amd64", "cc": "a\x07"}}),
    factory.document(targets={"a": {"goarch": "amd64", "env": {"CC": "gcc"}}}),
    factory.document(targets={"a": {"goarch": "amd64", "env": {"X": "a\x1b"}}}),
    factory.document(targets={"a": {"goarch": "amd64", "tags": ["a b"]}}),
    factory.document(targets={"a": {"goarch": "amd64", "rpath": ["lib"]}}),
    factory.document(targets={"a": {"goarch": "amd64", "page-sizes": [0]}}),
    factory.document(binaries={"../a": {"package": "."}}),
    factory.document(binaries={"a": {"package": "cmd"}}),
    factory.document(binaries={"a": {}}),
    factory.document(project={}),
    factory.document(overrides={}),
    factory.document(overrides=[{"tags": []}]),
]


@pytest.mark.parametrize("value", BAD, ids=range(len(BAD)))
def test_bad_shapes_fail_both(value: dict[str, Any]) -> None:
    assert not VALIDATOR.is_valid(value)
    with pytest.raises(MatrixError):
        factory.parse(value)


def test_whatever_type_the_reader_refuses_the_schema_refuses_too() -> None:
    accepted = []
    for title, keys, _ in schema.TABLES:
        for key in keys:
            wrong = [*WRONG[key.kind], *(["no such choice"] if key.choices else [])]
            for value in wrong:
                tables, _path = place(title, key.name, value)
                # JSON Schema takes 1.0 for an integer; TOML and the reader tell them apart.
                if VALIDATOR.is_valid(tables) and not (value == [1.0] or isinstance(value, float)):
                    accepted.append((title, key.name, value))
    assert accepted == []


def test_every_key_of_a_target_can_be_overridden() -> None:
    names = {key.name for key in schema.OVERRIDE}
    assert names == {"select"} | {key.name for key in schema.SETTINGS} | {
        f"{name}-append" for name in schema.APPENDABLE
    }


@pytest.mark.parametrize(
    ("keys", "kind", "beside"),
    [
        (schema.PROJECT, matrix.Project, set()),
        (schema.GO, matrix.Go, set()),
        (schema.BINARY, matrix.Binary, {"name"}),
        (schema.SETTINGS, Target, {"name"}),
    ],
)
def test_keys_and_fields_are_the_same(keys: tuple[schema.Key, ...], kind: Any, beside: set[str]) -> None:
    fields = {field.name for field in dataclasses.fields(kind)} - beside
    assert fields == {key.name.replace("-", "_") for key in keys}


def test_defaults_are_what_the_reader_fills_in() -> None:
    parsed = factory.parse(factory.document(project={"name": "app"}))
    (cell,) = parsed.cells
    pairs = ((schema.PROJECT, parsed.project), (schema.GO, parsed.go), (schema.BINARY, cell.binary))
    derived = {"level", "libc", "static", "page-sizes", "env"}
    for keys, value in (*pairs, (schema.SETTINGS, cell.target)):
        for key in keys:
            if not key.required and key.name not in derived:
                assert getattr(value, key.name.replace("-", "_")) == key.default, key.name


def test_defaults_pass_their_own_rules() -> None:
    for title, keys, _ in schema.TABLES:
        for key in keys:
            needed = title == "faults.NAME" and any(key.name in names for names in faultspec.NEEDED_BY.values())
            if key.default is not None and title != "[[overrides]]" and not needed:
                value = list(key.default) if isinstance(key.default, tuple) else key.default
                tables, _path = place(title, key.name, value)
                VALIDATOR.validate(tables)
                assert factory.parse(tables)


def test_every_key_says_what_it_is() -> None:
    for _, keys, _ in schema.TABLES:
        assert len({key.name for key in keys}) == len(keys)
        for key in keys:
            assert key.doc.endswith("."), key.name
            assert key.pattern is schema.PLAIN or key.shape or key.choices, key.name


def test_the_committed_reference_page_is_current() -> None:
    assert (factory.ROOT / "docs" / "matrix.md").read_text() == page.reference()


def test_the_reference_page_names_every_key() -> None:
    text = page.reference()
    for _, keys, _ in schema.TABLES[:-1]:
        assert all(f"| `{key.name}` |" in text for key in keys)
