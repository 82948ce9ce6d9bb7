"""Builds one cell: skips it when nothing changed, else runs its command and publishes the result.

A failed or interrupted build leaves the artifact and record of an earlier one as they were.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from buildmatrix import errors
from buildmatrix.artifact import Inputs
from buildmatrix.dist import Dist
from buildmatrix.plan import Plan, PlannedCell
from buildmatrix.process import Completed, Runner

_NO_SPACE = re.compile(r"no space left on device|disk quota exceeded", re.IGNORECASE)
_REMEDIES: tuple[tuple[re.Pattern[str], str], ...] = (
    (
        re.compile(r"no required module provides package|missing go\.sum entry|updates to go\.mod needed"),
        "run go mod tidy in the module, and commit go.mod and go.sum",
    ),
    (
        re.compile(r"requires exactly one main package"),
        "point binaries.{binary}.package at a package main (got {package})",
    ),
    (
        re.compile(r"directory not found|no Go files in|is not in std|cannot find package"),
        "correct binaries.{binary}.package ({package}) in matrix.toml",
    ),
)
"""What a compiler says, and what to do about it; the first that matches is shown."""
_BY_HAND = "run it by hand: buildmatrix plan --target {target} prints the exact command"
_OUTPUT_LINES = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """What was learnt about the inputs when a run began: source digest and compilers' identities."""

    sources: str
    compilers: Mapping[str, str]
    timeout: float | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    """The caller's environment, for programs that find things by it."""
    cold: bool = False
    """Whether a cluster must use nothing of earlier builds, as `repro` wants it."""
    root: Path | None = None
    """The folder that builders' certificates are relative to, where that is not the matrix's."""


def inputs_of(planned: PlannedCell, plan: Plan, resolved: Resolved) -> Inputs:
    """Everything that decides the cell's bytes, free of machine paths."""
    return Inputs(
        command=planned.command.recorded,
        settings=planned.command.settings,
        go=plan.go.version,
        compiler=resolved.compilers.get(planned.cell.id, ""),
        version=plan.version,
        sources=resolved.sources,
    )


def build(planned: PlannedCell, dist: Dist, runner: Runner, timeout: float | None) -> Path:
    """Run the cell's command and move its output into the cell's folder; returns the artifact's path.

    The caller holds the cell's lock. Raises BuildFailed, DiskFull, ToolMissing or CommandTimeout.
    """
    command, cell = planned.command, planned.cell.id
    folder = dist.partial(cell)
    try:
        done = runner.run(command.argv, env=dict(command.environment), cwd=command.cwd, timeout=timeout)
        if not done.ok or not command.output.is_file():
            raise explain(planned, done)
        return dist.publish(cell, folder / command.output.name)
    finally:
        dist.discard_partial(cell)


def explain(planned: PlannedCell, done: Completed) -> errors.BuildmatrixError:
    """The error for a command of the cell that failed, with what to do about it."""
    output = (done.stderr + done.stdout).strip()
    cell = planned.cell
    if _NO_SPACE.search(output):
        return errors.DiskFull(
            f"{cell.id}: no space left while it was built",
            why=_first(output, _NO_SPACE),
            fix="free some space (go clean -cache, or GOCACHE and TMPDIR elsewhere) and run again; nothing was lost",
        )
    fix = next((text for pattern, text in _REMEDIES if pattern.search(output)), _BY_HAND)
    return errors.BuildFailed(
        f"{cell.id}: go build failed" + (f" with exit status {done.status}" if not done.ok else " to write a program"),
        command=done.argv,
        output=output,
        why=_indented(output) or "it printed nothing",
        fix=fix.format(binary=cell.binary.name, package=cell.binary.package, target=cell.target.name),
    )


def _first(output: str, pattern: re.Pattern[str]) -> str:
    return next((line.strip() for line in output.splitlines() if pattern.search(line)), "")


def _indented(output: str) -> str:
    # A linker that refuses a flag prints its whole manual after saying so.
    lines = list(itertools.takewhile(lambda line: not line.startswith("usage: "), output.splitlines()))
    kept = lines[:_OUTPUT_LINES]
    if len(lines) > _OUTPUT_LINES:
        kept.append(f"... and {len(lines) - _OUTPUT_LINES} more lines")
    return "\n       ".join(kept)
