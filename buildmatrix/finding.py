"""Findings: what a rule says about one artifact. Types only."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """ERROR fails the run, WARNING is shown, NOTE is kept in reports."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One violation of one rule: what is wrong with which cell, the evidence, why, and the fix.

    `cell` is ``<binary>_<target>``, or a path where no cell is concerned.
    """

    rule: str
    cell: str
    what: str
    evidence: str = ""
    why: str = ""
    fix: str = ""
    severity: Severity = Severity.ERROR

    def lines(self) -> tuple[str, ...]:
        """The finding as a person reads it, without colour."""
        details = (("evidence", self.evidence), ("why", self.why), ("fix", self.fix))
        return (
            f"{self.rule} {self.cell}: {self.what}",
            *(f"  {label}: {text}" for label, text in details if text),
        )


def worst(findings: tuple[Finding, ...]) -> Severity | None:
    """The highest severity among findings, or None where there are none."""
    order = (Severity.ERROR, Severity.WARNING, Severity.NOTE)
    return next((level for level in order if any(item.severity is level for item in findings)), None)
