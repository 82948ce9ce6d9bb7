"""The way of a cell from source to record, and what joins the cells afterwards.

CELL_STEPS and JOIN_STEPS are the map. Steps share nothing but files in dist/: sessions, make jobs
and CI shards run them in separate processes. One cell's failure never stops another's build.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from buildmatrix import attest, errors, fleet, index, steps, timings, witness
from buildmatrix.artifact import Outcome, Record, Status
from buildmatrix.checks import across
from buildmatrix.dist import Dist
from buildmatrix.fleet import Fleet
from buildmatrix.gobuild import Resolved
from buildmatrix.plan import Plan, PlannedCell
from buildmatrix.prepare import Commit
from buildmatrix.process import SubprocessRunner
from buildmatrix.signing.keyring import Keyring
from buildmatrix.steps import CellRun

if TYPE_CHECKING:
    from buildmatrix._scan import Scan

_POLL_SECONDS = 0.2
_NAMED = 6


class Listener(Protocol):
    """Is told what cells do; called from worker threads."""

    def expecting(self, cells: Mapping[str, float | None], workers: int) -> None:
        """These cells will be built, so many at once; how many seconds each is likely to take, where that is known."""

    def started(self, cell: str, step: str) -> None:
        """A cell has begun a step."""

    def finished(self, outcome: Outcome) -> None:
        """A cell is through."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """What a build run is about. `epoch` is the time that documents carry, in seconds.

    Without a `keyring` nothing is signed.
    """

    plan: Plan
    resolved: Resolved
    dist: Dist
    runner: SubprocessRunner
    listener: Listener
    keyring: Keyring | None = None
    commit: Commit | None = None
    epoch: int | None = None
    force: bool = False
    fail_fast: bool = False


CELL_STEPS: tuple[tuple[str, Callable[[CellRun], None]], ...] = (
    ("building", steps.build),
    # Beyond here no artifact byte changes.
    ("scanning", steps.scan),
    ("checking", steps.check),
    # What follows describes an artifact that was looked at, whatever the checks said of it.
    ("listing components", steps.sbom),
    ("stating provenance", steps.provenance),
    # Beyond here the artifact, its documents and its record agree.
    ("recording", steps.record),
    # Beyond here only signatures are written.
    ("signing", steps.sign),
)


def run(build: Build) -> tuple[Outcome, ...]:
    """Build what changed, check everything, derive the index; outcomes in the plan's order.

    Raises KeyboardInterrupt once every child is dead when it is interrupted.
    """
    runs = {item.cell.id: _cell_run(item, build) for item in build.plan.cells}
    outcomes: dict[str, Outcome] = {}
    survey(runs.values())
    changed = []
    for name, cell in runs.items():
        if cell.settle():
            outcomes[name] = _through(cell, build.listener)
        else:
            changed.append(cell)
    if changed:
        likely = {cell.cell: timings.expected(build.dist, cell.cell) for cell in changed}
        build.listener.expecting(likely, build.plan.workers)
    try:
        _parallel(changed, build, outcomes)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(_kept(runs, outcomes)) from None
    for join in JOIN_STEPS:
        join(build, runs, outcomes)
    return tuple(outcomes[item.cell.id] for item in build.plan.cells)


def _kept(runs: Mapping[str, CellRun], outcomes: Mapping[str, Outcome]) -> str:
    """What an interrupt leaves: every child is dead by now, and what was finished is there."""
    kept = [name for name in runs if name in outcomes and not outcomes[name].failed]
    names = f" ({', '.join(kept[:_NAMED])}{' …' if len(kept) > _NAMED else ''})" if kept else ""
    return (
        f"every compiler was stopped; {len(kept)} of {len(runs)} cells are finished and kept{names}, "
        "the others are as they were before. The same command goes on from here"
    )


def _cell_run(planned: PlannedCell, build: Build) -> CellRun:
    origin = attest.Origin(commit=build.commit.hash if build.commit else "", epoch=build.epoch)
    return CellRun(planned, build.plan, build.resolved, build.dist, build.runner, build.force, origin, build.keyring)


def survey(runs: Iterable[CellRun]) -> None:
    """Scan, in one batch, every artifact whose record has today's inputs; keep the intact ones."""
    from buildmatrix import elf

    candidates: dict[bool, dict[str, tuple[CellRun, Record]]] = {True: {}, False: {}}
    for run in runs:
        record = None if run.force else _valid_record(run)
        if record is not None and record.inputs_digest == run.inputs_digest and run.path.is_file():
            known = witness.recall(run.dist.state(run.cell), run.path) == record.artifact.sha256
            candidates[known][str(run.path)] = (run, record)
    began = witness.now()
    for known, found in candidates.items():
        for scan in elf.scan(list(found), hashes=() if known else ("sha256",), facts=True):
            run, record = found[scan.path]
            if scan.facts is not None and (known or _intact(run, scan, record, began)):
                run.scan, run.record = scan, record
                _keep(run, record)


def _keep(run: CellRun, record: Record) -> None:
    """Take over the documents of an unchanged artifact, where nothing in them would change either."""
    matrix = run.plan.matrix
    run.kept = record.attested == attest.digest(matrix, run.origin) and attest.intact(
        run.dist, run.cell, record.documents, attest.names(matrix)
    )
    run.documents = record.documents if run.kept else ()


def _intact(run: CellRun, scan: Scan, record: Record, began: int) -> bool:
    if (scan.size, scan.digests.sha256) != (record.artifact.size, record.artifact.sha256):
        return False
    with contextlib.suppress(OSError):  # it only saves time
        witness.remember(run.dist.state(run.cell), run.path, record.artifact.sha256, began=began)
    return True


def _valid_record(run: CellRun) -> Record | None:
    try:
        return run.dist.read_record(run.cell)
    except errors.RecordInvalid:
        return None


def _through(run: CellRun, listener: Listener) -> Outcome:
    started = time.monotonic()
    outcome, steps_taken = None, {}
    try:
        for name, step in CELL_STEPS:
            if run.scan is None or name != "building":
                listener.started(run.cell, name)
            begun = time.monotonic()
            step(run)
            steps_taken[name] = time.monotonic() - begun
    except errors.BuildmatrixError as error:
        outcome = Outcome(
            cell=run.cell,
            status=Status.FAILED,
            reason=str(error),
            seconds=time.monotonic() - started,
            exit_status=error.exit_status,
        )
    if outcome is None:
        outcome = Outcome(
            cell=run.cell,
            status=Status.DONE if run.built else Status.SKIPPED,
            reason="" if run.built else "unchanged" if run.kept else "described anew",
            findings=run.findings,
            artifact=run.record.artifact if run.record is not None else None,
            seconds=time.monotonic() - started,
        )
    if run.built and outcome.status is Status.DONE:
        timings.remember(run.dist, run.cell, steps_taken)
    listener.finished(outcome)
    return outcome


def _locked(run: CellRun, listener: Listener) -> Outcome:
    def waiting() -> None:
        run.runner.check()
        listener.started(run.cell, "waiting for another build")

    try:
        with run.dist.lock(run.cell, waiting):
            survey((run,))  # another process may have built it while this one waited
            return _through(run, listener)
    except errors.BuildmatrixError as error:
        outcome = Outcome(cell=run.cell, status=Status.FAILED, reason=str(error), exit_status=error.exit_status)
        listener.finished(outcome)
        return outcome


def _parallel(runs: list[CellRun], build: Build, outcomes: dict[str, Outcome]) -> None:
    if not runs:
        return
    stop = threading.Event()

    def attempt(run: CellRun) -> Outcome:
        if stop.is_set():
            return Outcome(
                cell=run.cell, status=Status.FAILED, reason=f"{run.cell}: not built, another cell failed first"
            )
        outcome = _locked(run, build.listener)
        if build.fail_fast and outcome.failed:
            stop.set()
        return outcome

    pool = ThreadPoolExecutor(max_workers=build.plan.workers)
    try:
        pending = {pool.submit(attempt, run): run.cell for run in runs}
        while pending:
            # Short waits, so that the main thread hears of an interrupt.
            for future in wait(pending, timeout=_POLL_SECONDS, return_when=FIRST_COMPLETED).done:
                outcomes[pending.pop(future)] = future.result()
    except BaseException:
        build.runner.cancel()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _compare(_build: Build, runs: dict[str, CellRun], outcomes: dict[str, Outcome]) -> None:
    """Hold the artifacts of this run against each other."""
    subjects = [(steps.subject_of(run), run.record.artifact.sha256) for run in runs.values() if run.record is not None]
    for finding in across.run(subjects):
        old = outcomes[finding.cell]
        outcomes[finding.cell] = replace(old, findings=(*old.findings, finding))


def _predict(build: Build, runs: dict[str, CellRun], outcomes: dict[str, Outcome]) -> None:
    """Where the matrix says where artifacts go, say at once what will not execute there; `verify` always does."""
    matrix = build.plan.matrix
    if not fleet.declared(matrix):
        return
    judge = Fleet(matrix, lambda cell: build.dist.folder(cell.id) / cell.file_name)
    for name, run in runs.items():
        subject = steps.subject_of(run) if run.scan is not None else None
        if subject is None or subject.elf is None or subject.target.goos != "linux":
            continue
        found = judge.findings(run.planned.cell, dynamic=subject.elf.interp is not None)
        old = outcomes[name]
        outcomes[name] = replace(old, findings=(*old.findings, *found))


def _index(build: Build, runs: dict[str, CellRun], _outcomes: dict[str, Outcome]) -> None:
    if any(run.scan is not None for run in runs.values()):
        index.write(build.dist, build.plan.matrix, build.plan.version, build.commit)


JOIN_STEPS: tuple[Callable[[Build, dict[str, CellRun], dict[str, Outcome]], None], ...] = (_compare, _predict, _index)


def exit_status(outcomes: Iterable[Outcome]) -> int:
    """The worst exit status: build failures and missing tools before findings."""
    statuses = [item.exit_status or errors.EXIT_FINDINGS for item in outcomes if item.failed]
    return max(statuses, default=errors.EXIT_OK)
