"""Turns a matrix and a selection into a plan: finds toolchains, the version, the source digest.

This is where the outside is looked at, once, before anything runs.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from buildmatrix import errors, plan, provision, schema, sources, toolchain
from buildmatrix.command import passed_through
from buildmatrix.gobuild import Resolved
from buildmatrix.matrix import Cell, Matrix
from buildmatrix.process import Completed, Runner
from buildmatrix.signing.keyring import Keyring

_GIT_SECONDS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """What a plan takes from the machine: environment, cores, and free memory in bytes."""

    environment: Mapping[str, str]
    cores: int
    memory: int

    @classmethod
    def current(cls) -> Host:
        """This process's environment, the cores it may use, and the memory that is free."""
        return cls(environment=dict(os.environ), cores=len(os.sched_getaffinity(0)), memory=_free_memory())


def _free_memory() -> int:
    try:
        text = Path("/proc/meminfo").read_text(encoding="ascii")
    except OSError:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    match = re.search(r"MemAvailable:\s+(\d+) kB", text)
    return int(match[1]) * 1024 if match else 1 << 32


def make_plan(matrix: Matrix, cells: tuple[Cell, ...], dist: Path, host: Host, runner: Runner) -> plan.Plan:
    """The plan for `cells`. Looks for programs, asks git for the version, starts no compiler."""
    go = toolchain.find_go(matrix, host.environment)
    compilers = {
        cell.id: toolchain.find_cc(cell.target, matrix.go.zig, host.environment) for cell in cells if cell.target.cgo
    }
    return plan.make(
        matrix,
        cells,
        dist=dist,
        version=project_version(matrix, host, runner),
        go=go,
        compilers=compilers,
        passed=passed_through(host.environment, toolchain.cache_dir(host.environment)),
        cores=host.cores,
        memory=host.memory,
    )


def project_version(matrix: Matrix, host: Host, runner: Runner) -> str:
    """The version: the literal of project.version, or what git describe says of this commit.

    Raises VersionUnknown where git has no answer.
    """
    if matrix.project.version != "git":
        return matrix.project.version
    done = _git(matrix, host, runner, "describe", "--tags", "--always", "--dirty")
    version = done.stdout.strip()
    if not done.ok or not schema.VERSION.fullmatch(version):
        raise errors.VersionUnknown(
            f"{matrix.root}: git describe gives no version",
            why=done.stderr.strip() or f"got {version!r}, expected {schema.VERSION.pattern}",
            fix='make a first commit, or set project.version = "1.2.3" in matrix.toml',
        )
    return version


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """The commit that is checked out: its hash and its time in seconds since the epoch."""

    hash: str
    time: int


def commit(matrix: Matrix, host: Host, runner: Runner) -> Commit | None:
    """HEAD, or None outside a git checkout."""
    try:
        done = _git(matrix, host, runner, "log", "-1", "--format=%H %ct")
    except errors.ToolMissing:
        return None
    parts = done.stdout.split()
    return Commit(hash=parts[0], time=int(parts[1])) if done.ok and len(parts) == 2 else None


def epoch(host: Host, head: Commit | None) -> int | None:
    """The time in seconds that documents carry: SOURCE_DATE_EPOCH, else the commit's, else None.

    https://reproducible-builds.org/specs/source-date-epoch/. Raises UsageError where it is set to something
    else than seconds since 1970.
    """
    given = host.environment.get("SOURCE_DATE_EPOCH", "")
    if not given:
        return head.time if head is not None else None
    if not given.isascii() or not given.isdigit() or len(given) > 11:
        raise errors.UsageError(
            f"SOURCE_DATE_EPOCH: got {given!r}, expected seconds since 1970 in decimal digits",
            fix="unset it to use the commit's time, or set it as `git log -1 --format=%ct` prints it",
        )
    return int(given)


def _git(matrix: Matrix, host: Host, runner: Runner, *arguments: str) -> Completed:
    argv = ("git", "-C", str(matrix.root), *arguments)
    return runner.run(argv, env=host.environment, cwd=matrix.root, timeout=_GIT_SECONDS)


def resolve(made: plan.Plan, host: Host, runner: Runner, timeout: float | None = None) -> Resolved:
    """Provide what the plan needs and learn what decides its bytes.

    Installs toolchain wheels, proves every C compiler, digests the sources. Raises ToolMissing,
    CompilerMismatch or SourceMissing before any cell is built.
    """
    wheels = {item.compiler.wheel for item in made.cells if item.compiler and item.compiler.wheel}
    if made.go.wheel is not None:
        wheels.add(made.go.wheel)
    for wheel in sorted(wheels, key=lambda item: item.distribution):
        provision.install(wheel, runner, host.environment)
    compilers = {}
    for item in made.cells:
        if item.compiler is not None:
            environment = dict(item.command.environment)
            compilers[item.cell.id] = provision.compiler_identity(item.compiler, item.cell.target, runner, environment)
    digest = sources.digest(sources.find(made.matrix, made.dist))
    return Resolved(sources=digest, compilers=compilers, timeout=timeout, environment=host.environment)


def keyring(
    matrix: Matrix,
    host: Host,
    runner: Runner,
    asking: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext,
) -> Keyring:
    """The signer and the policy of [signing]; a password is asked for inside `asking`, and only when it is needed."""
    return Keyring(
        matrix.signing,
        root=matrix.root,
        cache=toolchain.cache_dir(host.environment),
        environment=host.environment,
        runner=runner,
        asking=asking,
    )
