"""What is in an image, from its layers: one pass over each, in a stream, and nothing is unpacked to disk.

The same pass proves the layer's digest and diff_id, builds the tree of names, modes and owners, and reads
every ELF file with the native core; where a bill of materials is wanted, it hashes every other file too. The
bytes of executables, libraries and small files are kept in memory for the preflight, up to a budget; past it a
file's bytes are streamed again when they are asked for.
What archives claim is capped: entries, plain bytes, and how far a layer may expand.
"""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import IO

from buildmatrix import elf, errors, inventory
from buildmatrix.facts import Facts, Kind
from buildmatrix.images.streams import CHUNK, Counting, Exact, Pieces, Reader, plain
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

_ELF = b"\x7fELF"
_OTHERS = (b"MZ", b"\xca\xfe\xba\xbe", b"\xfe\xed\xfa", b"\xce\xfa\xed\xfe", b"\xcf\xfa\xed\xfe")
"""How programs of other systems begin: a bill tells what they are."""

_POOL = 8 << 20
"""Bytes of files that are hashed side by side."""

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
    """One platform's root file system. `problems` are entries that no image should have, in words.

    `seen` has the digests and facts of files by their inode's key; of every file, where they were asked for.
    """

    root: TreeRoot
    programs: tuple[Program, ...]
    layers: tuple[LayerRead, ...]
    problems: tuple[str, ...]
    seen: Mapping[tuple[int, int], Seen] = field(repr=False)


@dataclass(slots=True)
class Seen:
    """What was read of a regular file: digests in hexadecimal by hashlib's names, and the facts of a program."""

    blob: Blob
    """Held, so that its id stays its own."""
    elf: bool = False
    facts: Facts | None = None
    digests: dict[str, str] = field(default_factory=dict)


class _Pool:
    """Hashes files in batches, since the native core takes several side by side."""

    def __init__(self, algorithms: Sequence[str]) -> None:
        self._algorithms = algorithms
        self._waiting: list[tuple[Seen, bytes]] = []
        self._bytes = 0

    def add(self, seen: Seen, data: bytes) -> None:
        """Hash `data` for `seen`, now or later."""
        self._waiting.append((seen, data))
        self._bytes += len(data)
        if self._bytes >= _POOL:
            self.flush()

    def flush(self) -> None:
        """Hash what waits."""
        buffers = [data for _, data in self._waiting]
        for name in self._algorithms if buffers else ():
            for (seen, _), digest in zip(self._waiting, elf.hash_buffers(name, buffers), strict=True):
                seen.digests[name] = digest.hex()
        self._waiting, self._bytes = [], 0


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
        self.head = head
        self._place = place
        self.size = size

    def read(self, offset: int, length: int) -> bytes:
        """Up to `length` bytes from `offset`. Raises Unreadable past what was kept."""
        end = min(offset + length, self.size)
        if offset < 0 or end <= offset:
            return b""
        if end > len(self.head):
            raise Unreadable(self._place, OSError(0, "only its first bytes were kept"))
        return self.head[offset:end]


class _Again:
    """A file whose bytes are streamed from its layer again when they are asked for, and kept then."""

    def __init__(self, reopen: Callable[[], Reader], offset: int, size: int, place: str) -> None:
        self._reopen = reopen
        self._offset = offset
        self._place = place
        self._data: bytes | None = None
        self.size = size

    def read(self, offset: int, length: int) -> bytes:
        """Up to `length` bytes from `offset`. Raises Unreadable."""
        if self._data is None:
            stream = Exact(self._reopen())
            left = self._offset
            while left > 0 and (skipped := stream.read(min(left, CHUNK))):
                left -= len(skipped)
            self._data = stream.read(self.size)
            if len(self._data) != self.size:
                raise Unreadable(self._place, OSError(0, "its layer changed meanwhile"))
        return self._data[offset : offset + length] if offset >= 0 else b""


class Collector:
    """Applies layers in order, and reads what passes; `hashes` are the digests of every file, by hashlib's names."""

    def __init__(
        self, name: str, open_blob: OpenBlob, *, hashes: Sequence[str] = (), max_bytes: int = MAX_BYTES
    ) -> None:
        self._builder = TreeBuilder(name)
        self._open = open_blob
        self._kept = _Kept()
        self._hashes = tuple(hashes)
        self._pool = _Pool(tuple(dict.fromkeys(("sha256", *hashes))))
        self._seen: dict[int, Seen] = {}
        self._layers: list[LayerRead] = []
        self._left = max_bytes

    def add(self, digest: str) -> LayerRead:
        """Apply the layer blob `digest`. Raises LayerInvalid or ScanFailed where it cannot be read to its end."""
        place = f"layer {digest[:19]}"
        packed = Counting(Pieces(self._open(digest)), lambda: 1 << 62, place)
        expanded = Counting(plain(packed, Exact(packed).read(4), place), self._limit(packed), place)
        self._builder.add_stream(Exact(expanded), place, self._content(digest))  # type: ignore[arg-type]
        while expanded.read(CHUNK):
            pass  # what follows the end marker belongs to both digests
        while packed.read(CHUNK):
            pass
        self._left -= expanded.count
        read = LayerRead(digest=packed.digest, diff_id=expanded.digest, size=packed.count, plain_size=expanded.count)
        self._layers.append(read)
        return read

    def _limit(self, packed: Counting) -> Callable[[], int]:
        return lambda: min(self._left, RATIO * packed.count + (1 << 20))

    def _content(self, digest: str) -> Content:
        def content(member: tarfile.TarInfo, archive: tarfile.TarFile) -> Blob:
            stream = archive.extractfile(member)
            place = f"layer {digest[:19]}: {member.name}"
            if stream is None:
                return BytesBlob(b"")
            head = stream.read(min(member.size, HEAD))
            if not self._whole(member, head):
                return self._passing(_Head(head, member.size, place), stream)
            data = head + stream.read(member.size - len(head))
            if len(data) != member.size:
                raise errors.LayerInvalid(
                    f"{place}: got {len(data)} bytes, expected {member.size}", fix="build or fetch the image again"
                )
            blob = self._kept.take(data) or _Again(self._reopener(digest), member.offset_data, member.size, place)
            self._look(blob, data)
            return blob

        return content

    def _whole(self, member: tarfile.TarInfo, head: bytes) -> bool:
        """Whether more of a file is needed than its digests and its first bytes."""
        if member.size <= SMALL or head.startswith(_ELF) or member.name.endswith("ld.so.cache"):
            return True
        return bool(self._hashes) and (head.startswith(_OTHERS) or inventory.is_database(member.name))

    def _look(self, blob: Blob, data: bytes) -> None:
        if not self._hashes and not data.startswith(_ELF):
            return
        facts = elf.facts_of_bytes(data) if data.startswith((_ELF, *_OTHERS)) else None
        seen = self._seen[id(blob)] = Seen(blob, data.startswith(_ELF), facts)
        self._pool.add(seen, data)

    def _passing(self, blob: _Head, stream: IO[bytes]) -> Blob:
        """A large file of which only the first bytes are kept."""
        if self._hashes:
            found = {name: hashlib.new(name, blob.head, usedforsecurity=False) for name in self._hashes}
            while piece := stream.read(CHUNK):
                for each in found.values():
                    each.update(piece)
            digests = {name: each.hexdigest() for name, each in found.items()}
            self._seen[id(blob)] = Seen(blob, digests=digests)
        return blob

    def _reopener(self, digest: str) -> Callable[[], Reader]:
        def reopen() -> Reader:
            counting = Counting(Pieces(self._open(digest)), lambda: 1 << 62, digest)
            return plain(counting, Exact(counting).read(4), digest)

        return reopen

    def contents(self) -> Contents:
        """The root file system as it stands now."""
        self._pool.flush()
        root = self._builder.root()
        files = [
            (path, inode, found)
            for path, inode in _files(root.top, "")
            if (found := self._seen.get(id(inode.content))) is not None
        ]
        programs = tuple(
            Program(path=path, facts=found.facts, sha256=found.digests["sha256"], mode=inode.mode)
            for path, inode, found in files
            if found.facts is not None and found.elf
        )
        return Contents(
            root=root,
            programs=programs,
            layers=tuple(self._layers),
            problems=tuple(self._builder.problems),
            seen={inode.key: found for _, inode, found in files},
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
    etc = (root.top.children or {}).get("etc")
    children = dict(root.top.children or {})
    if etc is not None and etc.children is not None:
        children["etc"] = replace(etc, children=dict(etc.children))
    builder = TreeBuilder(root.name, replace(root.top, children=children))  # the image's own tree stays as it is
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
