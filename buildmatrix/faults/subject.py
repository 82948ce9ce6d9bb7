"""The workload under test, as the guard keeps it: started, asked, restarted, timed."""

from __future__ import annotations

import contextlib
import http.client
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from buildmatrix.faults.inject import Setting, within_limits
from buildmatrix.faults.trial import Trial
from buildmatrix.process import Launched

_PAUSES = (0.0, 0.05, 0.1, 0.2, 0.4, 0.8, 1.0)
"""Seconds before a restart, growing while it dies again and again, as kubelet does on a longer scale."""


@dataclass(slots=True)
class Outages:
    """When a service was lost and when it was back; times in seconds of one clock."""

    longest: float = 0.0
    since: float | None = None
    lost_at_all: bool = False

    def lost(self, at: float) -> None:
        """It is lost from here on, where it was not already."""
        if self.since is None:
            self.since, self.lost_at_all = at, True

    def asked(self, began: float, ended: float, well: bool) -> None:
        """A question and its answer: a good one ends an outage, a bad one begins it when it was asked."""
        if not well:
            self.lost(began)
        elif self.since is not None:
            self.longest, self.since = max(self.longest, ended - self.since), None

    @property
    def recovery(self) -> float | None:
        """The longest outage in milliseconds; None where there was none, or where it lasts."""
        return self.longest * 1000 if self.lost_at_all and self.since is None else None


@dataclass(slots=True)
class Subject:
    """The workload's process. `wrap` puts a fault around its command, `real` finds the process id that counts."""

    setting: Setting
    command: tuple[str, ...]
    wrap: Callable[[tuple[str, ...]], tuple[str, ...]]
    real: Callable[[int], int] = field(default=lambda pid: pid)
    starts: int = 0
    child: Launched | None = None
    _again: float = 0.0
    _fast: int = 0

    @property
    def output(self) -> Path:
        """The file that holds what it printed."""
        return self.setting.own / "output"

    @property
    def pid(self) -> int:
        """Its process id, 0 where it does not run."""
        return self.real(self.child.pid) if self.child is not None and self.child.status is None else 0

    def start(self) -> None:
        """Start it. Its fault is around it as long as `wrap` says so."""
        trial = self.setting.trial
        argv = within_limits(trial, self.wrap(self.command))
        self.child = Launched(argv, env=dict(trial.env), cwd=self.setting.scratch, output=self.output)
        self.starts += 1
        self._again = 0.0

    def keep(self) -> bool:
        """Restart it where it has ended, after a pause; whether it was found ended."""
        if self.child is not None and self.child.status is None:
            return False
        now = time.monotonic()
        if not self._again:
            if self.child is not None:
                self.child.end()
            self._again = now + _PAUSES[min(self._fast, len(_PAUSES) - 1)]
            self._fast += 1
        if now >= self._again:
            self.start()
        return True

    def steady(self) -> None:
        """It answered: the next restart is immediate again."""
        self._fast = 0

    def end(self) -> None:
        """Kill it."""
        if self.child is not None:
            self.child.end()

    def last_words(self) -> str:
        """The last line that it printed, for a report."""
        with contextlib.suppress(OSError):
            lines = self.output.read_bytes()[-4096:].decode("utf-8", "replace").strip().splitlines()
            return lines[-1][:200] if lines else ""
        return ""


def well(trial: Trial, timeout: float) -> bool:
    """Whether the service answers `health` and every probe as it should, each within `timeout` seconds."""
    return all(
        _answers(trial.port, request, timeout) for request in (f"GET {trial.health}", *trial.probes)
    )  # fmt: skip


def _answers(port: int, request: str, timeout: float) -> bool:
    method, _, rest = request.partition(" ")
    path, _, text = rest.partition(" ")
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        body = answer.read(1 << 20)
        return 200 <= answer.status < 300 and text.encode() in body
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
