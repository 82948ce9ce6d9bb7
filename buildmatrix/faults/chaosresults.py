"""What came of exported faults in a cluster: the objects' status and the probes' answers, made into rows.

The status says when a fault was injected and lifted (`kubectl get … -o json`), the measurements how the workload
answered meanwhile: JSON lines, first one for each machine, then one for each probe::

    {"arch": "arm64", "kernel_version": "6.8.0-1010-aws", "glibc_version": "2.39"}
    {"arch": "arm64", "workload": "archprobe", "time": "2026-05-22T14:30:01.250Z", "ok": true}

An object is one run. Nothing is guessed: what was not injected, or not probed, is a finding and gives no row.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from buildmatrix import __version__
from buildmatrix.errors import UsageError
from buildmatrix.faults import row
from buildmatrix.faults.campaign import Measured
from buildmatrix.faults.chaosmesh import PREFIX
from buildmatrix.faults.row import FaultRow, Origin
from buildmatrix.faults.subject import Outages
from buildmatrix.finding import Finding

CODES = {
    "BM988": "a chaos object was not injected everywhere, or its status does not say so",
    "BM989": "there are no measurements for a run in a cluster",
}
"""Findings of the import."""

_NEEDED = ("fault", "kind", "seed", "workload", "outage", "artifact", "arch", "digest", "release")
_FAR = datetime.timedelta(minutes=10)
"""How long after a fault an answer still counts as the recovery from it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Probe:
    at: float
    ok: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Measurements:
    machines: Mapping[str, Mapping[str, str]]
    probes: Mapping[tuple[str, str], list[_Probe]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """One object: its annotations, and from when to when it was injected, in seconds since the epoch."""

    name: str
    about: Mapping[str, str]
    begun: float
    ended: float


def rows(files: list[Path], measurements: Path) -> Measured:
    """Rows from status files and one of measurements. Raises UsageError for what is neither."""
    measured, findings = _measurements(measurements), []
    groups: dict[tuple[str, ...], list[tuple[_Run, float | None, bool]]] = {}
    for item in (item for path in files for item in _objects(path)):
        run = _run(item)
        outcome = run if isinstance(run, Finding) else _outcome(run, measured)
        if isinstance(run, Finding) or isinstance(outcome, Finding):
            findings.append(run if isinstance(run, Finding) else outcome)
        else:
            groups.setdefault(tuple(run.about[name] for name in _NEEDED), []).append((run, *outcome))
    found = tuple(_row(runs, measured) for runs in groups.values())
    return Measured(rows=found, findings=tuple(item for item in findings if isinstance(item, Finding)))


def _objects(path: Path) -> Iterator[dict[str, Any]]:
    """Our objects in one object or a list of them; those of others are passed over."""
    try:
        document = json.loads(path.read_bytes())
        items = document["items"] if str(document.get("kind", "")).endswith("List") else [document]
        for item in items:
            if item.get("metadata", {}).get("annotations", {}).get(f"{PREFIX}fault"):
                yield item
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise UsageError(f"{path}: not the status of chaos objects", why=str(error),
                         fix="kubectl get stresschaos,podchaos,iochaos,networkchaos -o json") from error  # fmt: skip


def _measurements(path: Path) -> _Measurements:
    machines: dict[str, dict[str, str]] = {}
    probes: dict[tuple[str, str], list[_Probe]] = {}
    try:
        for number, line in enumerate(path.read_text().splitlines(), 1):
            where = f"{path}:{number}"
            value = json.loads(line)
            if "time" in value:
                probe = _Probe(at=_seconds(value["time"]), ok=value["ok"] is True)
                probes.setdefault((value["arch"], value["workload"]), []).append(probe)
            else:
                machines[value["arch"]] = {name: str(value[name]) for name in ("kernel_version", "glibc_version")}
    except OSError as error:
        raise UsageError(f"{path}: cannot be read", why=error.strerror or "") from error
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{where}: not a measurement", why=str(error), fix="docs/faults.md shows one") from error
    for listed in probes.values():
        listed.sort(key=lambda item: item.at)
    return _Measurements(machines=machines, probes=probes)


def _seconds(text: str) -> float:
    moment = datetime.datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"got {text!r}, expected a time with its zone")
    return moment.timestamp()


def _run(item: dict[str, Any]) -> _Run | Finding:
    metadata = item["metadata"]
    name = f"{item.get('kind')}/{metadata.get('name')}"
    given = metadata["annotations"]
    about = {key: str(given.get(f"{PREFIX}{key}", "")) for key in _NEEDED}
    missing = [key for key in _NEEDED if not about[key]]
    if missing:
        return _unsure(name, f"got no annotation {PREFIX}{missing[0]}, expected those of the export")
    try:
        records = item.get("status", {}).get("experiment", {}).get("containerRecords") or []
        applied = [_events(record, "Apply") for record in records]
        lifted = [_events(record, "Recover") for record in records]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return _unsure(name, f"got a status that cannot be read ({error}), expected that of Chaos Mesh")
    if not applied or not all(applied):
        return _unsure(name, f"got {sum(map(bool, applied))} of {len(applied)} injected, expected all, and some")
    if not all(lifted) and item.get("kind") != "PodChaos":  # a kill has no end
        return _unsure(name, "got no recovery, expected the fault to be over")
    ends = [max(moments) for moments in (*applied, *lifted) if moments]
    return _Run(name=name, about=about, begun=min(map(min, applied)), ended=max(ends))


def _events(record: dict[str, Any], operation: str) -> list[float]:
    """When an operation on one container succeeded."""
    return [
        _seconds(event["timestamp"])
        for event in record.get("events") or []
        if (event["operation"], event["type"]) == (operation, "Succeeded")
    ]


def _unsure(name: str, what: str) -> Finding:
    return Finding(rule="BM988", cell=name, what=what, why="a row says what a fault did, and this one was not there",
                   fix="kubectl describe it, and import again when it has been injected and has ended")  # fmt: skip


def _outcome(run: _Run, measured: _Measurements) -> tuple[float | None, bool] | Finding:
    """The recovery time in milliseconds, and whether the run is good."""
    key = (run.about["arch"], run.about["workload"])
    until = run.ended + _FAR.total_seconds()
    probes = [probe for probe in measured.probes.get(key, ()) if run.begun <= probe.at <= until]
    during = [probe for probe in probes if probe.at <= run.ended] or probes[:1]
    if key[0] not in measured.machines or not during or probes[-1].at < run.ended:
        return Finding(
            rule="BM989", cell=run.name,
            what=f"got no machine of {key[0]}, or no probes of {key[1]} on it until after the end, expected both",
            why="without them nothing is known about the run", fix="probe all the time, and say what the machine is",
        )  # fmt: skip
    outages = Outages()
    for probe in probes:
        outages.asked(probe.at, probe.at, probe.ok)
        if probe.ok and probe.at > run.ended:
            break
    good = outages.since is None and outages.longest * 1000 <= float(run.about["outage"])
    return outages.recovery, good


def _row(runs: list[tuple[_Run, float | None, bool]], measured: _Measurements) -> FaultRow:
    about = runs[0][0].about
    begun = datetime.datetime.fromtimestamp(min(run.begun for run, _, _ in runs), datetime.UTC)
    origin = Origin(
        arch=about["arch"],
        kernel_version=measured.machines[about["arch"]]["kernel_version"],
        glibc_version=measured.machines[about["arch"]]["glibc_version"],
        artifact_digest=about["digest"],
        artifact=about["artifact"],
        release=about["release"],
        workload=about["workload"],
        emulated=False,
        started_at=begun.strftime("%Y-%m-%dT%H:%M:%SZ"),
        tool_version=__version__,
    )
    return row.make(
        origin,
        fault=about["fault"],
        kind=about["kind"],
        seed=int(about["seed"]),
        runs=len(runs),
        failures=sum(not good for _, _, good in runs),
        recoveries=tuple(recovery for _, recovery, _ in runs if recovery is not None),
        note="measured in a cluster; times are as fine as the probes are frequent",
    )
