"""One platform's image as the archive that `docker load` reads (Docker image specification 1.2, manifest.json).

Every engine reads this form; OCI layouts only newer ones. Layers go in as they are, compressed.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from typing import IO

from buildmatrix.oci.content import Manifest
from buildmatrix.oci.store import Source


def write(source: Source, manifest: Manifest, tag: str, sink: IO[bytes]) -> None:
    """Write the image `manifest` of a source under the local name `tag`."""
    config = manifest.config
    if config is None:
        raise AssertionError("an index was to be loaded as an image")
    name = f"{config.digest.removeprefix('sha256:')}.json"
    layers = [f"{layer.digest.removeprefix('sha256:')}/layer.tar" for layer in manifest.layers]
    listing = json.dumps([{"Config": name, "RepoTags": [tag], "Layers": layers}]).encode()
    with tarfile.open(fileobj=sink, mode="w|") as archive:
        _add(archive, name, iter((source.read(config),)), config.size)
        for place, layer in dict(zip(layers, manifest.layers, strict=True)).items():
            _add(archive, place, source.blob(layer).open(0), layer.size)
        _add(archive, "manifest.json", iter((listing,)), len(listing))


def _add(archive: tarfile.TarFile, name: str, pieces: Iterator[bytes], size: int) -> None:
    info = tarfile.TarInfo(name)
    info.size = size
    archive.addfile(info, io.BufferedReader(_Raw(pieces)))


class _Raw(io.RawIOBase):
    """Pieces as a raw stream."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = b""

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]
        """Fill as much of the buffer as one piece gives."""
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._rest = piece
        taken = self._rest[: len(buffer)]
        buffer[: len(taken)] = taken
        self._rest = self._rest[len(taken) :]
        return len(taken)
