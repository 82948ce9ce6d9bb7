"""One repair from a file to another: copy, edit, read again, compare, and only then write."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from buildmatrix import elf
from buildmatrix.checks.alignment import mappable
from buildmatrix.errors import DistUnwritable, RepairFailed, RepairRefused, ScanFailed
from buildmatrix.facts import Facts
from buildmatrix.host import Host, parse
from buildmatrix.preflight.verdict import Verdict
from buildmatrix.process import Runner
from buildmatrix.repair import compare, edits, judge, patchelf, safe, sections
from buildmatrix.repair.compare import File
from buildmatrix.repair.edits import Edits
from buildmatrix.repair.judge import Place
from buildmatrix.repair.patchelf import Program

_TAIL = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What to repair, and how it is judged. `root` is None where nobody named one."""

    source: Path
    edits: Edits
    advise: safe.Advise
    root: Path | None = None
    folder: str = judge.FOLDER
    hosts: tuple[Host, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Repaired:
    """A repair that holds: both states, what the preflight says of them, and the program that made it."""

    before: File
    after: File
    verdicts: tuple[tuple[Host, Verdict, Verdict], ...]
    tool: str


def repair(job: Job, out: Path, program: Program, runner: Runner, environment: Mapping[str, str]) -> Repaired:
    """Write the repaired file to `out`, which appears whole or not at all; `job.source` is only read.

    Raises RepairRefused where an edit is not safe, RepairFailed where patchelf fails or damages the file.
    """
    before = _before(job)
    found, row = safe.check(str(job.source), before.facts, job.edits, job.advise)
    hosts = job.hosts or tuple(parse(f"{row.goarch},page={size}") for size in mappable(found) if size in row.page_sizes)
    place = Place(root=job.root, folder=job.folder, hosts=hosts)
    out = out.absolute()
    with _scratch(out) as folder:
        copy = folder / out.name
        copy.write_bytes(before.data)
        copy.chmod(0o755)
        old = judge.verdicts(place, copy)
        page = job.edits.page_size or max(mappable(found), default=max(row.page_sizes))
        patchelf.edit(program, edits.argv(found, job.edits, page), copy, runner, environment)
        after = _after(copy)
        wrong = compare.problems(before, after, job.edits)
        if wrong:
            raise RepairFailed(
                f"{job.source}: patchelf {program.version} changed more than it was told to, or less: {wrong[0]}",
                why="; ".join(wrong[1:]),
                fix="build the program again instead",
            )
        new = judge.verdicts(place, copy)
        judge.compare(str(job.source), place, old, new)
        if _digest(job.source) != hashlib.sha256(before.data).hexdigest():
            raise RepairFailed(f"{job.source}: it changed meanwhile", fix="let nothing write to it, and run again")
        _publish(copy, out)
    return Repaired(
        before=before,
        after=after,
        verdicts=tuple(zip(hosts, old, new, strict=True)),
        tool=f"patchelf {program.version}",
    )


def _before(job: Job) -> File:
    try:
        data = job.source.read_bytes()
    except OSError as error:
        raise ScanFailed(
            f"{job.source}: cannot be read", why=error.strerror or str(error), fix="name a file that you may read"
        ) from error
    facts = elf.facts_of_bytes(data, symbols=True)
    safe.check(str(job.source), facts, job.edits, job.advise)
    if safe.signed_inside(data[-_TAIL:]):
        raise RepairRefused(
            f"{job.source}: got a file that ends with a signature of its own bytes",
            why="it would not be valid for any others",
            fix="build and sign it again",
        )
    return _file(facts, data, str(job.source))


def _after(path: Path) -> File:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise RepairFailed(
            f"{path.name}: patchelf left no file that can be read",
            why=error.strerror or str(error),
            fix="build the program again instead",
        ) from error
    return _file(elf.facts_of_bytes(data, symbols=True), data, path.name)


def _file(facts: Facts, data: bytes, name: str) -> File:
    if facts.elf is None:
        raise RepairFailed(
            f"{name}: got a file of the format {facts.format}, expected ELF", fix="build the program again instead"
        )
    if facts.issues:
        issue = facts.issues[0]
        raise RepairFailed(
            f"{name}: the file is damaged after the edit: {issue.code} at byte {issue.offset}",
            fix="build the program again instead",
        )
    return File(data=data, facts=facts, elf=facts.elf, sections=sections.read(data, name))


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextlib.contextmanager
def _scratch(out: Path) -> Iterator[Path]:
    """A folder beside the result, so that the last step is a rename."""
    try:
        folder = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    except OSError as error:
        raise DistUnwritable(
            f"{out}: cannot be written", why=error.strerror or str(error), fix="name another place"
        ) from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _publish(copy: Path, out: Path) -> None:
    handle = os.open(copy, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
    copy.replace(out)
