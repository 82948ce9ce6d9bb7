"""Promises: what the plan says of machine, glibc and page sizes holds for the bytes in the registry's images."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator

from buildmatrix.oci import platform as platforms
from buildmatrix.release.model import Image, Missing, Planned, PlannedBinary, Program, Release
from buildmatrix.release.rules.rule import Broken, Rule, unknown

_AGAIN = "build the image again, and release that"


def _pairs(release: Release) -> Iterator[tuple[Image, Planned] | Broken]:
    """Each planned platform with its image; what lacks one of the two cannot be judged."""
    if isinstance(release.plan, Missing):
        yield unknown("what was promised is not known", release.plan.why, "name the matrix with --matrix")
        return
    for planned in release.plan:
        for image in release.images:
            if platforms.same(image.platform, planned.platform):
                yield image, planned


def _read(release: Release) -> Iterator[tuple[Image, Planned, tuple[Program, ...]] | Broken]:
    """The same with the image's programs; an image that cannot be read cannot be judged."""
    for pair in _pairs(release):
        if isinstance(pair, Broken):
            yield pair
            continue
        image, planned = pair
        if isinstance(image.programs, Missing):
            yield unknown(f"the bytes of {image.platform} are not known", image.programs.why, _AGAIN)
        else:
            yield image, planned, image.programs


def _floor(release: Release) -> Iterator[Broken]:
    for pair in _pairs(release):
        if isinstance(pair, Broken):
            yield pair
            continue
        image, planned = pair
        for binary in planned.binaries:
            if not binary.floor:
                continue
            program = _program(image, binary)
            if isinstance(program, Broken):
                yield program
            elif program.needs and _key(program.needs) > _key(binary.floor):
                yield Broken(
                    what=f"{image.platform} {program.path}: needs a newer glibc than promised "
                    f"(got {program.needs}, expected at most {binary.floor})",
                    evidence=f"version needs in {image.digest}",
                    why="on a host at the floor the loader ends it with «version not found»",
                    fix=_AGAIN,
                )


def _pages(release: Release) -> Iterator[Broken]:
    for known in _read(release):
        if isinstance(known, Broken):
            yield known
            continue
        image, planned, programs = known
        promised = sorted({size for binary in planned.binaries for size in binary.page_sizes})
        for program in programs:
            if program.foreign:
                continue  # data there, or MACHINES' to tell
            sizes = [size for size in promised if program.pages.get(size)]
            if sizes:
                names = " and ".join(str(size // 1024) for size in sizes)
                yield Broken(
                    what=f"{image.platform} {program.path}: cannot be mapped with {names} KiB pages "
                    f"(got {program.pages[sizes[-1]]}, expected segments aligned to {sizes[-1]:#x})",
                    evidence=f"program headers in {image.digest}",
                    why="a kernel with such pages kills it before main, or maps one segment over another",
                    fix=_AGAIN,
                )


def _machines(release: Release) -> Iterator[Broken]:
    for known in _read(release):
        if isinstance(known, Broken):
            yield known
            continue
        image, planned, programs = known
        for program in programs:
            allowed = any(fnmatch.fnmatchcase(program.path, glob) for glob in planned.foreign)
            if program.foreign and not allowed:
                yield Broken(
                    what=f"{image.platform} {program.path}: for another machine (got {program.foreign})",
                    evidence=image.digest,
                    why="starting it gives «exec format error» there",
                    fix=f"{_AGAIN}; list it in images.NAME.foreign where it is only data",
                )


def _program(image: Image, binary: PlannedBinary) -> Program | Broken:
    if isinstance(image.programs, Missing):
        return unknown(f"the bytes of {image.platform} are not known", image.programs.why, _AGAIN)
    found = next((item for item in image.programs if item.path == binary.path), None)
    found = found or next((item for item in image.programs if binary.sha256 and item.sha256 == binary.sha256), None)
    if found is None:
        return unknown(f"{binary.path} is not in the image for {image.platform}", "", _AGAIN)
    return found


def _key(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


FLOOR = Rule(
    code="BM910",
    title="libc floors hold",
    broken="binary in a released image needs a newer glibc than promised",
    run=_floor,
)
PAGES = Rule(
    code="BM911",
    title="page sizes hold",
    broken="program in a released image cannot be mapped with a promised page size",
    run=_pages,
)
MACHINES = Rule(
    code="BM913",
    title="every program is for its platform's machine",
    broken="program in a released image for another machine than its platform's",
    run=_machines,
)
