"""The course of one run: start, fault, end of the fault, recovery. The guard's clockwork.

A service is asked all the time and restarted when it dies, as an orchestrator would. Its run is good where no outage
lasted longer than the workload says, and it was well in the end. A job's run is good where it ended with 0; one that
was killed by the fault may start again, once.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from buildmatrix.faults import inject
from buildmatrix.faults.inject import Fault, Setting
from buildmatrix.faults.subject import Outages, Subject, well
from buildmatrix.faults.trial import Result

_PAUSE = 0.02


def run(setting: Setting, command: tuple[str, ...], real: Callable[[int], int] | None) -> Result:
    """Run one trial; `command` is the workload's, `real` maps the process started to the one that counts."""
    fault = inject.of(setting)
    lifted: list[bool] = []

    def wrap(argv: tuple[str, ...]) -> tuple[str, ...]:
        return argv if lifted else fault.wrap(argv)

    subject = Subject(setting, command, wrap, real or (lambda pid: pid))
    begun = time.monotonic()
    course = _Course(setting, fault, subject, lifted, begun + setting.trial.limits.seconds)
    return course.service() if setting.trial.health else course.job()


class _Course:
    def __init__(self, setting: Setting, fault: Fault, subject: Subject, lifted: list[bool], deadline: float) -> None:
        self.setting, self.fault, self.subject, self.lifted = setting, fault, subject, lifted
        self.deadline = deadline
        self.trial = setting.trial
        spec = setting.trial.fault
        self.window = (spec.milliseconds if spec else 1000) / 1000
        self.from_start = bool(spec and spec.from_start)
        self.outages = Outages()

    def service(self) -> Result:
        """A service: wait until it is well, ask it through the fault, and until it is well again."""
        began = time.monotonic()
        with inject.available():
            self.subject.start()
        ready = self._until_well(began + (self.window if self.from_start else self.trial.limits.seconds / 2))
        if ready is None:
            if not self.from_start:
                return self._result(None, f"it never answered; it said: {self.subject.last_words()}", good=False)
            self.outages.lost(began)
        if not self.from_start:
            with inject.available():
                self.fault.apply(self.subject.pid)
        self._through(time.monotonic() + self.window if not self.from_start else began + self.window)
        self._lift()
        self._until_recovered()
        return self._judged(None if ready is None else (ready - began) * 1000)

    def _lift(self) -> None:
        self.fault.lift(self.subject.pid)
        self.lifted.append(True)

    def _until_well(self, until: float) -> float | None:
        """When it first answered, or None."""
        while time.monotonic() < min(until, self.deadline):
            self.subject.keep()
            if well(self.trial, self._patience):
                self.subject.steady()
                return time.monotonic()
            time.sleep(_PAUSE / 2)
        return None

    @property
    def _patience(self) -> float:
        return min(max(self.trial.outage / 1000, 0.05), 1.0)

    def _ask(self) -> bool:
        """Restart it where it ended, ask it once, and note what came of it."""
        now = time.monotonic()
        if self.subject.keep():
            self.outages.lost(now)
        began = time.monotonic()
        good = well(self.trial, self._patience)
        self.outages.asked(began, time.monotonic(), good)
        if good:
            self.subject.steady()
        return good

    def _through(self, until: float) -> None:
        """Ask it while the fault lasts; what was to happen by its end has happened then, however slow the answers."""
        while time.monotonic() < min(until, self.deadline):
            self._tick()
            self._ask()
            time.sleep(_PAUSE)
        self._tick()

    def _tick(self) -> None:
        killed = self.fault.tick(self.subject.pid)
        if killed is not None:
            self.outages.lost(killed)

    def _until_recovered(self) -> None:
        while not self._ask() and time.monotonic() < self.deadline:
            time.sleep(_PAUSE)

    def _judged(self, ready: float | None) -> Result:
        outages, allowed = self.outages, self.trial.outage
        if outages.since is not None:
            return self._result(ready, f"it did not recover; it said: {self.subject.last_words()}", good=False)
        longest = outages.longest * 1000
        if longest > allowed:
            return self._result(ready, f"got an outage of {longest:.0f} ms, expected at most {allowed} ms", good=False)
        return self._result(ready, "", good=True)

    def _result(self, ready: float | None, reason: str, *, good: bool, recovery: float | None = None) -> Result:
        return Result(
            good=good,
            reason=reason,
            ready=ready,
            recovery=self.outages.recovery if recovery is None else recovery,
            struck=self.fault.struck(),
            starts=self.subject.starts,
        )

    def job(self) -> Result:
        """A job: under the fault from its start to its end; where it failed, without it until it succeeds."""
        with inject.available():
            self.fault.apply(0)
            began = time.monotonic()
            self.subject.start()
        killed = self._attended()
        status, ended = self.subject.child.status if self.subject.child else None, time.monotonic()
        reason = self._why(status)
        self._lift()
        if not reason:
            return self._result((ended - began) * 1000, "", good=True)
        again = self._repeated()
        recovery = None if again is None else (again - ended) * 1000
        if killed and again is not None and self.subject.starts == 2:
            return self._result(None, "", good=True, recovery=recovery)
        return self._result(None, reason, good=False, recovery=recovery)

    def _attended(self) -> bool:
        """Wait for the job's end, half of the time at most; whether the fault ended it."""
        until, killed = time.monotonic() + (self.deadline - time.monotonic()) / 2, False
        while self.subject.pid and time.monotonic() < until:
            killed = self.fault.tick(self.subject.pid) is not None or killed
            time.sleep(_PAUSE / 4)
        return killed

    def _why(self, status: int | None) -> str:
        """Why a run of the job failed; empty where it did not."""
        if status == 0:
            return ""
        if status is None:
            self.subject.end()
            return f"got no end within {self.trial.limits.seconds / 2:g} s, expected one"
        how = f"signal {-status}" if status < 0 else f"exit status {status}"
        return f"got {how}, expected exit status 0; it said: {self.subject.last_words()}"

    def _repeated(self) -> float | None:
        """When a run without the fault succeeded; None where none did in time."""
        while time.monotonic() < self.deadline:
            self.subject.start()
            child = self.subject.child
            if child is not None and child.wait(self.deadline - time.monotonic()) == 0:
                return time.monotonic()
            self.subject.end()
            time.sleep(_PAUSE)
        return None
