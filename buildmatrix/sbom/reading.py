"""Takes documents back in: strict JSON, and CycloneDX and SPDX as Bills. Pure.

Nothing in a document is believed for its shape: a key twice, a constant that JSON does not have or a value
of another type is refused, never passed over.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from buildmatrix.sbom.model import Bill, Component, Licence

_CYCLONEDX = {"SHA-1": "sha1", "SHA-256": "sha256", "SHA-512": "sha512", "MD5": "md5"}
_SPDX = {"SHA1": "sha1", "SHA256": "sha256", "SHA512": "sha512", "MD5": "md5"}
_FOUND = re.compile(r"found in (.+), SHA-256 ([0-9a-f]{64})")
_MALFORMED = (KeyError, TypeError, AttributeError, ValueError, IndexError)


class Unreadable(ValueError):
    """A document that is none. `kind` is ``empty``, ``truncated``, ``not-json``, ``duplicate`` or ``shape``."""

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail


def parse(data: bytes) -> dict[str, Any]:
    """The JSON object in `data`. Raises Unreadable for anything else, and for a key that comes twice."""
    if not data.strip():
        raise Unreadable("empty", f"got {len(data)} bytes without content, expected a JSON object")
    try:
        text = data.decode("utf-8")
        value = json.loads(text, object_pairs_hook=_once, parse_constant=_constant)
    except json.JSONDecodeError as error:
        ended = error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated string")
        kind = "truncated" if ended else "not-json"
        raise Unreadable(kind, f"{error.msg} at line {error.lineno}, column {error.colno}") from error
    except UnicodeDecodeError as error:
        raise Unreadable("not-json", f"byte {error.start} is not UTF-8") from error
    except RecursionError as error:
        raise Unreadable("not-json", "it is nested deeper than any bill of materials") from error
    if not isinstance(value, dict):
        raise Unreadable("shape", f"got a JSON {type(value).__name__}, expected an object")
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise Unreadable("duplicate", f"the key {twice!r} comes more than once in one object")
    return found


def _constant(name: str) -> Any:
    raise Unreadable("not-json", f"{name} is no JSON value")


def form(document: dict[str, Any]) -> str:
    """``cyclonedx`` or ``spdx``; empty for anything else."""
    if document.get("bomFormat") == "CycloneDX":
        return "cyclonedx"
    return "spdx" if str(document.get("spdxVersion", "")).startswith("SPDX-2.") else ""


def bill(document: dict[str, Any]) -> Bill:
    """The Bill that a parsed document tells of. Raises Unreadable where it is no SBOM of a known format."""
    kind = form(document)
    try:
        if kind == "cyclonedx":
            return _from_cyclonedx(document)
        if kind == "spdx":
            return _from_spdx(document)
    except _MALFORMED as error:
        raise Unreadable("shape", f"it is not what {kind} prescribes: {type(error).__name__} {error}") from error
    raise Unreadable("shape", "got neither bomFormat nor spdxVersion, expected CycloneDX or SPDX 2")


def _from_cyclonedx(document: dict[str, Any]) -> Bill:
    subject = _cyclonedx_component(document.get("metadata", {}).get("component", {}))
    aggregates = [item.get("aggregate") for item in document.get("compositions", ())]
    edges = (
        (str(item["ref"]), tuple(map(str, item.get("dependsOn", ())))) for item in document.get("dependencies", ())
    )
    return Bill(
        subject=subject,
        components=tuple(_cyclonedx_component(item) for item in _nested(document.get("components", ()))),
        tools=(),
        epoch=None,
        edges=tuple(edges),
        complete="incomplete" not in aggregates and "unknown" not in aggregates,
    )


def _nested(components: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for item in components:
        yield item
        yield from _nested(item.get("components", []))


def _cyclonedx_component(item: dict[str, Any]) -> Component:
    found = [(str(each["name"]), str(each.get("value", ""))) for each in item.get("properties", ())]
    known = dict(found)
    expression = _cyclonedx_licences(item.get("licenses", []))
    file = known.get("buildmatrix:licence:file")
    return Component(
        ref=str(item.get("bom-ref", "")),
        kind=str(item.get("type", "")),
        name=str(item.get("name", "")),
        version=str(item.get("version", "")),
        purl=str(item.get("purl", "")),
        supplier=str(item.get("supplier", {}).get("name", "")),
        stated="" if file else expression,
        licence=Licence(expression=expression, file=file, sha256=known.get("buildmatrix:licence:sha256", ""))
        if file
        else None,
        hashes=tuple(
            (_CYCLONEDX.get(each["alg"], str(each["alg"])), str(each["content"])) for each in item.get("hashes", ())
        ),
        properties=tuple(pair for pair in found if not pair[0].startswith("buildmatrix:licence:")),
        description=str(item.get("description", "")),
    )


def _cyclonedx_licences(entries: list[dict[str, Any]]) -> str:
    words = []
    for entry in entries:
        named = entry.get("license", {})
        words.append(str(entry["expression"] if "expression" in entry else named.get("id") or named["name"]))
    return " AND ".join(sorted(words))


def _from_spdx(document: dict[str, Any]) -> Bill:
    relations = [
        (str(item["spdxElementId"]), str(item["relationshipType"]), str(item["relatedSpdxElement"]))
        for item in document.get("relationships", ())
    ]
    described = {other for _, kind, other in relations if kind == "DESCRIBES"}
    described |= {str(item) for item in document.get("documentDescribes", ())}
    parts = [_spdx_component(item) for item in (*document.get("packages", ()), *document.get("files", ()))]
    subjects = [item for item in parts if item.ref in described]
    edges: dict[str, list[str]] = {item.ref: [] for item in parts}
    for one, kind, other in relations:
        if kind in ("DEPENDS_ON", "RUNTIME_DEPENDENCY_OF", "DEPENDENCY_OF"):
            source, target = (one, other) if kind == "DEPENDS_ON" else (other, one)
            edges.setdefault(source, []).append(target)
    return Bill(
        subject=subjects[0] if subjects else Component(ref="", kind="", name=str(document.get("name", ""))),
        components=tuple(item for item in parts if item not in subjects[:1]),
        tools=(),
        epoch=None,
        edges=tuple((ref, tuple(targets)) for ref, targets in edges.items()),
        complete="comment" not in document,
    )


def _spdx_component(item: dict[str, Any]) -> Component:
    said = [pair for annotation in item.get("annotations", ()) for pair in _annotation(str(annotation["comment"]))]
    declared = str(item.get("licenseDeclared", "NOASSERTION"))
    expression = "" if declared in ("NOASSERTION", "NONE") else declared
    evidence = _FOUND.fullmatch(str(item.get("licenseComments", "")))
    purls = [ref["referenceLocator"] for ref in item.get("externalRefs", ()) if ref.get("referenceType") == "purl"]
    return Component(
        ref=str(item["SPDXID"]),
        kind=str(item.get("primaryPackagePurpose", "FILE")).lower(),
        name=str(item["name"] if "name" in item else item["fileName"]).removeprefix("./"),
        version=str(item.get("versionInfo", "")),
        purl=str(purls[0]) if purls else "",
        supplier=_supplier(str(item.get("supplier", ""))),
        stated="" if evidence else expression,
        licence=Licence(expression=expression, file=evidence[1], sha256=evidence[2]) if evidence else None,
        hashes=tuple(
            (_SPDX.get(each["algorithm"], str(each["algorithm"])), str(each["checksumValue"]))
            for each in item.get("checksums", ())
        ),
        properties=tuple(said),
        description=str(item.get("summary", "")),
    )


def _supplier(value: str) -> str:
    return "" if value == "NOASSERTION" else value.removeprefix("Organization: ")


def _annotation(comment: str) -> Iterator[tuple[str, str]]:
    if comment.startswith("{"):
        for name, values in json.loads(comment).items():
            yield from ((str(name), str(value)) for value in values)
