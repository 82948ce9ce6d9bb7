"""Which loader a PT_INTERP is, and how it was built: read from its own bytes.

glibc's ld.so carries its default directories (SYSTEM_DIRS) and, since 2.33, its version as strings;
before that its file name or the libc beside it tells the version. musl's loader is its libc and
carries "musl libc" and its version.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from buildmatrix.preflight.memory import Blob

_MOST = 8 << 20
# Patterns are kept as text: compiling them takes longer than reading a loader, and one start needs few of them.
_GLIBC = rb"(?:stable|development) release version (\d+)\.(\d+)"
_GLIBC_FILE = r"(?:^|/)ld-(\d+)\.(\d+)(?:\.\d+)?\.so$"
_GLIBC_MARKS = (b"error while loading shared libraries", b"ld.so.cache")
_DIRECTORIES = rb"(?:/[A-Za-z0-9_.+/-]+/\0){2,}"
_MUSL = rb"\0(\d+\.\d+\.\d+)(?:-git[^\0]*)?\0"
_MUSL_MARK = b"musl libc ("
_MUSL_PATH = rb"/etc/ld-musl-([A-Za-z0-9_-]+)\.path"


class Glibc(NamedTuple):
    """glibc's ld.so: version (None where its bytes do not tell), default directories, $LIB."""

    version: tuple[int, int] | None
    directories: tuple[str, ...]

    @property
    def machine_first(self) -> bool:
        """Whether a file for another machine is passed over before the rest of its e_ident is judged.

        Debian's builds do that (observed on 2.36); they are known by their multiarch directories.
        """
        return bool(self.directories) and self.directories[0].count("/") > 2

    @property
    def lib(self) -> str:
        """What $LIB stands for (DL_DST_LIB): the first default directory, as configured."""
        return self.directories[0].strip("/") if self.directories else "lib"


class Musl(NamedTuple):
    """musl's loader: version (None where its bytes do not tell) and the name in its path file."""

    version: tuple[int, int, int] | None
    name: str


Loader = Glibc | Musl


def identify(blob: Blob, path: str) -> Loader | None:
    """The loader that these bytes are, or None: some other program."""
    data = blob.read(0, min(blob.size, _MOST))
    if _MUSL_MARK in data:
        found = re.search(_MUSL, data)
        version = None if found is None else tuple(int(part) for part in found[1].split(b"."))
        named = re.search(_MUSL_PATH, data)
        arch = named[1].decode() if named else _musl_name(data)
        return Musl(version=None if version is None else (version[0], version[1], version[2]), name=arch)
    if not any(mark in data for mark in _GLIBC_MARKS):
        return None
    directories = next(
        (_directories(match[0]) for match in re.finditer(_DIRECTORIES, data) if b"/lib" in match[0]), None
    )
    if directories is None:
        return None
    return Glibc(version=glibc_version(data) or _version_in_name(path), directories=directories)


def _musl_name(data: bytes) -> str:
    found = re.search(rb"musl libc \(([A-Za-z0-9_-]+)\)", data)
    return found[1].decode() if found else ""


def _directories(data: bytes) -> tuple[str, ...]:
    words = [word.decode() for word in data.split(b"\0") if word]
    return tuple(word for word in words if "lib" in word)


def glibc_version(data: bytes) -> tuple[int, int] | None:
    """The version in glibc's banner, or None."""
    found = re.search(_GLIBC, data)
    return None if found is None else (int(found[1]), int(found[2]))


def _version_in_name(path: str) -> tuple[int, int] | None:
    found = re.search(_GLIBC_FILE, path)
    return None if found is None else (int(found[1]), int(found[2]))
