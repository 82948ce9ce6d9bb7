"""What a check is: a code, a severity and a pure function from a Subject to findings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from buildmatrix.arch import Architecture
from buildmatrix.facts import ElfFacts, Facts
from buildmatrix.finding import Finding, Severity
from buildmatrix.matrix import Cell
from buildmatrix.target import Target


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One artifact and what it is held against.

    `go_version` is the toolchain's (``1.26.8``), or empty where it is not known; `sums` are the
    (path, version, h1) triples of go.sum, or None where there is no go.sum to read.
    """

    cell: Cell
    facts: Facts
    go_version: str = ""
    sums: frozenset[tuple[str, str, str]] | None = None

    @property
    def target(self) -> Target:
        """The cell's target."""
        return self.cell.target

    @property
    def architecture(self) -> Architecture:
        """The target's row of the architecture table."""
        return self.cell.target.architecture

    @property
    def elf(self) -> ElfFacts | None:
        """ELF facts, where the target's system runs ELF and the file is one; else None."""
        return self.facts.elf if self.target.format == "elf" else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """What a check found: `what` in one clause with got and expected, evidence, cause and remedy."""

    what: str
    evidence: str = ""
    why: str = ""
    fix: str = ""
    severity: Severity = Severity.ERROR


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One rule over one artifact. `run` is pure; its module's docstring is its documentation."""

    code: str
    title: str
    run: Callable[[Subject], Iterator[Violation]]

    def findings(self, subject: Subject) -> tuple[Finding, ...]:
        """The rule's findings about one artifact."""
        return tuple(
            Finding(
                rule=self.code,
                cell=subject.cell.id,
                what=item.what,
                evidence=item.evidence,
                why=item.why,
                fix=item.fix,
                severity=item.severity,
            )
            for item in self.run(subject)
        )
