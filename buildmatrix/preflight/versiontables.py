"""DT_VERNEED and DT_VERDEF as they lie in memory (LSB Core, Symbol Versioning)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from buildmatrix.preflight.elfimage import Layout

MOST = 1 << 16
Read = Callable[[int, int], bytes]
Text = Callable[[int], bytes]


class VersionNeed(NamedTuple):
    """One Vernaux with the file name of its Verneed."""

    file: bytes
    name: bytes
    hash: int
    flags: int
    other: int


class VersionDef(NamedTuple):
    """One Verdef with its first name; `revision` is vd_version."""

    name: bytes
    hash: int
    flags: int
    number: int
    revision: int


def read_needs(layout: Layout, read: Read, text: Text, address: int) -> tuple[VersionNeed, ...]:
    """Every Vernaux in order; `read` takes address and length, `text` an offset in the string table."""
    rows: list[VersionNeed] = []
    need, aux = layout.unpack("HHIII"), layout.unpack("IHHII")
    while len(rows) < MOST:
        _, _, file, first, following = need.unpack(read(address, 16))
        at = address + first
        while len(rows) < MOST:
            hashed, flags, other, name, more = aux.unpack(read(at, 16))
            rows.append(VersionNeed(text(file), text(name), hashed, flags, other))
            if not more:
                break
            at += more
        if not following:
            break
        address += following
    return tuple(rows)


def read_definitions(layout: Layout, read: Read, text: Text, address: int) -> tuple[VersionDef, ...]:
    """Every Verdef in order; arguments as for `read_needs`."""
    rows: list[VersionDef] = []
    head, word = layout.unpack("HHHHIII"), layout.unpack("I")
    while len(rows) < MOST:
        revision, flags, index, _, hashed, aux, following = head.unpack(read(address, 20))
        name = word.unpack(read(address + aux, 4))[0]
        rows.append(VersionDef(text(name), hashed, flags, index & 0x7FFF, revision))
        if not following:
            break
        address += following
    return tuple(rows)
