"""What an artifact asks of a machine, and what happens to it on those of the fleet."""

from __future__ import annotations

from buildmatrix.checks import floor, libc
from buildmatrix.checks.rule import Subject
from buildmatrix.fleet import Fleet, Judged
from buildmatrix.gather.seen import isa_level
from buildmatrix.preflight import words
from buildmatrix.preflight.verdict import Verdict
from buildmatrix.report.model import Edge, Needs, Place, State

_NO_ROOT = "no root declared, so nobody looked"


def needs(subject: Subject) -> Needs:
    """What the bytes ask for, beside what the target promises."""
    elf, go, target = subject.elf, subject.facts.go, subject.target
    variable = subject.architecture.level_variable
    level = (go.setting(variable) or "") if go is not None and variable else ""
    isa = isa_level(elf.x86_isa_needed) if elf is not None and subject.architecture.goarch == "amd64" else ""
    need = floor.highest(elf.version_needs) if elf is not None else None
    return Needs(
        loader=(elf.interp or "") if elf is not None else "",
        libc=" and ".join(libc.flavours(elf)) if elf is not None else "",
        libc_needed=need.version if need is not None else "",
        libc_promised=target.libc_floor or "",
        cpu_needed="; ".join(item for item in (level, isa) if item),
        cpu_promised=target.level,
        page_sizes=target.page_sizes,
        libraries=elf.needed if elf is not None else (),
    )


def judged(fleet: Fleet, subject: Subject) -> tuple[tuple[Place, ...], tuple[Edge, ...]]:
    """Each machine and root with its verdict, and the libraries with where they were found in the first root."""
    elf = subject.elf
    if elf is None or subject.target.goos != "linux":
        return (), _direct(subject, f"not followed on {subject.target.goos}")
    found = tuple(fleet.judged(subject.cell, dynamic=elf.interp is not None))
    verdict = next((item.verdict for item in found if item.verdict is not None and item.verdict.needed), None)
    edges = _edges(verdict) if verdict is not None else _direct(subject, _NO_ROOT)
    return tuple(map(_place, found)), edges


def _direct(subject: Subject, why: str) -> tuple[Edge, ...]:
    libraries = subject.elf.needed if subject.elf is not None else ()
    return tuple(Edge(by=subject.cell.file_name, name=name, path="", rule=why) for name in libraries)


def _edges(verdict: Verdict) -> tuple[Edge, ...]:
    return tuple(
        Edge(by=item.by, name=item.name, path=item.path or "", rule=item.rule if item.path else item.problem)
        for item in verdict.needed
    )


def _place(item: Judged) -> Place:
    verdict = item.verdict
    if verdict is None:
        state, said = State.UNKNOWN, _NO_ROOT if not item.root else "the root cannot be read"
    else:
        state, said = _state(verdict), words.sentence(verdict)
    return Place(machine=item.machine.name, root=item.root, state=state, verdict=said, declared=item.declared)


def _state(verdict: Verdict) -> State:
    if verdict.runs and verdict.certain:
        return State.WARNING if verdict.warnings else State.PASSED
    return State.WARNING if verdict.runs or not verdict.certain else State.FAILED
