"""Installs toolchain wheels into the cache, and proves that a C compiler emits what it should."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from buildmatrix import arch, errors
from buildmatrix.process import Runner
from buildmatrix.target import Target
from buildmatrix.toolchain import CCompiler, Wheel, cache_dir

_INSTALL_SECONDS = 1800
_COMPILE_SECONDS = 300


def install(wheel: Wheel, runner: Runner, environment: Mapping[str, str]) -> None:
    """Put a toolchain wheel into its folder, unless it is there; safe against concurrent installs.

    Raises ToolMissing with pip's own words where it cannot be had.
    """
    if wheel.program.is_file():
        return
    with _lock(wheel.folder.with_name(wheel.folder.name + ".lock")):
        if wheel.program.is_file():
            return
        wheel.folder.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{wheel.folder.name}-", dir=wheel.folder.parent))
        try:
            _pip(wheel, scratch, runner, environment)
            shutil.rmtree(wheel.folder, ignore_errors=True)
            scratch.rename(wheel.folder)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


def _pip(wheel: Wheel, folder: Path, runner: Runner, environment: Mapping[str, str]) -> None:
    requirement = f"{wheel.distribution}=={wheel.version}"
    argv = (sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--disable-pip-version-check",
            "--only-binary", ":all:", "--target", str(folder), requirement)  # fmt: skip
    done = runner.run(argv, env=environment, cwd=folder, timeout=_INSTALL_SECONDS)
    program = folder / wheel.program.relative_to(wheel.folder)
    if not done.ok or not program.is_file():
        raise errors.ToolMissing(
            f"{requirement}: pip could not install it",
            why=done.stderr.strip() or f"{program.name} is not in the wheel",
            fix=f"make the package index reachable, or install it yourself: pip install {requirement}",
        )
    program.chmod(program.stat().st_mode | 0o111)


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        stream = path.open("w")
    except OSError as error:
        raise errors.ToolMissing(
            f"{path.parent}: toolchains cannot be installed there",
            why=error.strerror or str(error),
            fix="make the folder writable, or name another in BUILDMATRIX_CACHE",
        ) from error
    with stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def compiler_identity(compiler: CCompiler, target: Target, runner: Runner, environment: Mapping[str, str]) -> str:
    """The compiler's label with its version line, once it has proved that it emits the target's code.

    The proof is an empty C file, compiled with the target's flags, whose header is read back. It is
    kept in the cache under the compiler's path, size and time, so that an unchanged compiler is not
    started again. Raises CompilerMismatch, or ToolMissing where it cannot be started.
    """
    key = _key(compiler, target)
    cached = cache_dir(environment) / "cc" / f"{key}.json"
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        return str(json.loads(cached.read_text(encoding="utf-8"))["identity"])
    _preflight(compiler, target, runner, environment)
    identity = compiler.label
    if compiler.dialect == "gcc":
        done = runner.run((compiler.command[0], "--version"), env=environment, cwd=Path.cwd(), timeout=_COMPILE_SECONDS)
        identity = f"{compiler.label}: {done.stdout.strip().splitlines()[0] if done.stdout.strip() else 'no version'}"
    with contextlib.suppress(OSError):  # the cache only saves time
        cached.parent.mkdir(parents=True, exist_ok=True)
        scratch = cached.with_suffix(f".{os.getpid()}")
        scratch.write_text(json.dumps({"identity": identity}), encoding="utf-8")
        scratch.rename(cached)
    return identity


def _key(compiler: CCompiler, target: Target) -> str:
    try:
        facts = Path(compiler.command[0]).stat()
    except OSError as error:
        raise errors.ToolMissing(f"{compiler.command[0]}: {error.strerror}", fix="install the compiler") from error
    made_for = (target.goos, target.goarch)  # the same command may be right for one target and wrong for another
    parts = (*made_for, *compiler.command, *compiler.flags, str(facts.st_size), str(facts.st_mtime_ns))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


def _preflight(compiler: CCompiler, target: Target, runner: Runner, environment: Mapping[str, str]) -> None:
    from buildmatrix import elf

    with tempfile.TemporaryDirectory(prefix="buildmatrix-cc-") as folder:
        source, output = Path(folder) / "empty.c", Path(folder) / "empty.o"
        source.write_text("int buildmatrix_empty;\n", encoding="ascii")
        argv = (*compiler.command, *compiler.flags, "-c", str(source), "-o", str(output))
        done = runner.run(argv, env=environment, cwd=Path(folder), timeout=_COMPILE_SECONDS)
        if not done.ok or not output.is_file():
            raise errors.CompilerMismatch(
                f"{target.name}: {compiler.label} cannot compile an empty file",
                why=_first_line(done.stderr) or f"exit status {done.status} without an object file",
                fix=f"name a C compiler for {target.goos}/{target.goarch} in targets.{target.name}.cc",
            )
        facts = elf.read_facts(output)
    row = target.architecture
    if target.format != "elf":
        return
    got = facts.elf
    if got is None or (got.machine, got.bits, got.little_endian) != (row.machine, row.bits, row.little_endian):
        emitted = f"another file format ({facts.format})"
        if got is not None:
            emitted = f"{arch.machine_name(got.machine)} ({got.bits}-bit)"
        raise errors.CompilerMismatch(
            f"{target.name}: {compiler.label} compiles for another machine "
            f"(got {emitted}, expected {arch.machine_name(row.machine)} ({row.bits}-bit))",
            why="an empty C file was compiled with it, and its header read",
            fix=f'set targets.{target.name}.cc to {row.triple}-gcc or "zig"',
        )


def _first_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return next((line for line in lines if "error" in line.lower()), lines[0] if lines else "")
