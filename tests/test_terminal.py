"""Outcomes on a terminal: errors and warnings with their cells, each note once."""

from __future__ import annotations

import io

from buildmatrix.artifact import Outcome, Status
from buildmatrix.finding import Finding, Severity
from buildmatrix.report import terminal


def outcome(cell: str, *findings: Finding) -> Outcome:
    return Outcome(cell=cell, status=Status.DONE, findings=findings)


def note(cell: str, what: str = "not judged") -> Finding:
    return Finding(rule="BM605", cell=cell, what=what, fix="declare a root", severity=Severity.NOTE)


def told(*outcomes: Outcome) -> list[str]:
    stream = io.StringIO()
    terminal.summary(outcomes, stream, verb="verified")
    return stream.getvalue().splitlines()


def test_a_note_about_several_cells_is_told_once() -> None:
    lines = told(*(outcome(name, note(name)) for name in "abcde"))
    assert lines[5:] == ["", "BM605 a, b, c and 2 more: not judged", "  fix: declare a root", "5 verified"]


def test_different_notes_stay_apart_and_come_last() -> None:
    warning = Finding(rule="BM606", cell="a", what="starts curl", severity=Severity.WARNING)
    lines = told(outcome("a", note("a"), warning), outcome("b", note("b", "something else")))
    assert [line for line in lines if line.startswith("BM")] == [
        "BM606 a: starts curl",
        "BM605 a: not judged",
        "BM605 b: something else",
    ]
    assert lines[-1] == "2 verified, 1 warning"
