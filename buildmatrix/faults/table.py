"""Rows as a table for a terminal or a log. Pure."""

from __future__ import annotations

from buildmatrix.faults.row import FaultRow

_HEAD = ("artifact", "workload", "fault", "runs", "failed", "rate %", "95 %", "recovery ms", "95 %", "")


def text(rows: tuple[FaultRow, ...]) -> str:
    """The table, empty where there are no rows; emulated rows are marked, their times are no hardware's."""
    if not rows:
        return ""
    lines = [_HEAD, *(_cells(item) for item in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEAD))]
    padded = ("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines)
    return "\n".join(padded) + "\n"


def _cells(item: FaultRow) -> tuple[str, ...]:
    recovery, bounds = "-", ""
    if item.recovery_time_ms is not None:
        recovery = f"{item.recovery_time_ms:.0f}"
        bounds = f"{item.recovery_time_low or 0:.0f}..{item.recovery_time_high or 0:.0f}"
    return (
        item.artifact, item.workload, item.fault, str(item.runs), str(item.failures),
        f"{item.failure_rate_percent:.1f}", f"{item.failure_rate_low:.0f}..{item.failure_rate_high:.0f}",
        recovery, bounds, "emulated" if item.emulated else "",
    )  # fmt: skip
