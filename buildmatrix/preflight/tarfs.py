"""Root file systems out of tar archives and OCI layers, applied in memory and never unpacked.

Names and modes are kept in a tree; bytes stay in the archive (or, where it is compressed, in one
temporary file without a name) and are read when they are needed. Later layers replace, whiteouts
remove (OCI image specification, layer.md). What an archive claims is capped.
"""

from __future__ import annotations

import bz2
import contextlib
import gzip
import lzma
import os
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple, cast

from buildmatrix import _zstd, errors
from buildmatrix.kinds import Kind
from buildmatrix.oci.marker import is_layout
from buildmatrix.preflight.memory import Blob
from buildmatrix.preflight.rootfs import BytesBlob, Inode, TreeRoot, Unreadable

if TYPE_CHECKING:
    from buildmatrix.oci.graph import Node
    from buildmatrix.oci.layout import Layout
    from buildmatrix.oci.platform import Platform

MAX_MEMBERS = 1_000_000
MAX_BYTES = 64 << 30
"""Bytes that one compressed archive may grow to."""

_KINDS = {
    tarfile.DIRTYPE: Kind.DIRECTORY,
    tarfile.SYMTYPE: Kind.SYMLINK,
    tarfile.FIFOTYPE: Kind.FIFO,
    tarfile.CHRTYPE: Kind.CHARDEV,
    tarfile.BLKTYPE: Kind.BLOCKDEV,
}


Content = Callable[[tarfile.TarInfo, tarfile.TarFile], Blob]
"""Gives the bytes of a member while the archive stands at it."""

_BUFFER = 1 << 20


@contextlib.contextmanager
def _as_archive(place: str) -> Iterator[None]:
    try:
        yield
    except (tarfile.TarError, EOFError, ValueError, OverflowError) as error:
        raise errors.ScanFailed(f"{place}: cannot be read as a tar archive", why=str(error)) from error


class OpenFile:
    """A file that stays open for as long as anything may read from it, and is closed then.

    It owns a bare descriptor: a file object in a cycle would warn where the collector ends it first.
    """

    _descriptor = -1

    def __init__(self, file: IO[bytes]) -> None:
        with file:
            self._descriptor = os.dup(file.fileno())
            mode = "r+b" if file.writable() else "rb"
        self.file = cast("IO[bytes]", open(self._descriptor, mode, closefd=False))  # noqa: SIM115

    def __del__(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)

    def fileno(self) -> int:
        """The descriptor, for reads at an offset."""
        return self._descriptor


class RangeBlob:
    """A run of bytes of an open file."""

    def __init__(self, file: OpenFile, offset: int, size: int, place: str) -> None:
        self._file = file
        self._offset = offset
        self.size = size
        self._place = place

    def read(self, offset: int, length: int) -> bytes:
        """Up to `length` bytes from `offset`. Raises Unreadable."""
        length = max(0, min(length, self.size - offset))
        if not length or offset < 0:
            return b""
        try:
            data = os.pread(self._file.fileno(), length, self._offset + offset)
        except OSError as error:
            raise Unreadable(self._place, error) from error
        if len(data) < length:
            raise Unreadable(self._place, OSError(0, "the archive ends inside this file"))
        return data


class TreeBuilder:
    """A tree that archives and files are put into, in order; `top` is one to begin with."""

    def __init__(self, name: str, top: Inode | None = None) -> None:
        self.name = name
        self.problems: list[str] = []
        self._count = 0
        self._top = top or self._directory(0o755, 0, 0)

    def _next(self) -> tuple[int, int]:
        self._count += 1
        if self._count > MAX_MEMBERS:
            raise errors.ScanFailed(f"{self.name}: more than {MAX_MEMBERS} entries", fix="give a smaller root")
        return (-1, self._count)

    def _directory(self, mode: int, uid: int, gid: int) -> Inode:
        return Inode(key=self._next(), kind=Kind.DIRECTORY, mode=mode, uid=uid, gid=gid, size=0, children={})

    def root(self) -> TreeRoot:
        """The finished root."""
        return TreeRoot(self.name, self._top)

    def _parent(self, names: list[str]) -> dict[str, Inode] | None:
        """The children of the directory that will hold names[-1]; None where something else is in the way."""
        children = self._top.children
        for name in names[:-1]:
            if children is None:
                return None
            node = children.get(name)
            if node is None:
                node = children[name] = self._directory(0o755, 0, 0)
            children = node.children
        return children

    def _find(self, names: list[str]) -> Inode | None:
        node: Inode | None = self._top
        for name in names:
            node = None if node is None or node.children is None else node.children.get(name)
        return node

    def put(self, path: str, data: bytes, mode: int = 0o755) -> None:
        """A regular file of root's."""
        self._place(
            _names(path) or [path],
            Inode(
                key=self._next(), kind=Kind.REGULAR, mode=mode, uid=0, gid=0, size=len(data), content=BytesBlob(data)
            ),
        )

    def put_file(self, path: str, source: Path) -> None:
        """A file of the disk, as an image build would copy it: root's, with its own mode."""
        try:
            file = OpenFile(source.open("rb"))
            found = os.fstat(file.fileno())
        except OSError as error:
            raise errors.UsageError(f"{source}: cannot be read", why=error.strerror or str(error)) from error
        blob = RangeBlob(file, 0, found.st_size, str(source))
        inode = Inode(
            key=self._next(), kind=Kind.REGULAR, mode=found.st_mode & 0o7777, uid=0, gid=0, size=found.st_size,
            content=blob,
        )  # fmt: skip
        self._place(_names(path) or [path], inode)

    def _place(self, names: list[str], inode: Inode) -> None:
        children = self._parent(names)
        if children is None:
            self.problems.append(f"{'/'.join(names)}: a file stands where its directory should be")
            return
        old = children.get(names[-1])
        if inode.kind is Kind.DIRECTORY and old is not None and old.kind is Kind.DIRECTORY:
            inode = replace(inode, children=old.children)
        children[names[-1]] = inode

    def add_layer(self, path: Path) -> None:
        """Apply one archive, compressed or not."""
        file = _plain(path)

        def content(member: tarfile.TarInfo, _archive: tarfile.TarFile) -> Blob:
            return RangeBlob(file, member.offset_data, member.size, f"{path}: {member.name}")

        with _as_archive(str(path)), tarfile.open(fileobj=file.file, mode="r:") as archive:
            self._members(archive, content)
            end = os.pread(file.fileno(), 512, archive.offset)  # tarfile stops where it reads no further header
            if end.strip(b"\0") or len(end) < 512:
                raise errors.ScanFailed(f"{path}: the archive ends early", fix="copy it again")

    def add_stream(self, stream: IO[bytes], place: str, content: Content) -> None:
        """Apply one plain archive that can be read only once, from its start; `content` takes what it needs of a file.

        Whether the archive is complete is for the caller to prove, by its digest.
        """
        with _as_archive(place), tarfile.open(fileobj=stream, mode="r|", bufsize=_BUFFER) as archive:
            self._members(archive, content)

    def _members(self, archive: tarfile.TarFile, content: Content) -> None:
        added: set[tuple[str, ...]] = set()
        for member in archive:
            names = _names(member.name)
            if names is None:
                self.problems.append(f"{member.name}: leaves the root, and is left out")
            elif names and names[-1] == ".wh..wh..opq":
                self._clear(names[:-1], added)
            elif names and names[-1].startswith(".wh."):
                self._remove([*names[:-1], names[-1][4:]])
            else:
                self._member(member, names, archive, content)
                added.add(tuple(names))
            archive.members = []  # type: ignore[attr-defined]  # tarfile keeps every member otherwise

    def _clear(self, names: list[str], added: set[tuple[str, ...]]) -> None:
        """An opaque directory hides what lower layers put there, not what this one does."""
        node = self._find(names)
        if node is not None and node.children is not None:
            for name in [name for name in node.children if (*names, name) not in added]:
                del node.children[name]

    def _remove(self, names: list[str]) -> None:
        parent = self._find(names[:-1])
        if parent is not None and parent.children is not None:
            parent.children.pop(names[-1], None)

    def _member(self, member: tarfile.TarInfo, names: list[str], archive: tarfile.TarFile, content: Content) -> None:
        if not names:
            self._top = replace(self._top, mode=member.mode & 0o7777, uid=member.uid, gid=member.gid)
            return
        if member.islnk():
            linked = self._find(_names(member.linkname) or [""])
            if linked is None:
                self.problems.append(f"{member.name}: a hard link to {member.linkname}, which is not there")
            else:
                self._place(names, linked)
            return
        kind = _KINDS.get(member.type, Kind.REGULAR)
        blob: Blob | None = None
        if kind is Kind.REGULAR:
            blob = content(member, archive)
            if member.sparse is not None:
                self.problems.append(f"{member.name}: a sparse file, which is not read")
        self._place(
            names,
            Inode(
                key=self._next(),
                kind=kind,
                mode=member.mode & 0o7777,
                uid=member.uid,
                gid=member.gid,
                size=member.size,
                target=member.linkname if kind is Kind.SYMLINK else "",
                content=blob,
                children={} if kind is Kind.DIRECTORY else None,
            ),
        )


def _names(path: str) -> list[str] | None:
    names = [name for name in path.split("/") if name not in ("", ".")]
    return None if ".." in names else names


def _plain(path: Path) -> OpenFile:
    """The archive as a plain tar file; a compressed one is expanded into a nameless temporary file."""
    try:
        opened = OpenFile(path.open("rb"))
        file = opened.file
        head = file.read(8)
    except OSError as error:
        raise errors.UsageError(f"{path}: cannot be read", why=error.strerror or str(error)) from error
    file.seek(0)
    stream: IO[bytes]
    if head.startswith(b"\x1f\x8b"):
        stream = cast("IO[bytes]", gzip.GzipFile(fileobj=file))
    elif head.startswith(b"BZh"):
        stream = cast("IO[bytes]", bz2.BZ2File(file))
    elif head.startswith(b"\xfd7zXZ"):
        stream = cast("IO[bytes]", lzma.LZMAFile(file))  # noqa: SIM115
    elif head.startswith(b"\x28\xb5\x2f\xfd"):
        stream = _zstd.opened(file)
    else:
        return opened
    return _expanded(stream, path)


def _expanded(stream: IO[bytes], path: Path) -> OpenFile:
    expanded = OpenFile(cast("IO[bytes]", tempfile.TemporaryFile()))  # noqa: SIM115  (closed with the last blob)
    plain = expanded.file
    total = 0
    try:
        while piece := stream.read(1 << 20):
            total += len(piece)
            if total > MAX_BYTES:
                raise errors.ScanFailed(f"{path}: grows past {MAX_BYTES} bytes", fix="give a smaller root")
            plain.write(piece)
    except (OSError, EOFError, lzma.LZMAError, _zstd.error()) as error:
        raise errors.ScanFailed(f"{path}: is damaged", why=str(error), fix="copy it again") from error
    plain.seek(0)  # flushes, too
    return expanded


def tar_root(path: Path) -> TreeRoot:
    """The root in one tar archive. Raises UsageError or ScanFailed."""
    builder = TreeBuilder(str(path))
    builder.add_layer(path)
    return builder.root()


def named_layout(text: str) -> tuple[Path, str]:
    """``LAYOUT``, ``LAYOUT:TAG`` or ``LAYOUT@DIGEST`` as folder, and tag or digest (empty where none is given).

    What is the name of a folder is that folder, whatever signs are in it.
    """
    if Path(text).is_dir():
        return Path(text), ""
    folder, sign, target = text.partition("@")
    if not sign:
        folder, sign, target = text.rpartition(":")
    return (Path(folder), target) if sign and "/" not in target else (Path(text), "")


def image_root(path: Path, wanted: str, target: str = "") -> TreeRoot:
    """The root of the image for a platform (such as ``linux/arm64``) in an OCI layout.

    `target` is the tag or digest of the image or index that is meant. Raises UsageError where there is no
    such image, or where several fit and none is named; ScanFailed where the layout is damaged.
    """
    if not path.is_dir() or not is_layout(path):
        raise errors.UsageError(
            f"{path}: got something else, expected an OCI image layout", fix="write one with buildx type=oci,tar=false"
        )
    from buildmatrix.oci import layout, media, platform

    builder = TreeBuilder(f"{path} ({wanted})")
    store = layout.Layout(path)
    try:
        for layer in _chosen(store, platform.parse(wanted), target).manifest.layers:
            if media.is_layer(layer.media_type):
                for _ in store.blob(layer).open(0):  # raises where the bytes are not those of its digest
                    pass
                builder.add_layer(store.blob_path(layer.digest))
    except (errors.ContentInvalid, errors.ContentMismatch, errors.NotInRegistry) as error:
        raise errors.ScanFailed(error.what, why=error.why, fix=error.fix) from error
    return builder.root()


def _chosen(store: Layout, wanted: Platform, target: str) -> Node:
    """The image for a machine; else the one of its architecture, whose verdict is the preflight's to give."""
    from buildmatrix.oci import platform

    images = [row for row in _images(store) if target in ("", row.tag, row.top, row.node.descriptor.digest)]
    pairs = [(row.platform, row) for row in images]
    found = (
        platform.select(pairs, wanted)
        or next((row for row in images if platform.same_architecture(row.platform, wanted)), None)
        or next((row for row in images if row.platform.unknown), None)
    )
    if found is None:
        have = _listed(images or _images(store)) or "no image"
        called = f" of the name {target}" if target else ""
        fix = "name one that is there" if target else "give --host the image's architecture"
        raise errors.UsageError(f"{store.name}: has {have}, expected {wanted}{called}", fix=fix)
    rivals = [row for row in images if row.platform == found.platform]
    if len({row.node.descriptor.digest for row in rivals}) > 1:
        raise errors.UsageError(
            f"{store.name}: has {len(rivals)} images for {found.platform}: {_listed(rivals)}",
            why="which of them is meant decides what is in the root",
            fix=f"say which: {store.name}:TAG or {store.name}@{rivals[0].node.descriptor.digest}",
        )
    return found.node


class _Image(NamedTuple):
    """An image of a layout: its platform, and the tag and digest of the entry of index.json that leads to it."""

    platform: Platform
    node: Node
    tag: str
    top: str


def _images(store: Layout) -> list[_Image]:
    from buildmatrix.oci import graph, media

    return [
        _Image(item, node, entry.annotations.get(media.REF_NAME, ""), entry.digest)
        for entry in store.index().manifests
        if graph.known(entry)
        for item, node in graph.images_of(store, entry)
    ]


def _listed(images: list[_Image]) -> str:
    """Images in one line, each with its tag where it has one."""
    words = [f"{row.platform} {row.tag or row.node.descriptor.digest}" for row in images]
    return ", ".join(dict.fromkeys(words))


def scratch_root(files: Iterable[tuple[str, Path]]) -> TreeRoot:
    """An empty root with these files: path in the root, and where the bytes lie on the disk."""
    builder = TreeBuilder("scratch")
    for path, source in files:
        builder.put_file(path, source)
    return builder.root()
