"""Where rows go: a file, or the validation store."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from buildmatrix.errors import UsageError
from buildmatrix.faults import row, running
from buildmatrix.faults.row import FaultRow
from buildmatrix.faultspec import BASELINE

FOLDER = Path(".buildmatrix") / "faults"
"""Below the project's folder: one file a campaign."""


def path_of(root: Path, item: FaultRow) -> Path:
    """The file of the campaign that a row is of; the same row always has the same one."""
    moment = item.started_at.replace("-", "").replace(":", "")
    return root / FOLDER / f"{item.artifact}-{item.workload}-{moment}.json"


def keep(rows: tuple[FaultRow, ...], path: Path) -> None:
    """Write the rows of one campaign; the file appears whole or not at all."""
    row.write(path, rows)


def read(paths: Iterable[Path]) -> tuple[FaultRow, ...]:
    """All rows in files."""
    return tuple(item for path in paths for item in row.decode(path.read_bytes(), str(path)))


def validation(item: FaultRow) -> dict[str, Any]:
    """A row in the JSON form of the validation store, which keeps the measurement and not how it came about.

    There `fault` is ``none`` for the baseline, and `artifact` names the workload too where it is not the binary's
    own: rows of different workloads may not be compared.
    """
    own = item.artifact.rpartition("_")[0] == item.workload
    return {
        "schema": 1,
        "arch": item.arch,
        "kernel_version": item.kernel_version,
        "glibc_version": "" if item.glibc_version == running.NO_LIBC else item.glibc_version,
        "failure_rate_percent": item.failure_rate_percent,
        "failure_rate_low": item.failure_rate_low,
        "failure_rate_high": item.failure_rate_high,
        "recovery_time_ms": item.recovery_time_ms,
        "artifact_digest": item.artifact_digest.removeprefix("sha256:"),
        "artifact": item.artifact if own else f"{item.artifact}/{item.workload}",
        "fault": "none" if item.fault == BASELINE else item.fault,
        "runs": item.runs,
        "emulated": item.emulated,
        "started_at": item.started_at.replace("Z", "+00:00"),
        "tool_version": item.tool_version,
        "release": item.release,
    }


def store(rows: Iterable[FaultRow], url: str) -> int:
    """Write rows to the validation store, all or none; returns how many were new."""
    try:
        database, kept = (importlib.import_module(f"buildmatrix.store.{name}") for name in ("database", "rows"))
    except ModuleNotFoundError as error:
        raise UsageError(
            f"{url}: got no module {error.name}, expected the validation store", fix="pip install 'buildmatrix[store]'"
        ) from error
    with database.Store(url) as opened:
        return int(opened.write([kept.decode(validation(item)) for item in rows]))
