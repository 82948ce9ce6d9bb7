"""The direct engine: assembles layers, configs, manifests and the index by itself, into an OCI layout.

No daemon, no emulation, nothing executed. The same inputs give the same bytes, and so the same index
digest. index.json is written last: a killed run leaves the layout with the image that it had before.

Compressing is most of the work, so that a layer of the same files is taken from the layout where it lies there
still, byte for byte; what was compressed to what is remembered beside the locks of dist/. That only saves time:
the proof reads every layer again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
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

    `anew` writes every blob again, whatever lies there under its name. `memory` is the file that remembers layers.
    """

    inputs: Inputs
    base: Base
    layout: Layout
    workers: int
    check: Callable[[], None]
    anew: bool = False
    memory: Path | None = None

    def put(self, blob: Blob) -> None:
        """Store a blob in the layout, unless it lies there with the bytes of its digest."""
        if self.anew or not self.holds(blob.digest, blob.size):
            self.layout.blob_path(blob.digest).unlink(missing_ok=True)
            self.layout.put_blob(blob)

    def holds(self, digest: str, size: int) -> bool:
        """Whether the layout has a blob, byte for byte."""
        if self.layout.blob_size(digest) != size:
            return False
        algorithm, _, value = digest.partition(":")
        try:
            with self.layout.blob_path(digest).open("rb") as stream:
                return hashlib.file_digest(stream, algorithm).hexdigest() == value
        except OSError:
            return False

    def remembered(self) -> dict[str, Written]:
        """Layers by the digest of what they are made from; nothing where that cannot be read."""
        if self.anew or self.memory is None:
            return {}
        try:
            found = json.loads(self.memory.read_bytes())
            return {key: Written(digest=row[0], size=row[1], diff_id=row[2]) for key, row in found.items()}
        except (OSError, ValueError, TypeError, LookupError, AttributeError):
            return {}

    def remember(self, layers: Mapping[str, Written]) -> None:
        """Write down which layers were made from what."""
        if self.memory is None:
            return
        rows = {key: [made.digest, made.size, made.diff_id] for key, made in layers.items()}
        scratch = self.memory.with_name(f"{self.memory.name}.{os.getpid()}")
        with contextlib.suppress(OSError):  # it only saves time
            scratch.write_text(json.dumps(rows), encoding="ascii")
            scratch.replace(self.memory)


def assemble(job: Assembly) -> Descriptor:
    """Assemble every platform and the index; returns what points to the index, with its tag in the layout.

    Raises ImageInputInvalid, and what the base's source raises. index.json is not touched; see `publish`.
    """
    job.layout.create()
    cells = [(platforms.parse(name), own) for name, own in job.inputs.cells()]
    common, layers = job.inputs.common(), _Layers(job)
    shared = (layers.part(common, "files that all platforms share"),) if common else ()
    with ThreadPoolExecutor(max(1, min(job.workers, len(cells)))) as pool:
        images = tuple(pool.map(lambda pair: (pair[0], _image(job, pair[0], pair[1], shared, layers)), cells))
    job.remember(layers.made)
    index = document.index(job.inputs.spec, job.inputs.identity, images)
    job.put(blob_of(index.data))
    return replace(index.descriptor, annotations={"org.opencontainers.image.ref.name": job.inputs.identity.version})


def _image(
    job: Assembly, platform: Platform, cells: tuple[Cell, ...], shared: tuple[Part, ...], layers: _Layers
) -> Document:
    """One platform: the base's layers are copied, ours are written, and the documents follow."""
    spec, identity, base = job.inputs.spec, job.inputs.identity, job.base.on(platform)
    for each in base.layers:
        job.check()
        if job.base.source is not None:
            job.put(job.base.source.blob(each))
    comment = f"binaries {', '.join(cell.id for cell in cells)}"
    parts = (*shared, layers.part(job.inputs.binaries(cells), comment))
    config = document.config(spec, identity, platform, dict(base.config), parts)
    manifest = document.manifest(spec, identity, config, base.layers, parts)
    for made in (config, manifest):
        job.put(blob_of(made.data))
    return manifest


class _Layers:
    """The layers of one image: taken where they lie, else written. Threads may share it."""

    def __init__(self, job: Assembly) -> None:
        self._job = job
        self._known = job.remembered()
        self.made: dict[str, Written] = {}

    def part(self, entries: list[Entry], comment: str) -> Part:
        """A layer of these entries, in the layout."""
        key = self._job.inputs.layer_key(entries)
        written = self._known.get(key)
        if written is None or not self._job.holds(written.digest, written.size):
            written = self._write(entries)
        self.made[key] = written
        return Part(written=written, comment=comment)

    def _write(self, entries: list[Entry]) -> Written:
        job = self._job
        with cast("IO[bytes]", tempfile.SpooledTemporaryFile(_IN_MEMORY)) as sink:
            written = layer.write(entries, sink, time=job.inputs.identity.created, check=job.check)
            job.put(_blob(sink, written))
        return written


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
