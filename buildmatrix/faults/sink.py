"""Where rows go: a file, or the validation store."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from buildmatrix.faults import row
from buildmatrix.faults.row import FaultRow

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
