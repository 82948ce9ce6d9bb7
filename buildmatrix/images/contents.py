"""What is in an image, from its layers: one pass over each, in a stream, and nothing is unpacked to disk.

The same pass proves the layer's digest and diff_id, builds the tree of names, modes and owners, and reads
every ELF file with the native core. The bytes of executables, libraries and small files are kept in
memory for the preflight, up to a budget; past it a file's bytes are streamed again when they are asked for.
What archives claim is capped: entries, plain bytes, and how far a layer may expand.
"""

from __future__ import annotations

import hashlib
import tarfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from buildmatrix import _zstd, elf, errors
from buildmatrix.facts import Facts, Kind
from buildmatrix.preflight.memory import Blob
from buildmatrix.preflight.rootfs import BytesBlob, Inode, TreeRoot, Unreadable
from buildmatrix.preflight.tarfs import MAX_BYTES, Content, TreeBuilder

KEPT = 256 << 20
"""Bytes of files that are kept in memory for one platform's image."""

SMALL = 64 << 10
"""Files up to this size in bytes are kept whatever they are: scripts, and what loaders are configured with."""

HEAD = 4096
"""Bytes that are kept of any other file: what execve(2) looks at, and more."""

RATIO = 1200
"""How many plain bytes one compressed byte may become: DEFLATE's own limit is 1032."""

_CHUNK = 1 << 20
_ELF = b"\x7fELF"
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"

OpenBlob = Callable[[str], Iterator[bytes]]
"""The bytes of a blob by its digest, from its start, piece by piece."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """One ELF file of an image: its path there, its facts, and its SHA-256 in hexadecimal."""

    path: str
    facts: Facts
    sha256: str
    mode: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerRead:
    """What one layer turned out to be: digests over its compressed and its plain bytes, and sizes of both."""

    digest: str
    diff_id: str
    size: int
    plain_size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """One platform's root file system. `problems` are entries that no image should have, in words."""

    root: TreeRoot
    programs: tuple[Program, ...]
    layers: tuple[LayerRead, ...]
    problems: tuple[str, ...]


class _Reader(Protocol):
    def read(self, size: int, /) -> bytes: ...


class _Pieces:
    """An iterator of pieces as a reader; it may return less than was asked for, and nothing only at the end."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = b""

    def read(self, size: int, /) -> bytes:
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return b""
            self._rest = piece
        data, self._rest = self._rest[:size], self._rest[size:]
        return data


class _Counting:
    """A reader that hashes and counts what passes, and refuses to go past a limit."""

    def __init__(self, source: _Reader, limit: Callable[[], int], place: str) -> None:
        self._source = source
        self._limit = limit
        self._place = place
        self._hash = hashlib.sha256()
        self.count = 0

    def read(self, size: int = -1, /) -> bytes:
        data = self._source.read(_CHUNK if size < 0 else size)
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
        return f"sha256:{self._hash.hexdigest()}"


class _Inflate:
    """The plain bytes of a gzip stream of one or more members."""

    def __init__(self, source: _Reader, place: str) -> None:
        self._source = source
        self._place = place
        self._engine = zlib.decompressobj(31)
        self._input = b""
        self._began = False

    def read(self, size: int, /) -> bytes:
        while True:
            if not self._input:
                self._input = self._source.read(_CHUNK // 4)
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


class _Exact:
    """Reads exactly as many bytes as asked for, until the end: what tarfile expects of a stream."""

    def __init__(self, source: _Reader) -> None:
        self._source = source

    def read(self, size: int, /) -> bytes:
        pieces = []
        while size > 0 and (piece := self._source.read(size)):
            pieces.append(piece)
            size -= len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _plain(source: _Counting, head: bytes, place: str) -> _Reader:
    """The plain bytes of a layer, by its first bytes rather than by its media type, which may lie."""
    reader = _Prefixed(head, source)
    if head.startswith(_GZIP):
        return _Inflate(reader, place)
    if head.startswith(_ZSTD):
        return _Zstd(reader, place)
    return reader


class _Prefixed:
    def __init__(self, head: bytes, source: _Reader) -> None:
        self._head = head
        self._source = source

    def read(self, size: int = -1, /) -> bytes:
        if self._head:
            size = len(self._head) if size < 0 else size
            data, self._head = self._head[:size], self._head[size:]
            return data
        return self._source.read(size)


class _Zstd:
    """The plain bytes of a zstd stream."""

    def __init__(self, reader: _Prefixed, place: str) -> None:
        self._plain = _zstd.opened(reader)
        self._place = place

    def read(self, size: int, /) -> bytes:
        try:
            return self._plain.read(size)
        except (EOFError, _zstd.error()) as error:
            raise errors.LayerInvalid(
                f"{self._place}: is damaged", why=str(error), fix="build or fetch the image again"
            ) from error


class _Kept:
    """The budget of bytes that are kept in memory."""

    def __init__(self) -> None:
        self.used = 0

    def take(self, data: bytes) -> Blob | None:
        """The bytes as a blob, or None where the budget is spent."""
        if self.used + len(data) > KEPT:
            return None
        self.used += len(data)
        return BytesBlob(data)


class _Head:
    """The first bytes of a file that nothing needs more of."""

    def __init__(self, head: bytes, size: int, place: str) -> None:
        self._head = head
        self._place = place
        self.size = size

    def read(self, offset: int, length: int) -> bytes:
        """Up to `length` bytes from `offset`. Raises Unreadable past what was kept."""
        end = min(offset + length, self.size)
        if offset < 0 or end <= offset:
            return b""
        if end > len(self._head):
            raise Unreadable(self._place, OSError(0, "only its first bytes were kept"))
        return self._head[offset:end]


class _Again:
    """A file whose bytes are streamed from its layer again when they are asked for, and kept then."""

    def __init__(self, reopen: Callable[[], _Reader], offset: int, size: int, place: str) -> None:
        self._reopen = reopen
        self._offset = offset
        self._place = place
        self._data: bytes | None = None
        self.size = size

    def read(self, offset: int, length: int) -> bytes:
        """Up to `length` bytes from `offset`. Raises Unreadable."""
        if self._data is None:
            stream = _Exact(self._reopen())
            left = self._offset
            while left > 0 and (skipped := stream.read(min(left, _CHUNK))):
                left -= len(skipped)
            self._data = stream.read(self.size)
            if len(self._data) != self.size:
                raise Unreadable(self._place, OSError(0, "its layer changed meanwhile"))
        return self._data[offset : offset + length] if offset >= 0 else b""


class Collector:
    """Applies layers in order, and reads what passes."""

    def __init__(self, name: str, open_blob: OpenBlob, *, max_bytes: int = MAX_BYTES) -> None:
        self._builder = TreeBuilder(name)
        self._open = open_blob
        self._kept = _Kept()
        self._facts: dict[int, tuple[Blob, Facts, str]] = {}
        self._layers: list[LayerRead] = []
        self._left = max_bytes

    def add(self, digest: str) -> LayerRead:
        """Apply the layer blob `digest`. Raises LayerInvalid or ScanFailed where it cannot be read to its end."""
        place = f"layer {digest[:19]}"
        packed = _Counting(_Pieces(self._open(digest)), lambda: 1 << 62, place)
        plain = _Counting(_plain(packed, _Exact(packed).read(4), place), self._limit(packed), place)
        self._builder.add_stream(_Exact(plain), place, self._content(digest))  # type: ignore[arg-type]
        while plain.read(_CHUNK):
            pass  # what follows the end marker belongs to both digests
        while packed.read(_CHUNK):
            pass
        self._left -= plain.count
        read = LayerRead(digest=packed.digest, diff_id=plain.digest, size=packed.count, plain_size=plain.count)
        self._layers.append(read)
        return read

    def _limit(self, packed: _Counting) -> Callable[[], int]:
        return lambda: min(self._left, RATIO * packed.count + (1 << 20))

    def _content(self, digest: str) -> Content:
        def content(member: tarfile.TarInfo, archive: tarfile.TarFile) -> Blob:
            stream = archive.extractfile(member)
            place = f"layer {digest[:19]}: {member.name}"
            if stream is None:
                return BytesBlob(b"")
            head = stream.read(min(member.size, HEAD))
            if not head.startswith(_ELF) and member.size > SMALL and not member.name.endswith("ld.so.cache"):
                return _Head(head, member.size, place)
            data = head + stream.read(member.size - len(head))
            if len(data) != member.size:
                raise errors.LayerInvalid(
                    f"{place}: got {len(data)} bytes, expected {member.size}", fix="build or fetch the image again"
                )
            blob = self._kept.take(data) or _Again(self._reopener(digest), member.offset_data, member.size, place)
            if head.startswith(_ELF):
                self._facts[id(blob)] = (blob, elf.facts_of_bytes(data), hashlib.sha256(data).hexdigest())
            return blob

        return content

    def _reopener(self, digest: str) -> Callable[[], _Reader]:
        def reopen() -> _Reader:
            counting = _Counting(_Pieces(self._open(digest)), lambda: 1 << 62, digest)
            return _plain(counting, _Exact(counting).read(4), digest)

        return reopen

    def contents(self) -> Contents:
        """The root file system as it stands now."""
        root = self._builder.root()
        programs = tuple(
            Program(path=path, facts=found[1], sha256=found[2], mode=inode.mode)
            for path, inode in _files(root.top, "")
            if (found := self._facts.get(id(inode.content))) is not None
        )
        return Contents(
            root=root, programs=programs, layers=tuple(self._layers), problems=tuple(self._builder.problems)
        )


def _files(directory: Inode, above: str) -> Iterator[tuple[str, Inode]]:
    """Every regular file below a directory with its path, sorted; a stack, since a hostile tree may be deep."""
    stack: list[tuple[str, Inode]] = [(above, directory)]
    while stack:
        path, inode = stack.pop()
        if inode.kind is Kind.REGULAR:
            yield path, inode
        children = inode.children or {}
        stack += [(f"{path}/{name}", children[name]) for name in sorted(children, reverse=True)]


def in_container(root: TreeRoot) -> TreeRoot:
    """The root as a container sees it: engines bind-mount the files of name resolution over what the image has."""
    builder = TreeBuilder(root.name, root.top)
    for name in ("hostname", "hosts", "resolv.conf"):
        builder.put(f"/etc/{name}", b"", mode=0o644)
    return builder.root()


def entry_kinds(root: TreeRoot) -> dict[Kind, list[str]]:
    """Paths of devices, pipes and sockets in a root, by kind."""
    found: dict[Kind, list[str]] = {}
    stack: list[tuple[str, Inode]] = [("", root.top)]
    while stack:
        path, inode = stack.pop()
        if inode.kind in (Kind.CHARDEV, Kind.BLOCKDEV, Kind.FIFO, Kind.SOCKET):
            found.setdefault(inode.kind, []).append(path)
        stack += [(f"{path}/{name}", child) for name, child in (inode.children or {}).items()]
    return found
