"""Rows of the table arch_fault_validation: what one fault did to one artifact on one kind of machine.

A row is complete or is not there: it is made when the last run of its campaign has ended.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from buildmatrix.dist import Dist, canonical
from buildmatrix.errors import UsageError
from buildmatrix.faults import statistics

SCHEMA = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultRow:
    """One row. Rates in percent, times in milliseconds, both with the bounds of their 95 % intervals.

    `recovery_time_ms` is the median over the runs in which the workload was lost and came back, None where it never
    was. `fault` is the name in matrix.toml, or ``baseline``. `glibc_version` is that of the C library which the
    artifact runs with, ``none`` for one that needs none. `emulated` rows say how the artifact behaves under an
    emulator on `kernel_version`, not on hardware of `arch`. `started_at` is UTC in RFC 3339. `note` holds what
    limits the row's meaning.
    """

    arch: str
    kernel_version: str
    glibc_version: str
    failure_rate_percent: float
    failure_rate_low: float
    failure_rate_high: float
    recovery_time_ms: float | None
    recovery_time_low: float | None
    recovery_time_high: float | None
    artifact_digest: str
    artifact: str
    release: str
    workload: str
    fault: str
    kind: str
    runs: int
    failures: int
    recoveries: int
    emulated: bool
    started_at: str
    seed: int
    tool_version: str
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What the rows of one campaign have in common."""

    arch: str
    kernel_version: str
    glibc_version: str
    artifact_digest: str
    artifact: str
    release: str
    workload: str
    emulated: bool
    started_at: str
    tool_version: str


def make(
    origin: Origin, *, fault: str, kind: str, seed: int, runs: int, failures: int, recoveries: tuple[float, ...],
    note: str,
) -> FaultRow:  # fmt: skip
    """The row of one fault from what its runs gave; recovery times in milliseconds."""
    rate, time = statistics.rate(failures, runs), statistics.middle(recoveries, seed)
    return FaultRow(
        **asdict(origin),
        failure_rate_percent=round(100 * rate.value, 3),
        failure_rate_low=round(100 * rate.low, 3),
        failure_rate_high=round(100 * rate.high, 3),
        recovery_time_ms=None if time is None else round(time.value, 3),
        recovery_time_low=None if time is None else round(time.low, 3),
        recovery_time_high=None if time is None else round(time.high, 3),
        fault=fault,
        kind=kind,
        seed=seed,
        runs=runs,
        failures=failures,
        recoveries=len(recoveries),
        note=note,
    )


def encode(rows: Iterable[FaultRow]) -> bytes:
    """Rows as a JSON document."""
    return canonical({"schema": SCHEMA, "rows": [asdict(item) for item in rows]})


def decode(data: bytes, name: str) -> tuple[FaultRow, ...]:
    """The rows in a document that `encode` wrote. Raises UsageError, naming `name`, for anything else."""
    try:
        document: Any = json.loads(data)
        if document.get("schema") != SCHEMA:
            raise ValueError(f"got schema {document.get('schema')!r}, expected {SCHEMA}")
        return tuple(FaultRow(**{item.name: row[item.name] for item in fields(FaultRow)}) for row in document["rows"])
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UsageError(
            f"{name}: not rows of a fault campaign", why=str(error), fix="name a file that `faults run` wrote"
        ) from error


def write(path: Path, rows: tuple[FaultRow, ...]) -> None:
    """Write rows to a file that appears whole or not at all."""
    Dist(path.parent).write(path, encode(rows))
