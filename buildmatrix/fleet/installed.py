"""A root file system with artifacts installed in it, as an image build would copy them; nothing is written.

The root's own files are untouched: a lookup in the folder of installation answers with the artifact
first. Folders that are missing on the way to it are added, owned by root with mode 0755.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

from buildmatrix.facts import Kind
from buildmatrix.preflight.memory import Blob
from buildmatrix.preflight.rootfs import FileBlob, Inode, Root, Unreadable
from buildmatrix.preflight.walk import Failed, View, resolve

_ADDED = -2
"""The device number of added folders; real ones are positive, and trees in memory use -1."""


class Installed:
    """`base` with `files`, by name, in the folder `where`. Raises Unreadable."""

    def __init__(self, base: Root, where: str, files: dict[str, Path]) -> None:
        self.name = base.name
        self.top = base.top
        self._base = base
        self._blobs: dict[tuple[int, int], FileBlob] = {}
        self._added: dict[tuple[int, int], dict[str, Inode]] = {}
        inodes = {name: self._artifact(path) for name, path in files.items()}
        self._install([part for part in where.split("/") if part], inodes)

    def _artifact(self, path: Path) -> Inode:
        try:
            found = path.lstat()
        except OSError as error:
            raise Unreadable(str(path), error) from error
        inode = Inode(
            key=(found.st_dev, found.st_ino),
            kind=Kind.REGULAR,
            mode=stat.S_IMODE(found.st_mode),
            uid=0,
            gid=0,
            size=found.st_size,
            place=str(path),
        )
        self._blobs[inode.key] = FileBlob(str(path), inode)
        return inode

    def _install(self, parts: list[str], inodes: dict[str, Inode]) -> None:
        """Find the deepest folder that exists, through links as a copy would, and add what is missing below it."""
        view, path = View(root=self._base), "/"
        here, missing = self.top, parts
        for index, part in enumerate(parts):
            path = f"{path.rstrip('/')}/{part}"
            found = resolve(view, path)
            if isinstance(found, Failed):
                break
            here, missing = found.inode, parts[index + 1 :]
        if here.kind is not Kind.DIRECTORY:
            raise Unreadable(path, OSError(0, "is in the way of the folder of installation"))
        for depth, part in enumerate(missing):
            folder = Inode(key=(_ADDED, depth), kind=Kind.DIRECTORY, mode=0o755, uid=0, gid=0, size=0)
            self._added.setdefault(here.key, {})[part] = folder
            here = folder
        self._added.setdefault(here.key, {}).update(inodes)

    def lookup(self, directory: Inode, name: str) -> Inode | None:
        """The entry `name` of a directory, or None."""
        added = self._added.get(directory.key, {})
        if name in added:
            return added[name]
        return None if directory.key[0] == _ADDED else self._base.lookup(directory, name)

    def names(self, directory: Inode) -> Iterator[str]:
        """The names in a directory, sorted."""
        own = () if directory.key[0] == _ADDED else self._base.names(directory)
        yield from sorted({*own, *self._added.get(directory.key, {})})

    def data(self, inode: Inode) -> Blob:
        """The bytes of a regular file."""
        return self._blobs.get(inode.key) or self._base.data(inode)
