"""Symbol lookup as glibc does it (elf/dl-lookup.c), and what a relocation makes of what was found.

Only what can fail is followed: whether every symbol that is bound at start is found, by name and
version, in the order of the search list. What is bound lazily is kept for `lazy.py`.
"""

from __future__ import annotations

from collections.abc import Iterator

from buildmatrix.preflight.dynobj import DF_SYMBOLIC, DT_FLAGS, DT_SYMBOLIC, STT_IFUNC, STT_TLS, DynamicObject, Symbol
from buildmatrix.preflight.glibc_effects import consequence, said
from buildmatrix.preflight.glibc_machines import (
    CLASS_COPY,
    CLASS_PLT,
    SHN_ABS,
    Failure,
    Reference,
    Wanted,
    called,
    key_of,
)
from buildmatrix.preflight.glibc_search import Loaded
from buildmatrix.preflight.symhash import gnu_hash

ALLOWED_TYPES = 1 << 0 | 1 << 1 | 1 << 2 | 1 << 5 | 1 << 6 | 1 << 10


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
    """A relocation type that the loader does not know; `plt` where it stands among those that are bound lazily."""

    def __init__(self, where: Loaded, kind: int, plt: bool) -> None:
        super().__init__(hex(kind))
        self.where = where
        self.kind = kind
        self.plt = plt

    @property
    def text(self) -> str:
        """The loader's words (elf/dl-reloc.c _dl_reloc_bad_type)."""
        number = (
            f"{self.kind:08x}"
            if self.kind > 0xFF and self.where.object.layout.bits == 64
            else f"{self.kind & 0xFF:02x}"
        )
        return f"unexpected {'PLT ' if self.plt else ''}reloc type 0x{number}"


class Broken(Exception):
    """The loader gets a signal, fails an assertion or gives up with a text while it relocates an object."""

    def __init__(self, where: Loaded, failure: Failure) -> None:
        super().__init__(failure.text or failure.signal)
        self.where = where
        self.failure = failure


class Binder:
    """Looks symbols up in one process's global search list."""

    def __init__(self, scope: list[Loaded]) -> None:
        self.scope = scope
        self.warnings: list[str] = []

    def bind(self, where: Loaded, reference: Reference) -> None:
        """Relocate one reference. Raises Undefined, Unversioned, BadType, Broken, Fault."""
        provider: Loaded | None = where
        symbol = reference.own
        if reference.own is None and reference.named:
            found = self.lookup(reference.name, reference.wanted, reference.kind, where, reference.key)
            if found is None and not reference.weak:
                version = reference.wanted.name.decode(errors="surrogateescape") if reference.wanted else ""
                raise Undefined(where, reference.name.decode(errors="surrogateescape"), version)
            provider, symbol = found or (None, None)
        if reference.bad_type >= 0:
            raise BadType(where, reference.bad_type, reference.plt)
        if provider is not None and symbol is not None:
            self._called(where, provider, symbol)
        effect = consequence(where, reference, provider, symbol)
        early = effect is not None and effect.signal == "SIGFPE"  # TLS is asked for before the place is written
        failure = effect if early else reference.failure or effect
        if failure is not None:
            raise Broken(where, failure)
        self.warnings += said(where, reference, provider, symbol)

    @staticmethod
    def _called(where: Loaded, provider: Loaded, symbol: Symbol) -> None:
        """The resolver of an indirect function is called at once."""
        if symbol.type == STT_IFUNC and symbol.shndx:
            failure = called(provider.object, (provider.object.bias + symbol.value) & provider.object.layout.mask)
            if failure is not None:
                raise Broken(where, failure)

    def lookup(
        self, name: bytes, wanted: Wanted | None, kind: int, where: Loaded, key: bytes = b""
    ) -> tuple[Loaded, Symbol] | None:
        """The first match in the search list (do_lookup_x)."""
        scope = self.scope
        symbolic = where.object.tags.get(DT_FLAGS, 0) & DF_SYMBOLIC or DT_SYMBOLIC in where.object.tags
        if symbolic and not where.is_main:
            scope = [where, *scope]
        key = key or key_of(name, wanted, kind)
        gnu = gnu_hash(name) | 1
        for provider in scope:
            if kind & CLASS_COPY and provider.is_main:
                continue
            there = provider.object.hash_table.hashes
            if there is not None and gnu not in there and not provider.object.space.tainted:
                continue
            matches = provider.object.matches
            if key in matches:
                symbol = matches[key]
            else:
                symbol = matches[key] = match(provider.object, name, wanted, kind, provider)
            if symbol is not None and symbol.other & 3 not in (1, 2) and symbol.binding in (1, 2, 10):
                return provider, symbol
        return None


def match(library: DynamicObject, name: bytes, wanted: Wanted | None, kind: int, provider: Loaded) -> Symbol | None:
    """What one object has for a name and version (do_lookup_x). Raises Unversioned, Fault, Endless."""
    plt = kind & CLASS_PLT
    named = library.candidates(name, gnu_hash(name), lambda symbol: _admitted(symbol, plt))
    return choose(library, named, name, wanted, kind, provider)


def choose(
    library: DynamicObject,
    named: Iterator[Symbol],
    name: bytes,
    wanted: Wanted | None,
    kind: int,
    provider: Loaded | None = None,
) -> Symbol | None:
    """The first of the symbols of a name that fits. Raises Unversioned where it is told the `provider`'s link map."""
    newer: list[Symbol] = []
    for symbol in named:
        if _admitted(symbol, kind & CLASS_PLT) and _fits(library, symbol, wanted, newer, name, provider):
            return symbol
    return newer[0] if len(newer) == 1 else None


def _admitted(symbol: Symbol, plt: int) -> bool:
    if symbol.value == 0 and symbol.shndx != SHN_ABS and symbol.type != STT_TLS:
        return False
    return not (plt and symbol.shndx == 0) and bool(1 << symbol.type & ALLOWED_TYPES)


def _fits(
    library: DynamicObject,
    symbol: Symbol,
    wanted: Wanted | None,
    newer: list[Symbol],
    name: bytes,
    provider: Loaded | None,
) -> bool:
    """check_match, after the name."""
    raw = library.versym(symbol.number) if library.highest_version else None
    if raw is not None and raw & 0x7FFF > library.highest_version:
        library.unsure = f"{library.path}: a symbol's version index lies past the table of versions"
    if wanted is None:
        if raw is not None and raw & 0x7FFF >= 3:
            if not raw & 0x8000:
                newer.append(symbol)
            return False
        return True
    if raw is None:
        file = "" if wanted.file is None else wanted.file.decode(errors="surrogateescape")
        if provider is not None and wanted.file is not None and provider.answers(file):
            version = wanted.name.decode(errors="surrogateescape")
            raise Unversioned(provider, name.decode(errors="surrogateescape"), version)
        return True
    row = library.versions.get(raw & 0x7FFF)
    has = row is not None and row[1] != 0
    same = has and row is not None and row[1] == wanted.hash and row[0] == wanted.name
    return same or not (wanted.hidden or has or raw & 0x8000)
