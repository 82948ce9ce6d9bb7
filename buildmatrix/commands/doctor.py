"""buildmatrix doctor: which toolchains would be used, what is missing, and whether C compilers are right."""

from __future__ import annotations

import argparse
import platform
import shutil
import sys

from buildmatrix import __version__, errors, prepare, provision, toolchain
from buildmatrix.commands import options
from buildmatrix.matrix import Cell
from buildmatrix.prepare import Host
from buildmatrix.process import SubprocessRunner
from buildmatrix.toolchain import Wheel

SUMMARY = "say which toolchains would be used and what is missing"


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    options.add_matrix(parser)
    options.add_selection(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print one line a tool; returns 0, or the exit status of the first problem."""
    selection = options.read(arguments)
    host, runner = Host.current(), SubprocessRunner()
    print(f"ok    buildmatrix {__version__}, Python {platform.python_version()}, {platform.machine()}")
    print(f"ok    {host.cores} cores, {host.memory / 1e9:.1f} GB free, cache {toolchain.cache_dir(host.environment)}")
    problems = [*_native(), *_version(selection, host, runner), *_go(selection, host)]
    for cell in {cell.target: cell for cell in selection.cells if cell.target.cgo}.values():
        problems += _compiler(cell, selection.matrix.go.zig, host, runner)
    free = shutil.disk_usage(selection.matrix.root).free
    print(f"{'ok' if free > 2e9 else 'LOW':<4}  {free / 1e9:.1f} GB free for {selection.dist}")
    for problem in problems:
        print(problem, file=sys.stderr)
    return problems[0].exit_status if problems else errors.EXIT_OK


def _native() -> list[errors.BuildmatrixError]:
    try:
        from buildmatrix import elf
    except errors.NativeMissing as error:
        print("FAIL  native core")
        return [error]
    print(f"ok    native core: {elf.describe()}")
    return []


def _version(selection: options.Selection, host: Host, runner: SubprocessRunner) -> list[errors.BuildmatrixError]:
    try:
        print(f"ok    version {prepare.project_version(selection.matrix, host, runner)}")
    except errors.BuildmatrixError as error:
        print("FAIL  version")
        return [error]
    return []


def _go(selection: options.Selection, host: Host) -> list[errors.BuildmatrixError]:
    try:
        go = toolchain.find_go(selection.matrix, host.environment)
    except errors.BuildmatrixError as error:
        print("FAIL  go")
        return [error]
    print(f"ok    go {go.version}: {go.program}{_pending(go.wheel)}")
    return []


def _pending(wheel: Wheel | None) -> str:
    missing = wheel is not None and not wheel.program.is_file()
    return " (will be installed by the first build)" if missing else ""


def _compiler(cell: Cell, zig: str, host: Host, runner: SubprocessRunner) -> list[errors.BuildmatrixError]:
    name = cell.target.name
    try:
        compiler = toolchain.find_cc(cell.target, zig, host.environment)
        if compiler.wheel is not None and not compiler.wheel.program.is_file():
            print(f"ok    {name}: {compiler.label}{_pending(compiler.wheel)}")
            return []
        identity = provision.compiler_identity(compiler, cell.target, runner, host.environment)
    except errors.BuildmatrixError as error:
        print(f"FAIL  {name}: C compiler")
        return [error]
    print(f"ok    {name}: {identity}")
    return []
