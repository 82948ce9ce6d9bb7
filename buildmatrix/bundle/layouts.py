"""The contents of bundles from an OCI layout: the whole layout, once for each machine that it has an image for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from buildmatrix import arch, elf
from buildmatrix.arch import Architecture
from buildmatrix.bundle.spec import PAYLOAD, Contents, Member, Unit
from buildmatrix.errors import BundleRefused
from buildmatrix.facts import Status
from buildmatrix.kinds import Kind
from buildmatrix.oci import graph
from buildmatrix.oci.content import Descriptor
from buildmatrix.oci.graph import Node
from buildmatrix.oci.layout import Layout


def contents(path: Path, *, name: str, version: str, to: str) -> tuple[Contents, ...]:
    """One bundle for each Linux architecture with an image in the layout.

    Raises BundleRefused where the layout lacks a blob or has a damaged one; and what reading a layout raises.
    """
    layout = Layout(path)
    nodes = tuple(node for top in layout.index().manifests for node in graph.walk(layout, top))
    _complete(layout, nodes)
    members = tuple(sorted(_members(path), key=lambda member: member.path))
    rows = sorted({row.goarch for row in _rows(layout, nodes)})
    if not rows:
        raise BundleRefused(f"{path}: got no image for Linux, expected one", fix="name the layout of an image")
    return tuple(
        Contents(
            name=name,
            version=version,
            row=arch.BY_GOARCH[goarch],
            level="",
            unit=Unit.TREE,
            to=to or f"/opt/{name}/image",
            members=members,
            loaders=(),
            cells=(),
            time=0,
        )
        for goarch in rows
    )


def _rows(layout: Layout, nodes: tuple[Node, ...]) -> Iterator[Architecture]:
    for node in nodes:
        if not node.is_image:
            continue
        platform = graph.platform_of(layout, node)
        goarch = arch.normalise(platform.architecture)
        if platform.os == "linux" and goarch is not None:
            yield arch.BY_GOARCH[goarch]


def _complete(layout: Layout, nodes: tuple[Node, ...]) -> None:
    for node in nodes:
        for item in (*filter(None, [node.manifest.config]), *node.manifest.layers):
            _blob(layout, item)


def _blob(layout: Layout, item: Descriptor) -> None:
    got = layout.blob_size(item.digest)
    if got != item.size:
        raise BundleRefused(
            f"{layout.name}: got {'no blob' if got is None else f'{got} bytes'} for {item.digest}, "
            f"expected {item.size} bytes",
            fix="copy the layout again",
        )


def _members(path: Path) -> Iterator[Member]:
    for scan in elf.scan_tree(path, facts=False):
        if scan.kind is not Kind.REGULAR or scan.status is not Status.OK or scan.digests.sha256 is None:
            raise BundleRefused(f"{scan.location}: cannot be packed: {scan.status}", fix="remove it, or copy it again")
        name = scan.path
        algorithm, _, blob = name.removeprefix("blobs/").partition("/")
        if name.startswith("blobs/") and algorithm == "sha256" and blob != scan.digests.sha256:
            raise BundleRefused(
                f"{scan.location}: got SHA-256 {scan.digests.sha256}, expected the one in its name",
                why="the blob is damaged or was altered",
                fix="copy the layout again",
            )
        yield Member(path=f"{PAYLOAD}/{name}", source=path / name, sha256=scan.digests.sha256, size=scan.size)
