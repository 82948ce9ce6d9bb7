"""A campaign: every fault of a workload again and again, with as many runs without one in between.

Runs with and without a fault take turns, so that whatever else the machine does falls on both alike. Rows are made at
the end; an interrupted campaign leaves none, and nothing else either: each run dies with this process (guard.py), and
the cgroup of a run is looked after here as well.
"""

from __future__ import annotations

import datetime
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from buildmatrix import __version__, errors
from buildmatrix.faults import cgroup, row, running, statistics
from buildmatrix.faults.row import FaultRow, Origin
from buildmatrix.faults.running import Subject
from buildmatrix.faults.trial import Result, decode_result, encode
from buildmatrix.faultspec import BASELINE, FaultSpec, WorkloadSpec
from buildmatrix.finding import Finding, Severity
from buildmatrix.process import Tether

CODES = {
    "BM980": "a declared fault cannot be injected on this machine",
    "BM981": "a run ended without a result",
    "BM982": "a fault never struck in any of its runs",
    "BM983": "the workload fails without any fault",
    "BM984": "an artifact changed while its campaign ran",
    "BM985": "runs were emulated or limited in a way that bounds what their numbers mean",
    "BM986": "a fault makes runs fail that are good without it",
}
"""Findings of campaigns."""

WARNINGS = ("BM985", "BM986")
"""Those that do not fail a campaign: it measures, a release rule judges."""

_SLACK_SECONDS = 20
"""What a run may take beyond its own limit, for namespaces and clean-up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Campaign:
    """One workload and cell under faults; `runs` replaces what the faults say where it is not 0."""

    workload: WorkloadSpec
    subject: Subject
    faults: tuple[FaultSpec, ...]
    release: str
    runs: int = 0

    def times(self, fault: FaultSpec) -> int:
        """How often a fault is tried."""
        return self.runs or fault.runs


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What a campaign gave: complete rows, the baseline first, and what is to be said about them."""

    rows: tuple[FaultRow, ...]
    findings: tuple[Finding, ...]


Told = Callable[[str, int, int], None]
"""Hears of each run before it begins: the fault's name, the run's number from 1, and how many there are in all."""


def run(campaign: Campaign, runner: Tether, environment: Mapping[str, str], told: Told) -> Measured:
    """Run it all. Raises KeyboardInterrupt on an interrupt, after everything was ended."""
    place = cgroup.here()
    if place is not None:
        cgroup.sweep(place)
    started = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    results: dict[str, list[Result | str]] = {BASELINE: [], **{fault.name: [] for fault in campaign.faults}}
    order = tuple(_turns(campaign))
    for number, fault in enumerate(order):
        name = fault.name if fault else BASELINE
        if any(isinstance(item, Result) and item.unavailable for item in results[name]):
            continue
        told(name, number + 1, len(order))
        results[name].append(_one(campaign, fault, number, place, runner, environment))
    if campaign.subject.container is None and running.digest(campaign.subject.path) != campaign.subject.digest[7:]:
        return Measured(rows=(), findings=(_changed(campaign),))
    return _measured(campaign, results, started, place)


def _turns(campaign: Campaign) -> Iterator[FaultSpec | None]:
    """Each round: the baseline, then every fault that has runs left."""
    most = max((campaign.times(fault) for fault in campaign.faults), default=campaign.runs or 1)
    for index in range(most):
        yield None
        yield from (fault for fault in campaign.faults if index < campaign.times(fault))


def _one(
    campaign: Campaign,
    fault: FaultSpec | None,
    number: int,
    place: cgroup.Place | None,
    runner: Tether,
    environment: Mapping[str, str],
) -> Result | str:
    """One run's result, or why there is none."""
    trial = running.trial(campaign.workload, campaign.subject, fault, number=number, place=place)
    argv = (*running.namespaces(fault), sys.executable, "-P", "-m", "buildmatrix.faults.guard")
    limit = trial.limits.seconds + _SLACK_SECONDS
    try:
        done = runner.tether(argv, encode(trial), env=environment, cwd=Path("/"), timeout=limit)
        return decode_result(done.stdout)
    except ValueError:
        return _said(done.stderr) or f"exit status {done.status}"
    except errors.CommandTimeout:
        return f"it did not end within {limit} s"
    except errors.ToolMissing as error:
        return Result(good=False, unavailable=f"{error.what}: {error.why}")
    finally:
        if trial.limits.cgroup:
            cgroup.end(Path(trial.limits.cgroup))


def _said(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1][:300] if lines else ""


def _changed(campaign: Campaign) -> Finding:
    return Finding(
        rule="BM984",
        cell=campaign.subject.cell.id,
        what=f"got other bytes than at the beginning ({campaign.subject.digest}), expected the same: no row is kept",
        why=CODES["BM984"],
        fix="build first, and run the campaign when nothing else builds",
    )


def _measured(
    campaign: Campaign, results: dict[str, list[Result | str]], started: str, place: cgroup.Place | None
) -> Measured:
    subject = campaign.subject
    rows: list[FaultRow] = []
    findings: list[Finding] = []
    origin = Origin(
        arch=subject.cell.target.goarch,
        kernel_version=os.uname().release,
        glibc_version=subject.glibc,
        artifact_digest=subject.digest,
        artifact=subject.cell.id,
        release=campaign.release,
        workload=campaign.workload.name,
        emulated=subject.emulated,
        started_at=started,
        tool_version=__version__,
    )
    for fault in (None, *campaign.faults):
        given = results[fault.name if fault else BASELINE]
        wrong = tuple(_wrong(campaign, fault, given))
        findings += wrong
        if not wrong:
            good = [item for item in given if isinstance(item, Result)]
            rows.append(_row(origin, fault, good, running.note(subject, fault, place)))
    findings += _bounded(campaign, place)
    findings += _compared(campaign, rows)
    return Measured(rows=tuple(rows), findings=tuple(findings))


def _wrong(campaign: Campaign, fault: FaultSpec | None, given: list[Result | str]) -> Iterator[Finding]:
    """Why there can be no row for a fault: numbers would be made up."""
    name, cell = fault.name if fault else BASELINE, campaign.subject.cell.id
    lost = [item for item in given if isinstance(item, str)]
    results = [item for item in given if isinstance(item, Result)]
    unavailable = next((item.unavailable for item in results if item.unavailable), "")
    if unavailable:
        yield Finding(rule="BM980", cell=cell, what=f"{name}: cannot be injected here", evidence=unavailable,
                      why="nothing was measured, and no row says that it was",
                      fix="install what is missing, choose another machine, or take the fault out")  # fmt: skip
    elif lost:
        what = f"{name}: got no result from {len(lost)} of {len(given)} runs, expected one from each"
        yield Finding(rule="BM981", cell=cell, what=what, evidence=lost[0], fix="run it again; report it if it repeats")
    elif fault is None and results and not any(item.good for item in results):
        yield Finding(rule="BM983", cell=cell, what=f"got {len(results)} failures in as many runs without a fault",
                      evidence=results[0].reason, why="what fails by itself says nothing about faults",
                      fix="correct args, health and probes of the workload")  # fmt: skip
    elif fault is not None and not any(item.struck for item in results):
        yield Finding(rule="BM982", cell=cell, what=f"{name}: got no strike in {len(results)} runs, expected some",
                      why="the workload makes none of these calls, or ended before the moment came",
                      fix="name calls that it makes (strace -f -c), or give it more milliseconds")  # fmt: skip


def _row(origin: Origin, fault: FaultSpec | None, results: list[Result], note: str) -> FaultRow:
    return row.make(
        origin,
        fault=fault.name if fault else BASELINE,
        kind=fault.kind if fault else BASELINE,
        seed=fault.seed if fault else 0,
        runs=len(results),
        failures=sum(not item.good for item in results),
        recoveries=tuple(item.recovery for item in results if item.recovery is not None),
        note=note,
    )


def _bounded(campaign: Campaign, place: cgroup.Place | None) -> Iterator[Finding]:
    text = running.note(campaign.subject, next(iter(campaign.faults), None), place)
    if text:
        yield Finding(rule="BM985", cell=campaign.subject.cell.id, what=text, severity=Severity.WARNING,
                      fix="run the campaign on hardware of this architecture, with a memory cgroup")  # fmt: skip


def _compared(campaign: Campaign, rows: list[FaultRow]) -> Iterator[Finding]:
    """Faults whose failure rate is above the baseline's by more than chance explains."""
    base = next((item for item in rows if item.fault == BASELINE), None)
    for item in rows if base else ():
        gap = statistics.difference(
            statistics.rate(item.failures, item.runs), statistics.rate(base.failures, base.runs) if base else
            statistics.rate(0, 1)
        )  # fmt: skip
        if gap.low > 0:
            what = f"{item.fault}: fails {100 * gap.value:.0f} % more often than without it"
            yield Finding(rule="BM986", cell=campaign.subject.cell.id, what=what, severity=Severity.WARNING,
                          evidence=f"{item.failures} of {item.runs} runs; the difference is at least "
                          f"{100 * gap.low:.0f} % (95 %)")  # fmt: skip
