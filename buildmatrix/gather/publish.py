"""Writes reports: all of them into dist/, or one where the user says."""

from __future__ import annotations

from pathlib import Path

from buildmatrix.dist import REPORTS, Dist
from buildmatrix.gather import collect
from buildmatrix.report import formats
from buildmatrix.verify import Examination, Verification


def everything(verification: Verification, found: Examination, *, timed: bool = True) -> tuple[Path, ...]:
    """Write every format into dist/; returns the files. Raises DistUnwritable and DiskFull."""
    report, written = collect.model(verification, found, timed=timed), []
    with verification.dist.lock("report"):
        for form, name in REPORTS.items():
            path = verification.dist.root / name
            verification.dist.write(path, formats.render(report, form))
            written.append(path)
    return tuple(written)


def one(verification: Verification, found: Examination, form: str, path: Path, *, timed: bool = True) -> None:
    """Write one format to `path`."""
    Dist(path.parent).write(path, text(verification, found, form, timed=timed))


def text(verification: Verification, found: Examination, form: str, *, timed: bool = True) -> bytes:
    """One format as bytes."""
    return formats.render(collect.model(verification, found, timed=timed), form)
