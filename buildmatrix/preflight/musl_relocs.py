"""Relocation as musl does it (ldso/dynlink.c do_relocs, reloc_all, do_relr_relocs)."""

from __future__ import annotations

from collections.abc import Iterator

from buildmatrix.preflight.dynobj import (
    DT_JMPREL,
    DT_PLTREL,
    DT_PLTRELSZ,
    DT_REL,
    DT_RELA,
    DT_RELASZ,
    DT_RELR,
    DT_RELRSZ,
    DT_RELSZ,
    Reloc,
    Symbol,
)
from buildmatrix.preflight.elfimage import PT_GNU_RELRO
from buildmatrix.preflight.memory import Fault
from buildmatrix.preflight.musl_load import MuslLoading
from buildmatrix.preflight.musl_symbols import NEVER, TYPES, Dso, Types, find_definition, large_file_name
from buildmatrix.preflight.symhash import gnu_hash
from buildmatrix.preflight.verdict import Evidence

STT_IFUNC = 10
MOST_ROWS, CHUNK = 1 << 22, 1 << 14
Version = tuple[int, int, int] | None


def relocate(loading: MuslLoading, item: Dso, version: Version) -> None:
    """reloc_all for one object. Raises Fault, Endless."""
    relocator, tainted = _Relocator(loading, item, version), item.object.space.tainted
    try:
        relocator.run()
    except Fault as fault:
        if not relocator.endless:
            raise
        item.object.space.tainted = tainted  # whatever is read on the way, only a signal ends it
        raise Fault("SIGSEGV", fault.address) from fault


class _Relocator:
    def __init__(self, loading: MuslLoading, item: Dso, version: Version) -> None:
        self.loading = loading
        self.item = item
        self.version = version
        self.library = item.object
        self.space = item.object.space
        self.mask = item.object.layout.mask
        self.word = item.object.layout.word
        self.types: Types = TYPES.get(loading.machine, NEVER)
        self.room = (0, 0)
        self.endless = False
        self.unread: Fault | None = None
        self.textrel = 22 in item.object.tags and item is not loading.app

    def run(self) -> None:
        tags = self.library.tags
        plt = 3 if tags.get(DT_PLTREL) == DT_RELA else 2
        for table, size, entry in ((DT_JMPREL, DT_PLTRELSZ, plt), (DT_REL, DT_RELSZ, 2), (DT_RELA, DT_RELASZ, 3)):
            for row in self._rows(table, tags.get(size, 0), entry):
                low, high = self.room
                if self.unread is None and row[1] == self.types.relative and low <= row[0] < high:
                    continue
                self._one(row)
        if self.version is not None and self.version >= (1, 2, 4) and self.item is not self.loading.ldso:
            self._relr(tags.get(DT_RELRSZ, 0))
        if self.item is not self.loading.ldso:
            self._protect()

    def _rows(self, table: int, size: int, entry: int) -> Iterator[tuple[int, ...]]:
        """The rows of a table; a size that is no multiple of a row is counted down past zero, until a read fails."""
        code = self.library.layout.unpack("P" * entry)
        address = (self.library.bias + self.library.tags.get(table, 0)) & self.mask
        self.endless = bool(size % code.size)
        count = size // code.size if size % code.size == 0 else MOST_ROWS
        for done in range(0, min(count, MOST_ROWS), CHUNK):
            take = min(count - done, CHUNK)
            start = (address + done * code.size) & self.mask
            try:
                data = self.space.read(start, take * code.size)
            except Fault:
                for at in range(take):
                    yield self._slowly((start + at * code.size) & self.mask, entry)
                continue
            self.unread = None
            yield from code.iter_unpack(data)
        if count >= MOST_ROWS:
            self.library.unsure = f"{self.library.path}: its relocations go on and on"

    def _slowly(self, address: int, entry: int) -> tuple[int, ...]:
        """A row word by word: r_info is read first, the others when they are used."""
        info = self.library.number(address + self.word, self.word)
        row = [0, info, 0][:entry]
        self.unread = None
        for at in (0, 2)[: entry - 1]:
            try:
                row[at] = self.library.number(address + at * self.word, self.word)
            except Fault as fault:
                self.unread = fault
        return tuple(row)

    def _one(self, row: tuple[int, ...]) -> None:
        wide = self.word == 8
        kind = row[1] & (0x7FFFFFFF if wide else 0xFF)
        if not kind or (self.item is self.loading.ldso and kind == self.types.relative):
            return
        reloc = Reloc(row[0], kind, row[1] >> (32 if wide else 8), row[2] if len(row) > 2 else 0)
        if len(row) == 2 and kind not in self.types.bare:
            if self.unread is not None:
                raise self.unread
            self.space.read((reloc.offset + self.library.bias) & self.mask, self.word)
        index = reloc.symbol - (1 << 32) if wide and reloc.symbol >> 31 else reloc.symbol  # an int in musl
        symbol = self.library.symbol(index) if index else None
        provider, found = self._bound(reloc, symbol)
        if found is None and symbol is not None and not (symbol.shndx == 0 and symbol.binding == 2):
            self._not_found(symbol)
            return
        if kind not in self.types.known:
            self._unknown(kind)
            return
        if self.unread is not None:
            raise self.unread
        self._write(reloc, symbol, provider, found)

    def _bound(self, reloc: Reloc, symbol: Symbol | None) -> tuple[Dso | None, Symbol | None]:
        if symbol is None:
            return self.item, None
        if symbol.binding == 0:
            return self.item, symbol
        name = self.library.string(symbol.name)
        head = self.loading.chain[1:] if reloc.type == self.types.copy else self.loading.chain
        found = find_definition(head, name, need_definition=reloc.type == self.types.plt)
        if found is None and self.version is not None and self.version >= (1, 2, 4):
            plain = large_file_name(name)
            found = find_definition([self.loading.ldso], plain, need_definition=True) if plain else None
        return found or (None, None)

    def _not_found(self, symbol: Symbol) -> None:
        name = self.library.string(symbol.name)
        text = name.decode(errors="surrogateescape")
        self.loading.error(
            f"Error relocating {self.item.name}: {text}: symbol not found",
            self._symbol_cause(name),
            Evidence(
                place=self.library.path, text=f"{text} is undefined, and nothing that is loaded defines it for musl"
            ),
        )

    def _symbol_cause(self, name: bytes) -> str:
        if any(cause in ("missing-library", "bad-library") for cause, _ in self.loading.causes):
            return "missing-symbol"
        for other in self.loading.chain:
            try:
                named = other.object.candidates(name, gnu_hash(name), lambda symbol: bool(symbol.shndx))
                if any(symbol.type == STT_IFUNC for symbol in named):
                    return "wrong-libc"
            except Fault:
                continue
        return "missing-symbol"

    def _unknown(self, kind: int) -> None:
        own = "wrong-libc" if self.item is self.loading.app else "bad-library"
        self.loading.error(
            f"Error relocating {self.item.name}: unsupported relocation type {kind}",
            "wrong-library-arch" if self.item.foreign else own,
            Evidence(place=self.library.path, text=f"relocation type {kind} means nothing to musl"),
        )

    def _write(self, reloc: Reloc, symbol: Symbol | None, provider: Dso | None, found: Symbol | None) -> None:
        """What is written, and read for it. Raises Fault."""
        types, place = self.types, (reloc.offset + self.library.bias) & self.mask
        if reloc.type == types.copy:
            if symbol is None:
                raise Fault("SIGSEGV", 16)
            if provider is None or found is None:
                provider, value = self.loading.app, 0
            else:
                value = (found.value + provider.object.bias) & self.mask
            provider.object.space.reach(value, symbol.size)
            self.space.reach(place, symbol.size, write=True)
            return
        if reloc.type in types.module and provider is None:
            raise Fault("SIGSEGV", 0)  # the null object's TLS is asked for
        width = {types.descriptor: 2 * self.word, types.half: 4}.get(reloc.type, self.word)
        if self.room[0] <= reloc.offset < self.room[1] and width <= self.word:
            return
        self.space.store(place, width, force=self.textrel)
        self._note_room(place)

    def _note_room(self, place: int) -> None:
        area = self.space.find(place)
        if area is None:
            return
        end = area.end
        if area.blob is not None:
            end = min(end, area.start + self.space.up(area.blob.size) - area.offset)
        self.room = (area.start - self.library.bias, end - self.library.bias - self.word + 1)

    def _relr(self, size: int) -> None:
        """do_relr_relocs, of musl 1.2.4 and later."""
        at = (self.library.bias + self.library.tags.get(DT_RELR, 0)) & self.mask
        where = 0
        for offset in range(0, min(size, MOST_ROWS), self.word):
            entry = int.from_bytes(self.space.read((at + offset) & self.mask, self.word), "little")
            if not entry & 1:
                where = (self.library.bias + entry) & self.mask
                self.space.store(where, self.word, force=self.textrel)
                where += self.word
                continue
            self._bitmap(where, entry >> 1)
            where += self.word * (8 * self.word - 1)

    def _bitmap(self, where: int, bits: int) -> None:
        low, high = self.room
        last = where + (bits.bit_length() - 1) * self.word - self.library.bias
        if bits and low <= where - self.library.bias and last < high:
            return
        for index in range(8 * self.word - 1):
            if bits >> index & 1:
                place = (where + index * self.word) & self.mask
                self.space.store(place, self.word, force=self.textrel)
                self._note_room(place)

    def _protect(self) -> None:
        """RELRO: mprotect over a range that is not mapped as a whole is an error."""
        relro = next((phdr for phdr in reversed(self.library.phdrs) if phdr.type == PT_GNU_RELRO), None)
        if relro is None:
            return
        page = -self.space.page
        start = ((relro.vaddr & page) + self.library.bias) & self.mask
        end = (((relro.vaddr + relro.memsz) & self.mask & page) + self.library.bias) & self.mask
        if start == end or self.space.covers(start, end):
            return
        areas = self.space.areas
        if self.space.crowded and (self.space.fault(start).unsure or self.space.covers(start, areas[-1].end)):
            self.library.unsure = f"what is mapped next to {self.library.path}"
        self.loading.error(
            f"Error relocating {self.item.name}: RELRO protection failed: Out of memory",
            "bad-elf" if self.item is self.loading.app else "bad-library",
            Evidence(place=self.library.path, text=f"PT_GNU_RELRO {start:#x} to {end:#x} is not mapped as a whole"),
        )
