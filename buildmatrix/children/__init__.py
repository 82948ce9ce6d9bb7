"""Which programs a Go program starts: found in its sources by a Go program that the project's own Go runs.

`go list`, with the cell's exact flags and environment, names every package that is linked; the program
in `finder/` type-checks them and reports each place that starts a program. Names that are not constant
are reported as such, never guessed. Programs that are started by C code or by a shell's arguments are
out of its sight.

Both the compiled finder and its findings are kept in the cache, under the digests of what decided them.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import shutil
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from buildmatrix import errors
from buildmatrix.command import passed_through
from buildmatrix.plan import Plan, PlannedCell
from buildmatrix.process import Runner
from buildmatrix.toolchain import GoToolchain, cache_dir

SCHEMA = 1
"""Version of the finder's report."""

FINDER = Path(__file__).parent / "finder"
_SECONDS = 600
_PROVIDING = threading.Lock()
_FIELDS = "Dir,ImportPath,Standard,GoFiles,CgoFiles,Imports,ImportMap,Module,Error"


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """One place that starts a program, or looks one up in PATH.

    `file` is relative to the main module, or begins with the path of another one. `function` is what is
    called (``os/exec.Command``), `program` the name, where it is `constant`; `expression` is the source.
    `scope` is the linker's symbol of the enclosing function, or empty where it has no single one.
    """

    package: str
    file: str
    line: int
    function: str
    program: str
    constant: bool
    expression: str
    scope: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A package that was not understood in full, and why: sites in it may be missing."""

    package: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What one cell's sources start, in the order of files and lines."""

    sites: tuple[Site, ...]
    problems: tuple[Problem, ...]


def find(planned: PlannedCell, plan: Plan, sources: str, runner: Runner, environment: Mapping[str, str]) -> Found:
    """The programs that a cell's sources start; `sources` is the digest of the module's files.

    The plan's Go must be there. Raises ToolMissing, CommandTimeout, or PackagesUnlisted where `go list`
    or the finder fails.
    """
    kept = _kept(planned, plan, sources, environment)
    known = _read(kept)
    if known is not None:
        return known
    finder = provide(plan.go, runner, environment)
    with tempfile.TemporaryDirectory(prefix="buildmatrix-children-") as folder:
        listing = Path(folder) / "packages.json"
        listing.write_text(_list(planned, plan, runner), encoding="utf-8")
        argv = (str(finder), "-list", str(listing), "-goarch", planned.cell.target.goarch)
        done = runner.run(argv, env=environment, cwd=Path(folder), timeout=_SECONDS)
    found = _decode(done.stdout) if done.ok else None
    if found is None:
        raise errors.PackagesUnlisted(
            f"{planned.cell.id}: the programs that it starts were not found out", why=done.stderr.strip() or done.stdout
        )
    if not found.problems:
        _write(kept, found)
    return found


def _flags(planned: PlannedCell) -> tuple[str, ...]:
    """The build's flags, but for the linker's: those change with every version, and choose no source."""
    flags = planned.command.recorded[2:-3]  # between "go build" and "-o OUTPUT PACKAGE"
    return tuple(flag for flag in flags if not flag.startswith("-ldflags="))


def _list(planned: PlannedCell, plan: Plan, runner: Runner) -> str:
    command = planned.command
    flags = (f"-json={_FIELDS}", *_flags(planned))
    argv = (str(plan.go.program), "list", "-e", "-deps", *flags, planned.cell.binary.package)
    done = runner.run(argv, env=dict(command.environment), cwd=command.cwd, timeout=_SECONDS)
    if not done.ok:
        raise errors.PackagesUnlisted(
            f"{planned.cell.id}: go list failed with exit status {done.status}",
            why=done.stderr.strip(),
            fix="run go mod tidy in the module, and correct what it says",
        )
    return done.stdout


def provide(go: GoToolchain, runner: Runner, environment: Mapping[str, str]) -> Path:
    """The compiled finder, built with `go` unless it is in the cache; safe against concurrent builds."""
    folder = cache_dir(environment) / "children" / f"finder-{_digest(_finder_digest(), go.version, platform.machine())}"
    program = folder / "finder"
    with _PROVIDING:
        if not program.is_file():
            _compile(folder, go, runner, environment)
    return program


def _compile(folder: Path, go: GoToolchain, runner: Runner, environment: Mapping[str, str]) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=".finder-", dir=folder.parent))
    try:
        for source in _finder_sources():
            shutil.copyfile(source, scratch / source.name)
        settings = {"GOFLAGS": "", "GOWORK": "off", "GOTOOLCHAIN": "local", "GOENV": "off", "CGO_ENABLED": "0"}
        passed = passed_through(environment, cache_dir(environment))
        argv = (str(go.program), "build", "-trimpath", "-buildvcs=false", "-o", "finder", ".")
        done = runner.run(argv, env={**passed, **settings}, cwd=scratch, timeout=_SECONDS)
        if not done.ok:
            raise errors.PackagesUnlisted("the finder of started programs cannot be compiled", why=done.stderr.strip())
        with contextlib.suppress(OSError):  # another process was faster
            scratch.rename(folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _finder_sources() -> list[Path]:
    return [path for path in sorted(FINDER.iterdir()) if path.name == "go.mod" or path.suffix == ".go"]


@cache
def _finder_digest() -> str:
    return _digest(*(part for path in _finder_sources() for part in (path.name, path.read_text(encoding="utf-8"))))


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


def _kept(planned: PlannedCell, plan: Plan, sources: str, environment: Mapping[str, str]) -> Path:
    settings = [f"{name}={value}" for name, value in planned.command.settings]
    inputs = (*_flags(planned), planned.cell.binary.package)
    name = _digest(_finder_digest(), plan.go.version, sources, *inputs, *settings)
    return cache_dir(environment) / "children" / f"found-{name}.json"


def _read(path: Path) -> Found | None:
    try:
        return _decode(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        return None


def _write(path: Path, found: Found) -> None:
    with contextlib.suppress(OSError):  # the cache only saves time
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = path.with_suffix(f".{os.getpid()}")
        scratch.write_text(json.dumps({"schema": SCHEMA, **asdict(found)}), encoding="utf-8")
        scratch.replace(path)


def _decode(text: str) -> Found | None:
    """The finder's report; None for anything else, such as a cache file that was cut short."""
    try:
        value: Any = json.loads(text)
        if value["schema"] != SCHEMA:
            return None
        return Found(
            sites=tuple(Site(**item) for item in value["sites"]),
            problems=tuple(Problem(**item) for item in value["problems"]),
        )
    except (ValueError, KeyError, TypeError):
        return None
