"""The programs of a release, from a dist/ or an OCI layout, as their bytes are now."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from buildmatrix import archives, elf
from buildmatrix.artifact import Record
from buildmatrix.detect.table import Program
from buildmatrix.dist import Dist
from buildmatrix.errors import NothingSelected, ScanFailed
from buildmatrix.facts import ElfType, Facts, Status

FOLDERS = ("/usr/local/bin", "/usr/bin", "/bin", "/usr/local/sbin", "/usr/sbin")
"""Where programs are looked for if nobody names a file."""


def of_records(dist: Dist, records: Iterable[Record]) -> tuple[Program, ...]:
    """The Linux programs among cells. Raises ScanFailed where a file is not what its record says."""
    found = tuple(_program(dist, record) for record in records if record.goos == "linux")
    if not found:
        raise NothingSelected(f"{dist.root}: no cell for Linux", fix="select cells for Linux with -t and -b")
    return found


def _program(dist: Dist, record: Record) -> Program:
    path = dist.folder(record.cell) / record.artifact.name
    scan = elf.scan_one(path)
    facts, digest = scan.facts, scan.digests.sha256
    if facts is None or facts.elf is None or digest != record.artifact.sha256:
        raise ScanFailed(
            f"{path}: got {digest or scan.status}, expected an ELF file with SHA-256 {record.artifact.sha256}",
            why="a script that is made from other bytes than those that were released recognises the wrong file",
            fix="fetch the release again",
        )
    name = record.artifact.name
    return Program(
        cell=record.cell,
        name=name,
        sha256=digest,
        size=scan.size,
        facts=facts,
        elf=facts.elf,
        level=record.level,
        paths=tuple(f"{folder}/{name}" for folder in FOLDERS),
    )


def of_layout(path: Path) -> tuple[Program, ...]:
    """The Go programs in the images of a layout. Raises NothingSelected, and what reading a layout raises."""
    found: dict[str, Program] = {}
    for scan in archives.scan_layout(path, hashes=("sha256",), facts=True):
        if scan.status is not Status.OK:
            raise ScanFailed(f"{scan.location}: {scan.status}", fix="copy the layout again")
        facts, digest = scan.facts, scan.digests.sha256
        if facts is not None and facts.elf is not None and digest and _is_program(facts):
            inside = "/" + scan.path.lstrip("/")
            found[digest] = Program(
                cell=inside,
                name=inside.rpartition("/")[2],
                sha256=digest,
                size=scan.size,
                facts=facts,
                elf=facts.elf,
                paths=(inside,),
            )
    if not found:
        raise NothingSelected(f"{path}: no Go program in it", fix="name the layout of an image that holds one")
    return tuple(found.values())


def _is_program(facts: Facts) -> bool:
    elf_facts = facts.elf
    return facts.go is not None and elf_facts is not None and elf_facts.type in (ElfType.EXEC, ElfType.DYN)


def digests(programs: Iterable[Program]) -> Iterator[str]:
    """The SHA-256 of each."""
    return (program.sha256 for program in programs)
