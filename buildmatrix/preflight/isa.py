"""GNU_PROPERTY_X86_ISA_1_NEEDED as glibc reads it (sysdeps/x86/dl-prop.h): from memory, at 8-byte alignment.

Only PT_NOTE counts: of the properties in a PT_GNU_PROPERTY x86 looks at none (_dl_process_gnu_property).
"""

from __future__ import annotations

from buildmatrix.preflight.dynobj import DynamicObject
from buildmatrix.preflight.elfimage import PT_NOTE, Phdr

ISA_1_NEEDED = 0xC0008002


def needed_isa(library: DynamicObject) -> int:
    """The property's bits (1 baseline, 2 v2, 4 v3, 8 v4), or 0; remembered. Raises Fault."""
    if library.isa is None:
        library.isa = _needed(library)
    return library.isa


def _needed(library: DynamicObject) -> int:
    for phdr in (item for item in reversed(library.phdrs) if item.type == PT_NOTE):
        found = _in_segment(library, phdr)
        if found is not None:
            return found
    return 0


def _in_segment(library: DynamicObject, phdr: Phdr) -> int | None:
    align = library.layout.word
    if phdr.align != align or phdr.memsz > 1 << 20:
        return None
    data = library.space.read((phdr.vaddr + library.bias) & library.layout.mask, phdr.memsz)
    at = 0
    while at + 12 <= len(data):
        namesz, descsz, kind = (int.from_bytes(data[at + step : at + step + 4], "little") for step in (0, 4, 8))
        start = at + 12 + -(-namesz // 4) * 4
        start = -(-start // align) * align
        if kind == 5 and data[at + 12 : at + 16] == b"GNU\0":
            return _property(data[start : start + descsz], align)
        at = -(-(start + descsz) // align) * align
    return None


def _property(data: bytes, align: int) -> int:
    at = 0
    while at + 8 <= len(data):
        kind, size = (int.from_bytes(data[at + step : at + step + 4], "little") for step in (0, 4))
        if kind == ISA_1_NEEDED and size == 4:
            return int.from_bytes(data[at + 8 : at + 12], "little")
        at += 8 + -(-size // align) * align
    return 0
