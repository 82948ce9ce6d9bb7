"""Holds one document against the one that bytes and plan call for, and says what is wrong with it. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from buildmatrix.sbom import reading
from buildmatrix.sbom.model import Bill, Component

_SHOWN = 3
"""How many differences of one kind are listed."""
_MISSING = object()


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """`kind` is one of: empty, truncated, not-json, duplicate, shape, swapped, digest, components, version,
    content, form. `what` is a clause about the document."""

    kind: str
    what: str


def differences(got: bytes, expected: bytes, owners: Mapping[str, str], cell: str) -> tuple[Difference, ...]:
    """What tells `got` from `expected`; nothing where they are equal.

    `owners` maps the SHA-256 of every known artifact to its cell, so that a swapped document can be named.
    """
    if got == expected:
        return ()
    try:
        document = reading.parse(got)
    except reading.Unreadable as error:
        return (Difference(kind=error.kind, what=error.detail),)
    wanted = reading.parse(expected)
    if (subject := _subject(document, wanted, owners, cell)) is not None:
        return (subject,)
    found = tuple(_parts(document, wanted)) or tuple(_content(document, wanted))
    return found or (Difference(kind="form", what="it says the right things in other bytes than the ones written"),)


def subject_digests(document: Mapping[str, Any]) -> dict[str, str]:
    """The digests of what an SBOM or an in-toto statement is about, by hashlib's names; empty where it says none."""
    try:
        if "predicateType" in document:
            return {str(name): str(value) for name, value in document["subject"][0]["digest"].items()}
        return dict(reading.bill(dict(document)).subject.hashes)
    except (KeyError, TypeError, AttributeError, IndexError, ValueError):
        return {}


def _subject(
    document: Mapping[str, Any], wanted: Mapping[str, Any], owners: Mapping[str, str], cell: str
) -> Difference | None:
    got, expected = subject_digests(document), subject_digests(wanted)
    if got == expected:
        return None
    owner = owners.get(got.get("sha256", ""))
    if owner is not None and owner != cell:
        return Difference(kind="swapped", what=f"it is about {owner}")
    for name in sorted({*got, *expected}):
        if got.get(name) != expected.get(name):
            what = f"{name}: got {got.get(name) or 'nothing'}, expected {expected.get(name) or 'nothing'}"
            return Difference(kind="digest", what=what)
    return None


def _parts(document: dict[str, Any], wanted: dict[str, Any]) -> Iterator[Difference]:
    """Components that are missing, too many, or of another version."""
    if not reading.form(wanted):
        return
    try:
        got, expected = _versions(reading.bill(document)), _versions(reading.bill(wanted))
    except reading.Unreadable as error:
        yield Difference(kind="shape", what=error.detail)
        return
    missing, extra = sorted(set(expected) - set(got)), sorted(set(got) - set(expected))
    if missing:
        yield Difference(kind="components", what=f"it does not list {_list(missing)}")
    if extra:
        yield Difference(kind="components", what=f"it lists {_list(extra)}, which the bytes do not contain")
    for name in sorted(set(got) & set(expected)):
        if got[name] != expected[name]:
            what = f"{name}: got version {_list(got[name])}, expected {_list(expected[name])}"
            yield Difference(kind="version", what=what)


def _versions(bill: Bill) -> dict[str, tuple[str, ...]]:
    found: dict[str, list[str]] = {}
    for item in (bill.subject, *bill.components):
        found.setdefault(_label(item), []).append(item.version)
    return {name: tuple(sorted(versions)) for name, versions in found.items()}


def _label(item: Component) -> str:
    return item.name or item.ref


def _list(items: list[str] | tuple[str, ...]) -> str:
    shown = [item or "nothing" for item in items[:_SHOWN]]
    more = len(items) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def _content(document: dict[str, Any], wanted: dict[str, Any]) -> Iterator[Difference]:
    """The first values that differ, each by its path."""
    found = []
    for path, got, expected in _walk(document, wanted, ""):
        if path not in ("serialNumber", "documentNamespace"):  # they follow from the rest
            found.append(Difference(kind="content", what=f"{path}: got {_show(got)}, expected {_show(expected)}"))
        if len(found) == _SHOWN:
            break
    if not found and document != wanted:
        found.append(Difference(kind="content", what="its identifier does not follow from its content"))
    yield from found


def _walk(got: Any, expected: Any, path: str) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(got, dict) and isinstance(expected, dict):
        for name in sorted({*got, *expected}):
            yield from _walk(got.get(name, _MISSING), expected.get(name, _MISSING), f"{path}.{name}".lstrip("."))
    elif isinstance(got, list) and isinstance(expected, list) and len(got) == len(expected):
        for index, (one, other) in enumerate(zip(got, expected, strict=True)):
            yield from _walk(one, other, f"{path}[{index}]")
    elif type(got) is not type(expected) or got != expected:
        yield path, got, expected


def _show(value: Any) -> str:
    if value is _MISSING:
        return "nothing"
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:97]}..."
