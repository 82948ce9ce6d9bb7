"""Byte range by byte range, what became of a file. Pure.

Headers and sections are followed to where they went; every byte of the new file is one that was followed and is the
same, one that was followed and changed, or one that was added.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from buildmatrix.repair.compare import File, pairs

_HEADERS = {32: 52, 64: 64}
_SHOWN = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """One range that differs. Offsets are -1 where the file has no such range; bytes in hexadecimal, cut at 64."""

    where: str
    before: int
    after: int
    before_size: int
    after_size: int
    before_bytes: str
    after_bytes: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Piece:
    where: str
    before: int
    after: int
    before_size: int
    after_size: int


def ranges(before: File, after: File) -> tuple[Range, ...]:
    """Every range that differs, in the order of the new file."""
    pieces = sorted(_pieces(before, after), key=lambda piece: piece.after)
    found = [item for piece in pieces for item in _differences(piece, before.data, after.data)]
    found += _added(pieces, before.data, after.data)
    return tuple(sorted(found, key=lambda item: (item.after, item.before)))


def _pieces(before: File, after: File) -> Iterator[_Piece]:
    head = _HEADERS[before.elf.bits]
    yield _Piece(where="ELF header", before=0, after=0, before_size=head, after_size=head)
    yield _Piece(
        where="program headers",
        before=before.elf.phoff,
        after=after.elf.phoff,
        before_size=before.elf.phnum * before.elf.phentsize,
        after_size=after.elf.phnum * after.elf.phentsize,
    )
    yield _Piece(
        where="section headers",
        before=before.elf.shoff,
        after=after.elf.shoff,
        before_size=before.elf.shnum * before.elf.shentsize,
        after_size=after.elf.shnum * after.elf.shentsize,
    )
    for old, new in pairs(before.sections, after.sections):
        if old.held and new is not None:
            yield _Piece(
                where=old.name or "a section", before=old.offset, after=new.offset, before_size=old.size,
                after_size=new.size,
            )  # fmt: skip


def _differences(piece: _Piece, before: bytes, after: bytes) -> Iterator[Range]:
    old = before[piece.before : piece.before + piece.before_size]
    new = after[piece.after : piece.after + piece.after_size]
    if piece.before_size != piece.after_size:
        yield _range(piece.where, piece.before, old, piece.after, new)
        return
    for start, end in _runs(old, new):
        yield _range(piece.where, piece.before + start, old[start:end], piece.after + start, new[start:end])


def _runs(old: bytes, new: bytes) -> Iterator[tuple[int, int]]:
    """The runs of bytes that differ between two pieces of one size; runs less than eight bytes apart are one."""
    if old == new:
        return
    start = last = -1
    for at, (one, two) in enumerate(zip(old, new, strict=True)):
        if one == two:
            continue
        if start >= 0 and at - last > 8:
            yield start, last + 1
            start = at
        start = at if start < 0 else start
        last = at
    yield start, last + 1


def _added(pieces: list[_Piece], before: bytes, after: bytes) -> Iterator[Range]:
    """What no piece covers: bytes that are new, unless the old file has the same ones at the same offset."""
    at = 0
    ends = [*((piece.after, piece.after + piece.after_size) for piece in pieces), (len(after), len(after))]
    for start, end in sorted(ends):
        if start > at and after[at:start] != before[at:start]:
            yield _range("between sections" if any(after[at:start]) else "padding", -1, b"", at, after[at:start])
        at = max(at, end)


def _range(where: str, before: int, old: bytes, after: int, new: bytes) -> Range:
    return Range(
        where=where,
        before=before,
        after=after,
        before_size=len(old),
        after_size=len(new),
        before_bytes=_hex(old),
        after_bytes=_hex(new),
    )


def _hex(data: bytes) -> str:
    """The bytes, or the first of them and the SHA-256 of all."""
    if len(data) <= _SHOWN:
        return data.hex()
    return f"{data[:_SHOWN].hex()}… sha256:{hashlib.sha256(data).hexdigest()}"
