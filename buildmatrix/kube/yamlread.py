"""YAML as Kubernetes and Helm read it: libyaml's grammar, the scalars of sigs.k8s.io/yaml, hostile input refused.

PyYAML's loader on libyaml parses, since goyaml is a port of libyaml; what plain scalars mean is decided here, because
no Python loader agrees with goyaml: `y` and `on` are true, `0o17` is 15, `1:30` is text, `1e3` a number. Sources:
goyaml.v2 resolve.go, sigs.k8s.io/yaml convertToJSONableObject. Keys that stand twice are errors here; goyaml keeps
the last one in silence.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from buildmatrix.errors import ManifestInvalid, ToolMissing

MAX_BYTES = 16 << 20
"""Bytes of one stream."""

MAX_VALUES = 1_000_000
"""Values in one stream, those that aliases repeat counted each time."""

MAX_DEPTH = 200

_TRUE = frozenset(("y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"))
_FALSE = frozenset(("n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"))
_NULL = frozenset(("", "~", "null", "Null", "NULL"))
_NO_JSON = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_INTEGER = re.compile(r"[-+]?(0[xX][0-9a-fA-F]+|0[bB][01]+|0[oO][0-7]+|0[0-7]*|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_UINT64 = 1 << 64
_PROPERTIES = re.compile(r"(&\S+\s+)?(?P<tag>!\S*)?")
_MERGE = "<<"


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One document: its value and node, its number among those that are not empty (from 0), its first line (from 1)."""

    value: Any
    node: Any
    number: int
    line: int


def documents(text: str, name: str) -> tuple[Document, ...]:
    """Every document of a stream that is not empty. Raises ManifestInvalid, which names line and column."""
    if len(text) > MAX_BYTES:
        raise _invalid(name, f"got {len(text)} characters, expected at most {MAX_BYTES}", fix="split it")
    yaml = _yaml()
    found: list[Document] = []
    convert = _Convert(name, text)
    try:
        for node in yaml.compose_all(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
            value = convert.value(node, 0)
            if value is not None:
                found.append(Document(value=value, node=node, number=len(found), line=node.start_mark.line + 1))
    except yaml.MarkedYAMLError as error:
        raise _invalid(_at(name, error.problem_mark), _reason(error), fix=_fix(text, error)) from error
    except yaml.YAMLError as error:
        raise _invalid(name, str(error), fix="write it as text in UTF-8") from error
    return tuple(found)


def document(text: str, name: str) -> Document | None:
    """The only document of a stream; None for an empty one. Raises ManifestInvalid where there are several."""
    found = documents(text, name)
    if len(found) > 1:
        raise _invalid(name, f"got {len(found)} documents, expected one", fix="leave one")
    return found[0] if found else None


def _yaml() -> Any:
    try:
        import yaml
    except ImportError as error:
        raise ToolMissing(
            "PyYAML: is not installed, which reads charts and manifests", fix="pip install 'buildmatrix[kubernetes]'"
        ) from error
    return yaml


def _at(name: str, mark: Any) -> str:
    return f"{name}:{mark.line + 1}:{mark.column + 1}" if mark is not None else name


def _reason(error: Any) -> str:
    return ", ".join(str(part) for part in (error.problem, error.context) if part)


def _fix(text: str, error: Any) -> str:
    at = error.problem_mark.index if error.problem_mark is not None else 0
    tab = text[at : at + 1] == "\t" or "tab" in str(error.problem)
    return "indent with spaces: YAML knows no tabs there" if tab else "correct it"


def _invalid(name: str, why: str, *, fix: str) -> ManifestInvalid:
    return ManifestInvalid(f"{name}: is not YAML that Kubernetes could read", why=why, fix=fix)


class _Convert:
    """Nodes to values; counts what aliases repeat, so that a bomb is refused before it is built."""

    def __init__(self, name: str, text: str) -> None:
        self._name, self._text = name, text
        self._count = 0

    def value(self, node: Any, depth: int) -> Any:
        self._count += 1
        if self._count > MAX_VALUES or depth > MAX_DEPTH:
            what = f"{MAX_VALUES} values" if self._count > MAX_VALUES else f"{MAX_DEPTH} levels"
            raise self._refused(
                node, f"got more than {what}, expected a manifest; aliases that repeat each other multiply",
                fix="write it without aliases, or split it",
            )  # fmt: skip
        if node.id == "mapping":
            return self._mapping(node, depth)
        if node.id == "sequence":
            return [self.value(item, depth + 1) for item in node.value]
        return self._scalar(node)

    def _mapping(self, node: Any, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if key_node.id == "scalar" and key_node.value == _MERGE and not key_node.style:
                for item in self._merged(value_node, depth):
                    merged = {**item, **merged}
                continue
            key = self._key(key_node)
            if key in found:
                raise self._refused(
                    key_node, f"the key {key!r} stands twice in one mapping", fix="leave one: readers keep either"
                )
            found[key] = self.value(value_node, depth + 1)
        return {**merged, **found} if merged else found

    def _merged(self, node: Any, depth: int) -> Iterator[dict[str, Any]]:
        for item in node.value if node.id == "sequence" else (node,):
            if item.id != "mapping":
                raise self._refused(item, "got << with something else than mappings", fix="merge mappings only")
            yield self._mapping(item, depth + 1)

    def _key(self, node: Any) -> str:
        value = self._scalar(node) if node.id == "scalar" else None
        if isinstance(value, bool):
            return str(value).lower()
        if isinstance(value, (str, int, float)):
            return str(value)
        raise self._refused(node, f"got a key that is {node.id}, expected text", fix="quote it")

    def _scalar(self, node: Any) -> Any:
        tag = self._explicit_tag(node)
        if tag not in ("", "!!str", "!"):
            raise self._refused(node, f"got the tag {tag}, expected none or !!str", fix="quote text, and leave it out")
        if node.style or tag:
            return str(node.value)
        if _NO_JSON.fullmatch(node.value):
            raise self._refused(node, f"got {node.value}, which JSON cannot say", fix="quote it")
        return scalar(node.value)

    def _explicit_tag(self, node: Any) -> str:
        """The tag that is written before a scalar; the node itself has one that PyYAML resolved."""
        start = node.start_mark.index
        if self._text[start : start + 1] not in ("!", "&"):
            return ""
        found = _PROPERTIES.match(self._text, start)
        return found["tag"] or "" if found else ""

    def _refused(self, node: Any, why: str, *, fix: str) -> ManifestInvalid:
        return _invalid(_at(self._name, node.start_mark), why, fix=fix)


def scalar(text: str) -> Any:
    """What a plain scalar means to goyaml.v2."""
    if text in _NULL:
        return None
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    if text[0] not in "+-.0123456789":
        return text
    digits = text.replace("_", "")
    if _INTEGER.fullmatch(digits):
        number = _integer(digits)
        return number if -_UINT64 // 2 <= number < _UINT64 else float(number)
    if _FLOAT.fullmatch(digits):
        value = float(digits)
        return text if math.isinf(value) else value
    return text


def _integer(digits: str) -> int:
    sign = -1 if digits[0] == "-" else 1
    body = digits.lstrip("+-").lower()
    if body.startswith(("0x", "0b", "0o")):
        return sign * int(body, 0)
    return sign * int(body, 8 if body.startswith("0") else 10)
