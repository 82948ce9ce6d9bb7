"""The machine itself and the toolchains: Python, the native core, room, git, Go, C compilers."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Iterator
from pathlib import Path

from buildmatrix import __version__, errors, prepare, provision, toolchain
from buildmatrix.diagnosis.probe import Health, Probe, failed
from buildmatrix.matrix import Cell, Matrix
from buildmatrix.prepare import Host
from buildmatrix.process import Runner
from buildmatrix.toolchain import Wheel

_ROOM = 2_000_000_000
"""Bytes of free disk below which a build may not end."""
_MEMORY = 1_500_000_000
"""Bytes of free memory that one link may take."""
_ALL = ("build-all", "verify-all")
_LATER = "installed by the first build"


def probes(matrix: Matrix, cells: tuple[Cell, ...], dist: Path, host: Host, runner: Runner) -> Iterator[Probe]:
    """One after the other, as they are found."""
    found = f"buildmatrix {__version__}, Python {platform.python_version()}, {platform.machine()}"
    yield Probe(name="buildmatrix", health=Health.OK, found=found)
    yield _native()
    yield from _room(dist, host)
    yield _version(matrix, host, runner)
    yield _go(matrix, host)
    for cell in {cell.target: cell for cell in cells if cell.target.cgo}.values():
        yield _compiler(cell, matrix.go.zig, host, runner)


def _native() -> Probe:
    try:
        from buildmatrix import elf
    except errors.NativeMissing as error:
        return failed("native core", error, _ALL)
    return Probe(name="native core", health=Health.OK, found=elf.describe())


def _room(dist: Path, host: Host) -> Iterator[Probe]:
    folder = next(place for place in (dist, *dist.parents) if place.is_dir())
    free = shutil.disk_usage(folder).free
    low = free < _ROOM
    yield Probe(
        name="disk",
        health=Health.WARN if low else Health.OK,
        found=f"{free / 1e9:.1f} GB free for {dist}",
        needed_by=("build-all",) if low else (),
        why="a build of every cell may not end" if low else "",
        fix="go clean -cache" if low else "",
    )
    few = host.memory < _MEMORY
    cache = toolchain.cache_dir(host.environment)
    yield Probe(
        name="machine",
        health=Health.WARN if few else Health.OK,
        found=f"{host.cores} cores, {host.memory / 1e9:.1f} GB of memory free, cache {cache}",
        needed_by=("build-all",) if few else (),
        why="one link may take 1.5 GB" if few else "",
        fix="end what takes memory, or build one target: nox -s build-TARGET" if few else "",
    )


def _version(matrix: Matrix, host: Host, runner: Runner) -> Probe:
    try:
        return Probe(name="version", health=Health.OK, found=prepare.project_version(matrix, host, runner))
    except errors.BuildmatrixError as error:
        return failed("version", error, _ALL)


def _go(matrix: Matrix, host: Host) -> Probe:
    try:
        go = toolchain.find_go(matrix, host.environment)
    except errors.BuildmatrixError as error:
        return failed("go", error, ("build-all",))
    pending = _pending(go.wheel)
    found = f"{go.version}: {go.program}" + (f" ({_LATER})" if pending else "")
    return Probe(name="go", health=Health.LATER if pending else Health.OK, found=found)


def _pending(wheel: Wheel | None) -> bool:
    return wheel is not None and not wheel.program.is_file()


def _compiler(cell: Cell, zig: str, host: Host, runner: Runner) -> Probe:
    name, sessions = f"C compiler for {cell.target.name}", (f"build-{cell.target.name}",)
    try:
        compiler = toolchain.find_cc(cell.target, zig, host.environment)
        if _pending(compiler.wheel):
            return Probe(name=name, health=Health.LATER, found=f"{compiler.label} ({_LATER})", needed_by=sessions)
        identity = provision.compiler_identity(compiler, cell.target, runner, host.environment)
    except errors.BuildmatrixError as error:
        return failed(name, error, sessions)
    return Probe(name=name, health=Health.OK, found=identity, needed_by=sessions)
