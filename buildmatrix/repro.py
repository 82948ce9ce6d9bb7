"""Builds every cell twice, in two folders and with two Go caches, and compares every byte.

Where cells are built on a cluster, both builds run there, from nothing: without caches and layers of earlier ones.
The copies lie at paths of different length, so that a path that leaks into a binary also moves what
comes after it. Where two files differ, the first differing section is named.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from buildmatrix import matrix, pipeline, plan, sources, toolchain
from buildmatrix.artifact import Outcome
from buildmatrix.command import passed_through
from buildmatrix.dist import Dist
from buildmatrix.finding import Finding
from buildmatrix.gobuild import Resolved
from buildmatrix.prepare import Host
from buildmatrix.process import SubprocessRunner

CODE = "BM305"
CODES = {CODE: "two builds of one cell from the same inputs differ"}
"""Findings of this step, with their meaning."""
_CHUNK = 1 << 20
_BUILD_ID = "section .note.gnu.build-id"
_FOLDERS = ("one", "another-folder")


@dataclass(frozen=True, slots=True, kw_only=True)
class Repro:
    """What is built twice: the plan of the checkout, and a scratch folder for the two copies."""

    plan: plan.Plan
    resolved: Resolved
    host: Host
    runner: SubprocessRunner
    listener: pipeline.Listener
    scratch: Path


def run(repro: Repro) -> tuple[Outcome, ...]:
    """Outcomes of the second build, with a BM305 finding for every cell whose bytes differ."""
    first, second = (_build(repro, name) for name in _FOLDERS)
    outcomes = []
    for item, one, two in zip(repro.plan.cells, first, second, strict=True):
        if one.failed or two.failed:
            outcomes.append(one if one.failed else two)
            continue
        name = Path(item.cell.id) / item.cell.file_name
        paths = [_copy_root(repro, folder) / "dist" / name for folder in _FOLDERS]
        outcomes.append(replace(two, findings=(*two.findings, *_differences(item.cell.id, paths[0], paths[1]))))
    return tuple(outcomes)


def where(made: plan.Plan) -> str:
    """What was compared, in one line."""
    go = made.matrix.go
    if go.engine == "buildkit":
        return f"compared: two builds on builder {go.builder}, from different folders, without any cache"
    return "compared: two builds on this machine, in different folders, with an empty Go cache each"


def _copy_root(repro: Repro, name: str) -> Path:
    return repro.scratch / name


def _build(repro: Repro, name: str) -> tuple[Outcome, ...]:
    root = _copy_root(repro, name)
    copied = _copy(repro.plan, root)
    cells = {cell.id: cell for cell in copied.cells}
    cache = toolchain.cache_dir(repro.host.environment)
    passed = passed_through(repro.host.environment, cache) | {"GOCACHE": str(root / "go-cache")}
    dist = root / "dist"
    made = plan.make(
        copied,
        tuple(cells[item.cell.id] for item in repro.plan.cells),
        dist=dist,
        version=repro.plan.version,
        go=repro.plan.go,
        compilers={item.cell.id: item.compiler for item in repro.plan.cells if item.compiler is not None},
        passed=passed,
        cores=repro.host.cores,
        memory=repro.host.memory,
    )
    resolved = replace(repro.resolved, cold=True, root=repro.plan.matrix.root)
    return pipeline.run(
        pipeline.Build(plan=made, resolved=resolved, dist=Dist(dist), runner=repro.runner, listener=repro.listener)
    )


def _copy(made: plan.Plan, root: Path) -> matrix.Matrix:
    """Copy the sources and matrix.toml, laid out as they were, and read the copy's matrix."""
    found = sources.find(made.matrix, made.dist)
    base = Path(os.path.commonpath([made.matrix.root, *found.roots]))
    for path in (*found.files, made.matrix.path):
        target = root / "source" / path.relative_to(base)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, target, follow_symlinks=False)
    return matrix.read(root / "source" / made.matrix.path.relative_to(base))


def _differences(cell: str, one: Path, two: Path) -> Iterator[Finding]:
    offset = first_difference(one, two)
    if offset is None:
        return
    place, end = section_at(one, offset)
    if place == _BUILD_ID:  # a digest of what differs further on
        later = first_difference(one, two, end)
        if later is not None:
            offset, place = later, section_at(one, later)[0]
    yield Finding(
        rule=CODE,
        cell=cell,
        what=f"not reproducible: first difference in {place} at offset {offset:#x}",
        evidence=f"{one.stat().st_size} and {two.stat().st_size} bytes",
        why="a path, a time or an order that differs between builds went into the file",
        fix="keep -trimpath, -buildvcs=false and -ldflags=-buildid= in [go], and look for __DATE__ in C code",
    )


def first_difference(one: Path, two: Path, start: int = 0) -> int | None:
    """The byte offset of the first difference of two files from `start` on, or None where there is none."""
    offset = start
    with one.open("rb") as left, two.open("rb") as right:
        left.seek(start)
        right.seek(start)
        while True:
            a, b = left.read(_CHUNK), right.read(_CHUNK)
            if a != b:
                shared = min(len(a), len(b))
                return offset + next((i for i in range(shared) if a[i] != b[i]), shared)
            if not a:
                return None
            offset += len(a)


def section_at(path: Path, offset: int) -> tuple[str, int]:
    """What holds a byte offset, an ELF section or a part of another format, and where that ends."""
    from elftools.common.exceptions import ELFError
    from elftools.elf.elffile import ELFFile

    with path.open("rb") as stream:
        try:
            sections = [item for item in ELFFile(stream).iter_sections() if item["sh_type"] != "SHT_NOBITS"]
        except ELFError:
            return "the file", path.stat().st_size
        for section in sections:
            if section["sh_offset"] <= offset < section["sh_offset"] + section["sh_size"]:
                return f"section {section.name}", section["sh_offset"] + section["sh_size"]
    return "the headers", offset + 1
