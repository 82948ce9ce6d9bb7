"""YAML is read as Kubernetes reads it, written so that everybody reads the same, and changed without touching more."""

from __future__ import annotations

import difflib
import re
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from buildmatrix.errors import FixRefused, ManifestInvalid
from buildmatrix.kube import objects, yamlread, yamlwrite
from buildmatrix.kube.yamledit import Editor


def load(text: str) -> Any:
    found = yamlread.document(text, "test.yaml")
    return found.value if found is not None else None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("y", True), ("on", True), ("No", False), ("TRUE", True), ("tRue", "tRue"), ("~", None), ("Null", None),
        ("0777", 511), ("0o777", 511), ("0x1F", 31), ("0b11", 3), ("1_000", 1000), ("1:30", "1:30"), ("1e3", 1000.0),
        (".5", 0.5), ("08", 8.0), ("+5", 5), ("-7", -7), ("1.", 1.0), ("1e", "1e"), ("=", "="), ("0x", "0x"),
        ("2024-05-22", "2024-05-22"), ("1.2.3", "1.2.3"), ("'yes'", "yes"), ('"1"', "1"), ("!!str 5", "5"),
        ("12345678901234567890123", 1.2345678901234568e22), ("18446744073709551615", 18446744073709551615),
        ("&a !!str no", "no"),
    ],
)  # fmt: skip
def test_scalars_mean_what_goyaml_takes_them_for(text: str, value: object) -> None:
    assert load(f"a: {text}") == {"a": value}


def test_merge_keys_and_aliases() -> None:
    assert load("b: &b {x: 1, z: 0}\nc: {<<: *b, x: 2}\nd: {<<: [*b, {x: 9, w: 1}]}") == {
        "b": {"x": 1, "z": 0},
        "c": {"x": 2, "z": 0},
        "d": {"x": 1, "z": 0, "w": 1},
    }


def test_keys_become_text() -> None:
    assert load("on: 1\n1: 2\n") == {"true": 1, "1": 2}


BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 30)
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\nb: 2\na: 3\n", "test.yaml:3:1: .*'a' stands twice"),
        ("a: {b: 1, b: 1}", "'b' stands twice"),
        ("a: 1\n'a': 2", "'a' stands twice"),
        ("a:\n\tb: 1\n", "test.yaml:2:1: .*spaces"),
        (BOMB, "more than 1000000 values"),
        ("a: &a [*a]", "more than 200 levels"),
        ("a: &a {b: *a}", "more than 200 levels"),
        ("[" * 100_000, "nesting depth"),
        ("- " * 50_000 + "a", "nesting depth"),
        ("a: [1, 2", "test.yaml:"),
        ("a: !!python/object/apply:os.system [x]\nb: !x 1", "tag !x"),
        ("a: !!int '5'", "tag !!int"),
        ("a: !!binary aGk=", "tag !!binary"),
        ("a: .inf", "JSON cannot say"),
        ("? [a]\n: 1", "key that is sequence"),
        ("a: *nobody", "undefined alias"),
        ("a: \x00", "control characters"),
        ("<<: 1", "something else than mappings"),
    ],
    ids=lambda text: text[:20],
)
def test_bad_input_is_refused_with_its_place(text: str, words: str) -> None:
    with pytest.raises(ManifestInvalid) as caught:
        yamlread.documents(text, "test.yaml")
    assert re.search(words, str(caught.value).replace("\n", " ")), str(caught.value)
    assert caught.value.fix


def test_a_huge_stream_is_refused_unread() -> None:
    with pytest.raises(ManifestInvalid, match="got 16777217 characters") as caught:
        yamlread.documents("#" * (yamlread.MAX_BYTES + 1), "test.yaml")
    assert "split" in caught.value.fix


def test_every_document_and_the_items_of_lists() -> None:
    stream = """\
---
# nothing
---
apiVersion: v1
kind: List
items:
  - {apiVersion: v1, kind: ConfigMapList, items: [{apiVersion: v1, kind: ConfigMap, metadata: {name: a}}]}
  - {apiVersion: v1, kind: Secret, metadata: {name: b}}
---
apiVersion: v1
kind: Service
metadata: {name: c}
"""
    found = [item for one in yamlread.documents(stream, "x") for item in objects.items(one, "x")]
    assert [(item.kind, item.name, item.path) for item in found] == [
        ("ConfigMap", "a", ("items", 0, "items", 0)),
        ("Secret", "b", ("items", 1)),
        ("Service", "c", ()),
    ]


@pytest.mark.parametrize("text", ["just words", "[1, 2]", "{apiVersion: v1, kind: List, items: [1]}"])
def test_what_is_no_object_is_refused(text: str) -> None:
    (document,) = yamlread.documents(text, "x")
    with pytest.raises(ManifestInvalid, match="expected a Kubernetes object"):
        list(objects.items(document, "x"))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=12)
    | st.sampled_from(["yes", "on", "1e3", "0777", "0o7", "1:30", "2024-05-22", "~", "a: b", "- a", "#a", "a #b", "="]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(min_size=1, max_size=8), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@settings(deadline=None)
@given(st.dictionaries(st.text(min_size=1, max_size=8), VALUES, min_size=1, max_size=4))
def test_what_is_written_reads_back_the_same(value: dict[str, Any]) -> None:
    text = yamlwrite.stream([value], head=["a comment"])
    assert load(text) == value
    assert yaml.load(text, Loader=yaml.SafeLoader) == value


BEFORE = """\
# head
archConstraints:   # which
  - amd64 # old
  - s390x # z
# image
image:
    repository: a/b   # r
    tag: "1"
affinity: {}   # keep
flow: [a, b]
m: {a: 1}
empty:
list:
- x: 1
  z: 2
last: |
  text
"""


def edited(text: str, *changes: tuple[str, *tuple[Any, ...]]) -> str:
    editor = Editor(text, "values.yaml")
    for name, *arguments in changes:
        getattr(editor, name)(*arguments)
    return editor.text


def test_a_change_touches_its_own_lines_alone() -> None:
    after = edited(
        BEFORE,
        ("set_names", ("archConstraints",), ("amd64", "arm64")),
        ("set", ("image", "tag"), "2"),
        ("set", ("image", "digest"), "sha256:abc"),
        ("set", ("affinity", "a"), {"b": [{"c": "on"}]}),
        ("set_names", ("flow",), ("a", "c")),
        ("set", ("m", "b"), "x"),
        ("set", ("empty",), ["q"]),
        ("add", ("list",), {"x": "3"}),
        ("set", ("list", 0, "z"), 9),
        ("set", ("new", "key"), True),
    )
    lines = list(difflib.ndiff(BEFORE.splitlines(), after.splitlines()))
    assert [line[2:] for line in lines if line.startswith("- ")] == [
        "  - s390x # z", '    tag: "1"', "affinity: {}   # keep", "flow: [a, b]", "m: {a: 1}", "  z: 2",
    ]  # fmt: skip
    assert [line[2:] for line in lines if line.startswith("+ ")] == [
        "  - arm64", '    tag: "2"', "    digest: sha256:abc", "affinity:   # keep", "  a:", "    b:",
        '      - c: "on"', "flow: [a, c]", 'm: {a: 1, b: x}', "  - q", "  z: 9", '- x: "3"', "new:", "  key: true",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("before", "path", "value", "after"),
    [
        ("", ("a", "b"), 1, "a:\n  b: 1\n"),
        ("# only a comment\n", ("a",), 1, "# only a comment\na: 1\n"),
        ("a: 1", ("b",), ["1"], 'a: 1\nb:\n  - "1"\n'),
        ('{"a": {"b": []}}\n', ("a", "b"), ["1"], '{"a": {"b": ["1"]}}\n'),
        ("a:\r\n  b: 1\r\nc: 2\r\n", ("a", "d"), ["x"], "a:\r\n  b: 1\r\n  d:\r\n    - x\r\nc: 2\r\n"),
        ("a:\n  b: 1\n\n# c\nc: 2\n", ("a", "d"), 1, "a:\n  b: 1\n  d: 1\n\n# c\nc: 2\n"),
        ("a: 1\n", ("a",), 1, "a: 1\n"),
        ("a: [1] # x\nb: 1\n", ("a",), "t", "a: t # x\nb: 1\n"),
        ("é: 'ü' # 😀\nb: x\n", ("b",), "z", "é: 'ü' # 😀\nb: z\n"),
    ],
)
def test_places(before: str, path: tuple[Any, ...], value: Any, after: str) -> None:
    assert edited(before, ("set", path, value)) == after


def test_the_right_document_of_a_stream() -> None:
    before = "a: 1\n---\n# c\nspec:\n  x: 1\n---\na: 1\n"
    assert edited(before, ("set", ("spec", "z"), 2, 1)) == "a: 1\n---\n# c\nspec:\n  x: 1\n  z: 2\n---\na: 1\n"


@pytest.mark.parametrize("path", [("a",), ("c",), ("c", "b"), ("list", 7), ("text", "x")])
def test_what_cannot_be_changed_alone_is_refused(path: tuple[Any, ...]) -> None:
    before = "a: &x {b: 1}\nc: *x\nlist: [1]\ntext: word\n"
    with pytest.raises(FixRefused, match=r"values\.yaml"):
        edited(before, ("set", path, 3))
