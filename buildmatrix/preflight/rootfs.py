"""Root file systems as inodes: a directory, or a tree in memory (tar archives, OCI layers, scratch).

A root hands out inodes and bytes and resolves nothing: symbolic links are followed by `walk.py`,
inside the root alone. A directory on disk is read by names that were proven to be no links, and a
file's identity is checked again after it is opened, so that a root that changes under us cannot lead
outside. Inodes are remembered: one verdict sees one state.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from buildmatrix import errors
from buildmatrix.kinds import Kind
from buildmatrix.preflight.memory import Blob

_KINDS = {
    stat.S_IFREG: Kind.REGULAR,
    stat.S_IFDIR: Kind.DIRECTORY,
    stat.S_IFLNK: Kind.SYMLINK,
    stat.S_IFIFO: Kind.FIFO,
    stat.S_IFSOCK: Kind.SOCKET,
    stat.S_IFCHR: Kind.CHARDEV,
    stat.S_IFBLK: Kind.BLOCKDEV,
}


@dataclass(frozen=True, slots=True, eq=False)
class Inode:
    """One file of a root. `key` is its identity, `mode` its permission bits with set-id and sticky."""

    key: tuple[int, int]
    kind: Kind
    mode: int
    uid: int
    gid: int
    size: int
    target: str = ""
    place: str = ""
    content: Blob | None = field(default=None, repr=False)
    children: dict[str, Inode] | None = field(default=None, repr=False)


class Unreadable(Exception):
    """A file or directory of the root exists but could not be read: a finding, never a guess."""

    def __init__(self, place: str, error: OSError) -> None:
        super().__init__(f"{place}: {error.strerror or error}")
        self.place = place


class Root(Protocol):
    """A root file system."""

    @property
    def name(self) -> str:
        """What the user called it."""

    @property
    def top(self) -> Inode:
        """Its root directory."""

    def lookup(self, directory: Inode, name: str) -> Inode | None:
        """The entry `name` (no slash, not ``.`` or ``..``) of a directory, or None."""

    def names(self, directory: Inode) -> Iterator[str]:
        """The names in a directory, sorted."""

    def data(self, inode: Inode) -> Blob:
        """The bytes of a regular file. Raises Unreadable."""


WHOLE = 16 << 20
"""Files up to this size in bytes are kept whole once more than their head is read."""

KEPT = 256 << 20
"""Bytes of whole files that are kept at a time."""


class FileBlob:
    """Bounded reads from a file on disk; opened for each read, so that no descriptors pile up."""

    _keepers: list[FileBlob] = []  # noqa: RUF012  (one budget for all files)
    _total = 0

    def __init__(self, path: str, inode: Inode) -> None:
        self.path = path
        self._key = inode.key
        self.size = inode.size
        self._head = b""

    def _open(self) -> int:
        descriptor = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        found = os.fstat(descriptor)
        if (found.st_dev, found.st_ino) != self._key or not stat.S_ISREG(found.st_mode):
            os.close(descriptor)
            raise OSError(0, "replaced while it was being examined")
        return descriptor

    def read(self, offset: int, length: int) -> bytes:
        """Up to `length` bytes from `offset`. Raises Unreadable."""
        if offset + length <= len(self._head):
            return self._head[offset : offset + length]
        length = max(0, min(length, self.size - offset))
        if not length or offset < 0:
            return b""
        if offset + length <= len(self._head):
            return self._head[offset : offset + length]
        if self._head and self.size <= WHOLE:
            self._head = self._pread(0, self.size)
            self._keep()
            return self._head[offset : offset + length]
        if not self._head:
            self._head = self._pread(0, min(4096, self.size))
            return self.read(offset, length)
        return self._pread(offset, length)

    def _pread(self, offset: int, length: int) -> bytes:
        try:
            descriptor = self._open()
            try:
                return _read_fully(descriptor, offset, length)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise Unreadable(self.path, error) from error

    def _keep(self) -> None:
        """Remember the whole file; forget the oldest ones past the budget."""
        FileBlob._keepers.append(self)
        FileBlob._total += self.size
        while FileBlob._total > KEPT and len(FileBlob._keepers) > 1:
            oldest = FileBlob._keepers.pop(0)
            FileBlob._total -= oldest.size
            oldest._head = oldest._head[:4096]


def _read_fully(descriptor: int, offset: int, length: int) -> bytes:
    pieces = []
    while length > 0:
        piece = os.pread(descriptor, length, offset)
        if not piece:
            break
        pieces.append(piece)
        offset, length = offset + len(piece), length - len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


class DirectoryRoot:
    """A directory on disk. Owners and modes are those of the files as they lie there."""

    def __init__(self, path: Path | str) -> None:
        self.name = str(path)
        base = os.path.realpath(path)
        try:
            found = os.lstat(base)
        except OSError as error:
            raise errors.UsageError(
                f"{path}: cannot be used as a root file system", why=error.strerror or str(error)
            ) from error
        if not stat.S_ISDIR(found.st_mode):
            raise errors.UsageError(
                f"{path}: got a file, expected a directory", fix="give a tar archive with --tar, an image with --image"
            )
        self.top = _inode(found, base.rstrip("/"))
        self._seen: dict[tuple[str, str], Inode | None] = {}
        self._blobs: dict[tuple[int, int], FileBlob] = {}

    def lookup(self, directory: Inode, name: str) -> Inode | None:
        """The entry `name` of a directory, or None."""
        key = (directory.place, name)
        if key not in self._seen:
            self._seen[key] = self._lookup(directory.place + "/" + name)
        return self._seen[key]

    @staticmethod
    def _lookup(place: str) -> Inode | None:
        try:
            return _inode(os.lstat(place), place)
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return None
        except OSError as error:
            raise Unreadable(place, error) from error

    def names(self, directory: Inode) -> Iterator[str]:
        """The names in a directory, sorted."""
        try:
            yield from sorted(os.listdir(directory.place or "/"))  # noqa: PTH208  (a Path for each costs more than the walk)
        except OSError as error:
            raise Unreadable(directory.place, error) from error

    def data(self, inode: Inode) -> Blob:
        """The bytes of a regular file."""
        blob = self._blobs.get(inode.key)
        if blob is None:
            blob = self._blobs[inode.key] = FileBlob(inode.place, inode)
        return blob


def _inode(found: os.stat_result, place: str) -> Inode:
    kind = _KINDS.get(stat.S_IFMT(found.st_mode), Kind.UNKNOWN)
    return Inode(
        key=(found.st_dev, found.st_ino),
        kind=kind,
        mode=stat.S_IMODE(found.st_mode),
        uid=found.st_uid,
        gid=found.st_gid,
        size=found.st_size,
        # os.readlink, because Path would tidy "a/." and "a//b" away, which walk differently
        target=os.readlink(place) if kind is Kind.SYMLINK else "",  # noqa: PTH115
        place=place,
    )


class BytesBlob:
    """A file that lies in memory."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.size = len(data)

    def read(self, offset: int, length: int) -> bytes:
        """Up to `length` bytes from `offset`."""
        return self._data[offset : offset + length] if offset >= 0 else b""


class TreeRoot:
    """A root in memory: every directory holds its children."""

    def __init__(self, name: str, top: Inode) -> None:
        self.name = name
        self.top = top

    def lookup(self, directory: Inode, name: str) -> Inode | None:
        """The entry `name` of a directory, or None."""
        return (directory.children or {}).get(name)

    def names(self, directory: Inode) -> Iterator[str]:
        """The names in a directory, sorted."""
        yield from sorted(directory.children or {})

    def data(self, inode: Inode) -> Blob:
        """The bytes of a regular file."""
        return inode.content if inode.content is not None else BytesBlob(b"")
