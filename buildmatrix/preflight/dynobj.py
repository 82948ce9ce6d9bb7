"""A mapped object with its dynamic section, as a loader reads it: by address, through the mapping.

Nothing is checked against the file: a loader takes DT_STRTAB for an address and follows it. What
cannot be read raises Fault, which is the signal that the loader itself would get.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

from buildmatrix.preflight.elfimage import PT_DYNAMIC, PT_GNU_STACK, PT_PHDR, Header, Layout, Phdr
from buildmatrix.preflight.hashtable import HashTable
from buildmatrix.preflight.memory import AddressSpace, Blob, Fault
from buildmatrix.preflight.versiontables import VersionDef, VersionNeed, VersionTables, walk_definitions, walk_needs

DT_NEEDED, DT_PLTRELSZ, DT_PLTGOT, DT_HASH, DT_STRTAB, DT_SYMTAB, DT_RELA, DT_RELASZ = 1, 2, 3, 4, 5, 6, 7, 8
DT_SONAME, DT_RPATH, DT_SYMBOLIC, DT_REL, DT_RELSZ, DT_PLTREL, DT_TEXTREL, DT_JMPREL = 14, 15, 16, 17, 18, 20, 22, 23
DT_BIND_NOW, DT_RUNPATH, DT_FLAGS, DT_RELRSZ, DT_RELR = 24, 29, 30, 35, 36
DT_GNU_HASH, DT_VERSYM, DT_FLAGS_1, DT_VERDEF, DT_VERNEED = 0x6FFFFEF5, 0x6FFFFFF0, 0x6FFFFFFB, 0x6FFFFFFC, 0x6FFFFFFE
DT_AUXILIARY, DT_FILTER = 0x7FFFFFFD, 0x7FFFFFFF
DF_SYMBOLIC, DF_TEXTREL, DF_BIND_NOW = 2, 4, 8
DF_1_NOW, DF_1_NODEFLIB, DF_1_NOOPEN, DF_1_PIE = 1, 0x800, 0x40, 0x08000000
STB_LOCAL, STB_GLOBAL, STB_WEAK, STB_UNIQUE = 0, 1, 2, 10
STT_TLS, STT_IFUNC = 6, 10
MAX_DYNAMIC = 1 << 16
MUSL_DYN_CNT = 37
MAX_TABLE = 1 << 27


class Symbol(NamedTuple):
    """One Elf_Sym, with its index."""

    number: int
    name: int
    info: int
    other: int
    shndx: int
    value: int
    size: int

    @property
    def binding(self) -> int:
        """STB_ value."""
        return self.info >> 4

    @property
    def type(self) -> int:
        """STT_ value."""
        return self.info & 15


class Reloc(NamedTuple):
    """One relocation: where, type, symbol's index, addend (0 where it lies in memory)."""

    offset: int
    type: int
    symbol: int
    addend: int = 0


@dataclass(slots=True)
class Room:
    """Offsets in [low, high) are known to be writable; `plain` is the type of relocations that name no symbol."""

    plain: int
    low: int = 0
    high: int = 0


class DynamicObject:
    """One object in memory. `path` is where it lies in the root; `bias` is its load bias.

    `matches` and `references` are the binder's memory: what this object defines and what it refers to
    does not change from process to process.
    """

    def __init__(
        self,
        path: str,
        blob: Blob,
        layout: Layout,
        header: Header,
        phdrs: tuple[Phdr, ...],
        space: AddressSpace,
        bias: int,
    ) -> None:
        self.path = path
        self.blob = blob
        self.layout = layout
        self.header = header
        self.phdrs = phdrs
        self.memory_phdrs = phdrs
        self.space = space
        self.bias = bias
        self._strings: dict[int, bytes] = {}
        self._symbols: dict[int, Symbol] = {}
        self.unsure = ""
        self.musl = False
        self.matches: dict[object, Symbol | None] = {}
        self.references: dict[str, tuple[object, ...]] = {}
        self.isa: int | None = None
        self._versyms: tuple[int, ...] = ()

    @property
    def open_question(self) -> str:
        """What this object's bytes leave open, or nothing."""
        return self.unsure or (f"{self.path}: what the loader wrote there" if self.space.tainted else "")

    def headers_in_memory(self, address: int, count: int) -> None:
        """Where the loader finds the program headers once the file is mapped. Raises Fault."""
        self.memory_phdrs = self.layout.phdrs(self.space.read(address, count * self.layout.phentsize))

    @cached_property
    def dynamic_address(self) -> int | None:
        """Address of the dynamic section, or None. The last PT_DYNAMIC counts."""
        found = None
        for phdr in self.phdrs:
            if phdr.type == PT_DYNAMIC:
                found = (phdr.vaddr + self.bias) & self.layout.mask
        return found

    @cached_property
    def entries(self) -> tuple[tuple[int, int], ...]:
        """Tags and values up to DT_NULL. Raises Fault."""
        address = self.dynamic_address
        if address is None:
            return ()
        pair = self.layout.unpack("PP")
        rows: list[tuple[int, int]] = []
        while len(rows) < MAX_DYNAMIC:
            tag, value = pair.unpack(self.space.read(address, pair.size))
            if not tag:
                break
            rows.append((tag, value))
            address += pair.size
        return tuple(rows)

    @cached_property
    def tags(self) -> dict[int, int]:
        """The value of every tag: the last one counts, for musl the first one of tags past DYN_CNT."""
        if not self.musl:
            return dict(self.entries)
        return {**dict(self.entries), **{tag: value for tag, value in reversed(self.entries) if tag >= MUSL_DYN_CNT}}

    @cached_property
    def _last_entries(self) -> dict[int, int]:
        return {tag: index for index, (tag, _) in enumerate(self.entries)}

    def last_entry(self, tag: int) -> int | None:
        """The index of the last dynamic entry with a tag, or None."""
        return self._last_entries.get(tag)

    def required(self, tag: int) -> int:
        """The address that a tag holds. Raises Fault where it is absent: the loader follows a null pointer."""
        address = self.address_of(tag)
        if address is None and self.musl:
            if self.dynamic_address is None:
                raise Fault("SIGSEGV", 0)
            return self.bias  # musl takes a tag that is absent for zero
        if address is None:
            raise Fault("SIGSEGV", 8)
        return address

    def address_of(self, tag: int) -> int | None:
        """The address that a tag holds, with the load bias."""
        value = self.tags.get(tag)
        return None if value is None else (value + self.bias) & self.layout.mask

    def string(self, offset: int) -> bytes:
        """The string at `offset` of the string table. Raises Fault."""
        found = self._strings.get(offset)
        if found is None:
            base = self.required(DT_STRTAB)
            found = self._strings[offset] = self.space.string((base + offset) & self.layout.mask)
        return found

    def _text(self, tag: int) -> str | None:
        value = self.tags.get(tag)
        return None if value is None else self.string(value).decode(errors="surrogateescape")

    @cached_property
    def needed(self) -> tuple[tuple[int, str], ...]:
        """DT_NEEDED, DT_AUXILIARY and DT_FILTER in order."""
        wanted = (DT_NEEDED, DT_AUXILIARY, DT_FILTER)
        return tuple(
            (tag, self.string(value).decode(errors="surrogateescape")) for tag, value in self.entries if tag in wanted
        )

    @cached_property
    def soname(self) -> str | None:
        """DT_SONAME."""
        return self._text(DT_SONAME)

    @cached_property
    def rpath(self) -> str | None:
        """DT_RPATH, whether or not DT_RUNPATH stands beside it."""
        return self._text(DT_RPATH)

    @cached_property
    def runpath(self) -> str | None:
        """DT_RUNPATH."""
        return self._text(DT_RUNPATH)

    @property
    def flags_1(self) -> int:
        """DT_FLAGS_1."""
        return self.tags.get(DT_FLAGS_1, 0)

    @property
    def bind_now(self) -> bool:
        """Whether the object itself asks to be bound at once."""
        flags = self.tags.get(DT_FLAGS, 0)
        return DT_BIND_NOW in self.tags or bool(flags & DF_BIND_NOW) or bool(self.flags_1 & DF_1_NOW)

    @cached_property
    def stack_flags(self) -> int | None:
        """p_flags of the last PT_GNU_STACK, or None."""
        found = None
        for phdr in self.phdrs:
            if phdr.type == PT_GNU_STACK:
                found = phdr.flags
        return found

    @property
    def has_phdr(self) -> bool:
        """Whether there is a PT_PHDR."""
        return any(phdr.type == PT_PHDR for phdr in self.phdrs)

    # Symbols.

    def symbol(self, index: int) -> Symbol:
        """Symbol number `index`. Raises Fault."""
        found = self._symbols.get(index)
        if found is None:
            table = self.required(DT_SYMTAB)
            wide = self.layout.bits == 64
            size = 24 if wide else 16
            data = self.space.read((table + index * size) & self.layout.mask, size)
            if wide:
                name, info, other, shndx, value, length = self.layout.unpack("IBBHQQ").unpack(data)
            else:
                name, value, length, info, other, shndx = self.layout.unpack("IIIBBH").unpack(data)
            found = self._symbols[index] = Symbol(index, name, info, other, shndx, value, length)
        return found

    def symbols(self, count: int) -> list[tuple[int, ...]]:
        """The first `count` symbols as rows of name, info, other, shndx, value, size. Raises Fault."""
        wide = self.layout.bits == 64
        table = self.space.read(self.required(DT_SYMTAB), count * (24 if wide else 16))
        if wide:
            return list(self.layout.unpack("IBBHQQ").iter_unpack(table))
        rows = self.layout.unpack("IIIBBH").iter_unpack(table)
        return [(name, info, other, shndx, value, size) for name, value, size, info, other, shndx in rows]

    @cached_property
    def _versym(self) -> int | None:
        return self.address_of(DT_VERSYM)

    def versym(self, index: int) -> int | None:
        """The raw version index of a symbol, or None where there is no table."""
        if index < len(self._versyms):
            return self._versyms[index]
        if self._versym is None:
            return None
        return int.from_bytes(self.space.read((self._versym + 2 * index) & self.layout.mask, 2), self._endian)

    def versyms(self, count: int) -> tuple[int, ...]:
        """The raw version indices of the first `count` symbols; DT_VERSYM must be there. Raises Fault."""
        code = self.layout.unpack(f"{count}H")
        found: tuple[int, ...] = code.unpack(self.space.read(self.required(DT_VERSYM), code.size))
        if self.space.pristine and count > len(self._versyms):
            self._versyms = found
        return found

    def number(self, address: int, size: int) -> int:
        """An unsigned number of `size` bytes in memory. Raises Fault."""
        return int.from_bytes(self.space.read(address & self.layout.mask, size), self._endian)

    @property
    def _endian(self) -> Literal["little", "big"]:
        return "little" if self.layout.order == "<" else "big"

    @cached_property
    def hash_table(self) -> HashTable:
        """The symbols by name."""
        return HashTable(self)

    def candidates(self, name: bytes, gnu: int, admitted: Callable[[Symbol], bool]) -> Iterator[Symbol]:
        """Symbols of this name in the order of the hash table. `gnu` is gnu_hash(name). Raises Fault, Endless.

        `admitted` is asked before a symbol's name is read.
        """
        return self.hash_table.candidates(name, gnu, admitted)

    # Relocations.

    def rows(self, table: int, size: int, addend: bool) -> Iterator[tuple[int, ...]]:
        """The entries of a DT_REL or DT_RELA table as they lie in memory. Raises Fault."""
        address, length = self.address_of(table), self.tags.get(size, 0)
        if address is None and self.musl:
            address = self.bias  # musl takes a tag that is absent for zero
        if address is None or not length:
            return iter(())
        if not self.tags.get(table) and not self.musl:
            raise Fault("SIGSEGV", 0)  # a zero is left as it is, not moved by the load bias
        entry = self.layout.word * (3 if addend else 2)
        data = self.space.read(address, min(length, MAX_TABLE) // entry * entry)
        return self.layout.unpack("PPP" if addend else "PP").iter_unpack(data)

    def relocations(self, table: int, size: int, addend: bool, room: Room | None = None) -> Iterator[Reloc]:
        """The entries of a DT_REL or DT_RELA table, both given as tags. Raises Fault.

        Where a `room` is given, plain relocations inside it are left out: nothing can go wrong with them.
        """
        room = room or Room(plain=0)
        shift, mask = (32, 0xFFFFFFFF) if self.layout.bits == 64 else (8, 0xFF)
        for row in self.rows(table, size, addend):
            if row[1] == room.plain and room.low <= row[0] < room.high:
                continue
            yield Reloc(row[0], row[1] & mask, row[1] >> shift, row[2] if addend else 0)

    def eager(self, room: Room | None = None) -> Iterator[Reloc]:
        """DT_REL, then DT_RELA."""
        yield from self.relocations(DT_REL, DT_RELSZ, addend=False, room=room)
        yield from self.relocations(DT_RELA, DT_RELASZ, addend=True, room=room)

    def plt(self) -> Iterator[Reloc]:
        """DT_JMPREL."""
        yield from self.relocations(DT_JMPREL, DT_PLTRELSZ, addend=self.tags.get(DT_PLTREL) == DT_RELA)

    # Versions.

    @cached_property
    def highest_version(self) -> int:
        """The highest version index of the tables; 0 where there is none, and then DT_VERSYM is not looked at."""
        if DT_STRTAB not in self.tags:
            return 0
        return max((*(need.other & 0x7FFF for need in self.version_needs),
                    *(row.number for row in self.version_defs or ())), default=0)  # fmt: skip

    @property
    def need_revision(self) -> int:
        """vn_version of the first Verneed; 1 where there is none."""
        address = self.address_of(DT_VERNEED)
        return 1 if address is None else int.from_bytes(self.space.read(address, 2), self._endian)

    def walk_needs(self) -> Iterator[VersionNeed | bytes]:
        """Every Vernaux in order, and before those of a file its name. Raises Fault."""
        address = self.address_of(DT_VERNEED)
        if address is not None:
            yield from walk_needs(self.layout, self.space.read, self.string, address)

    @cached_property
    def version_needs(self) -> tuple[VersionNeed, ...]:
        """Every Vernaux in order. Raises Fault."""
        return tuple(need for need in self.walk_needs() if isinstance(need, VersionNeed))

    def walk_defs(self) -> Iterator[VersionDef]:
        """Every Verdef in order. Raises Fault."""
        address = self.address_of(DT_VERDEF)
        if address is not None:
            yield from walk_definitions(self.layout, self.space.read, address)

    @cached_property
    def version_defs(self) -> tuple[VersionDef, ...] | None:
        """Every Verdef in order, or None where there is no DT_VERDEF. Raises Fault."""
        return None if DT_VERDEF not in self.tags else tuple(self.walk_defs())

    @cached_property
    def version_tables(self) -> VersionTables:
        """What is asked of others and what is defined here, at a glance."""
        return VersionTables(self)

    def name_of(self, definition: VersionDef) -> bytes:
        """The name of a version that is defined here. Raises Fault."""
        return self.string(int.from_bytes(self.space.read(definition.name_at, 4), self._endian))

    @cached_property
    def versions(self) -> dict[int, tuple[bytes, int, bytes | None, bool]]:
        """By version index: name, hash, the file it is needed from (None: defined here), hidden."""
        table: dict[int, tuple[bytes, int, bytes | None, bool]] = {}
        for need in self.version_needs:
            table[need.other & 0x7FFF] = (need.name, need.hash, need.file, bool(need.other & 0x8000))
        for definition in self.version_defs or ():
            if not definition.flags & 1:
                table[definition.number] = (self.name_of(definition), definition.hash, None, False)
        return table
