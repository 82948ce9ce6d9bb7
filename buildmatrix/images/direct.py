"""The direct engine: assembles layers, configs, manifests and the index by itself, into an OCI layout.

No daemon, no emulation, nothing executed. The same inputs give the same bytes, and so the same index
digest. index.json is written last: a killed run leaves the layout with the image that it had before.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import IO, cast

from buildmatrix.images import document, layer
from buildmatrix.images.base import Base
from buildmatrix.images.document import Part
from buildmatrix.images.inputs import Inputs
from buildmatrix.images.layer import Entry, Written
from buildmatrix.matrix import Cell
from buildmatrix.oci import platform as platforms
from buildmatrix.oci.content import PIECE, Blob, Descriptor, Document, blob_of
from buildmatrix.oci.layout import Layout
from buildmatrix.oci.platform import Platform

_IN_MEMORY = 64 << 20
"""Compressed bytes of a layer that are held in memory before it goes to disk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assembly:
    """One image to assemble; `check` is called between files and may raise to give up.

    `anew` writes every blob again, whatever lies there under its name.
    """

    inputs: Inputs
    base: Base
    layout: Layout
    workers: int
    check: Callable[[], None]
    anew: bool = False

    def put(self, blob: Blob) -> None:
        """Store a blob in the layout."""
        if self.anew:
            self.layout.blob_path(blob.digest).unlink(missing_ok=True)
        self.layout.put_blob(blob)


def assemble(job: Assembly) -> Descriptor:
    """Assemble every platform and the index; returns what points to the index, with its tag in the layout.

    Raises ImageInputInvalid, and what the base's source raises. index.json is not touched; see `publish`.
    """
    job.layout.create()
    cells = [(platforms.parse(name), own) for name, own in job.inputs.cells()]
    common = job.inputs.common()
    shared = (_layer(job, common, "files that all platforms share"),) if common else ()
    with ThreadPoolExecutor(max(1, min(job.workers, len(cells)))) as pool:
        images = tuple(pool.map(lambda pair: (pair[0], _image(job, pair[0], pair[1], shared)), cells))
    index = document.index(job.inputs.spec, job.inputs.identity, images)
    job.put(blob_of(index.data))
    return replace(index.descriptor, annotations={"org.opencontainers.image.ref.name": job.inputs.identity.version})


def _image(job: Assembly, platform: Platform, cells: tuple[Cell, ...], shared: tuple[Part, ...]) -> Document:
    """One platform: the base's layers are copied, ours are written, and the documents follow."""
    spec, identity, base = job.inputs.spec, job.inputs.identity, job.base.on(platform)
    for each in base.layers:
        job.check()
        if job.base.source is not None:
            job.put(job.base.source.blob(each))
    comment = f"binaries {', '.join(cell.id for cell in cells)}"
    parts = (*shared, _layer(job, job.inputs.binaries(cells), comment))
    config = document.config(spec, identity, platform, dict(base.config), parts)
    manifest = document.manifest(spec, identity, config, base.layers, parts)
    for made in (config, manifest):
        job.put(blob_of(made.data))
    return manifest


def _layer(job: Assembly, entries: list[Entry], comment: str) -> Part:
    with cast("IO[bytes]", tempfile.SpooledTemporaryFile(_IN_MEMORY)) as sink:
        written = layer.write(entries, sink, time=job.inputs.identity.created, check=job.check)
        job.put(_blob(sink, written))
    return Part(written=written, comment=comment)


def _blob(sink: IO[bytes], written: Written) -> Blob:
    def read(offset: int) -> Iterator[bytes]:
        sink.seek(offset)
        while piece := sink.read(PIECE):
            yield piece

    return Blob(digest=written.digest, size=written.size, open=read)


def publish(layout: Layout, top: Descriptor) -> None:
    """Make `top` the layout's one image, and remove the blobs that it does not lead to."""
    layout.write_index((top,))
    keep = set(_reachable(layout, top))
    for path in (layout.path / "blobs" / "sha256").iterdir():
        if f"sha256:{path.name}" not in keep:
            path.unlink(missing_ok=True)


def _reachable(layout: Layout, top: Descriptor) -> Iterator[str]:
    yield top.digest
    manifest = layout.manifest(top).manifest()
    yield from (item.digest for item in manifest.blobs)
    for entry in manifest.manifests:
        yield from _reachable(layout, entry)
