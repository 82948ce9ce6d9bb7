"""Inputs as streams of bytes: files, folders and standard input, compressed or not.

Nothing is read as a whole. What a compressed file becomes is bounded by the chunks in which it is read.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from buildmatrix import _zstd, errors

CHUNK = 1 << 18
"""Bytes that are looked at at once: what fits the processor's cache."""

MAX_LINE = 1 << 20
"""Bytes of a line that are kept together; what is longer is read in pieces of this size."""

HEAD = 1 << 12
"""Bytes by which a format is told."""


class Peeked(io.RawIOBase):
    """A stream whose first bytes were looked at already."""

    def __init__(self, stream: IO[bytes], head: bytes) -> None:
        super().__init__()
        self._stream, self._head = stream, head

    def readable(self) -> bool:
        """Always."""
        return True

    def read(self, size: int = -1) -> bytes:
        """At most `size` bytes: the head first."""
        if self._head:
            size = len(self._head) if size < 0 else size
            part, self._head = self._head[:size], self._head[size:]
            return part
        return self._stream.read(CHUNK if size < 0 else size)


def _head(stream: IO[bytes], size: int = HEAD) -> bytes:
    parts: list[bytes] = []
    while size > 0 and (part := stream.read(size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


_DAMAGED = (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile)


@contextmanager
def explained(name: str) -> Iterator[None]:
    """Turn what damaged or unreadable inputs raise into an error that says which input it was."""
    try:
        yield
    except _DAMAGED as error:
        raise errors.ScanFailed(
            f"{name}: the compressed data is damaged", why=str(error), fix="export it again"
        ) from error
    except OSError as error:
        raise errors.ScanFailed(f"{name}: cannot be read", why=error.strerror or str(error)) from error
    except _zstd.error() as error:
        raise errors.ScanFailed(
            f"{name}: the compressed data is damaged", why=str(error), fix="export it again"
        ) from error


def opened(stream: IO[bytes]) -> tuple[IO[bytes], bytes]:
    """The plain bytes of a stream, however often it was compressed (at most twice), and their head."""
    for _ in range(3):
        head = _head(stream)
        rest = cast("IO[bytes]", Peeked(stream, head))
        if head.startswith(b"\x1f\x8b"):
            stream = cast("IO[bytes]", gzip.GzipFile(fileobj=rest))
        elif head.startswith(b"\x28\xb5\x2f\xfd"):
            stream = _zstd.opened(rest)
        elif head.startswith(b"BZh"):
            stream = cast("IO[bytes]", bz2.BZ2File(rest))
        elif head.startswith(b"\xfd7zXZ\x00"):
            stream = cast("IO[bytes]", lzma.LZMAFile(rest))  # noqa: SIM115  (its input is closed by who opened it)
        else:
            return rest, head
    raise errors.ScanFailed("got data compressed more than twice, expected a log", fix="unpack it first")


def found(names: tuple[str, ...]) -> Iterator[tuple[str, Path | None]]:
    """Every input by name: `-` is standard input, a folder all regular files below it."""
    for name in names:
        path = Path(name)
        if name == "-":
            yield "stdin", None
        elif path.is_dir():
            yield from (
                (str(item), item) for item in sorted(path.rglob("*")) if item.is_file() and not _hidden(item, path)
            )
        elif path.exists():
            yield name, path
        else:
            raise errors.UsageError(f"{name}: got no such file, expected a log, an export or a folder of them")


def _hidden(item: Path, root: Path) -> bool:
    return any(part.startswith(".") for part in item.relative_to(root).parts)


@contextmanager
def raw(path: Path | None) -> Iterator[IO[bytes]]:
    """An input's bytes as they lie there."""
    if path is None:
        yield sys.stdin.buffer
        return
    with path.open("rb") as stream:
        yield stream


def chunks(stream: IO[bytes]) -> Iterator[bytes]:
    """The stream in pieces that end with a line; a line longer than MAX_LINE is cut."""
    rest = b""
    while part := stream.read(CHUNK):
        part = rest + part if rest else part
        cut = part.rfind(b"\n") + 1
        if not cut and len(part) < MAX_LINE:
            rest = part
            continue
        cut = cut or len(part)
        rest = part[cut:]
        yield part[:cut]
    if rest:
        yield rest
