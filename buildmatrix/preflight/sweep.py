"""Every executable of a root: what `explain --all` judges.

Judged are regular files with an x bit that are ELF programs or scripts; shared libraries, which have
neither an interpreter nor DF_1_PIE, are not commands and are left out. Hard links are judged once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from buildmatrix.kinds import Kind
from buildmatrix.preflight.dynobj import DF_1_PIE, DT_FLAGS_1
from buildmatrix.preflight.elfimage import (
    BE32,
    BE64,
    ET_EXEC,
    LE32,
    LE64,
    MAGIC,
    PT_DYNAMIC,
    PT_INTERP,
    Layout,
    Phdr,
)
from buildmatrix.preflight.explain import Judge
from buildmatrix.preflight.memory import Blob
from buildmatrix.preflight.openexec import Command
from buildmatrix.preflight.rootfs import Inode, Root, Unreadable
from buildmatrix.preflight.verdict import Evidence, Stage, Verdict

MAX_DEPTH = 128
MAX_DYNAMIC_BYTES = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """How many regular files were looked at, and how many were commands."""

    files: int
    commands: int


def walk(root: Root, top: Inode, path: str = "", depth: int = 0) -> Iterator[tuple[str, Inode | Unreadable]]:
    """Every file below a directory, by path; what cannot be listed comes as its error."""
    if depth > MAX_DEPTH:
        yield path, Unreadable(path, OSError(0, "directories are nested too deep"))
        return
    try:
        for name in root.names(top):
            inode = root.lookup(top, name)
            if inode is None:
                continue
            place = f"{path}/{name}"
            if inode.kind is Kind.DIRECTORY:
                yield from walk(root, inode, place, depth + 1)
            else:
                yield place, inode
    except Unreadable as error:
        yield path or "/", error


def is_command(blob: Blob) -> bool:
    """Whether the bytes are an ELF program or a script."""
    head = blob.read(0, 64)
    if head.startswith(b"#!"):
        return True
    if not head.startswith(MAGIC) or len(head) < 52:
        return False
    order = 2 if head[5] == 2 else 1
    layout = {(2, 1): LE64, (1, 1): LE32, (2, 2): BE64, (1, 2): BE32}.get((head[4], order), LE64)
    header = layout.header(head)
    if header.type == ET_EXEC or header.phentsize != layout.phentsize:
        return True
    phdrs = layout.phdrs(blob.read(header.phoff, header.phnum * layout.phentsize))
    kinds = {phdr.type for phdr in phdrs}
    return PT_INTERP in kinds or PT_DYNAMIC not in kinds or _is_static_pie(blob, layout, phdrs)


def _is_static_pie(blob: Blob, layout: Layout, phdrs: tuple[Phdr, ...]) -> bool:
    """Whether DT_FLAGS_1 marks an executable: all that tells a static PIE from a shared library."""
    dynamic = next(phdr for phdr in phdrs if phdr.type == PT_DYNAMIC)
    rows = layout.unpack("PP")
    data = blob.read(dynamic.offset, min(dynamic.filesz, MAX_DYNAMIC_BYTES))
    tags = dict(rows.iter_unpack(data[: len(data) // rows.size * rows.size]))
    return bool(tags.get(DT_FLAGS_1, 0) & DF_1_PIE)


def sweep(judge: Judge) -> Iterator[Verdict | Seen]:
    """The verdict on every command of the judge's root, then how much was seen."""
    root = judge.view.root
    known: set[tuple[int, int]] = set()
    files = commands = 0
    for path, inode in walk(root, root.top):
        if isinstance(inode, Unreadable):
            yield _unread(path, inode)
            continue
        if inode.kind is not Kind.REGULAR or not inode.mode & 0o111 or inode.key in known:
            files += inode.kind is Kind.REGULAR
            continue
        files += 1
        known.add(inode.key)
        try:
            if not is_command(root.data(inode)):
                continue
        except Unreadable as error:
            yield _unread(path, error)
            continue
        commands += 1
        yield judge.judge(Command(path=path, argv=(path,)))
    yield Seen(files=files, commands=commands)


def _unread(path: str, error: Unreadable) -> Verdict:
    return Verdict(
        path=path, stage=Stage.EXECVE, cause="unreadable", errno="EIO", certain=False, depends=(str(error),),
        evidence=(Evidence(place=error.place, text=str(error)),), fix="make it readable and run again",
    )  # fmt: skip
