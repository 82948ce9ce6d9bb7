"""Layers as streams: counted, hashed and limited while they pass, and expanded whatever they are packed with."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Iterator
from typing import Protocol

from buildmatrix import _zstd, errors

CHUNK = 1 << 20
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"


class Reader(Protocol):
    """Gives up to `size` bytes, and nothing only at the end."""

    def read(self, size: int, /) -> bytes:
        """Up to `size` bytes."""


class Pieces:
    """An iterator of pieces as a reader; it may return less than was asked for, and nothing only at the end."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = b""

    def read(self, size: int, /) -> bytes:
        """Up to `size` bytes."""
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return b""
            self._rest = piece
        data, self._rest = self._rest[:size], self._rest[size:]
        return data


class Counting:
    """A reader that hashes and counts what passes, and refuses to go past a limit."""

    def __init__(self, source: Reader, limit: Callable[[], int], place: str) -> None:
        self._source = source
        self._limit = limit
        self._place = place
        self._hash = hashlib.sha256()
        self.count = 0

    def read(self, size: int = -1, /) -> bytes:
        """Up to `size` bytes. Raises LayerInvalid past the limit."""
        data = self._source.read(CHUNK if size < 0 else size)
        self._hash.update(data)
        self.count += len(data)
        if self.count > self._limit():
            raise errors.LayerInvalid(
                f"{self._place}: expands past {self._limit()} bytes",
                why="no honest layer does; it would fill the disk of whoever pulls it",
                fix="rebuild the image without the file that expands so far",
            )
        return data

    @property
    def digest(self) -> str:
        """The digest of what has passed."""
        return f"sha256:{self._hash.hexdigest()}"


class Inflate:
    """The plain bytes of a gzip stream of one or more members."""

    def __init__(self, source: Reader, place: str) -> None:
        self._source = source
        self._place = place
        self._engine = zlib.decompressobj(31)
        self._input = b""
        self._began = False

    def read(self, size: int, /) -> bytes:
        """Up to `size` plain bytes. Raises LayerInvalid."""
        while True:
            if not self._input:
                self._input = self._source.read(CHUNK // 4)
                if not self._input:
                    return self._at_end()
            if self._engine.eof:
                self._engine = zlib.decompressobj(31)
                self._began = False
            try:
                plain = self._engine.decompress(self._input, size)
            except zlib.error as error:
                raise errors.LayerInvalid(
                    f"{self._place}: is damaged", why=str(error), fix="build or fetch the image again"
                ) from error
            self._began = True
            self._input = self._engine.unused_data if self._engine.eof else self._engine.unconsumed_tail
            if plain:
                return plain

    def _at_end(self) -> bytes:
        if self._began and not self._engine.eof:
            raise errors.LayerInvalid(
                f"{self._place}: ends inside its compressed data", fix="build or fetch the image again"
            )
        return b""


class Exact:
    """Reads exactly as many bytes as asked for, until the end: what tarfile expects of a stream."""

    def __init__(self, source: Reader) -> None:
        self._source = source

    def read(self, size: int, /) -> bytes:
        """`size` bytes, or what is left."""
        pieces = []
        while size > 0 and (piece := self._source.read(size)):
            pieces.append(piece)
            size -= len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def plain(source: Counting, head: bytes, place: str) -> Reader:
    """The plain bytes of a layer, by its first bytes rather than by its media type, which may lie."""
    reader = Prefixed(head, source)
    if head.startswith(_GZIP):
        return Inflate(reader, place)
    if head.startswith(_ZSTD):
        return Zstd(reader, place)
    return reader


class Prefixed:
    """A reader whose first bytes were read before."""

    def __init__(self, head: bytes, source: Reader) -> None:
        self._head = head
        self._source = source

    def read(self, size: int = -1, /) -> bytes:
        """Up to `size` bytes."""
        if self._head:
            size = len(self._head) if size < 0 else size
            data, self._head = self._head[:size], self._head[size:]
            return data
        return self._source.read(size)


class Zstd:
    """The plain bytes of a zstd stream."""

    def __init__(self, reader: Prefixed, place: str) -> None:
        self._plain = _zstd.opened(reader)
        self._place = place

    def read(self, size: int, /) -> bytes:
        """Up to `size` plain bytes. Raises LayerInvalid."""
        try:
            return self._plain.read(size)
        except (EOFError, _zstd.error()) as error:
            raise errors.LayerInvalid(
                f"{self._place}: is damaged", why=str(error), fix="build or fetch the image again"
            ) from error
