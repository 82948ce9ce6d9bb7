"""Looks through a directory, a tar archive or an OCI image layout: files with digests and facts, packages.

What cannot be read or understood is a finding, and makes the inventory incomplete: a bill that passes over
a package database in silence would look like an image without packages.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from buildmatrix import archives, elf
from buildmatrix.errors import UsageError
from buildmatrix.facts import Digests, Facts, Kind, Status
from buildmatrix.finding import Finding
from buildmatrix.oci import graph, layout
from buildmatrix.preflight import tarfs
from buildmatrix.preflight.rootfs import Inode, TreeRoot, Unreadable
from buildmatrix.sbom import packages, rpmdb
from buildmatrix.sbom.packages import Damaged, Package
from buildmatrix.sbom.tree import File, Tree, real_path

CODES = {
    "BM724": "package database of a kind that cannot be read",
    "BM725": "package database damaged",
    "BM726": "file in a tree unreadable",
}
"""Findings of this step, with their meaning."""

_POOL = 8 << 20
_DPKG, _DPKG_PARTS, _DPKG_INFO = "var/lib/dpkg/status", "var/lib/dpkg/status.d/", "var/lib/dpkg/info/"
_APK = ("lib/apk/db/installed", "usr/lib/apk/db/installed")
_RPM_FOLDERS = ("var/lib/rpm", "usr/lib/sysimage/rpm", "usr/share/rpm")
_RPM_OTHER = {"Packages": "Berkeley DB", "Packages.db": "ndb"}
_RELEASE = ("etc/os-release", "usr/lib/os-release")


@dataclass(slots=True)
class _Found:
    """What has been seen so far; `read` gives a regular file's bytes by its path."""

    read: Callable[[str], bytes]
    files: dict[str, File] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)


def look(path: Path, hashes: Sequence[str], platform: str = "") -> tuple[Tree, tuple[Finding, ...]]:
    """What lies in `path`, with digests by `hashes`. `platform` selects an image of a layout with several.

    Raises UsageError where `path` is nothing of the kind, and ScanFailed where an archive is damaged.
    """
    digests: tuple[tuple[str, str], ...] = ()
    if path.is_dir() and layout.is_layout(path):
        found, kind = _memory(tarfs.image_root(path, platform or _platform(path)), hashes), "container"
    elif path.is_dir():
        found, kind = _directory(path, hashes), "file"
    elif path.is_file() and archives.is_archive(path):
        digests = _pairs(elf.scan_one(path, hashes=hashes, facts=False).digests, hashes)
        found, kind = _memory(tarfs.tar_root(path), hashes), "file"
    else:
        raise UsageError(
            f"{path}: got {'another file' if path.exists() else 'nothing'}, "
            "expected a directory, a tar archive or an OCI image layout",
            fix="correct the path; an image of a registry is copied into a layout with skopeo or regctl first",
        )
    return _told(found, path.absolute().name or "/", kind, digests)


def of_root(
    root: TreeRoot, seen: Callable[[Inode], tuple[tuple[tuple[str, str], ...], Facts | None] | None], name: str
) -> tuple[Tree, tuple[Finding, ...]]:
    """What is in an image's root whose files were read already: `seen` gives the digests and facts of one, or None.

    Package databases (`is_database`) and os-release must still be readable.
    """
    inodes: dict[str, Inode] = {}
    found = _Found(read=lambda path: _content(root, inodes[path]))
    for path, inode in _walk(root.top, ""):
        if inode.kind is Kind.SYMLINK:
            found.links[path] = inode.target
        elif inode.kind is Kind.REGULAR:
            inodes[path] = inode
            if (read := seen(inode)) is None:
                found.findings.append(_unreadable(path, "it was not read"))
            else:
                found.files[path] = File(path=path, size=inode.size, hashes=read[0], facts=read[1])
    return _told(found, name, "container", ())


def is_database(path: str) -> bool:
    """Whether a file's bytes tell which packages are installed; `path` as an archive has it."""
    plain = path.removeprefix("./").lstrip("/")
    if plain.startswith((_DPKG_INFO, _DPKG_PARTS)):
        return plain.startswith(_DPKG_PARTS) or plain.endswith((".list", ".md5sums"))
    rpm = any(plain == f"{folder}/rpmdb.sqlite" for folder in _RPM_FOLDERS)
    return rpm or plain in (_DPKG, *_APK, *_RELEASE)


def _told(
    found: _Found, name: str, kind: str, digests: tuple[tuple[str, str], ...]
) -> tuple[Tree, tuple[Finding, ...]]:
    installed, release = tuple(_packages(found)), _release(found)
    tree = Tree(
        name=name,
        kind=kind,
        hashes=digests,
        files=tuple(found.files[path] for path in sorted(found.files)),
        links=found.links,
        packages=installed,
        release=release,
        complete=not found.findings,
    )
    return tree, tuple(found.findings)


def _platform(path: Path) -> str:
    """The platform of a layout's only image. Raises UsageError where there are several, or none."""
    store = layout.Layout(path)
    found = {
        str(item)
        for entry in store.index().manifests
        if graph.known(entry)
        for item, _ in graph.images_of(store, entry)
        if not item.unknown
    }
    images = sorted(found)
    if len(images) == 1:
        return images[0]
    raise UsageError(
        f"{path}: has {'images for ' + ', '.join(images) if images else 'no image with a platform'}, expected one",
        fix=f"add --platform {images[0]}; each image has an SBOM of its own" if images else "build the image again",
    )


def _pairs(digests: Digests, hashes: Sequence[str]) -> tuple[tuple[str, str], ...]:
    return tuple((name, value) for name in hashes if (value := getattr(digests, name)) is not None)


def _directory(root: Path, hashes: Sequence[str]) -> _Found:
    found = _Found(read=lambda path: _regular(root / path))
    for entry in elf.scan_tree(root, hashes=hashes, facts=True):
        if entry.kind is Kind.SYMLINK:
            found.links[entry.path] = entry.target or ""
        elif entry.status not in (Status.OK, Status.MALFORMED):
            reason = f"{entry.status}" + (f": {os.strerror(entry.errno)}" if entry.errno else "")
            found.findings.append(_unreadable(entry.path or str(root), reason))
        elif entry.kind is Kind.REGULAR:
            digests = _pairs(entry.digests, hashes)
            found.files[entry.path] = File(path=entry.path, size=entry.size, hashes=digests, facts=entry.facts)
    return found


def _regular(path: Path) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as stream:
        return stream.read()


def _unreadable(path: str, reason: str) -> Finding:
    return Finding(
        rule="BM726",
        cell=path,
        what=f"cannot be read ({reason})",
        why="the bill does not list what could not be read",
        fix="make it readable, and let nothing write to the tree meanwhile",
    )


def _memory(root: TreeRoot, hashes: Sequence[str]) -> _Found:
    inodes: dict[str, Inode] = {}
    found = _Found(read=lambda path: _content(root, inodes[path]))
    pool: list[tuple[str, bytes]] = []
    for path, inode in _walk(root.top, ""):
        if inode.kind is Kind.SYMLINK:
            found.links[path] = inode.target
        elif inode.kind is Kind.REGULAR:
            inodes[path] = inode
            try:
                pool.append((path, _content(root, inode)))
            except Unreadable as error:
                found.findings.append(_unreadable(path, str(error)))
            if sum(len(data) for _, data in pool) >= _POOL:
                _digest(pool, hashes, found)
                pool = []
    _digest(pool, hashes, found)
    return found


def _content(root: TreeRoot, inode: Inode) -> bytes:
    return root.data(inode).read(0, inode.size)


def _walk(directory: Inode, path: str) -> Iterator[tuple[str, Inode]]:
    """Everything below a directory, each folder before what is in it; a stack, since a hostile tree may be deep."""
    stack = [(path, directory)]
    while stack:
        above, inode = stack.pop()
        if inode is not directory:
            yield above, inode
        children = inode.children or {}
        stack += [(f"{above}/{name}" if above else name, children[name]) for name in sorted(children, reverse=True)]


def _digest(pool: list[tuple[str, bytes]], hashes: Sequence[str], found: _Found) -> None:
    if not pool:
        return
    digests = {name: elf.hash_buffers(name, [data for _, data in pool]) for name in hashes}
    for index, (path, data) in enumerate(pool):
        pairs = tuple((name, values[index].hex()) for name, values in digests.items())
        found.files[path] = File(path=path, size=len(data), hashes=pairs, facts=elf.facts_of_bytes(data))


def _text(found: _Found, path: str) -> str | None:
    """A file's text by a path that may lead through links; None where there is none."""
    if path not in found.files and path in found.links:
        path = real_path(f"{path}/.", {**found.links}).removesuffix("/.")
    path = path if path in found.files else real_path(path, found.links)
    return found.read(path).decode("utf-8", "surrogateescape") if path in found.files else None


def _release(found: _Found) -> dict[str, str]:
    for path in _RELEASE:
        try:
            text = _text(found, path)
        except (OSError, Unreadable) as error:
            found.findings.append(_unreadable(path, str(error)))
            return {}
        if text is not None:
            return packages.os_release(text)
    return {}


def _packages(found: _Found) -> Iterator[Package]:
    for name, read in _DATABASES:
        try:
            yield from sorted(set(read(found)), key=lambda item: (item.name, item.version, item.arch))
        except (Damaged, OSError, Unreadable) as error:
            found.findings.append(
                Finding(
                    rule="BM725",
                    cell=name,
                    what=f"package database damaged: {error}",
                    why="packages that it should list are missing from the bill",
                    fix="restore the database, or build the image again",
                )
            )


def _dpkg(found: _Found) -> Iterator[Package]:
    below = [path for path in sorted(found.files) if path.startswith((_DPKG_INFO, _DPKG_PARTS))]
    lists = {
        path.rpartition("/")[2]: found.read(path).decode("utf-8", "surrogateescape")
        for path in below
        if path.endswith((".list", ".md5sums"))
    }
    if (text := _text(found, _DPKG)) is not None:
        yield from packages.dpkg(text, lists)
    for path in below:
        if path.startswith(_DPKG_PARTS) and not path.endswith(".md5sums"):
            yield from packages.dpkg(found.read(path).decode("utf-8", "surrogateescape"), lists)


def _apk(found: _Found) -> Iterator[Package]:
    for path in _APK:
        if path in found.files:
            yield from packages.apk(found.read(path).decode("utf-8", "surrogateescape"))


def _rpm(found: _Found) -> Iterator[Package]:
    for folder in _RPM_FOLDERS:
        if f"{folder}/rpmdb.sqlite" in found.files:
            yield from rpmdb.packages(found.read(f"{folder}/rpmdb.sqlite"))
            continue
        for name, kind in _RPM_OTHER.items():
            if f"{folder}/{name}" in found.files:
                found.findings.append(
                    Finding(
                        rule="BM724",
                        cell=f"{folder}/{name}",
                        what=f"unsupported rpm database (got {kind}, expected rpmdb.sqlite)",
                        why="its packages are missing from the bill",
                        fix="convert it in the image: rpmdb --rebuilddb --define '_db_backend sqlite'",
                    )
                )


_DATABASES: tuple[tuple[str, Callable[[_Found], Iterator[Package]]], ...] = (
    ("dpkg", _dpkg),
    ("apk", _apk),
    ("rpm", _rpm),
)
