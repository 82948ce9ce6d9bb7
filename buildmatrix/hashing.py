"""Hashes over sets of files: Go's h1 and git's blob and tree identifiers.

Neither is the digest of a file: an ``h1:`` sum must not be presented as one, nor a git identifier.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from pathlib import Path

from buildmatrix import elf
from buildmatrix.errors import ScanFailed, UsageError
from buildmatrix.facts import Kind, Status


def dirhash(files: Mapping[str, bytes]) -> str:
    """Go's ``h1:`` hash of files by name (golang.org/x/mod/sumdb/dirhash, Hash1).

    The SHA-256 of one line for each name in byte order, ``<hexadecimal SHA-256>  <name>``, in base64.
    """
    names = sorted(files, key=lambda name: name.encode("utf-8", "surrogateescape"))
    digests = elf.hash_buffers("sha256", [files[name] for name in names])
    return _h1({name: digest.hex() for name, digest in zip(names, digests, strict=True)})


def dirhash_tree(root: str | Path, prefix: str) -> str:
    """The same for the regular files below a directory, each named ``prefix/path``, as Go's HashDir does.

    Raises ScanFailed where a file cannot be read in full, or is neither a file nor a directory: Go would
    follow a link, and what it leads to is not below `root`.
    """
    digests: dict[str, str] = {}
    for entry in elf.scan_tree(root, facts=False):
        if entry.status is not Status.OK or entry.kind is not Kind.REGULAR:
            raise ScanFailed(
                f"{entry.location}: cannot be part of an h1 hash",
                why=f"got a {entry.kind} with status {entry.status}, expected a regular file that is readable",
                fix="hash a tree of readable regular files",
            )
        digests[f"{prefix}/{entry.path}"] = entry.digests.sha256 or ""
    return _h1(digests)


def _h1(digests: Mapping[str, str]) -> str:
    total = hashlib.sha256()
    for name in sorted(digests, key=lambda name: name.encode("utf-8", "surrogateescape")):
        if "\n" in name:
            raise UsageError(
                f"{name!r}: a name with a newline has no h1 hash",
                why="got a newline, expected a name that fits in one line (dirhash.Hash1 refuses it too)",
                fix="rename the file",
            )
        total.update(f"{digests[name]}  {name}\n".encode("utf-8", "surrogateescape"))
    return "h1:" + base64.b64encode(total.digest()).decode("ascii")


def git_blob(data: bytes) -> str:
    """The SHA-1 identifier that git gives to a file's content (gitformat-pack, loose objects)."""
    return _git_object("blob", data).hex()


def git_tree(files: Mapping[str, tuple[int, bytes]]) -> str:
    """The SHA-1 identifier of the tree that holds `files`: path → (mode such as 0o100644, content).

    Paths use ``/``. An empty mapping gives git's empty tree.
    """
    return _git_tree({tuple(path.split("/")): value for path, value in files.items()}).hex()


def _git_tree(files: Mapping[tuple[str, ...], tuple[int, bytes]]) -> bytes:
    entries: dict[bytes, bytes] = {}
    below: dict[str, dict[tuple[str, ...], tuple[int, bytes]]] = {}
    for path, value in files.items():
        if len(path) == 1:
            mode, data = value
            name = path[0].encode("utf-8", "surrogateescape")
            entries[name] = b"%o %s\0" % (mode, name) + _git_object("blob", data)
        else:
            below.setdefault(path[0], {})[path[1:]] = value
    for directory, inside in below.items():
        name = directory.encode("utf-8", "surrogateescape")
        # git orders a directory as if its name ended in a slash
        entries[name + b"/"] = b"40000 %s\0" % name + _git_tree(inside)
    return _git_object("tree", b"".join(entries[name] for name in sorted(entries)))


def _git_object(kind: str, data: bytes) -> bytes:
    return elf.hash_buffers("sha1", [f"{kind} {len(data)}\0".encode("ascii") + data])[0]
