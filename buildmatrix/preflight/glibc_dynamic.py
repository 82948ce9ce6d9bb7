"""What glibc makes of one object once it is mapped (elf/get-dynamic-info.h, dl-setup_hash.h, dl-prop.h, rtld.c).

The dynamic section is moved to its place, its claims about entry sizes are asserted, notes are walked
for properties, and the hash table's header is read. Nothing is looked up yet.
"""

from __future__ import annotations

from dataclasses import dataclass

from buildmatrix.preflight.dynobj import (
    DT_GNU_HASH,
    DT_HASH,
    DT_JMPREL,
    DT_PLTGOT,
    DT_PLTREL,
    DT_REL,
    DT_RELA,
    DT_RELR,
    DT_SONAME,
    DT_STRTAB,
    DT_SYMTAB,
    DT_VERDEF,
    DT_VERNEED,
    DT_VERSYM,
    DynamicObject,
)
from buildmatrix.preflight.elfimage import (
    EM_386,
    EM_486,
    EM_AARCH64,
    EM_ARM,
    EM_X86_64,
    PT_DYNAMIC,
    PT_GNU_PROPERTY,
    PT_NOTE,
    PT_PHDR,
    Phdr,
)
from buildmatrix.preflight.memory import Fault

DT_RELAENT, DT_RELENT, DT_DEBUG, DT_RELRENT = 9, 19, 21, 37
MOVED = (DT_HASH, DT_PLTGOT, DT_STRTAB, DT_SYMTAB, DT_RELR, DT_JMPREL, DT_VERSYM, DT_GNU_HASH)
READ_TABLES = (DT_HASH, DT_STRTAB, DT_SYMTAB, DT_VERSYM, DT_GNU_HASH, DT_VERNEED, DT_VERDEF, DT_RELA, DT_REL, DT_JMPREL)
MOST_NOTES = 1 << 14
Version = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tables:
    """Which relocation tables a machine's loader processes (ELF_MACHINE_NO_REL, ELF_MACHINE_NO_RELA)."""

    rel: bool
    rela: bool


TABLES = {
    EM_X86_64: Tables(rel=False, rela=True),
    EM_AARCH64: Tables(rel=False, rela=True),
    EM_386: Tables(rel=True, rela=False),
    EM_486: Tables(rel=True, rela=False),
    EM_ARM: Tables(rel=True, rela=True),
}
BOTH = Tables(rel=True, rela=True)


class Assertion(Exception):
    """A failed assertion of the loader: it prints "Inconsistency detected by ld.so" and exits with 127."""


def tables_of(library: DynamicObject) -> Tables:
    """The tables of an object's machine."""
    return TABLES.get(library.header.machine, BOTH)


def read_dynamic(library: DynamicObject, version: Version) -> None:
    """elf_get_dynamic_info. Raises Fault, Assertion."""
    _move(library, version)
    tags, tables, word = library.tags, tables_of(library), library.layout.word
    wanted = [kind for kind, used in ((DT_REL, tables.rel), (DT_RELA, tables.rela)) if used]
    if DT_PLTREL in tags and tags[DT_PLTREL] not in wanted:
        raise Assertion("DT_PLTREL names no relocation type of this machine")
    sizes = [(DT_RELA, DT_RELAENT, 3 * word, tables.rela), (DT_REL, DT_RELENT, 2 * word, tables.rel)]
    sizes.append((DT_RELR, DT_RELRENT, word, version >= (2, 36)))
    for table, entry, size, used in sizes:
        if table not in tags or not used:
            continue
        if entry not in tags:
            raise Fault("SIGSEGV", 8)
        if tags[entry] != size:
            raise Assertion(f"the entry size of dynamic table {table} is {tags[entry]}, not {size}")


def _move(library: DynamicObject, version: Version) -> None:
    """The loader adds the load address to pointers, in place, where PT_DYNAMIC is writable."""
    start = library.dynamic_address
    if start is None or (not library.bias and not library.space.crowded):
        return
    flags = next((phdr.flags for phdr in reversed(library.phdrs) if phdr.type == PT_DYNAMIC and phdr.filesz), 0)
    if version >= (2, 35) and not flags & 2:
        return
    word = library.layout.word
    for index, (tag, value) in enumerate(library.entries):
        if (tag in MOVED or (tag in (DT_REL, DT_RELA) and value)) and library.last_entry(tag) == index:
            library.space.store(start + index * 2 * word + word, word)


def mark_written(library: DynamicObject, moved: bool) -> None:
    """Note what the loader writes to where tables lie in writable memory: what is read there then is not the file's.

    `moved` says that the dynamic section's pointers are written too.
    """
    space = library.space
    places = [library.address_of(tag) for tag in READ_TABLES if tag in library.tags]
    areas = [space.find(place) for place in places if place is not None]
    if not any(area is not None and area.prot & 2 for area in areas):
        return
    word = library.layout.word
    if moved and library.dynamic_address is not None:
        start = library.dynamic_address
        for index, (tag, _) in enumerate(library.entries):
            if tag in (*MOVED, DT_REL, DT_RELA, DT_DEBUG):
                space.written(start + index * 2 * word + word, word)
    got = library.address_of(DT_PLTGOT)
    if got is not None and DT_JMPREL in library.tags and not library.bind_now:  # elf_machine_runtime_setup
        for index in (1, 2):
            space.written((got + index * word) & library.layout.mask, word)
    try:
        for reloc in (*library.plt(), *library.eager()):
            space.written((reloc.offset + library.bias) & library.layout.mask, word)
    except Fault:
        library.unsure = f"{library.path}: what its relocations change in its own tables"


def dynamic_at_its_time(program: DynamicObject) -> None:
    """rtld_setup_main_map places the program's dynamic section by the load address that it knows at that time."""
    bias = 0
    if not any(phdr.type == PT_PHDR for phdr in program.phdrs):
        return
    last = next(phdr for phdr in reversed(program.phdrs) if phdr.type == PT_PHDR)
    for phdr in program.phdrs:
        if phdr.type == PT_PHDR:
            bias = (program.bias + last.vaddr - phdr.vaddr) & program.layout.mask
        elif phdr.type == PT_DYNAMIC:
            program.dynamic_address = (bias + phdr.vaddr) & program.layout.mask


def set_debug(library: DynamicObject) -> None:
    """elf_setup_debug_entry: the program's DT_DEBUG is written. Raises Fault."""
    index = library.last_entry(DT_DEBUG)
    if index is not None and library.dynamic_address is not None:
        word = library.layout.word
        library.space.store(library.dynamic_address + index * 2 * word + word, word)


def read_soname(library: DynamicObject) -> None:
    """The comparison of DT_SONAME with libc's. Raises Fault."""
    if DT_SONAME in library.tags:
        library.string(library.tags[DT_SONAME])


def read_hash(library: DynamicObject) -> None:
    """_dl_setup_hash. Raises Fault, Assertion."""
    address = library.address_of(DT_GNU_HASH)
    if address is not None:
        words = library.layout.unpack("IIII").unpack(library.space.read(address, 16))[2]
        if words & (words - 1) & 0xFFFFFFFF:
            raise Assertion("the GNU hash table's Bloom filter is no power of two")
        return
    address = library.address_of(DT_HASH)
    if address is not None:
        library.space.read(address, 4)


def read_notes(library: DynamicObject) -> None:
    """Walk PT_NOTE and PT_GNU_PROPERTY from the last one up, as far as memory goes. Raises Fault."""
    x86 = library.header.machine in (EM_X86_64, EM_386)
    known = False
    for phdr in reversed(library.memory_phdrs):
        if phdr.align != library.layout.word:
            continue
        if phdr.type == PT_GNU_PROPERTY or (phdr.type == PT_NOTE and x86 and not known):
            known = _walk(library, phdr) or known


def _walk(library: DynamicObject, phdr: Phdr) -> bool:
    """Whether a property note is found."""
    head = library.layout.unpack("III")
    start, mask, align = phdr.vaddr + library.bias, library.layout.mask, phdr.align
    at = 0
    for _ in range(MOST_NOTES):
        if at + 12 >= phdr.memsz:
            return False
        namesz, descsz, kind = head.unpack(library.space.read((start + at) & mask, 12))
        if namesz == 4 and kind == 5 and library.space.read((start + at + 12) & mask, 4) == b"GNU\0":
            library.space.read((start + at + 16) & mask, 8)
            return True
        at += -(-(-(-(12 + namesz) // align) * align + descsz) // align) * align
    library.unsure = f"{library.path}: its notes go on and on"
    return False
