"""Objects, symbol lookup and relocation types of musl's loader (ldso/dynlink.c find_sym, arch/*/reloc.h)."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

from buildmatrix.preflight.dynobj import DT_GNU_HASH, DT_HASH, DynamicObject, Symbol
from buildmatrix.preflight.elfimage import EM_386, EM_AARCH64, EM_ARM, EM_X86_64
from buildmatrix.preflight.memory import Fault
from buildmatrix.preflight.symhash import gnu_hash

OK_TYPES = 1 << 0 | 1 << 1 | 1 << 2 | 1 << 5 | 1 << 6
OK_BINDINGS = 1 << 1 | 1 << 2 | 1 << 10
STT_TLS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Types:
    """The relocation types that musl's reloc.h of one architecture names.

    `bare` take no addend from memory; `module` ask for the TLS of the object that defines the symbol;
    `half` writes four bytes, `descriptor` two words.
    """

    known: frozenset[int]
    plt: int
    copy: int
    relative: int
    bare: frozenset[int]
    module: frozenset[int]
    descriptor: int
    half: int = -1


TYPES = {
    EM_X86_64: Types(known=frozenset({1, 2, 5, 6, 7, 8, 16, 17, 18, 36}), plt=7, copy=5, relative=8,
                     bare=frozenset({5, 6, 7}), module=frozenset({16, 18, 36}), descriptor=36, half=2),
    EM_AARCH64: Types(known=frozenset({257, 1024, 1025, 1026, 1027, 1028, 1029, 1030, 1031}), plt=1026, copy=1024,
                      relative=1027, bare=frozenset({1024, 1025, 1026}), module=frozenset({1028, 1030, 1031}),
                      descriptor=1031),
    EM_386: Types(known=frozenset({1, 2, 5, 6, 7, 8, 14, 35, 36, 37, 41}), plt=7, copy=5, relative=8,
                  bare=frozenset({5, 6, 7}), module=frozenset({14, 35, 37, 41}), descriptor=41),
    EM_ARM: Types(known=frozenset({2, 3, 13, 17, 18, 19, 20, 21, 22, 23}), plt=22, copy=20, relative=23,
                  bare=frozenset({20, 21, 22}), module=frozenset({13, 17, 19}), descriptor=13),
}  # fmt: skip
NEVER = Types(known=frozenset(), plt=-1, copy=-1, relative=-1, bare=frozenset(), module=frozenset(), descriptor=-1)


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
    """The symbol that `find_definition` finds."""
    found = find_definition(chain, name, need_definition=need_definition)
    return None if found is None else found[1]


def find_definition(chain: list[Dso], name: bytes, *, need_definition: bool) -> tuple[Dso, Symbol] | None:
    """find_sym: versions are not looked at, save that a hidden one does not count. Raises Fault, Endless."""
    hashed = gnu_hash(name)
    for item in chain:
        if DT_GNU_HASH not in item.object.tags and DT_HASH not in item.object.tags:
            raise Fault("SIGSEGV", 0)
        symbol = next(item.object.candidates(name, hashed, partial(_visible, item)), None)
        if symbol is None or (symbol.shndx == 0 and (need_definition or symbol.type == STT_TLS)):
            continue
        if (symbol.value == 0 and symbol.type != STT_TLS) or not 1 << symbol.type & OK_TYPES:
            continue
        if 1 << symbol.binding & OK_BINDINGS:
            return item, symbol
    return None


def _visible(item: Dso, symbol: Symbol) -> bool:
    raw = item.object.versym(symbol.number)
    return raw is None or not raw & 0x8000


LARGE_FILE = frozenset(
    b"aio_cancel aio_error aio_fsync aio_read aio_return aio_suspend aio_write alphasort creat fallocate fgetpos fopen "
    b"freopen fseeko fsetpos fstat fstatat fstatfs fstatvfs ftello ftruncate ftw getdents getrlimit glob globfree "
    b"lio_listio lockf lseek lstat mkostemp mkostemps mkstemp mkstemps mmap nftw open openat posix_fadvise "
    b"posix_fallocate pread preadv prlimit pwrite pwritev readdir scandir sendfile setrlimit stat statfs statvfs "
    b"tmpfile truncate versionsort __fxstat __fxstatat __lxstat __xstat".split()
)
"""Names that musl 1.2.4 and later also answer to with a 64 behind them (get_lfs64)."""


def large_file_name(name: bytes) -> bytes | None:
    """The name that stands for one of glibc's large-file names, or None."""
    if name == b"readdir64_r":
        return b"readdir_r"
    plain = name[:-2]
    return plain if name.endswith(b"64") and len(name) < 16 and plain in LARGE_FILE else None
