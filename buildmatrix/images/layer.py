"""Layers: sorted, normalised tar archives that are the same bytes from the same files (OCI image layer.md).

What varies between machines and runs is left out: owners are root, times are one given second, modes
are 0755 or 0644, names are sorted, directories come before what is in them. The compressed form is a
gzip member without name and time; its bytes depend on zlib alone.
"""

from __future__ import annotations

import hashlib
import io
import os
import stat
import tarfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from buildmatrix import errors

LEVEL = 4
"""The zlib level: past it a Go binary shrinks by another two per cent for twice the time."""

_CHUNK = 1 << 20
_GZIP = 31
"""windowBits of zlib for a gzip header with neither name nor time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One file, directory or symbolic link of a layer. `path` is absolute; a file has `source` or `data`."""

    path: str
    mode: int = 0o644
    source: Path | None = None
    data: bytes | None = None
    link: str = ""

    @property
    def directory(self) -> bool:
        """Whether this is a directory."""
        return self.source is None and self.data is None and not self.link


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A written layer: digest and size in bytes of the compressed form, and the digest of the plain one."""

    digest: str
    size: int
    diff_id: str


class _Gzip:
    """A sink that compresses into another, and hashes both forms on the way."""

    def __init__(self, sink: IO[bytes]) -> None:
        self._sink = sink
        self._packer = zlib.compressobj(LEVEL, zlib.DEFLATED, _GZIP)
        self._plain = hashlib.sha256()
        self._packed = hashlib.sha256()
        self._size = 0

    def write(self, data: bytes) -> int:
        self._plain.update(data)
        self._emit(self._packer.compress(data))
        return len(data)

    def _emit(self, packed: bytes) -> None:
        self._packed.update(packed)
        self._size += self._sink.write(packed)

    def finish(self) -> Written:
        self._emit(self._packer.flush())
        return Written(
            digest=f"sha256:{self._packed.hexdigest()}", size=self._size, diff_id=f"sha256:{self._plain.hexdigest()}"
        )


def write(entries: Iterable[Entry], sink: IO[bytes], *, time: int, check: Callable[[], None] | None = None) -> Written:
    """Write a layer of `entries` with the modification time `time` in seconds; `check` may raise to give up.

    Raises ImageInputInvalid for an entry that cannot be put into an image, with its path.
    """
    packed = _Gzip(sink)
    total = 0
    for entry in _sorted(entries):
        if check is not None:
            check()
        total += _write_entry(entry, packed, time)
    # Two zero blocks end an archive; it is filled up to a whole record (POSIX pax, "ustar Interchange Format").
    packed.write(bytes(2 * tarfile.BLOCKSIZE))
    packed.write(bytes(-(total + 2 * tarfile.BLOCKSIZE) % tarfile.RECORDSIZE))
    return packed.finish()


def _sorted(entries: Iterable[Entry]) -> list[Entry]:
    """The entries and the directories above them, each once, in the order of their names."""
    found: dict[str, Entry] = {}
    for entry in entries:
        old = found.get(entry.path)
        if old is not None and not (old.directory and entry.directory):
            raise errors.ImageInputInvalid(
                f"{entry.path}: got two files for one path in the image, expected one",
                fix="give one of them another path under images.NAME.files",
            )
        found[entry.path] = entry
    for path in list(found):
        for parent in PurePosixPath(path).parents:
            name = str(parent)
            if name == "/":
                continue
            if not found.setdefault(name, Entry(path=name, mode=0o755)).directory:
                raise errors.ImageInputInvalid(
                    f"{path}: got a file at {name}, expected a directory",
                    fix="correct the paths under images.NAME.files",
                )
    return [found[path] for path in sorted(found, key=lambda path: path.split("/"))]


def _write_entry(entry: Entry, sink: _Gzip, time: int) -> int:
    info = tarfile.TarInfo(entry.path.lstrip("/") + ("/" if entry.directory else ""))
    info.mtime, info.mode = time, entry.mode
    if entry.directory:
        info.type = tarfile.DIRTYPE
    elif entry.link:
        info.type, info.linkname, info.mode = tarfile.SYMTYPE, entry.link, 0o777
    stream, info.size = _content(entry)
    head = info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
    sink.write(head)
    with stream:
        copied = _copy(stream, sink, info.size, entry)
    sink.write(bytes(-copied % tarfile.BLOCKSIZE))
    return len(head) + copied + -copied % tarfile.BLOCKSIZE


def _content(entry: Entry) -> tuple[IO[bytes], int]:
    if entry.source is None:
        data = entry.data or b""
        return io.BytesIO(data), len(data)
    try:
        stream = entry.source.open("rb")
    except OSError as error:
        raise _unreadable(entry.source, error.strerror or str(error)) from error
    found = os.fstat(stream.fileno())
    if not stat.S_ISREG(found.st_mode):
        stream.close()
        raise _unreadable(entry.source, "got no regular file, expected one")
    return stream, found.st_size


def _copy(stream: IO[bytes], sink: _Gzip, size: int, entry: Entry) -> int:
    copied = 0
    while piece := stream.read(_CHUNK):
        copied += len(piece)
        if copied > size:
            break
        sink.write(piece)
    if copied != size:
        raise _unreadable(
            entry.source or Path(entry.path), f"got {copied} bytes, expected {size}: it changed meanwhile"
        )
    return copied


def _unreadable(source: Path, why: str) -> errors.ImageInputInvalid:
    return errors.ImageInputInvalid(
        f"{source}: cannot be put into the image", why=why, fix="make it a readable file that nothing writes to"
    )


def entries_of(path: str, source: Path) -> Iterator[Entry]:
    """The entries for a file or a folder of the project that goes to `path` in the image.

    Modes become 0755 where the owner may execute, else 0644. Symbolic links are kept where they are
    relative and stay inside the folder. Raises ImageInputInvalid for anything else.
    """
    try:
        found = source.lstat()
    except OSError as error:
        raise _unreadable(source, error.strerror or str(error)) from error
    if stat.S_ISREG(found.st_mode):
        yield Entry(path=path, mode=_mode(found.st_mode), source=source)
    elif stat.S_ISDIR(found.st_mode):
        yield Entry(path=path, mode=0o755)
        yield from _below(path, source)
    else:
        raise _unreadable(source, "got a link or a special file, expected a file or a folder")


def _below(path: str, top: Path) -> Iterator[Entry]:
    for folder, names, files in os.walk(top, onerror=_raise):
        names.sort()
        links = [name for name in names if (Path(folder) / name).is_symlink()]
        for name in sorted({*names, *files}):
            source = Path(folder) / name
            inside = f"{path}/{source.relative_to(top).as_posix()}"
            if name in links or source.is_symlink():
                yield _link(inside, source, top)
            elif name in names:
                yield Entry(path=inside, mode=0o755)
            else:
                yield Entry(path=inside, mode=_mode(source.lstat().st_mode), source=source)


def _raise(error: OSError) -> None:
    raise _unreadable(Path(error.filename or "."), error.strerror or str(error)) from error


def _link(path: str, source: Path, top: Path) -> Entry:
    target = os.readlink(source)  # noqa: PTH115  (Path would tidy the target)
    where = os.path.normpath(source.parent / target)
    if os.path.isabs(target) or not Path(where).is_relative_to(top):  # noqa: PTH117
        raise _unreadable(source, f"got a link to {target}, expected one that stays inside {top.name}")
    return Entry(path=path, link=target)


def _mode(mode: int) -> int:
    return 0o755 if mode & stat.S_IXUSR else 0o644
