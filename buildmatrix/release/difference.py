"""What changed between two releases, architecture by architecture. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from buildmatrix.errors import UsageError
from buildmatrix.release.units import Program, Side, Unit
from buildmatrix.sbom import diff
from buildmatrix.sbom.model import Bill

SCHEMA = 1
"""Version of the JSON document; docs/release.md describes it."""

KINDS = ("unit", "size", "go", "module", "needed", "floor", "level", "file", "sbom")


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One difference: `kind` is one of KINDS, `what` the program, file, module or component that it is about.

    `old` and `new` are values; the one that is empty was not there, but for sizes, which are numbers of bytes.
    """

    unit: str
    kind: str
    what: str = ""
    old: str = ""
    new: str = ""


def differences(old: Side, new: Side) -> tuple[Difference, ...]:
    """Every difference, in the order of the units and of KINDS. Raises UsageError for cells against images."""
    if old.kind != new.kind:
        raise UsageError(
            f"{old.name} has {old.kind} and {new.name} has {new.kind}: got two kinds, expected one",
            fix="compare two dist folders, or two images (a layout such as dist/images/NAME, or a registry's)",
        )
    found: list[Difference] = []
    for name in sorted({*old.units, *new.units}):
        before, after = old.units.get(name), new.units.get(name)
        if before is None or after is None:
            found.append(
                Difference(unit=name, kind="unit", old="" if before is None else "there",
                           new="" if after is None else "there")
            )  # fmt: skip
        else:
            found += _unit(before, after)
    return tuple(found)


def _unit(old: Unit, new: Unit) -> Iterator[Difference]:
    name = new.name
    if old.size != new.size:
        yield Difference(unit=name, kind="size", old=str(old.size), new=str(new.size))
    for kind in ("go", "module", "needed", "floor", "level"):
        for path in sorted({*old.programs, *new.programs}):
            yield from _program(name, kind, path, old.programs.get(path), new.programs.get(path))
    yield from (
        Difference(unit=name, kind="file", what=what, old=one, new=two)
        for what, one, two in _pairs(_held(old.files), _held(new.files))
    )
    if old.bill is not None and new.bill is not None:
        yield from _bills(name, old.bill, new.bill)


def _program(unit: str, kind: str, path: str, old: Program | None, new: Program | None) -> Iterator[Difference]:
    """What one program says; a program on one side alone is a file that came or went."""
    if old is None or new is None:
        return
    if kind == "module":
        for module, one, two in _pairs(old.modules, new.modules):
            yield Difference(unit=unit, kind=kind, what=f"{path}: {module}", old=one, new=two)
    elif kind == "needed":
        for library in sorted({*old.needed} ^ {*new.needed}):
            side = {"old": library} if library in old.needed else {"new": library}
            yield Difference(unit=unit, kind=kind, what=path, **side)
    elif (one := getattr(old, kind)) != (two := getattr(new, kind)):
        yield Difference(unit=unit, kind=kind, what=path, old=one, new=two)


def _held(files: Mapping[str, str]) -> dict[str, str]:
    """Files whose content does not count are there all the same."""
    return {path: value or "there" for path, value in files.items()}


def _pairs(old: Mapping[str, str], new: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    for key in sorted({*old, *new}):
        if old.get(key) != new.get(key):
            yield key, old.get(key, ""), new.get(key, "")


def _bills(unit: str, old: Bill, new: Bill) -> Iterator[Difference]:
    """Components beside files, which are told as such, and Go modules, whose versions the programs tell."""
    files = {item.name for bill in (old, new) for item in bill.components if item.kind == "file"}
    modules = {item.name for bill in (old, new) for item in bill.components if item.purl.startswith("pkg:golang/")}
    subjects = {old.subject.name, new.subject.name}
    for change in diff.changes(old, new, unit):
        if change.kind not in ("added", "removed", "version", "licence"):
            continue
        if change.component in files | subjects or (change.component in modules and change.kind != "licence"):
            continue
        what = f"{change.component}{' (licence)' if change.kind == 'licence' else ''}"
        yield Difference(unit=unit, kind="sbom", what=what, old=change.old, new=change.new)


def as_json(old: Side, new: Side, found: tuple[Difference, ...]) -> dict[str, Any]:
    """The document of --json."""
    return {
        "schema": SCHEMA,
        "old": old.name,
        "new": new.name,
        "units": {
            name: {
                "old": _summary(old.units[name]) if name in old.units else None,
                "new": _summary(new.units[name]) if name in new.units else None,
            }
            for name in sorted({*old.units, *new.units})
        },
        "differences": [asdict(item) for item in found],
    }


def _summary(unit: Unit) -> dict[str, Any]:
    return {"size": unit.size, "files": len(unit.files), "programs": {p: asdict(v) for p, v in unit.programs.items()}}
