"""What happens while cells run: rows on a terminal, lines with times in a log, events for programs.

Expected times are those of the last build in the same folder (`timings.py`); what was never built there has none.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from buildmatrix.artifact import Outcome, Status
from buildmatrix.finding import Severity

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

EVENTS_SCHEMA = 1
"""Version of the events that --json prints; docs/report.md describes them."""

_TOLD = ("building", "waiting", "assembling", "pushing")
_GAP = 2
_STYLES = {"failed": "red", "done": "green", "skipped": "dim"}


class Progress(Protocol):
    """A pipeline listener that is entered while cells run."""

    def __enter__(self) -> Progress: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
    def expecting(self, cells: Mapping[str, float | None], workers: int) -> None:
        """These cells will be built, so many at once; how many seconds each is likely to take, where that is known."""

    def started(self, cell: str, step: str) -> None:
        """A cell has begun a step."""

    def finished(self, outcome: Outcome) -> None:
        """A cell is through."""

    def paused(self) -> contextlib.AbstractContextManager[None]:
        """Leave the terminal alone meanwhile: somebody is asked something there."""


@dataclass(slots=True, kw_only=True)
class _Cell:
    """One cell's way so far; `seconds` is None while it runs."""

    step: str
    begun: float
    seconds: float | None = None


class Tally:
    """What is known about a run: how much is done, how fast it goes, how long it may still take."""

    def __init__(self) -> None:
        self.begun = time.monotonic()
        self.expected: dict[str, float | None] = {}
        self.cells: dict[str, _Cell] = {}
        self.workers = 1
        self.built = 0
        self.bytes = 0

    def expecting(self, cells: Mapping[str, float | None], workers: int) -> None:
        """Cells that will be built."""
        self.expected.update(cells)
        self.workers = max(1, workers)

    def started(self, cell: str, step: str) -> None:
        """A step of a cell; its time runs from the first."""
        known = self.cells.get(cell)
        begun = known.begun if known is not None and known.seconds is None else time.monotonic()
        self.cells[cell] = _Cell(step=step, begun=begun)

    def finished(self, outcome: Outcome) -> None:
        """A cell's end."""
        step = "failed" if outcome.failed else str(outcome.status)
        self.cells[outcome.cell] = _Cell(step=step, begun=time.monotonic(), seconds=outcome.seconds)
        if outcome.status is Status.DONE:
            self.built += 1
            self.bytes += outcome.artifact.size if outcome.artifact is not None else 0

    @property
    def done(self) -> int:
        """How many of the expected cells are through."""
        return sum(name in self.cells and self.cells[name].seconds is not None for name in self.expected)

    def left(self, now: float) -> float | None:
        """Seconds that the rest is likely to take, or None while one of its cells was never built here.

        No shorter than what a running cell still needs, and no shorter than the work shared by all workers.
        """
        needs = []
        for name, seconds in self.expected.items():
            cell = self.cells.get(name)
            if cell is not None and cell.seconds is not None:
                continue
            if seconds is None:
                return None
            needs.append(max(0.0, seconds - (now - cell.begun if cell is not None else 0.0)))
        return max(sum(needs) / self.workers, *needs) if needs else None

    def pieces(self, now: float) -> Iterator[str]:
        """The state of the run in words, the weightiest first."""
        running = sum(cell.seconds is None for cell in self.cells.values())
        yield f"{self.done} of {len(self.expected)}"
        left = self.left(now)
        if left is not None and left >= 1:
            yield f"about {clock(left)} left"
        yield f"{running} running"
        elapsed = now - self.begun
        if self.built and elapsed >= 1:
            yield f"{self.built * 60 / elapsed:.1f} a minute"
            yield f"{self.bytes / 1e6:.1f} MB"


def clock(seconds: float) -> str:
    """A duration, short: ``8.3 s``, ``2:05 min``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d} min"


class LineProgress:
    """One line when a cell starts to build, and one when it is through, each with the time of day in UTC."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._told: set[tuple[str, str]] = set()
        self._tally = Tally()

    def __enter__(self) -> LineProgress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def _print(self, text: str) -> None:
        print(f"{time.strftime('%H:%M:%SZ', time.gmtime())} {text}", file=self._stream, flush=True)

    def expecting(self, cells: Mapping[str, float | None], workers: int) -> None:
        """Take note; nothing is printed."""
        with self._lock:
            self._tally.expecting(cells, workers)

    def started(self, cell: str, step: str) -> None:
        """Announce the steps that take time, once."""
        with self._lock:
            self._tally.started(cell, step)
            if step.startswith(_TOLD) and (cell, step) not in self._told:
                self._told.add((cell, step))
                expected = self._tally.expected.get(cell)
                self._print(f"{cell}: {step}" + (f", about {clock(expected)}" if expected else ""))

    def finished(self, outcome: Outcome) -> None:
        """Say how a cell that was built ended."""
        with self._lock:
            self._tally.finished(outcome)
            if outcome.status is not Status.SKIPPED:
                word = "failed" if outcome.failed else "built"
                total = len(self._tally.expected)
                count = f", {self._tally.done} of {total}" if outcome.cell in self._tally.expected else ""
                self._print(f"{outcome.cell}: {word} in {clock(outcome.seconds)}{count}")

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Print no line meanwhile."""
        with self._lock:
            yield


class LiveProgress:
    """A row a cell, redrawn in place, and a line about the whole run below."""

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console
        from rich.live import Live

        self._lock = threading.Lock()
        self._tally = Tally()
        self._console = Console(file=stream)
        self._live = Live(console=self._console, get_renderable=self._screen, refresh_per_second=4, transient=True)

    def __enter__(self) -> LiveProgress:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def expecting(self, cells: Mapping[str, float | None], workers: int) -> None:
        """Count them in the line below."""
        with self._lock:
            self._tally.expecting(cells, workers)

    def started(self, cell: str, step: str) -> None:
        """Show a cell's step."""
        with self._lock:
            self._tally.started(cell, step)

    def finished(self, outcome: Outcome) -> None:
        """Show a cell's end."""
        with self._lock:
            self._tally.finished(outcome)

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Take the rows off the terminal meanwhile."""
        self._live.stop()
        try:
            yield
        finally:
            self._live.start()

    def _screen(self) -> RenderableType:
        from rich.console import Group
        from rich.text import Text

        with self._lock:
            pieces = list(self._tally.pieces(time.monotonic())) if self._tally.expected else []
        line = Text(fitting(pieces, self._console.width), style="bold", no_wrap=True, overflow="ellipsis")
        return Group(self._table(), line)

    def _table(self) -> Table:
        from rich.table import Table
        from rich.text import Text

        with self._lock:
            rows, expected = list(self._tally.cells.items()), dict(self._tally.expected)
        running = [row for row in rows if row[1].seconds is None]
        ended = [row for row in rows if row[1].seconds is not None]
        shown = [*ended[-_shown_rows(len(running)) :], *running]
        texts = [(name, cell.step, self._time(cell, expected.get(name))) for name, cell in shown]
        table = Table.grid(padding=(0, _GAP))
        for width in widths(texts, self._console.width):
            table.add_column(no_wrap=True, overflow="ellipsis", width=width)
        table.columns[2].justify = "right"
        for name, step, spent in texts:
            table.add_row(Text(name), Text(step, style=_STYLES.get(step, "yellow")), spent)
        return table

    def _time(self, cell: _Cell, expected: float | None) -> str:
        if cell.seconds is not None:
            return clock(cell.seconds)
        elapsed = clock(time.monotonic() - cell.begun)
        return f"{elapsed} of {clock(expected)}" if expected and self._console.width >= 60 else elapsed


def widths(rows: list[tuple[str, str, str]], width: int) -> tuple[int, int, int]:
    """Columns for name, step and time: the time is whole, the step has a third of the rest, the name what remains."""
    longest = [max((len(row[index]) for row in rows), default=1) for index in range(3)]
    left = max(2, width - longest[2] - 2 * _GAP)
    step = min(longest[1], max(left // 3, left - longest[0]))
    return min(longest[0], left - step), step, longest[2]


def fitting(pieces: list[str], width: int) -> str:
    """As many pieces as fit into a line, from the first on."""
    line = ""
    for piece in pieces:
        longer = f"{line}, {piece}" if line else piece
        if len(longer) > width:
            break
        line = longer
    return line


def _shown_rows(running: int) -> int:
    return max(1, shutil.get_terminal_size().lines - running - 4)


class EventProgress:
    """One JSON object a line, for programs."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def __enter__(self) -> EventProgress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, KeyboardInterrupt):
            self._event("interrupted", detail=str(error))

    def _event(self, event: str, **values: Any) -> None:
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        line = json.dumps({"schema": EVENTS_SCHEMA, "event": event, "time": now, **values}, sort_keys=True)
        with self._lock:
            print(line, file=self._stream, flush=True)

    def expecting(self, cells: Mapping[str, float | None], workers: int) -> None:
        """``expecting``: `cells` with their likely seconds or null, and `workers`."""
        self._event("expecting", cells=dict(cells), workers=workers)

    def started(self, cell: str, step: str) -> None:
        """``started``: `cell` and `step`."""
        self._event("started", cell=cell, step=step)

    def finished(self, outcome: Outcome) -> None:
        """``finished``: `cell`, `status`, `failed`, `seconds`, `reason`, `findings` and `artifact`."""
        artifact = outcome.artifact
        self._event(
            "finished",
            cell=outcome.cell,
            status=str(outcome.status),
            failed=outcome.failed,
            seconds=round(outcome.seconds, 3),
            reason=outcome.reason,
            findings=[{name: str(getattr(item, name)) for name in item.__slots__} for item in outcome.findings],
            artifact={"name": artifact.name, "size": artifact.size, "sha256": artifact.sha256} if artifact else None,
        )

    def ended(self, outcomes: tuple[Outcome, ...], exit_status: int) -> None:
        """``ended``: how many cells failed and were left alone, counts of findings, the exit status."""
        found = [finding for outcome in outcomes for finding in outcome.findings]
        self._event(
            "ended",
            cells=len(outcomes),
            failed=[outcome.cell for outcome in outcomes if outcome.failed],
            findings={str(level): sum(item.severity is level for item in found) for level in Severity},
            exit_status=exit_status,
        )

    def paused(self) -> contextlib.AbstractContextManager[None]:
        """Events go on: they have a stream of their own."""
        return contextlib.nullcontext()


def progress(stream: TextIO | None = None) -> LiveProgress | LineProgress:
    """Live rows on a terminal, plain lines elsewhere and in CI."""
    stream = stream or sys.stderr
    live = stream.isatty() and not os.environ.get("CI") and os.environ.get("TERM") != "dumb"
    return LiveProgress(stream) if live else LineProgress(stream)
