"""What a person sees: summary rows, findings, progress, on terminals and in logs."""

from __future__ import annotations

import io
import os
import re
import shutil
from collections.abc import Callable

import pytest

from buildmatrix.artifact import Artifact, Outcome, Status
from buildmatrix.finding import Finding, Severity
from buildmatrix.report import terminal

ARTIFACT = Artifact(name="app", size=5_234_567, sha256="0123456789abcdef" * 4, sha512="ab" * 64)
FINDING = Finding(
    rule="BM501", cell="app_arm64", what="wrong machine (got x86-64, expected AArch64)", evidence="e_machine 62",
    why="it was built for something else", fix="build the cell again",
)  # fmt: skip
WARNING = Finding(rule="BM514", cell="app_armv7", what="no RELRO", severity=Severity.WARNING)
OUTCOMES = (
    Outcome(cell="app_amd64", status=Status.DONE, artifact=ARTIFACT, seconds=1.5),
    Outcome(cell="app_arm64", status=Status.FAILED, artifact=ARTIFACT, findings=(FINDING,)),
    Outcome(cell="app_armv7", status=Status.DONE, artifact=ARTIFACT, findings=(WARNING,)),
    Outcome(cell="app_riscv64", status=Status.SKIPPED, reason="unchanged", artifact=ARTIFACT),
    Outcome(cell="store_s390x-glibc", status=Status.FAILED, reason="BM301 go build failed\n  why: x.go:1:1: oops"),
)


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def summary(stream: io.StringIO, outcomes: tuple[Outcome, ...] = OUTCOMES) -> str:
    terminal.summary(outcomes, stream, verb="built")
    return stream.getvalue()


def columns(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    monkeypatch.setattr(shutil, "get_terminal_size", lambda *_: os.terminal_size((width, 24)))


def test_a_summary_in_a_log(golden: Callable[[str, str], None]) -> None:
    golden("summary.txt", summary(io.StringIO()))


def test_a_summary_on_a_terminal(golden: Callable[[str, str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    columns(monkeypatch, 120)
    text = summary(Terminal())
    golden("summary-colour.txt", text)
    assert re.sub(r"\x1b\[[0-9]+m", "", text) == summary(io.StringIO())


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_no_colour_where_it_is_not_wanted(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv("TERM", "xterm")
    columns(monkeypatch, 120)
    assert "\x1b" in summary(Terminal())
    monkeypatch.setenv(name, value)
    assert "\x1b" not in summary(Terminal())


@pytest.mark.parametrize("width", [0, 1, 10, 20, 40])
def test_rows_fit_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    columns(monkeypatch, width)
    rows = summary(Terminal()).splitlines()[: len(OUTCOMES)]
    assert all(len(row) <= max(width, 1) for row in rows)
    assert all(row.endswith("…") for row in rows[:1])


def test_an_empty_summary() -> None:
    assert summary(io.StringIO(), ()) == "0 built\n"


def test_counts_say_each_thing_once() -> None:
    assert summary(io.StringIO()).splitlines()[-1] == "2 built, 1 unchanged, 2 failed, 1 warning"


def test_a_skipped_cell_with_an_error_is_failed() -> None:
    outcome = Outcome(cell="a", status=Status.SKIPPED, reason="unchanged", findings=(FINDING,), artifact=ARTIFACT)
    text = summary(io.StringIO(), (outcome,))
    assert text.startswith("FAIL  a  BM501")
    assert text.endswith("0 built, 1 failed\n")


def test_what_artifacts_say_cannot_drive_the_terminal() -> None:
    evil = Finding(rule="BM505", cell="a", what="got \x1b[2J\x1b]0;x\x07 \udcff", evidence="/lib\r\nOK")
    text = summary(io.StringIO(), (Outcome(cell="a", status=Status.DONE, findings=(evil,)),))
    assert not set(text) & set("\x1b\x07\r")
    assert "got \\x1b[2J\\x1b]0;x\\x07 \\udcff" in text
    assert "/lib\\r\\nOK" in text
    text.encode()


def test_printable_text_is_left_alone() -> None:
    assert terminal.printable("plain … ä\t✓") == "plain … ä\t✓"
