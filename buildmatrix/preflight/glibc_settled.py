"""Relocation of a whole process where nothing stands in the way, settled by pairs.

Whether one library answers another one's questions does not change from process to process, so it is asked once
for each pair and kept. A process binds everything if, for each of its objects, the answers of the
others together leave no question open; the order of the search list then decides nothing that could fail, but for
the few references of which `glibc_plain` says so, and those are bound one by one. Where an object is not plain, a
question stays open, or a lookup might do more than look, nothing is settled and the long way is gone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from buildmatrix.preflight.binding import choose
from buildmatrix.preflight.dynobj import DT_STRTAB, DT_VERSYM, STT_IFUNC, DynamicObject, Symbol
from buildmatrix.preflight.glibc_dynamic import Version
from buildmatrix.preflight.glibc_machines import Reference
from buildmatrix.preflight.glibc_plain import Plain, Question, plain
from buildmatrix.preflight.glibc_search import Loaded
from buildmatrix.preflight.memory import Endless, Fault
from buildmatrix.preflight.symhash import gnu_hash

MOST_MET = 64


class _Table(NamedTuple):
    """The hashed part of a symbol table: number of its first symbol, chains, rows and names from there on."""

    first: int
    chain: tuple[int, ...]
    rows: list[tuple[int, ...]]
    names: list[bytes]


class Provider:
    """What one object defines; `sound` says that a lookup in it cannot fault, and calls no code that cannot be called.

    `versioned` says that its symbols have versions: without them, ld.so may fail an assertion.
    """

    def __init__(self, library: DynamicObject) -> None:
        self.library = library
        self.answered: set[bytes] = set()
        self._open: set[bytes] = set()
        self.versioned = True
        self._table = _Table(0, (), [], [])
        try:
            names = self._names()
        except (Fault, Endless):
            names = None
        self.sound = names is not None
        self.names = names or frozenset()

    def _names(self) -> frozenset[bytes] | None:
        """Every name in the hash table, or None. Raises Fault, Endless."""
        library, table = self.library, self.library.hash_table
        if not library.space.pristine or library.musl:
            return None
        chain = table.chain
        if chain is None:
            return frozenset() if not table.exists else None
        first, values = chain
        if not values:
            return frozenset()
        rows = library.symbols(first + len(values))[first:]
        strings = library.space.stretch(library.required(DT_STRTAB))
        self.versioned = bool(library.highest_version) and DT_VERSYM in library.tags
        if strings is None or not self._versions_fit(first, len(values)) or not self._resolvers_fit(rows):
            return None
        data, base = strings
        ends = data.find
        found = [data[base + row[0] : ends(b"\0", base + row[0])] for row in rows]
        if ends(b"\0", base + max(rows)[0]) < 0:
            return None
        self._table = _Table(first, values, rows, found)
        return frozenset(found)

    def _versions_fit(self, first: int, count: int) -> bool:
        """Whether every version index lies inside the tables. Raises Fault, Endless."""
        library = self.library
        if not self.versioned:
            return True
        return max(value & 0x7FFF for value in set(library.versyms(first + count))) <= library.highest_version

    def _resolvers_fit(self, rows: list[tuple[int, ...]]) -> bool:
        """Whether the code of every indirect function that is defined here can be called."""
        library = self.library
        places = {row[4] for row in rows if row[1] & 15 == STT_IFUNC and row[3]}
        if places and library.blob.read(7, 1) != b"\x03":
            return False
        return all(self._code((place + library.bias) & library.layout.mask) for place in places)

    def _code(self, address: int) -> bool:
        area = self.library.space.find(address)
        return area is not None and bool(area.prot & 4) and self.library.space.backed(area, address)

    def answers(self, question: Question) -> bool:
        """Whether a lookup of the question ends here; `answered` are the keys of those of which that is known."""
        key = question.key
        if key not in self.answered and key not in self._open:
            symbol = choose(self.library, self._named(question.name), question.name, question.wanted, question.kind)
            (self.answered if symbol is not None and _bindable(symbol) else self._open).add(key)
        return key in self.answered

    def _named(self, name: bytes) -> Iterator[Symbol]:
        """HashTable.candidates, from what was read as a whole."""
        first, chain, rows, names = self._table
        gnu = gnu_hash(name)
        start = self.library.hash_table.first(gnu)
        for at in range(start - first, len(chain)) if start else ():
            value = chain[at]
            if (value ^ gnu) >> 1 == 0 and names[at] == name:
                yield Symbol(first + at, *rows[at])
            if value & 1:
                return


def _bindable(symbol: Symbol) -> bool:
    return symbol.other & 3 not in (1, 2) and symbol.binding in (1, 2, 10)


class Settled:
    """The objects of a root as askers and as providers, for all processes. `version` is the loader's."""

    def __init__(self) -> None:
        self._providers: dict[int, Provider] = {}
        self._plain: dict[tuple[int, bool, Version], Plain | None] = {}
        self._kept: list[DynamicObject] = []

    def relocations(
        self, closure: list[Loaded], order: Iterable[Loaded], lazy: bool, version: Version
    ) -> list[tuple[Loaded, tuple[Reference, ...]]] | None:
        """What is left to bind one by one, in order, when everything else is sure to be found; None if it is not.

        `closure` is the search list, `order` the objects that are relocated.
        """
        providers = {id(item.object): self._provider(item) for item in closure}
        if not all(provider.sound for provider in providers.values()):
            return None
        bare = [item for item in closure if not providers[id(item.object)].versioned]
        asserted = {name for item in bare for name in (item.name, *item.names)}
        libraries = frozenset(id(item.object) for item in closure if not item.is_main)
        left: list[tuple[Loaded, tuple[Reference, ...]]] = []
        for item in order:
            asks = self._asks(item, lazy, version)
            if asks is None or (asserted and not asserted.isdisjoint(asks.files)):
                return None
            if not any(met <= libraries for met in asks.met) and not _meets(asks, item, closure, providers):
                return None
            if asks.delicate:
                left.append((item, asks.delicate))
        return left

    def _provider(self, item: Loaded) -> Provider:
        if item.is_main:
            return Provider(item.object)
        known = self._providers.get(id(item.object))
        if known is None:
            self._kept.append(item.object)
            known = self._providers[id(item.object)] = Provider(item.object)
        return known

    def _asks(self, item: Loaded, lazy: bool, version: Version) -> Plain | None:
        """The program's own calls are bound when they are made, and it is asked whether they can be."""
        if item.is_main:
            return plain(item.object, lazy, version, slots=True)
        key = (id(item.object), lazy, version)
        if key not in self._plain:
            self._plain[key] = plain(item.object, lazy, version, slots=False)
        return self._plain[key]


def _meets(asks: Plain, item: Loaded, closure: list[Loaded], providers: dict[int, Provider]) -> bool:
    """Whether every question is answered; by whom is remembered, if it is by libraries alone."""
    scope = [item for item in item.requires if id(item.object) in providers] + closure
    used: set[int] = set()
    left = set(asks.questions)
    for other in scope:  # what is known already
        provider = providers[id(other.object)]
        if not left.isdisjoint(provider.answered):
            left -= provider.answered
            used.add(id(other.object))
        if not left:
            break
    if left and not _asked(asks, left, scope, providers, used):
        return False
    if len(asks.met) < MOST_MET and not any(other.is_main and id(other.object) in used for other in closure):
        asks.met.append(frozenset(used))
    return True


def _asked(asks: Plain, left: set[bytes], scope: list[Loaded], providers: dict[int, Provider], used: set[int]) -> bool:
    """Ask for what is not known yet; whether everything is found."""
    names: dict[bytes, list[Question]] = {}
    for key in left:
        question = asks.questions[key]
        names.setdefault(question.name, []).append(question)
    for other in scope:
        provider = providers[id(other.object)]
        for name in names.keys() & provider.names:
            open_still = [question for question in names[name] if not provider.answers(question)]
            if len(open_still) < len(names[name]):
                used.add(id(other.object))
            if open_still:
                names[name] = open_still
            else:
                del names[name]
        if not names:
            return True
    return False
