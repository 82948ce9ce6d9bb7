"""Lookup by name in DT_GNU_HASH or DT_HASH, as loaders do it: in memory, and believing every number.

Tables are read as a whole where that is possible, because a large program asks thousands of times.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from typing import TYPE_CHECKING

from buildmatrix.preflight.elfimage import EM_386, EM_X86_64
from buildmatrix.preflight.memory import Endless, Fault
from buildmatrix.preflight.symhash import sysv_hash

if TYPE_CHECKING:
    from buildmatrix.preflight.dynobj import DynamicObject, Symbol

DT_HASH, DT_GNU_HASH = 4, 0x6FFFFEF5
MAX_TABLE = 1 << 24
MOST_CHAIN = 1 << 16
MOST_HASHED = 1 << 18


class HashTable:
    """The hash tables of one object."""

    def __init__(self, library: DynamicObject) -> None:
        self.library = library
        self.space = library.space
        self.layout = library.layout
        self.mask = library.layout.mask

    def candidates(self, name: bytes, gnu: int, admitted: Callable[[Symbol], bool]) -> Iterator[Symbol]:
        """See DynamicObject.candidates."""
        if self._header is not None:
            yield from self._gnu(name, gnu, admitted)
        elif DT_HASH in self.library.tags:
            yield from self._sysv(name, admitted)

    @property
    def exists(self) -> bool:
        """Whether there is any table at all."""
        return DT_GNU_HASH in self.library.tags or DT_HASH in self.library.tags

    @cached_property
    def _header(self) -> tuple[int, int, int, int, int] | None:
        """Buckets, first symbol, Bloom words, shift, address of the Bloom filter; shifts count modulo 32."""
        address = self.library.address_of(DT_GNU_HASH)
        if address is None:
            return None
        nbuckets, symoffset, bloom, shift = self.layout.unpack("IIII").unpack(self.space.read(address, 16))
        return nbuckets, symoffset, bloom, shift & 31, address + 16

    def _whole(self, address: int, count: int, code: str) -> tuple[int, ...]:
        """A table, or nothing where it is too large or does not lie in memory as a whole."""
        size = self.layout.unpack(code).size
        if not 0 < count <= MAX_TABLE // size:
            return ()
        try:
            return self.layout.unpack(f"{count}{code}").unpack(self.space.read(address & self.mask, count * size))
        except Fault:
            return ()

    @cached_property
    def _bloom(self) -> tuple[int, ...]:
        header = self._header or (0, 0, 0, 0, 0)
        return self._whole(header[4], header[2], "P")

    @cached_property
    def _buckets(self) -> tuple[int, ...]:
        header = self._header or (0, 0, 0, 0, 0)
        return self._whole(header[4] + header[2] * self.layout.word, header[0], "I")

    @cached_property
    def hashes(self) -> frozenset[int] | None:
        """Every hash in DT_GNU_HASH with its lowest bit set; None where the table is not of the plain kind.

        A name whose hash is not among them is not found, and asking for it reads nothing that could fault.
        """
        chain = self.chain
        return None if chain is None else frozenset([value | 1 for value in chain[1]])

    @cached_property
    def chain(self) -> tuple[int, tuple[int, ...]] | None:
        """The first hashed symbol and the chains of DT_GNU_HASH; None where its tables are not of the plain kind."""
        try:
            return self._chain()
        except Fault:
            return None

    def _chain(self) -> tuple[int, tuple[int, ...]] | None:
        nbuckets, symoffset, bloom, _, start = self._header or (0, 0, 0, 0, 0)
        used = set(self._buckets) - {0}
        if not bloom or len(self._buckets) != nbuckets or len(self._bloom) != bloom or bloom & (bloom - 1):
            return None
        if not used:
            return (symoffset, ()) if nbuckets else None
        count = max(used) - symoffset + 1
        if min(used) < symoffset or not 0 < count < MOST_HASHED:
            return None
        at = start + bloom * self.layout.word + nbuckets * 4
        values = list(self._whole(at, count, "I"))
        while values and not values[-1] & 1 and len(values) < MOST_HASHED:
            values.append(self.library.number(at + 4 * len(values), 4))
        whole = len(values) >= count and values[-1] & 1
        return (symoffset, tuple(values)) if whole else None

    def _one(self, table: tuple[int, ...], index: int, address: int, code: str) -> int:
        if index < len(table):
            return table[index]
        entry = self.layout.unpack(code)
        value: int = entry.unpack(self.space.read((address + index * entry.size) & self.mask, entry.size))[0]
        return value

    def _divided(self, address: int) -> Fault:
        x86 = self.library.header.machine in (EM_X86_64, EM_386)
        return Fault("SIGFPE" if x86 else "SIGSEGV", address)

    def first(self, gnu: int) -> int:
        """The first symbol of a hash's chain; 0 where the Bloom filter or the bucket says that there is none."""
        nbuckets, _, bloom, shift, start = self._header or (0, 0, 0, 0, 0)
        if not nbuckets and not self.library.musl:
            return 0
        bits = self.layout.bits
        word = self._one(self._bloom, gnu // bits & (bloom - 1) & 0xFFFFFFFF, start, "P")
        if not (word >> (gnu % bits)) & (word >> ((gnu >> shift) % bits)) & 1:
            return 0
        if not nbuckets:
            raise self._divided(start)
        return self._one(self._buckets, gnu % nbuckets, start + bloom * self.layout.word, "I")

    def _gnu(self, name: bytes, gnu: int, admitted: Callable[[Symbol], bool]) -> Iterator[Symbol]:
        index = self.first(gnu)
        if not index:
            return
        library = self.library
        nbuckets, symoffset, bloom, _, start = self._header or (0, 0, 0, 0, 0)
        # glibc subtracts symoffset from a pointer, musl from the index, in 32 bits.
        skipped = (index - symoffset) & 0xFFFFFFFF if library.musl else index - symoffset
        at = (start + bloom * self.layout.word + nbuckets * 4 + 4 * skipped) & self.mask
        for _ in range(MOST_CHAIN):
            value = library.number(at, 4)
            if (value ^ gnu) >> 1 == 0:
                symbol = library.symbol(index)
                if admitted(symbol) and library.string(symbol.name) == name:
                    yield symbol
            if value & 1:
                return
            index, at = index + 1, at + 4
        raise Endless(f"{library.path}: a chain of its hash table goes on and on")

    def _sysv(self, name: bytes, admitted: Callable[[Symbol], bool]) -> Iterator[Symbol]:
        library = self.library
        address = library.address_of(DT_HASH) or 0
        nbuckets = library.number(address, 4)
        if not nbuckets:
            if library.musl:
                raise self._divided(address)
            return
        index = library.number(address + 8 + 4 * (sysv_hash(name) % nbuckets), 4)
        for _ in range(MOST_CHAIN):
            if not index:
                return
            symbol = library.symbol(index)
            if admitted(symbol) and library.string(symbol.name) == name:
                yield symbol
            index = library.number(address + 8 + 4 * (nbuckets + index), 4)
        raise Endless(f"{library.path}: a chain of its hash table leads back into itself")
