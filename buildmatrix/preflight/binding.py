"""Symbol lookup and relocation as glibc does them (elf/dl-lookup.c, elf/dl-reloc.c, dl-machine.h).

Only what can fail is followed: whether every symbol that is bound at start is found, by name and
version, in the order of the search list. What is bound lazily is kept for `lazy.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import cast

from buildmatrix.preflight.dynobj import (
    DF_SYMBOLIC,
    DF_TEXTREL,
    DT_FLAGS,
    DT_RELA,
    DT_RELASZ,
    DT_SYMBOLIC,
    DT_TEXTREL,
    STB_LOCAL,
    STB_WEAK,
    STT_TLS,
    DynamicObject,
    Reloc,
    Room,
    Symbol,
)
from buildmatrix.preflight.elfimage import EM_386, EM_AARCH64, EM_ARM, EM_X86_64
from buildmatrix.preflight.glibc_search import Loaded
from buildmatrix.preflight.symhash import gnu_hash

SHN_ABS = 0xFFF1
ALLOWED_TYPES = 1 << 0 | 1 << 1 | 1 << 2 | 1 << 5 | 1 << 6 | 1 << 10
CLASS_PLT, CLASS_COPY = 1, 2
DT_RELACOUNT = 0x6FFFFFF9
RELATIVE_TYPES = {EM_X86_64: 8, EM_AARCH64: 1027}


@dataclass(frozen=True, slots=True)
class Machine:
    """Relocation types of one psABI: no symbol wanted, PLT class, copy, and all that glibc knows."""

    unnamed: frozenset[int]
    plt: frozenset[int]
    copy: int
    known: frozenset[int]
    jump_slot: int


MACHINES = {
    EM_X86_64: Machine(
        unnamed=frozenset({0, 8, 37, 38}), plt=frozenset({7, 16, 17, 18, 36}), copy=5, jump_slot=7,
        known=frozenset({0, 1, 2, 5, 6, 7, 8, 10, 16, 17, 18, 24, 32, 33, 36, 37, 38}),
    ),
    EM_386: Machine(
        unnamed=frozenset({0, 8, 42}), plt=frozenset({7, 14, 35, 36, 37, 41}), copy=5, jump_slot=7,
        known=frozenset({0, 1, 2, 5, 6, 7, 8, 14, 35, 36, 37, 38, 41, 42}),
    ),
    EM_AARCH64: Machine(
        unnamed=frozenset({0, 256, 1027, 1032}), plt=frozenset({1026, 1028, 1029, 1030, 1031}), copy=1024,
        jump_slot=1026,
        known=frozenset({0, 256, 257, 258, 1024, 1025, 1026, 1027, 1028, 1029, 1030, 1031, 1032}),
    ),
    EM_ARM: Machine(
        unnamed=frozenset({0, 23, 160}), plt=frozenset({13, 17, 18, 19, 22}), copy=20, jump_slot=22,
        known=frozenset({0, 1, 2, 3, 13, 17, 18, 19, 20, 21, 22, 23, 160}),
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Wanted:
    """A version that a reference asks for: name, hash, the file it should come from, whether hidden."""

    name: bytes
    hash: int
    file: bytes | None
    hidden: bool


class Unversioned(Exception):
    """glibc's assertion in check_match: the file that should define a version has no versions at all."""

    def __init__(self, provider: Loaded, symbol: str, version: str) -> None:
        super().__init__(symbol)
        self.provider = provider
        self.symbol = symbol
        self.version = version


class Undefined(Exception):
    """A reference that nothing defines."""

    def __init__(self, where: Loaded, symbol: str, version: str) -> None:
        super().__init__(symbol)
        self.where = where
        self.symbol = symbol
        self.version = version

    @property
    def text(self) -> str:
        """The loader's words."""
        return f"undefined symbol: {self.symbol}" + (f", version {self.version}" if self.version else "")


class BadType(Exception):
    """A relocation type that the loader does not know."""

    def __init__(self, where: Loaded, kind: int) -> None:
        super().__init__(hex(kind))
        self.where = where
        self.kind = kind


@dataclass(frozen=True, slots=True)
class Reference:
    """One distinct reference of an object: symbol, name, version, class; or a type nobody knows."""

    number: int
    name: bytes
    wanted: Wanted | None
    kind: int
    weak: bool
    slot: bool
    key: bytes
    bad_type: int = -1
    broken: str = ""


def _key(name: bytes, wanted: Wanted | None, kind: int) -> bytes:
    """One word for a question to a provider: bytes remember their hash, which tuples do not."""
    asked = b"" if wanted is None else b"%s\0%x\0%d\0%s" % (wanted.name, wanted.hash, wanted.hidden, wanted.file or b"")
    return b"%s\0%d\0%s" % (name, kind & CLASS_PLT, asked)


class _Places:
    """Whether the loader can write where relocations point, and what DT_RELACOUNT claims of them."""

    def __init__(self, library: DynamicObject) -> None:
        self.space = library.space
        self.bias = library.bias
        self.mask = library.layout.mask
        self.textrel = DT_TEXTREL in library.tags or bool(library.tags.get(DT_FLAGS, 0) & DF_TEXTREL)
        self.room = Room(plain=RELATIVE_TYPES.get(library.header.machine, 0))

    def check(self, reloc: Reloc) -> str:
        """The signal that writing to one relocation's place gives, or nothing."""
        address = (reloc.offset + self.bias) & self.mask
        room = self.room
        if room.low <= reloc.offset < room.high or reloc.type == 0:
            return ""
        area = self.space.find(address)
        if area is None or not (area.prot & 2 or (self.textrel and area.prot)):
            return "SIGSEGV"
        if not self.space.backed(area, address):
            return "SIGBUS"
        end = area.end
        if area.blob is not None:
            end = min(end, area.start + self.space.up(area.blob.size) - area.offset)
        room.low, room.high = area.start - self.bias, end - self.bias - 7
        return ""


def _miscounted(library: DynamicObject) -> str:
    """DT_RELACOUNT: a count that is negative is followed off the table, a wrong one fails an assertion."""
    counted = library.tags.get(DT_RELACOUNT, 0)
    relative = RELATIVE_TYPES.get(library.header.machine)
    if not counted or relative is None or DT_RELA not in library.tags:
        return ""
    if counted >> 63:
        return "SIGSEGV"
    rows = islice(library.rows(DT_RELA, DT_RELASZ, addend=True), counted)
    return "assertion" if any(row[1] & 0xFFFFFFFF != relative for row in rows) else ""


class BrokenTable(Exception):
    """A relocation whose place cannot be written (`how` is the signal), or a failed assertion."""

    def __init__(self, where: Loaded, how: str, address: int) -> None:
        super().__init__(how)
        self.where = where
        self.how = how
        self.address = address


class Binder:
    """Looks symbols up in one process's global search list."""

    def __init__(self, scope: list[Loaded], machine: int) -> None:
        self.scope = scope
        self.machine = MACHINES.get(machine)

    def references(self, library: DynamicObject, table: str) -> tuple[Reference, ...]:
        """The distinct references of ``eager`` or ``plt`` relocations, in order. Raises Fault."""
        known = library.references.get(table)
        if known is None:
            known = library.references[table] = tuple(self._distinct(library, eager=table == "eager"))
        return cast("tuple[Reference, ...]", known)

    def _distinct(self, library: DynamicObject, *, eager: bool) -> Iterator[Reference]:
        machine = self.machine
        seen: set[tuple[int, int]] = set()
        places = _Places(library)
        broken = _miscounted(library) if eager else ""
        if broken:
            yield Reference(0, b"", None, 0, False, False, b"", broken=broken)
            return
        for reloc in library.eager(places.room) if eager else library.plt():
            broken = places.check(reloc)
            if broken:
                yield Reference(reloc.offset, b"", None, 0, False, False, b"", broken=broken)
                return
            kind = 0
            slot = False
            if machine is not None:
                if reloc.type not in machine.known:
                    yield Reference(0, b"", None, 0, False, False, b"", reloc.type)
                    continue
                if reloc.type in machine.unnamed:
                    continue
                kind = CLASS_PLT if reloc.type in machine.plt else CLASS_COPY if reloc.type == machine.copy else 0
                slot = reloc.type == machine.jump_slot
            if reloc.symbol and (reloc.symbol, kind) not in seen:
                seen.add((reloc.symbol, kind))
                symbol = library.symbol(reloc.symbol)
                if symbol.binding != STB_LOCAL and symbol.other & 3 not in (1, 2):
                    wanted = self._wanted(library, reloc.symbol)
                    weak = symbol.binding == STB_WEAK
                    name = library.string(symbol.name)
                    yield Reference(reloc.symbol, name, wanted, kind, weak, slot, _key(name, wanted, kind))

    def bind(self, where: Loaded, reference: Reference) -> None:
        """Find what one reference is bound to. Raises Undefined, Unversioned, BadType, Fault."""
        if reference.broken:
            raise BrokenTable(where, reference.broken, reference.number)
        if reference.bad_type >= 0:
            raise BadType(where, reference.bad_type)
        found = self.lookup(reference.name, reference.wanted, reference.kind, where, reference.key)
        if found is None and not reference.weak:
            version = reference.wanted.name.decode(errors="replace") if reference.wanted else ""
            raise Undefined(where, reference.name.decode(errors="replace"), version)

    @staticmethod
    def _wanted(library: DynamicObject, number: int) -> Wanted | None:
        raw = library.versym(number)
        if raw is None:
            return None
        row = library.versions.get(raw & 0x7FFF)
        if row is None and raw & 0x7FFF > max(library.versions, default=0) and raw & 0x7FFF > 1:
            library.unsure = f"{library.path}: a symbol's version index lies past the table of versions"
        return None if row is None or not row[1] else Wanted(*row)

    def lookup(
        self, name: bytes, wanted: Wanted | None, kind: int, where: Loaded, key: bytes = b""
    ) -> tuple[Loaded, Symbol] | None:
        """The first match in the search list (do_lookup_x)."""
        scope = self.scope
        symbolic = where.object.tags.get(DT_FLAGS, 0) & DF_SYMBOLIC or DT_SYMBOLIC in where.object.tags
        if symbolic:
            scope = [where, *scope]
        key = key or _key(name, wanted, kind)
        for provider in scope:
            if kind & CLASS_COPY and provider.is_main:
                continue
            matches = provider.object.matches
            if key in matches:
                symbol = matches[key]
            else:
                symbol = matches[key] = self._match(provider, name, wanted, kind)
            if symbol is not None and symbol.other & 3 not in (1, 2) and symbol.binding in (1, 2, 10):
                return provider, symbol
        return None

    def _match(self, provider: Loaded, name: bytes, wanted: Wanted | None, kind: int) -> Symbol | None:
        newer: list[Symbol] = []
        for symbol in provider.object.candidates(name, gnu_hash(name)):
            if self._fits(provider, symbol, wanted, kind, newer, name):
                return symbol
        return newer[0] if len(newer) == 1 else None

    def _fits(
        self, provider: Loaded, symbol: Symbol, wanted: Wanted | None, kind: int, newer: list[Symbol], name: bytes
    ) -> bool:
        """check_match."""
        valueless = symbol.value == 0 and symbol.shndx != SHN_ABS and symbol.type != STT_TLS
        if valueless or (kind & CLASS_PLT and symbol.shndx == 0) or not 1 << symbol.type & ALLOWED_TYPES:
            return False
        raw = provider.object.versym(symbol.number)
        if wanted is None:
            if raw is not None and raw & 0x7FFF >= 3:
                if not raw & 0x8000:
                    newer.append(symbol)
                return False
            return True
        if raw is None:
            if wanted.file is not None and provider.answers(wanted.file.decode(errors="surrogateescape")):
                raise Unversioned(provider, name.decode(errors="replace"), wanted.name.decode(errors="replace"))
            return True
        row = provider.object.versions.get(raw & 0x7FFF)
        has = row is not None and row[1] != 0
        same = has and row is not None and row[1] == wanted.hash and row[0] == wanted.name
        return same or not (wanted.hidden or has or raw & 0x8000)
