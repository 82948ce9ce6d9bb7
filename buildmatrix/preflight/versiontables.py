"""DT_VERNEED and DT_VERDEF as they lie in memory (LSB Core, Symbol Versioning)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from buildmatrix.preflight.elfimage import Layout
from buildmatrix.preflight.memory import Endless, Fault

if TYPE_CHECKING:
    from buildmatrix.preflight.dynobj import DynamicObject

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
    """One Verdef; `name_at` is the address of its first name's offset, `revision` is vd_version."""

    name_at: int
    hash: int
    flags: int
    number: int
    revision: int


def walk_needs(layout: Layout, read: Read, text: Text, address: int) -> Iterator[VersionNeed | bytes]:
    """Every Vernaux in order, and before those of a file its name.

    `read` takes address and length, `text` an offset in the string table. Links only lead forwards, so the
    tables end where memory does.
    """
    need, aux = layout.unpack("HHIII"), layout.unpack("IHHII")
    left = MOST
    while left:
        _, _, file, first, following = need.unpack(read(address, 16))
        name = text(file)
        yield name
        at = address + first
        while left:
            left -= 1
            hashed, flags, other, label, more = aux.unpack(read(at, 16))
            yield VersionNeed(name, text(label), hashed, flags, other)
            if not more:
                break
            at += more
        if not following:
            return
        address += following
    raise Endless("its table of needed versions goes on and on")


def walk_definitions(layout: Layout, read: Read, address: int) -> Iterator[VersionDef]:
    """Every Verdef in order; arguments as for `walk_needs`."""
    head = layout.unpack("HHHHIII")
    for _ in range(MOST):
        revision, flags, index, _, hashed, aux, following = head.unpack(read(address, 20))
        yield VersionDef(address + aux, hashed, flags, index & 0x7FFF, revision)
        if not following:
            return
        address += following
    raise Endless("its table of defined versions goes on and on")


class VersionTables:
    """The versions of one object as sets, where reading them all does no more than reading one."""

    def __init__(self, library: DynamicObject) -> None:
        self.library = library

    @cached_property
    def defined(self) -> frozenset[tuple[int, bytes]] | None:
        """Hash and name of every Verdef of revision 1; None where there are others, or reading them fails."""
        library = self.library
        try:
            rows = library.version_defs or ()
            if not library.space.pristine or any(row.revision != 1 for row in rows):
                return None
            return frozenset((row.hash, library.name_of(row)) for row in rows)
        except (Fault, Endless):
            return None

    @cached_property
    def wanted(self) -> dict[str, set[tuple[int, bytes]]] | None:
        """Hash and name of every version that is asked for, by file; None where reading them fails."""
        library = self.library
        try:
            if library.need_revision != 1 or not library.space.pristine:
                return None
            found: dict[str, set[tuple[int, bytes]]] = {}
            for need in library.version_needs:
                file = need.file.decode(errors="surrogateescape")
                found.setdefault(file, set()).add((need.hash, need.name))
        except (Fault, Endless):
            return None
        return found
