"""Runs a bake file and reads its results, or says which node and which step failed."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from buildmatrix import errors
from buildmatrix.buildx import bake, builders
from buildmatrix.buildx.bake import Target
from buildmatrix.buildx.builders import Builder
from buildmatrix.buildx.program import Buildx
from buildmatrix.buildx.progress import Progress, Step

_LINES = 30
_PROBE = "FROM scratch\nCOPY <<END /probe\nprobe\nEND\n"
"""The smallest build that has a step: one without gets no provenance, which is what names the node's platform."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bake:
    """One run: its targets, the empty folder that it works in, and what else it may read and write."""

    targets: tuple[Target, ...]
    folder: Path
    readable: tuple[Path, ...] = ()
    writable: tuple[Path, ...] = ()
    created: int = 0
    """SOURCE_DATE_EPOCH: what every time in the results is set to, in seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Baked:
    """What one target gave: the digest of its image (empty without one), and the platform that its node really is."""

    digest: str
    native: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """What all targets gave, by name, and the steps that there were."""

    targets: Mapping[str, Baked]
    steps: tuple[Step, ...]


def run(
    buildx: Buildx, builder: Builder, job: Bake, told: Callable[[Step], None], timeout: float | None = None
) -> Results:
    """Bake every target. Raises EngineFailed with the node, platform and step at fault, and what `told` raises."""
    file, metadata = job.folder / "bake.json", job.folder / "metadata.json"
    metadata.unlink(missing_ok=True)  # another run's results must not pass for this one's
    file.write_bytes(bake.document(job.targets))
    argv = bake.command(
        buildx.program,
        builder.arguments,
        file,
        metadata,
        (*job.readable, *job.writable, job.folder),
        (*job.writable, job.folder),
    )
    progress = Progress(told)
    variables = buildx.variables({**builder.variables, "SOURCE_DATE_EPOCH": str(job.created)})
    done = buildx.runner.stream(argv, progress.line, env=variables, cwd=job.folder, timeout=timeout)
    if not done.ok:
        raise _failure(buildx, builder, job, progress, done.status)
    return Results(targets=_results(job, metadata), steps=tuple(progress.steps.values()))


def _results(job: Bake, path: Path) -> dict[str, Baked]:
    try:
        value = json.loads(path.read_bytes())
        found = {target.name: _baked(value[target.name]) for target in job.targets if target.name in value}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise errors.EngineFailed(
            "buildx says that it is done, but left no list of results",
            why=str(error),
            fix="run it again; use a buildx that knows bake --metadata-file",
        ) from error
    for target in job.targets:
        if target.name not in found:
            raise errors.EngineFailed(
                f"buildx gave no result for {target.platform} (it has {', '.join(found) or 'none'})",
                why="what is not there would be missing from the release",
                fix="run it again; check that the buildx that is found is the real one",
            )
    return found


def _baked(value: Mapping[str, Any]) -> Baked:
    provenance = value.get("buildx.build.provenance") or {}
    # SLSA v0.2 has it in invocation, v1 in buildDefinition.internalParameters.
    old = (provenance.get("invocation") or {}).get("environment") or {}
    new = (provenance.get("buildDefinition") or {}).get("internalParameters") or {}
    native = old.get("platform") or new.get("builderPlatform") or ""
    return Baked(digest=str(value.get("containerimage.digest") or ""), native=str(native))


def _failure(buildx: Buildx, builder: Builder, job: Bake, progress: Progress, status: int) -> errors.EngineFailed:
    """Which node went away, else which step failed, else what buildx said last."""
    words = "\n       ".join(progress.words[-_LINES:])
    if builder.spec is not None:
        silent = [node for node in builders.nodes(buildx, builder, job.folder) if not node.ok]
        if silent and builder.spec.driver == "remote":
            return builders.unreachable(
                builder.spec, silent, f"it went away while it built; nothing was kept\n       {words}"
            )
    platforms = {target.name: target.platform for target in job.targets}
    for step, printed in progress.failures():
        lines = "\n       ".join((*printed.strip().splitlines()[-_LINES:], step.error))
        return errors.EngineFailed(
            f"{platforms.get(step.target, 'buildx')}: {step.words} failed",
            why=lines,
            fix="correct the Dockerfile, or what it is given",
            output=printed,
        )
    return errors.EngineFailed(
        f"buildx bake failed with exit status {status}", why=words, fix="correct what it names, and run again"
    )


def natives(buildx: Buildx, builder: Builder, platforms: tuple[str, ...], folder: Path) -> dict[str, str]:
    """What each platform's node really is, as its BuildKit says it: an empty image is built to hear that.

    A node may be told to take builds of another platform; its kernel stays what it is, and programs run
    emulated there.
    """
    builders.reached(buildx, builder, folder)
    targets = tuple(
        Target(
            name=bake.target_name(platform), platform=platform, context=str(folder), output="type=cacheonly",
            inline=_PROBE,
        )
        for platform in platforms
    )  # fmt: skip
    results = run(buildx, builder, Bake(targets=targets, folder=folder), lambda _step: None)
    return {target.platform: results.targets[target.name].native for target in targets}
