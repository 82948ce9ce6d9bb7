"""What will be done: a Matrix, a selection and resolved toolchains in, one command a cell out. Pure.

A cell that was asked for is never dropped: a selection that matches nothing, or a name in it that
matches nothing, is an error.
"""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from buildmatrix.command import Command, go_command
from buildmatrix.errors import NothingSelected
from buildmatrix.matrix import Cell, Matrix
from buildmatrix.toolchain import CCompiler, GoToolchain

PARTIAL = ".partial"
"""The folder in dist/ where compilers write; what is finished is renamed out of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedCell:
    """One cell, the compiler it needs (None without cgo) and what will be run."""

    cell: Cell
    compiler: CCompiler | None
    command: Command


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Everything that one run does. `workers` cells build at once."""

    matrix: Matrix
    dist: Path
    version: str
    go: GoToolchain
    cells: tuple[PlannedCell, ...]
    workers: int


def select(matrix: Matrix, *, targets: tuple[str, ...] = (), binaries: tuple[str, ...] = ()) -> tuple[Cell, ...]:
    """The cells whose target and binary match any of the globs; no globs select all.

    Raises NothingSelected for a glob that matches nothing, with the closest name.
    """
    _each_matches(targets, matrix.targets, "target", "targets")
    _each_matches(binaries, tuple(binary.name for binary in matrix.binaries), "binary", "binaries")
    cells = tuple(
        cell for cell in matrix.cells if _matches(cell.target.name, targets) and _matches(cell.binary.name, binaries)
    )
    if not cells:
        raise NothingSelected(
            f"no cell: got targets {', '.join(targets) or '*'} and binaries {', '.join(binaries) or '*'}",
            why="no selected binary is built for a selected target",
            fix="widen `targets` of the binary in matrix.toml, or select another pair",
        )
    return cells


def _matches(name: str, globs: tuple[str, ...]) -> bool:
    return not globs or any(fnmatch.fnmatchcase(name, glob) for glob in globs)


def _each_matches(globs: tuple[str, ...], names: tuple[str, ...], what: str, table: str) -> None:
    for glob in globs:
        if not any(fnmatch.fnmatchcase(name, glob) for name in names):
            close = difflib.get_close_matches(glob, names, n=1)
            raise NothingSelected(
                f"no {what} matches {glob!r}: expected one of {', '.join(names)}",
                fix=f"did you mean {close[0]!r}?" if close else f"add it to matrix.toml, as {table}.NAME",
            )


def workers_for(cells: int, *, cores: int, memory: int) -> int:
    """How many cells to build at once on `cores` cores and `memory` bytes: a link may take 1.5 GB."""
    return max(1, min(cells, cores, memory // 1_500_000_000))


def make(
    matrix: Matrix,
    cells: tuple[Cell, ...],
    *,
    dist: Path,
    version: str,
    go: GoToolchain,
    compilers: Mapping[str, CCompiler],
    passed: Mapping[str, str],
    cores: int,
    memory: int,
) -> Plan:
    """The plan for `cells`; `compilers` holds one compiler per cell id that needs one."""
    workers = workers_for(len(cells), cores=cores, memory=memory)
    parallel = max(2, -(-cores // workers))
    planned = []
    for cell in cells:
        command = go_command(
            cell,
            matrix,
            go=go,
            compiler=compilers.get(cell.id),
            version=version,
            output=dist / PARTIAL / cell.id / cell.file_name,
            passed=passed,
            parallel=parallel,
        )
        planned.append(PlannedCell(cell=cell, compiler=compilers.get(cell.id), command=command))
    return Plan(matrix=matrix, dist=dist, version=version, go=go, cells=tuple(planned), workers=workers)
