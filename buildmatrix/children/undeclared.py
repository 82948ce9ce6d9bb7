"""Findings about started programs: those that `exec` does not list, and those whose names nobody knows.

The artifact's bytes decide whether there is anything to find: Go keeps the names of all functions that
are linked in, even in a stripped file. Where no function that starts a program is among them, no source
is looked at; a place in a function that is not linked in is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

from buildmatrix import children, errors
from buildmatrix.children import Found, Site
from buildmatrix.finding import Finding, Severity
from buildmatrix.matrix import Cell
from buildmatrix.plan import Plan, PlannedCell
from buildmatrix.process import Runner, SubprocessRunner

CODES = {
    "BM606": "program that is started is not listed in exec",
    "BM607": "program that is started has no constant name",
    "BM608": "started programs were not looked for, or not everywhere",
}
"""Findings of this step, with their meaning."""

WARNINGS = frozenset(CODES)
"""Those that do not fail a run."""

STARTING = (b"syscall.forkExec\0", b"syscall.Exec\0")
"""What every way to start a program on Linux leads through (os/exec, os, syscall, golang.org/x/sys/unix)."""

_MOST_PLACES = 8


def several(
    programs: Sequence[tuple[PlannedCell, Path]],
    plan: Plan,
    sources: str,
    runner: SubprocessRunner,
    environment: Mapping[str, str],
    *,
    workers: int,
) -> dict[str, tuple[Finding, ...]]:
    """The findings about cells with their artifacts, by cell; `workers` of them are looked at at once."""

    def one(program: tuple[PlannedCell, Path]) -> tuple[Finding, ...]:
        return tuple(findings(program[0], plan, program[1], sources, runner, environment))

    pool = ThreadPoolExecutor(max_workers=max(workers, 1))
    try:
        found = list(pool.map(one, programs))
    except BaseException:
        runner.cancel()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    return {planned.cell.id: each for (planned, _), each in zip(programs, found, strict=True)}


def findings(
    planned: PlannedCell, plan: Plan, path: Path, sources: str, runner: Runner, environment: Mapping[str, str]
) -> Iterator[Finding]:
    """What the sources of a linux Go artifact at `path` start beyond `exec`; looks at them where its bytes say so."""
    try:
        data = path.read_bytes()
    except OSError:
        return  # the scan has told
    if not any(name in data for name in STARTING):
        return
    cell = planned.cell
    try:
        found = children.find(planned, plan, sources, runner, environment)
    except errors.BuildmatrixError as error:
        yield _note("BM608", cell, "the programs that it starts were not looked for", f"{error.what}: {error.why}")
        return
    linked = Found(sites=tuple(site for site in found.sites if is_linked(site, data)), problems=found.problems)
    yield from compare(cell, linked)


def is_linked(site: Site, data: bytes) -> bool:
    """Whether the function around a site can be in the artifact; one without a name of its own can."""
    return not site.scope or site.scope.encode() in data


def compare(cell: Cell, found: Found) -> Iterator[Finding]:
    """What was found, held against the cell's `exec`."""
    programs = dict.fromkeys(site.program for site in found.sites if _is_name(site))
    for program in programs:
        if not _is_listed(program, cell.binary.exec):
            yield Finding(
                rule="BM606",
                cell=cell.id,
                what=f"starts {program}, which binaries.{cell.binary.name}.exec does not list",
                evidence=_places([site for site in found.sites if site.program == program], named=False),
                why="nobody checks whether it executes where the artifact does",
                fix=f"list it: binaries.{cell.binary.name}.exec = [{', '.join(map(_quoted, _listed(cell, program)))}]",
                severity=Severity.WARNING,
            )
    unknown = [site for site in found.sites if not _is_name(site)]
    if unknown:
        yield _note("BM607", cell, "starts programs whose names are not constant", _places(unknown, named=True))
    if found.problems:
        told = "; ".join(f"{problem.package}: {problem.text}" for problem in found.problems[:_MOST_PLACES])
        yield _note("BM608", cell, "started programs were not looked for everywhere", told)


def _is_name(site: Site) -> bool:
    """Whether a site names a program: a relative path with a slash leads to another one in every directory."""
    return site.constant and ("/" not in site.program or site.program.startswith("/"))


def _is_listed(program: str, listed: tuple[str, ...]) -> bool:
    return program in listed or ("/" not in program and any(PurePosixPath(item).name == program for item in listed))


def _listed(cell: Cell, program: str) -> tuple[str, ...]:
    return (*cell.binary.exec, program)


def _quoted(text: str) -> str:
    return f'"{text}"'


def _places(sites: list[Site], *, named: bool) -> str:
    shown = [
        f"{site.file}:{site.line} {site.function}" + (f"({site.expression})" if named else "")
        for site in sites[:_MOST_PLACES]
    ]
    more = len(sites) - len(shown)
    return "; ".join(shown) + (f"; and {more} more" if more > 0 else "")


def _note(rule: str, cell: Cell, what: str, evidence: str) -> Finding:
    return Finding(rule=rule, cell=cell.id, what=what, evidence=evidence, severity=Severity.NOTE)
