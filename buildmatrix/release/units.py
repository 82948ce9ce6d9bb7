"""Reads what a release holds for comparison: the cells of a dist folder, or the images of a layout or a registry.

Everything comes from bytes: sizes, files, and what programs say of themselves. Bills of cells are those beside them;
bills of images are made again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from buildmatrix import arch, elf, errors, inventory
from buildmatrix.dist import RECORD, SBOMS, Dist
from buildmatrix.facts import Facts
from buildmatrix.oci import graph
from buildmatrix.oci.content import Descriptor
from buildmatrix.oci.layout import Layout
from buildmatrix.oci.store import Source
from buildmatrix.preflight.rootfs import Inode
from buildmatrix.release import gather
from buildmatrix.sbom import reading, tree
from buildmatrix.sbom.model import Bill

CELLS, IMAGES = "cells", "images"
_HASH = "sha256"


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """One executable or library. `floor` is the glibc that it needs, as ``2.34``; `level` as Go records it."""

    needed: tuple[str, ...]
    floor: str
    level: str
    go: str
    modules: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """One architecture: a cell, or an image. `size` is in bytes, of an image those that a pull moves.

    `files` maps each path to its SHA-256, or to where a link leads.
    """

    name: str
    size: int
    files: Mapping[str, str]
    programs: Mapping[str, Program]
    bill: Bill | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One of the two releases: `kind` is CELLS or IMAGES."""

    name: str
    kind: str
    units: Mapping[str, Unit]


def of_dist(folder: Path) -> Side:
    """The cells of a dist folder. Raises RecordInvalid, ScanFailed, and UsageError where there are none."""
    dist = Dist(folder)
    units = {}
    for record in dist.records():
        path = dist.folder(record.cell) / record.artifact.name
        facts = elf.read_facts(path)
        scanned = elf.scan_one(path, hashes=(_HASH,), facts=False)
        if scanned.digests.sha256 is None:
            raise errors.ScanFailed(f"{path}: cannot be read ({scanned.status})", fix="build the cell again")
        names = sorted(item.name for item in dist.folder(record.cell).iterdir() if item.name != record.artifact.name)
        files = {record.artifact.name: scanned.digests.sha256, **dict.fromkeys(names, "")}
        units[record.cell] = Unit(
            name=record.cell,
            size=scanned.size,
            files=files,
            programs={record.artifact.name: program_of(facts)},
            bill=_bill_beside(dist.folder(record.cell)),
        )
    if not units:
        raise errors.UsageError(
            f"{folder}: got a folder without a {RECORD} in any cell, expected a dist folder or an OCI layout",
            fix="build first, or name a layout such as dist/images/NAME",
        )
    return Side(name=str(folder), kind=CELLS, units=units)


def _bill_beside(folder: Path) -> Bill | None:
    for name in SBOMS.values():
        path = folder / name
        if path.is_file():
            try:
                return reading.bill(reading.parse(path.read_bytes()))
            except reading.Unreadable as error:
                raise errors.ScanFailed(f"{path}: not an SBOM", why=error.detail, fix="build it again") from error
    return None


def of_layout(layout: Layout, target: str = "") -> Side:
    """The images of a layout: of the tag or digest `target`, else of its only index or image. Raises UsageError."""
    if target:
        return of_images(layout, graph.resolve(layout, target))
    entries = layout.index().manifests
    tops = [item for item in entries if item.is_index] or [item for item in entries if item.is_manifest]
    if len({item.digest for item in tops}) != 1:
        raise errors.UsageError(
            f"{layout.name}: got {len(tops)} images, expected one",
            fix=f"name one by its tag: {layout.name}:TAG (there is {', '.join(layout.tags()) or 'no tag'})",
        )
    return of_images(layout, tops[0])


def of_images(source: Source, top: Descriptor) -> Side:
    """The images below an index or manifest. Raises what the source raises, and ScanFailed for layers."""
    units = {}
    for platform, node in graph.images_of(source, top):
        name = str(platform)
        if name in units:
            raise errors.ContentInvalid(f"{source.name}@{top.digest}: has {name} twice", fix="build the image again")
        units[name] = _image(source, node.descriptor, name)
    if not units:
        raise errors.ContentInvalid(f"{source.name}@{top.digest}: got no image in it, expected at least one")
    return Side(name=f"{source.name}@{top.digest[:19]}", kind=IMAGES, units=units)


def _image(source: Source, entry: Descriptor, name: str) -> Unit:
    manifest = source.manifest(entry).manifest()
    found = gather.read_contents(source, entry, (_HASH,))

    def seen(inode: Inode) -> tuple[tuple[tuple[str, str], ...], Facts | None] | None:
        read = found.seen.get(inode.key)
        if read is None or _HASH not in read.digests:
            return None
        return ((_HASH, read.digests[_HASH]),), read.facts

    listed, gaps = inventory.of_root(found.root, seen, name)
    for gap in gaps:
        if gap.rule != "BM724":  # a database of a kind that nobody here reads
            raise errors.ScanFailed(f"{source.name} {name}: {gap.cell}: {gap.what}", why=gap.why, fix=gap.fix)
    files = {f"/{item.path}": dict(item.hashes)[_HASH] for item in listed.files}
    files |= {f"/{path}": f"→ {target}" for path, target in listed.links.items()}
    return Unit(
        name=name,
        size=sum(layer.size for layer in manifest.blobs),
        files=files,
        programs={program.path: program_of(program.facts) for program in found.programs},
        bill=tree.bill(listed, (), None),
    )


def program_of(facts: Facts) -> Program:
    """What a file says of itself; nothing where it is no ELF file."""
    info = facts.go
    modules = {}
    for module in info.modules if info is not None else ():
        used = module.replace or module
        modules[module.path] = used.version if used.path == module.path else f"{used.path} {used.version}".strip()
    return Program(
        needed=facts.elf.needed if facts.elf is not None else (),
        floor=gather.needs(facts.elf) if facts.elf is not None else "",
        level=_level(facts),
        go=info.version if info is not None else "",
        modules=modules,
    )


def _level(facts: Facts) -> str:
    info = facts.go
    row = arch.BY_GOARCH.get(info.setting("GOARCH") or "") if info is not None else None
    if info is None or row is None or not row.level_variable:
        return ""
    value = info.setting(row.level_variable)
    return f"{row.level_variable}={value}" if value else ""
