"""What an object asks others for, read from its tables as a whole.

`glibc_relocs` follows the loader entry by entry, which is how failures are found. Nearly every object has none:
its places can be written, its types are known, its indices lie inside its tables. Whether that is so can be
told for a whole table at a time, and then only the lookup of names is left to go wrong. Where anything else is
in the way, nothing is claimed and the long way is gone.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import NamedTuple

from buildmatrix.preflight.dynobj import DT_STRTAB, DT_SYMTAB, DT_VERSYM, STB_LOCAL, STB_WEAK, DynamicObject, Reloc
from buildmatrix.preflight.elfimage import EM_X86_64
from buildmatrix.preflight.glibc_dynamic import Version
from buildmatrix.preflight.glibc_effects import COPY, PC32, R_32, SIZE32, SIZE64, TLSDESC, TPOFF64
from buildmatrix.preflight.glibc_machines import CLASS_PLT, Machine, Reference, Wanted, key_of
from buildmatrix.preflight.glibc_relocs import MOST_NAMED, MOST_ROWS, Range, Steps
from buildmatrix.preflight.memory import Endless, Fault

NOWHERE = frozenset({0, 160, 256})
"""Types that have no place: glibc_relocs leaves it alone."""

EFFECTS = {EM_X86_64: frozenset({PC32, COPY, R_32, SIZE32, SIZE64, TLSDESC, TPOFF64})}
"""Types by machine for which it matters what is found, not only that something is (`glibc_effects`)."""


class Question(NamedTuple):
    """A name that must be found somewhere; `key` tells it from every other question."""

    name: bytes
    wanted: Wanted | None
    kind: int
    key: bytes


class Plain:
    """An object that only the want of a symbol can stop.

    `questions` are what must be found, by key; `delicate` are references for which it matters what is found; `files`
    are those that versions are wanted from. `met` are sets of objects, by id, that answer all between them.
    """

    def __init__(
        self, questions: dict[bytes, Question], delicate: tuple[Reference, ...], files: frozenset[str]
    ) -> None:
        self.questions = questions
        self.delicate = delicate
        self.files = files
        self.met: list[frozenset[int]] = []


def plain(library: DynamicObject, lazy: bool, version: Version, *, slots: bool) -> Plain | None:
    """What `library` asks for when it is relocated, or None where it is not of the plain kind.

    `lazy` is the process's wish; `slots` says whether functions that are bound on their first call count too.
    """
    before = library.unsure
    try:
        found = _Reader(library, lazy and not library.bind_now, version, slots).read()
    except (Fault, Endless):
        found = None
    if library.unsure != before:
        library.unsure, found = before, None
    return found


class _Reader:
    def __init__(self, library: DynamicObject, lazy: bool, version: Version, slots: bool) -> None:
        self.library = library
        self.steps = Steps(library, lazy, version)
        self.slots = slots
        self.type_mask = self.steps.type_mask()
        self.shift = 32 if self.steps.word == 8 else 8
        self.most = 0
        self.named: dict[tuple[int, int, bool], Reloc | None] = {}

    def read(self) -> Plain | None:
        """Raises Fault, Endless."""
        steps, library = self.steps, self.library
        if steps.machine is None or steps.textrel or not library.space.pristine or library.musl:
            return None
        steps.prepare()
        for addend, ranges in steps.tables():
            for piece in ranges:
                library.required(DT_SYMTAB)
                if piece.size and not self._table(piece, addend, steps.machine):
                    return None
        if len(self.named) >= MOST_NAMED or any(True for _ in steps.protect()):
            return None
        return self._asked(steps.machine)

    # Tables.

    def _table(self, piece: Range, addend: bool, machine: Machine) -> bool:
        """Whether nothing can go wrong with any entry. Raises Fault."""
        steps, width = self.steps, 3 if addend else 2
        count, rest = divmod(piece.size, width * steps.word)
        if rest or count >= MOST_ROWS or not 0 <= piece.relative <= count or not steps.ahead(piece.start, piece.size):
            return False
        code = self.library.layout.unpack(f"{count * width}P")
        values = code.unpack(steps.space.read(piece.start, code.size))
        infos = values[1::width]
        own = {steps.relative, 38 if steps.word == 8 else -1}
        if not {info & self.type_mask for info in set(infos[: piece.relative])} <= own:
            return False
        if not self._places(values[::width]):
            return False
        return self._kinds(piece, values, infos[piece.relative :] if piece.relative else infos, width, machine)

    def _places(self, offsets: tuple[int, ...]) -> bool:
        """Whether each can be written, and none is in the dynamic section. Raises Fault."""
        places, at = sorted(offsets), 0
        while at < len(places):
            self.steps.plain(places[at])
            low, high = self.steps.room
            if not low <= places[at] < high:
                return False
            at = bisect_left(places, high, at)
        return True

    def _kinds(
        self, piece: Range, values: tuple[int, ...], infos: tuple[int, ...], width: int, machine: Machine
    ) -> bool:
        """Sort the types and symbols of a table: they are few, however many entries there are. Raises Fault."""
        distinct = dict.fromkeys(infos)
        kinds = {info & self.type_mask for info in distinct}
        if kinds & NOWHERE or not kinds <= machine.known or not self._bound_later(piece, kinds, machine):
            return False
        self.most = max(self.most, max(distinct, default=0) >> self.shift)
        if kinds & machine.resolver and not self._resolved(values, width, machine):
            return False
        skipped = set(machine.unnamed) | machine.resolver
        if piece.lazy and not self.slots:
            skipped.add(machine.jump_slot)
        if kinds <= skipped:
            return True
        effects = EFFECTS.get(self.library.header.machine, frozenset({machine.copy}))
        for info in distinct:
            kind = info & self.type_mask
            if kind not in skipped:
                key = (info >> self.shift, kind, piece.lazy and kind == machine.jump_slot)
                known = self.named.get(key)
                exact = kind in effects and known is None
                self.named[key] = self._row(values, values[1::width].index(info), width) if exact else known
        return True

    @staticmethod
    def _bound_later(piece: Range, kinds: set[int], machine: Machine) -> bool:
        return not piece.lazy or kinds <= {machine.jump_slot, *machine.descriptor, *machine.resolver}

    def _row(self, values: tuple[int, ...], number: int, width: int) -> Reloc:
        row = values[number * width : (number + 1) * width]
        return Reloc(row[0], row[1] & self.type_mask, row[1] >> self.shift, row[2] if width == 3 else 0)

    def _resolved(self, values: tuple[int, ...], width: int, machine: Machine) -> bool:
        """Whether every resolver that is called at once can be called. Raises Fault."""
        for number, info in enumerate(values[1::width]):
            if info & self.type_mask in machine.resolver:
                reference = self.steps.resolver(self._row(values, number, width))
                if reference.failure is not None:
                    return False
        return True

    # Symbols.

    def _asked(self, machine: Machine) -> Plain | None:
        """The questions behind what is referred to. Raises Fault, Endless."""
        library = self.library
        if not self.most and not self.named:
            return Plain({}, (), frozenset())
        symbols = library.symbols(self.most + 1)
        strings = library.space.stretch(library.required(DT_STRTAB))
        if strings is None or strings[0].find(b"\0", strings[1] + max(symbols)[0]) < 0:
            return None
        versions = self._versions()
        if versions is None:
            return None
        data, base = strings
        words: dict[tuple[int, int], tuple[Wanted | None, bytes]] = {}
        asked: dict[bytes, Question] = {}
        delicate: list[Reference] = []
        for (number, kind, slot), exact in self.named.items():
            name_at, info, other = symbols[number][:3]
            own = info >> 4 == STB_LOCAL or other & 3 in (1, 2)
            if exact is not None or own:
                delicate.append(self.steps.reference(exact or Reloc(0, kind, number), slot, None))
                continue
            if info >> 4 == STB_WEAK:
                continue
            plt = CLASS_PLT if kind in machine.plt else 0
            word = words.get((versions[number], plt))
            if word is None:
                wanted = self._wanted(versions[number])
                word = words[(versions[number], plt)] = (wanted, key_of(b"", wanted, plt))
            start = base + name_at
            name = data[start : data.index(b"\0", start)]
            key = name + word[1]
            if key not in asked:
                asked[key] = Question(name, word[0], plt, key)
        files = frozenset(need.file.decode(errors="surrogateescape") for need in library.version_needs)
        return Plain(asked, tuple(delicate), files)

    def _versions(self) -> tuple[int, ...] | None:
        """The raw version index of every symbol; None where one lies past the tables. Raises Fault, Endless."""
        library, count = self.library, self.most + 1
        if DT_VERSYM not in library.tags:
            return (-1,) * count
        found = library.versyms(count)
        return found if max(value & 0x7FFF for value in set(found)) <= library.highest_version else None

    def _wanted(self, raw: int) -> Wanted | None:
        if raw < 0 or not (raw & 0x7FFF or self.library.highest_version):
            return None
        row = self.library.versions.get(raw & 0x7FFF)
        return None if row is None or not row[1] else Wanted(*row)
