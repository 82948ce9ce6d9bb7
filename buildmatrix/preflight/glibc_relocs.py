"""The relocations of one object in glibc's order (elf/dynamic-link.h, do-rel.h, dl-machine.h, dl-reloc.c).

What they refer to does not change from process to process, so the list is made once for each object.
A failure that the tables alone decide, such as a place that cannot be written, ends the list.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from buildmatrix.preflight.dynobj import (
    DF_TEXTREL,
    DT_FLAGS,
    DT_JMPREL,
    DT_PLTGOT,
    DT_PLTREL,
    DT_PLTRELSZ,
    DT_REL,
    DT_RELA,
    DT_RELASZ,
    DT_RELR,
    DT_RELRSZ,
    DT_RELSZ,
    DT_SYMTAB,
    DT_TEXTREL,
    DT_VERSYM,
    STB_LOCAL,
    STB_WEAK,
    DynamicObject,
    Reloc,
)
from buildmatrix.preflight.elfimage import PT_GNU_RELRO, PT_LOAD
from buildmatrix.preflight.glibc_dynamic import Version, tables_of
from buildmatrix.preflight.glibc_machines import (
    CLASS_COPY,
    CLASS_PLT,
    DT_RELACOUNT,
    DT_RELCOUNT,
    MACHINES,
    RELATIVE_TYPES,
    Failure,
    Reference,
    Wanted,
    called,
    failed,
    key_of,
)
from buildmatrix.preflight.memory import Fault

MOST_ROWS, CHUNK, MOST_NAMED = 1 << 22, 1 << 16, 1 << 19


def references(library: DynamicObject, lazy: bool, version: Version) -> tuple[Reference, ...]:
    """The steps of relocating `library`; remembered. `lazy` is the process's wish."""
    lazy = lazy and not library.bind_now
    key = f"{lazy} {version >= (2, 36)}"
    known = library.references.get(key)
    if known is None:
        known = library.references[key] = tuple(_guarded(library, lazy, version))
    return known  # type: ignore[return-value]


def _guarded(library: DynamicObject, lazy: bool, version: Version) -> Iterator[Reference]:
    try:
        yield from Steps(library, lazy, version).run()
    except Fault as fault:
        yield Reference(failure=failed(fault, library))


class Range(NamedTuple):
    """One run of a table: address, size in bytes, how many relative ones lead, whether it is bound lazily."""

    start: int
    size: int
    relative: int
    lazy: bool


class Steps:
    """Walks the tables of one object; `glibc_plain` takes them by the thousand."""

    def __init__(self, library: DynamicObject, lazy: bool, version: Version) -> None:
        self.library = library
        self.space = library.space
        self.mask = library.layout.mask
        self.word = library.layout.word
        self.lazy = lazy
        self.version = version
        tags = library.tags
        self.textrel = DT_TEXTREL in tags or bool(tags.get(DT_FLAGS, 0) & DF_TEXTREL)
        self.machine = MACHINES.get(library.header.machine)
        self.relative = RELATIVE_TYPES.get(library.header.machine, -1)
        self.room = (0, 0)
        self.versym = DT_VERSYM in tags
        self.seen: set[tuple[int, int, bool]] = set()
        self.late: list[Reloc] = []
        first = library.dynamic_address or 0
        self.dynamic = (first, first + 2 * self.word * (len(library.entries) + 1))

    def run(self) -> Iterator[Reference]:
        """Raises Fault."""
        yield from self._text_writable()
        self.prepare()
        for addend, ranges in self.tables():
            for piece in ranges:
                yield from self._table(piece, addend)
        yield from self.protect()

    def prepare(self) -> None:
        """What comes before the tables. Raises Fault."""
        if self.lazy and DT_JMPREL in self.library.tags:
            table = self.library.required(DT_PLTGOT)
            self.space.reach(table + self.word, self.word)
            self._store(table + self.word, 2 * self.word)
        if DT_RELR in self.library.tags and self.version >= (2, 36):
            self._relr()

    def tables(self) -> Iterator[tuple[bool, list[Range]]]:
        """Whether entries have addends, and where they lie. Raises Fault."""
        tables = tables_of(self.library)
        if tables.rel:
            yield False, self._ranges(DT_REL, DT_RELSZ, DT_RELCOUNT, not tables.rela)
        if tables.rela:
            yield True, self._ranges(DT_RELA, DT_RELASZ, DT_RELACOUNT, not tables.rel)

    def _text_writable(self) -> Iterator[Reference]:
        if not self.textrel:
            return
        for phdr in self.library.memory_phdrs:
            if phdr.type != PT_LOAD or phdr.flags & 2:
                continue
            low = self.space.down(phdr.vaddr + self.library.bias)
            high = self.space.up((phdr.vaddr + phdr.memsz) & self.mask) + self.library.bias
            if low != high and not self.space.covers(low, high):
                text = "cannot make segment writable for relocation"
                yield Reference(failure=Failure(text=text, errno="ENOMEM", unsure=self._beside(low)))
                return

    def _beside(self, low: int) -> str:
        """What mprotect over a range with holes hangs on: it first changes all that lies before the hole.

        Past the end of a library that may be other libraries, even the loader itself.
        """
        areas = self.space.areas
        if not self.space.crowded or not areas or self.space.find(low) is None:
            return "" if self.space.find(low) or not self.space.fault(low).unsure else self._next_to()
        return self._next_to() if self.space.covers(low, areas[-1].end) else ""

    def _next_to(self) -> str:
        return f"what is mapped next to {self.library.path}"

    def protect(self) -> Iterator[Reference]:
        """_dl_protect_relro."""
        for phdr in reversed(self.library.phdrs):
            if phdr.type != PT_GNU_RELRO:
                continue
            low = self.space.down(phdr.vaddr + self.library.bias)
            high = self.space.down((phdr.vaddr + self.library.bias + phdr.memsz) & self.mask)
            if phdr.memsz and low != high and not self.space.covers(low, high):
                text = "cannot apply additional memory protection after relocation"
                yield Reference(failure=Failure(text=text, errno="ENOMEM", unsure=self._beside(low)))
            return

    def _relr(self) -> None:
        library, word = self.library, self.word
        at = library.required(DT_RELR)
        size = library.tags.get(DT_RELRSZ)
        if size is None:
            raise Fault("SIGSEGV", 8)
        where = 0
        for offset in range(0, min(size, MOST_ROWS * word), word):
            entry = int.from_bytes(self.space.read((at + offset) & self.mask, word), "little")
            if not entry & 1:
                where = (library.bias + entry) & self.mask
                self._store(where, word)
                where += word
                continue
            self._bitmap(where, entry >> 1)
            where += word * (8 * word - 1)

    def _bitmap(self, where: int, bits: int) -> None:
        """One bitmap of DT_RELR; between two places that are well in one area, all are."""
        low, high = self.room
        last = where + (bits.bit_length() - 1) * self.word - self.library.bias
        if bits and low <= where - self.library.bias and last < high:
            return
        for index in range(8 * self.word - 1):
            if bits >> index & 1:
                self.plain((where + index * self.word - self.library.bias) & self.mask)

    def _store(self, address: int, length: int) -> None:
        self.space.store(address & self.mask, length, force=self.textrel)
        if self.dynamic[0] - length < address < self.dynamic[1]:
            self.library.unsure = f"{self.library.path}: a relocation changes the dynamic section"

    # _ELF_DYNAMIC_DO_RELOC.

    def _table(self, piece: Range, addend: bool) -> Iterator[Reference]:
        self.library.required(DT_SYMTAB)
        yield from self._lazy_range(piece, addend) if piece.lazy else self._range(piece, addend)
        while self.late:
            yield self.resolver(self.late.pop(0))

    def _ranges(self, table: int, size_tag: int, count_tag: int, only: bool) -> list[Range]:
        library, tags = self.library, self.library.tags
        start, size, relative = 0, 0, 0
        if tags.get(table):
            start, relative = library.required(table), tags.get(count_tag, 0)
            if size_tag not in tags:
                raise Fault("SIGSEGV", 8)
            size = tags[size_tag]
        second = Range(0, 0, 0, False)
        if DT_PLTREL in tags and (only or tags[DT_PLTREL] == table):
            plt = library.required(DT_JMPREL)
            if DT_PLTRELSZ not in tags:
                raise Fault("SIGSEGV", 8)
            plt_size = tags[DT_PLTRELSZ]
            start = start or plt
            if (start + size) & self.mask == (plt + plt_size) & self.mask:
                size = (size - plt_size) & self.mask
            if not self.lazy and (start + size) & self.mask == plt:
                size = (size + plt_size) & self.mask
            else:
                second = Range(plt, plt_size, 0, self.lazy)
        return [Range(start, size, relative, False), second]

    def _rows(self, start: int, count: int, addend: bool) -> Iterator[tuple[int, ...]]:
        """Rows as they lie in memory, up to the first that cannot be read. Raises Fault."""
        code = self.library.layout.unpack("PPP" if addend else "PP")
        while count > 0:
            take = min(count, CHUNK)
            try:
                data = self.space.read(start, take * code.size)
            except Fault:
                take = 1
                data = self.space.read(start, code.size)
            yield from code.iter_unpack(data)
            start, count = (start + take * code.size) & self.mask, count - take

    def _range(self, piece: Range, addend: bool) -> Iterator[Reference]:
        entry = self.word * (3 if addend else 2)
        skipped = piece.relative * entry & self.mask
        ahead = self.ahead(piece.start, skipped)
        if ahead:
            for row in self._rows(piece.start, min(-(-skipped // entry), MOST_ROWS), addend):
                own = row[1] & self.type_mask() in (self.relative, 38 if self.word == 8 else -1)
                if self.relative >= 0 and not own:
                    yield Reference(failure=Failure(why="DT_RELACOUNT counts a relocation that is not relative"))
                    return
                self.plain(row[0])
        if not self.ahead(piece.start, piece.size) or (skipped > piece.size and ahead):
            return
        left = (piece.size - skipped) & self.mask
        count = -(-left // entry)
        for number, row in enumerate(self._rows((piece.start + skipped) & self.mask, count, addend)):
            if number >= MOST_ROWS:
                self.library.unsure = f"{self.library.path}: its relocations go on and on"
                return
            low, high = self.room
            if row[1] == self.relative and low <= row[0] < high:
                continue
            yield from self._one(self._reloc(row))

    def ahead(self, start: int, size: int) -> bool:
        """Whether what is `size` bytes past a table's start does not lie before it, whatever the load address is."""
        if not self.space.crowded:
            return start + size <= self.mask
        return size <= self.mask - (1 << (self.library.layout.bits - 18))

    def type_mask(self) -> int:
        """The bits of r_info that hold the type."""
        return 0xFFFFFFFF if self.word == 8 else 0xFF

    def _reloc(self, row: tuple[int, ...]) -> Reloc:
        shift = 32 if self.word == 8 else 8
        return Reloc(row[0], row[1] & self.type_mask(), row[1] >> shift, row[2] if len(row) > 2 else 0)

    def plain(self, offset: int) -> None:
        """A relocation that names no symbol: its place, and how far around it all is well."""
        low, high = self.room
        if low <= offset < high:
            return
        address = (offset + self.library.bias) & self.mask
        self._store(address, self.word)
        area = self.space.find(address)
        if area is None:
            return
        start, end = area.start, area.end
        if area.blob is not None:
            end = min(end, area.start + self.space.up(area.blob.size) - area.offset)
        if start < self.dynamic[1] and self.dynamic[0] < end:
            start, end = (self.dynamic[1], end) if address >= self.dynamic[1] else (start, self.dynamic[0])
        self.room = (start - self.library.bias, end - self.library.bias - self.word + 1)

    def _one(self, reloc: Reloc) -> Iterator[Reference]:
        """elf_machine_rela or elf_machine_rel."""
        if self.versym:
            self.library.versym(reloc.symbol)
        machine = self.machine
        if machine is not None and reloc.type in machine.resolver:
            self.late.append(reloc)
        elif machine is not None and reloc.type in machine.unnamed:
            if reloc.type not in (0, 256, 160):
                self.plain(reloc.offset)
        else:
            yield from self._named(reloc, slot=False)

    def _named(self, reloc: Reloc, slot: bool) -> Iterator[Reference]:
        failure = None
        try:
            if not (self.room[0] <= reloc.offset < self.room[1]):
                self.plain(reloc.offset)
        except Fault as fault:
            failure = failed(fault, self.library)
        if failure is None and (reloc.symbol, reloc.type, slot) in self.seen:
            return
        if len(self.seen) >= MOST_NAMED:
            self.library.unsure = f"{self.library.path}: it refers to more symbols than can be followed"
            return
        self.seen.add((reloc.symbol, reloc.type, slot))
        yield self.reference(reloc, slot, failure)

    def reference(self, reloc: Reloc, slot: bool, failure: Failure | None) -> Reference:
        """What a relocation refers to. Raises Fault."""
        library, machine = self.library, self.machine
        symbol = library.symbol(reloc.symbol)
        kind, bad = 0, -1
        if machine is not None:
            kind = CLASS_PLT if reloc.type in machine.plt else CLASS_COPY if reloc.type == machine.copy else 0
            bad = -1 if reloc.type in machine.known else reloc.type
        common = {
            "type": reloc.type,
            "place": reloc.offset,
            "addend": reloc.addend,
            "failure": failure,
            "bad_type": bad,
        }
        if symbol.binding == STB_LOCAL or symbol.other & 3 in (1, 2):
            return Reference(own=symbol, kind=kind, **common)  # type: ignore[arg-type]
        wanted = self._wanted(reloc.symbol)
        name = library.string(symbol.name)
        return Reference(named=True, name=name, wanted=wanted, kind=kind, weak=symbol.binding == STB_WEAK, slot=slot,
                         key=key_of(name, wanted, kind), size=symbol.size, **common)  # type: ignore[arg-type]  # fmt: skip

    def _wanted(self, number: int) -> Wanted | None:
        """The version of a reference: an index past the table is read from whatever lies there."""
        library = self.library
        raw = library.versym(number)
        if raw is None or not (raw & 0x7FFF or library.highest_version):
            return None
        index = raw & 0x7FFF
        if not library.highest_version:
            raise Fault("SIGSEGV", index * 24)
        if index > library.highest_version:
            library.unsure = f"{library.path}: a symbol's version index lies past the table of versions"
        row = library.versions.get(index)
        return None if row is None or not row[1] else Wanted(*row)

    def _lazy_range(self, piece: Range, addend: bool) -> Iterator[Reference]:
        """elf_machine_lazy_rel."""
        entry = self.word * (3 if addend else 2)
        machine = self.machine
        size = piece.size if self.ahead(piece.start, piece.size) else 0
        for number, row in enumerate(self._rows(piece.start, -(-size // entry), addend)):
            reloc = self._reloc(row)
            if number >= MOST_ROWS:
                self.library.unsure = f"{self.library.path}: its relocations go on and on"
                return
            if machine is None or reloc.type == machine.jump_slot:
                self.plain(reloc.offset)
                yield from self._slot(reloc)
            elif reloc.type in machine.descriptor:
                yield from self._named(reloc, slot=False)
            elif reloc.type in machine.resolver:
                self.late.append(reloc)
            else:
                yield Reference(bad_type=reloc.type, plt=True)
                return

    def _slot(self, reloc: Reloc) -> Iterator[Reference]:
        """A function that is bound when it is called; what the tables say of it is not read before."""
        try:
            yield from self._named(reloc, slot=True)
        except Fault:
            self.library.unsure = f"{self.library.path}: what its first calls of other objects find"

    def resolver(self, reloc: Reloc) -> Reference:
        """An IRELATIVE relocation: the code at its addend is called."""
        library = self.library
        at = reloc.addend
        if self.word == 4 or not tables_of(library).rela:
            at = int.from_bytes(self.space.read((reloc.offset + library.bias) & self.mask, self.word), "little")
        failure = called(library, (at + library.bias) & self.mask)
        if failure is None:
            self.plain(reloc.offset)
        return Reference(failure=failure, type=reloc.type, place=reloc.offset)
