"""Failure rates and recovery times from release to release: pure.

A change is called one where the 95 % intervals of the two releases do not overlap; all else is noise. Emulated
measurements are never put beside native ones.
"""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from buildmatrix.store.rows import Validation

Z = 1.959963984540054
"""The 97.5 % quantile of the standard normal distribution."""


def wilson(failures: int, runs: int) -> tuple[float, float]:
    """The 95 % interval of a rate in percent (Wilson, JASA 22, 1927): sound for few runs and for rates near 0."""
    if runs <= 0:
        return 0.0, 100.0
    share, square = failures / runs, Z * Z
    middle = (share + square / (2 * runs)) / (1 + square / runs)
    reach = Z / (1 + square / runs) * math.sqrt(share * (1 - share) / runs + square / (4 * runs * runs))
    low = 0.0 if failures == 0 else max(0.0, 100 * (middle - reach))
    high = 100.0 if failures == runs else min(100.0, 100 * (middle + reach))
    return low, high


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One release's measurements of one fault on one architecture, taken together."""

    release: str
    artifacts: tuple[str, ...]
    runs: int
    failure_rate_percent: float
    low: float
    high: float
    recovery_time_ms: float | None
    first: datetime
    change: str = ""
    """Against the release before: ``worse``, ``better``, or ``same``; empty for the first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trend:
    """All releases of one artifact, architecture and fault, the oldest first."""

    artifact: str
    arch: str
    fault: str
    emulated: bool
    points: tuple[Point, ...]


def trends(rows: Iterable[Validation]) -> tuple[Trend, ...]:
    """Every trend, sorted by artifact, architecture and fault."""
    groups: dict[tuple[str, str, str, bool], dict[str, list[Validation]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        groups[row.artifact, row.arch, row.fault, row.emulated][row.release].append(row)
    return tuple(
        Trend(artifact=name, arch=arch, fault=fault, emulated=emulated, points=_points(releases))
        for (name, arch, fault, emulated), releases in sorted(groups.items())
    )


def _points(releases: dict[str, list[Validation]]) -> tuple[Point, ...]:
    points: list[Point] = []
    for release, rows in sorted(releases.items(), key=lambda item: (min(row.started_at for row in item[1]), item[0])):
        points.append(_point(release, rows, points[-1] if points else None))
    return tuple(points)


def _point(release: str, rows: list[Validation], before: Point | None) -> Point:
    runs, failures = sum(row.runs for row in rows), sum(row.failures for row in rows)
    low, high = wilson(failures, runs)
    times = [row.recovery_time_ms for row in rows if row.recovery_time_ms is not None]
    change = ""
    if before is not None:
        change = "worse" if low > before.high else "better" if high < before.low else "same"
    return Point(
        release=release, artifacts=tuple(sorted({row.artifact_digest for row in rows})), runs=runs,
        failure_rate_percent=100 * failures / runs, low=low, high=high,
        recovery_time_ms=statistics.median(times) if times else None, first=min(row.started_at for row in rows),
        change=change,
    )  # fmt: skip


def regressions(found: Iterable[Trend], release: str) -> tuple[Trend, ...]:
    """The trends in which `release` is worse than the release before it.

    A trend that had measurements before and has none for `release` counts too: what was not measured is not proven.
    """
    worse = []
    for trend in found:
        names = [point.release for point in trend.points]
        if release not in names or trend.points[names.index(release)].change == "worse":
            worse.append(trend)
    return tuple(worse)
