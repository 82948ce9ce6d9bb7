"""Progress on terminals of any width, in logs, and as events."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import threading
import time

import pytest

from buildmatrix.artifact import Artifact, Outcome, Status
from buildmatrix.finding import Finding
from buildmatrix.report import progress as live

ARTIFACT = Artifact(name="app", size=5_234_567, sha256="0123456789abcdef" * 4, sha512="ab" * 64)


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def columns(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    monkeypatch.setattr(shutil, "get_terminal_size", lambda *_: os.terminal_size((width, 24)))


def test_line_progress_tells_what_takes_time() -> None:
    stream = io.StringIO()
    with live.LineProgress(stream) as progress:
        progress.started("a", "building")
        progress.started("a", "building")
        progress.started("a", "checking")
        progress.started("b", "waiting for another build")
        progress.finished(Outcome(cell="a", status=Status.DONE, seconds=1.25))
        progress.finished(Outcome(cell="b", status=Status.FAILED, seconds=0.5))
        progress.finished(Outcome(cell="c", status=Status.SKIPPED, reason="unchanged"))
    lines = stream.getvalue().splitlines()
    assert all(re.match(r"\d\d:\d\d:\d\dZ ", line) for line in lines)
    assert [line[10:] for line in lines] == [
        "a: building",
        "b: waiting for another build",
        "a: built in 1.2 s",
        "b: failed in 0.5 s",
    ]


def test_line_progress_tells_what_to_expect_and_how_far_it_is() -> None:
    stream = io.StringIO()
    with live.LineProgress(stream) as progress:
        progress.expecting({"a": 65.0, "b": None}, 2)
        progress.started("a", "building")
        progress.started("b", "building")
        progress.finished(Outcome(cell="a", status=Status.DONE, seconds=70.2))
    assert [line[10:] for line in stream.getvalue().splitlines()] == [
        "a: building, about 1:05 min",
        "b: building",
        "a: built in 1:10 min, 1 of 2",
    ]


def test_line_progress_takes_many_threads() -> None:
    stream = io.StringIO()
    progress = live.LineProgress(stream)
    threads = [threading.Thread(target=progress.started, args=(f"cell{i % 5}", "building")) for i in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(line[10:] for line in stream.getvalue().splitlines()) == [f"cell{i}: building" for i in range(5)]


@pytest.mark.parametrize("interrupted", [False, True])
def test_live_progress_draws_and_leaves_the_terminal_as_it_was(
    monkeypatch: pytest.MonkeyPatch, interrupted: bool
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    try:
        with live.LiveProgress(stream) as progress:
            progress.started("app_amd64", "building")
            progress.finished(Outcome(cell="app_arm64", status=Status.FAILED, seconds=2.0))
            progress.finished(Outcome(cell="app_riscv64", status=Status.SKIPPED))
            if interrupted:
                raise KeyboardInterrupt
    except KeyboardInterrupt:
        assert interrupted
    text = stream.getvalue()
    assert all(word in text for word in ("app_amd64", "building", "app_arm64", "failed", "2.0 s", "app_riscv64"))
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h") == 1


def test_live_progress_keeps_running_cells_in_sight(monkeypatch: pytest.MonkeyPatch) -> None:
    progress = live.LiveProgress(Terminal())
    columns(monkeypatch, 80)
    for number in range(100):
        progress.finished(Outcome(cell=f"done{number}", status=Status.DONE))
    progress.started("running", "building")
    table = progress._table()
    assert table.row_count <= 24
    assert str(list(table.columns[0].cells)[-1]) == "running"


CELLS = {"archprobe_amd64": 8.0, "archstore_amd64-v3-rpath": 61.0, "a-service-with-a-very-long-name_arm64-v8.2": 30.0}


def screen(monkeypatch: pytest.MonkeyPatch, width: int) -> list[str]:
    """What the rows look like on a terminal of a width."""
    from rich.console import Console

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", str(width))
    progress = live.LiveProgress(Terminal())
    progress.expecting({**CELLS, "last_riscv64": 10.0}, 2)
    for cell, step in zip(CELLS, ("building", "building", "waiting for another build"), strict=True):
        progress.started(cell, step)
    progress.finished(Outcome(cell="archprobe_amd64", status=Status.DONE, seconds=7.5, artifact=ARTIFACT))
    progress._tally.begun -= 30
    stream = io.StringIO()
    Console(file=stream, width=width).print(progress._screen())
    return stream.getvalue().splitlines()


@pytest.mark.parametrize("width", [40, 80, 120])
def test_rows_fit_the_terminal(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    lines = screen(monkeypatch, width)
    assert len(lines) == 4, lines
    assert all(len(line.rstrip()) <= width for line in lines)
    assert all(re.search(r"\d s|min", line) for line in lines[:3]), lines
    assert "7.5 s" in lines[0]
    assert lines[3].startswith("1 of 4, about ")
    assert any("build" in line for line in lines[:3])
    if width >= 80:
        assert "archstore_amd64-v3-rpath" in lines[1]
        assert "of 1:01 min" in lines[1]
        assert "2.0 a minute" in lines[3]
        assert "5.2 MB" in lines[3]


def test_a_line_takes_as_much_as_fits() -> None:
    assert live.fitting(["a", "bb", "ccc"], 6) == "a, bb"
    assert live.fitting(["aaa"], 2) == ""


def test_what_is_left_counts_workers_and_running_cells() -> None:
    tally = live.Tally()
    tally.expecting({"a": 10.0, "b": 10.0, "c": 40.0}, 2)
    now = time.monotonic()
    assert tally.left(now) == 40.0
    tally.finished(Outcome(cell="c", status=Status.DONE))
    assert tally.left(now) == 10.0
    tally.started("a", "building")
    tally.cells["a"].begun = now - 30
    assert tally.left(now) == 10.0
    tally.finished(Outcome(cell="a", status=Status.DONE))
    tally.finished(Outcome(cell="b", status=Status.FAILED))
    assert tally.left(now) is None
    assert tally.done == 3
    tally.expecting({"new": None}, 2)
    assert tally.left(now) is None


def test_events_are_json_lines_with_a_schema() -> None:
    stream = io.StringIO()
    finding = Finding(rule="BM501", cell="a", what="wrong \x1b machine\n")
    outcome = Outcome(cell="a", status=Status.DONE, findings=(finding,), artifact=ARTIFACT, seconds=1.23456)
    with pytest.raises(KeyboardInterrupt), live.EventProgress(stream) as progress:
        progress.expecting({"a": 2.5, "b": None}, 2)
        progress.started("a", "building")
        progress.finished(outcome)
        progress.ended((outcome,), 1)
        raise KeyboardInterrupt("kept 1 of 2")
    events = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [item["event"] for item in events] == ["expecting", "started", "finished", "ended", "interrupted"]
    assert all(item["schema"] == 1 and re.fullmatch(r"[\d-]+T[\d:]+Z", item["time"]) for item in events)
    assert events[0]["cells"] == {"a": 2.5, "b": None}
    assert events[2]["findings"][0]["rule"] == "BM501"
    assert events[2]["artifact"]["size"] == ARTIFACT.size
    assert events[3]["failed"] == ["a"]
    assert events[4]["detail"] == "kept 1 of 2"


@pytest.mark.parametrize(
    ("stream", "variables", "kind"),
    [
        (Terminal, {"TERM": "xterm"}, live.LiveProgress),
        (Terminal, {"TERM": "dumb"}, live.LineProgress),
        (Terminal, {"TERM": "xterm", "CI": "true"}, live.LineProgress),
        (io.StringIO, {"TERM": "xterm"}, live.LineProgress),
    ],
)
def test_the_kind_of_progress(
    monkeypatch: pytest.MonkeyPatch, stream: type[io.StringIO], variables: dict[str, str], kind: type
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert isinstance(live.progress(stream()), kind)
