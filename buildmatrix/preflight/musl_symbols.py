"""Objects, symbol lookup and relocation types of musl's loader (ldso/dynlink.c find_sym, arch/*/reloc.h)."""

from __future__ import annotations

from dataclasses import dataclass, field

from buildmatrix.preflight.dynobj import DT_GNU_HASH, DT_HASH, DynamicObject, Symbol
from buildmatrix.preflight.elfimage import EM_386, EM_AARCH64, EM_ARM, EM_X86_64
from buildmatrix.preflight.memory import Fault
from buildmatrix.preflight.symhash import gnu_hash

OK_TYPES = 1 << 0 | 1 << 1 | 1 << 2 | 1 << 5 | 1 << 6
OK_BINDINGS = 1 << 1 | 1 << 2 | 1 << 10
STT_TLS = 6


@dataclass(frozen=True, slots=True)
class Types:
    """The relocation types that musl's reloc.h of one architecture names."""

    known: frozenset[int]
    plt: int
    copy: int


TYPES = {
    EM_X86_64: Types(frozenset({1, 2, 5, 6, 7, 8, 16, 17, 18, 36}), 7, 5),
    EM_AARCH64: Types(frozenset({257, 1024, 1025, 1026, 1027, 1028, 1029, 1030, 1031}), 1026, 1024),
    EM_386: Types(frozenset({1, 2, 5, 6, 7, 8, 14, 35, 36, 37, 41}), 7, 5),
    EM_ARM: Types(frozenset({2, 3, 13, 17, 18, 19, 20, 21, 22, 23}), 22, 20),
}


@dataclass(slots=True, eq=False)
class Dso:
    """One loaded object: `name` as in messages, `shortname` as found by a search, who needed it."""

    object: DynamicObject
    name: str
    shortname: str
    needed_by: Dso | None
    key: tuple[int, int] | None
    kernel_mapped: bool = False
    foreign: int = 0
    requires: list[Dso] = field(default_factory=list)


def fix_of(cause: str) -> str:
    """What to do about a cause that musl met."""
    return {
        "missing-library": "put the library into a directory that musl searches: its path file's, else /lib, "
        "/usr/local/lib, /usr/lib",
        "wrong-libc": "build against musl: this file uses what only glibc has",
        "missing-symbol": "ship the library version that defines it; a glibc program has to be rebuilt for musl",
        "wrong-library-arch": "install the library for the program's own architecture",
    }.get(cause, "install the library again")


def find_symbol(chain: list[Dso], name: bytes, *, need_definition: bool) -> Symbol | None:
    """find_sym: versions are not looked at, save that a hidden one does not count."""
    hashed = gnu_hash(name)
    for item in chain:
        if DT_GNU_HASH not in item.object.tags and DT_HASH not in item.object.tags:
            raise Fault("SIGSEGV", 0)
        symbol = next((symbol for symbol in item.object.candidates(name, hashed) if not _hidden(item, symbol)), None)
        if symbol is None or (symbol.shndx == 0 and (need_definition or symbol.type == STT_TLS)):
            continue
        if (symbol.value == 0 and symbol.type != STT_TLS) or not 1 << symbol.type & OK_TYPES:
            continue
        if 1 << symbol.binding & OK_BINDINGS:
            return symbol
    return None


def _hidden(item: Dso, symbol: Symbol) -> bool:
    raw = item.object.versym(symbol.number)
    return raw is not None and bool(raw & 0x8000)
