"""What belongs into a delivery, found in two releases: nothing is missing, and something was fixed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from buildmatrix import elf
from buildmatrix.bundle import cells
from buildmatrix.bundle.spec import EVIDENCE, Contents
from buildmatrix.delivery.spec import Fixed, Release
from buildmatrix.detect import programs
from buildmatrix.detect.table import Program
from buildmatrix.dist import Dist
from buildmatrix.errors import DeliveryRefused, ScanFailed
from buildmatrix.repair.record import SUFFIX


def release(dist: Dist, version: str, name: str) -> Release:
    """A release as notes name it."""
    try:
        value = json.loads((dist.root / "metadata.json").read_bytes())
        commit = value.get("commit", "")
    except (OSError, ValueError, AttributeError):
        commit = ""
    return Release(name=name, version=version, commit=commit if isinstance(commit, str) else "")


def by_cell(dist: Dist, cell_names: tuple[str, ...]) -> dict[str, Program]:
    """The programs of some cells, each hashed and held to its record."""
    records = [record for record in dist.records() if record.cell in cell_names]
    return {program.cell: program for program in programs.of_records(dist, records)} if records else {}


def rebuilt(dist: Dist, affected: Mapping[str, Program], contents: Contents) -> tuple[Fixed, ...]:
    """The same cells from a later release. Raises DeliveryRefused where one is missing or the same as before."""
    found = by_cell(dist, contents.cells)
    fixes = []
    for cell, before in affected.items():
        if cell not in found:
            raise DeliveryRefused(
                f"{dist.root}: lacks {cell}, which is affected",
                why="a delivery without it leaves that machine as it is",
                fix=f"build it: buildmatrix build -t {cell.rpartition('_')[2]}; or leave it out with -t and -b",
            )
        _differs(before, found[cell])
        path = dist.folder(cell) / found[cell].name
        evidence = tuple(item for item in contents.members if item.path.startswith(f"{EVIDENCE}/{cell}/"))
        fixes.append(Fixed(before=before, after=found[cell], path=path, evidence=evidence))
    return tuple(fixes)


def patched(affected: Mapping[str, Program], files: Mapping[str, Path]) -> tuple[Fixed, ...]:
    """Repaired files by cell, each held to its record. Raises DeliveryRefused."""
    missing = sorted(set(affected) - set(files))
    if missing:
        raise DeliveryRefused(
            f"got no patched file for {', '.join(missing)}, which are affected",
            why="a delivery without them leaves those machines as they are",
            fix="repair them too, or leave them out with -t and -b",
        )
    return tuple(_patched(before, files[cell]) for cell, before in affected.items())


def _patched(before: Program, path: Path) -> Fixed:
    scan = elf.scan_one(path)
    if scan.facts is None or scan.facts.elf is None or scan.digests.sha256 is None:
        raise ScanFailed(f"{path}: got {scan.status}, expected an ELF file", fix="name the repaired file")
    note = path.with_name(path.name + SUFFIX)
    try:
        value = json.loads(note.read_bytes())
        told = (value["before"]["sha256"], value["after"]["sha256"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DeliveryRefused(
            f"{path}: got no record of its repair ({note.name})",
            why=str(error),
            fix="make it with buildmatrix repair, and keep what lies beside it",
        ) from error
    if told != (before.sha256, scan.digests.sha256):
        raise DeliveryRefused(
            f"{path}: its record is about other bytes (before {told[0]}, after {told[1]}; expected {before.sha256} and "
            f"{scan.digests.sha256})",
            why="it was made from another program than the affected one, or was altered since",
            fix=f"repair {before.cell} of the affected release again",
        )
    after = Program(
        cell=before.cell,
        name=before.name,
        sha256=scan.digests.sha256,
        size=scan.size,
        facts=scan.facts,
        elf=scan.facts.elf,
        level=before.level,
        paths=before.paths,
    )
    _differs(before, after)
    return Fixed(before=before, after=after, path=path, evidence=(), record=note)


def _differs(before: Program, after: Program) -> None:
    if before.sha256 == after.sha256:
        raise DeliveryRefused(
            f"{before.cell}: got the same bytes before and after, expected a fix",
            why="--affected and --fixed name one release, or the fix does not reach this cell",
            fix="build the fix, or leave the cell out with -t and -b",
        )


def contents(dist: Dist, targets: list[str], binaries: list[str], name: str, to: str) -> tuple[Contents, ...]:
    """What goes back to a release, by machine."""
    records = cells.select(dist, targets, binaries)
    return cells.contents(dist, records, name=name, to=to, left_out=lambda _text: None)
