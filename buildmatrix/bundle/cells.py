"""The contents of bundles from cells in dist/: one bundle a machine, every file held to its record first."""

from __future__ import annotations

import fnmatch
import json
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path

from buildmatrix import arch, elf
from buildmatrix.artifact import Record
from buildmatrix.bundle.spec import EVIDENCE, PAYLOAD, Contents, Member, Unit
from buildmatrix.dist import Dist
from buildmatrix.errors import BundleRefused, NothingSelected
from buildmatrix.facts import Status

FOLDER = "/usr/local/bin"
"""Where programs are installed if nobody says otherwise."""

_UNSAFE = frozenset("\\\n ")


def select(dist: Dist, targets: Iterable[str], binaries: Iterable[str]) -> tuple[Record, ...]:
    """The records whose target and binary match any of the globs; all where there are none. Raises NothingSelected."""
    wanted = (tuple(targets), tuple(binaries))
    records = dist.records()
    found = tuple(record for record in records if _fits(record.target, wanted[0]) and _fits(record.binary, wanted[1]))
    if not found:
        raise NothingSelected(
            f"{dist.root}: no cell that was built fits",
            why=f"it has {', '.join(record.cell for record in records) or 'none'}",
            fix="build first, name the folder of the release with --dist, or select others with -t and -b",
        )
    return found


def _fits(name: str, globs: tuple[str, ...]) -> bool:
    return not globs or any(fnmatch.fnmatchcase(name, glob) for glob in globs)


def contents(
    dist: Dist, records: Iterable[Record], *, name: str, to: str, left_out: Callable[[str], None]
) -> tuple[Contents, ...]:
    """One bundle for each machine that the records are for; what is not for Linux goes to `left_out`.

    Raises BundleRefused where a file is not what its record says, or where a machine would get two programs
    of one name.
    """
    by_row: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        if record.goos != "linux":
            left_out(f"{record.cell}: is for {record.goos}, where no POSIX shell is to be counted on")
            continue
        by_row[record.goarch].append(record)
    return tuple(_machine(dist, tuple(found), name, to) for _, found in sorted(by_row.items()))


def _machine(dist: Dist, records: tuple[Record, ...], name: str, to: str) -> Contents:
    row, version = arch.BY_GOARCH[records[0].goarch], _version(records)
    _once(records, row.uname)
    members = [member for record in records for member in _members(dist, record)]
    unit = Unit.FILE if len(records) == 1 else Unit.TREE
    place = FOLDER if unit is Unit.FILE else f"/opt/{name}/current"
    return Contents(
        name=name,
        version=version,
        row=row,
        level=max(record.level for record in records),
        unit=unit,
        to=to or place,
        members=tuple(sorted(members, key=lambda member: member.path)),
        loaders=_loaders(dist, records),
        cells=tuple(record.cell for record in records),
        time=_time(dist),
    )


def _version(records: tuple[Record, ...]) -> str:
    versions = sorted({record.inputs.version for record in records})
    if len(versions) != 1:
        raise BundleRefused(
            f"got cells of the versions {', '.join(versions)}, expected one version",
            why="a bundle goes back to one version",
            fix="build all of them again, or choose cells with -t and -b",
        )
    return versions[0]


def _once(records: tuple[Record, ...], machine: str) -> None:
    seen: dict[str, Record] = {}
    for record in records:
        other = seen.setdefault(record.artifact.name, record)
        if other is not record:
            raise BundleRefused(
                f"got {other.cell} and {record.cell} as {record.artifact.name} for {machine}, expected one of them",
                why="only one can be installed under that name",
                fix=f"choose with -t, as in -t {record.target}",
            )


def _loaders(dist: Dist, records: tuple[Record, ...]) -> tuple[str, ...]:
    paths = [dist.folder(record.cell) / record.artifact.name for record in records]
    found = {facts.elf.interp for facts in map(elf.read_facts, paths) if facts.elf and facts.elf.interp}
    return tuple(sorted(found))


def _members(dist: Dist, record: Record) -> list[Member]:
    """The artifact and everything that lies beside it, each hashed now."""
    folder = dist.folder(record.cell)
    stated = {item.name: (item.sha256, item.size) for item in record.files}
    paths = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    absent = sorted(set(stated) - {path.name for path in paths})
    if absent:
        raise BundleRefused(
            f"{record.cell}: {', '.join(absent)} is not there", fix="build the cell again, or fetch it whole"
        )
    return [_member(path, record, stated) for path in paths]


def _member(path: Path, record: Record, stated: dict[str, tuple[str, int]]) -> Member:
    program = path.name == record.artifact.name
    scan = elf.scan_one(path, facts=False)
    if path.is_symlink() or scan.status is not Status.OK or scan.digests.sha256 is None:
        raise BundleRefused(f"{path}: cannot be packed: {scan.status}", fix="make it a readable file")
    if _UNSAFE & set(path.name):
        raise BundleRefused(f"{path}: got a name with spaces or backslashes", fix="remove what does not belong there")
    got = (scan.digests.sha256, scan.size)
    if path.name in stated and got != stated[path.name]:
        raise BundleRefused(
            f"{path}: got SHA-256 {got[0]}, expected {stated[path.name][0]} as its record says",
            why="it was altered or damaged after it was built; rolling back to it would install that",
            fix="build the cell again, or fetch the release again",
        )
    where = f"{PAYLOAD}/{path.name}" if program else f"{EVIDENCE}/{record.cell}/{path.name}"
    return Member(path=where, source=path, sha256=got[0], size=got[1], program=program)


def _time(dist: Dist) -> int:
    """The time of the release's commit in seconds, from its own metadata.json; 0 where nobody wrote it down."""
    try:
        value = json.loads((dist.root / "metadata.json").read_bytes()).get("commit_time", 0)
    except (OSError, ValueError, AttributeError):
        return 0
    return value if isinstance(value, int) and value >= 0 else 0
