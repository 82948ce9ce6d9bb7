"""ELF headers as the kernel and the loaders read them.

Neither believes a file's word about itself: the kernel reads the header in its own class and byte
order whatever e_ident says, and a loader reads what lies in memory. So every reader here is told its
layout. The specification's view of a file is `elf.py`.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

MAGIC = b"\x7fELF"
EI_CLASS, EI_DATA, EI_VERSION, EI_OSABI, EI_ABIVERSION, EI_PAD, EI_NIDENT = 4, 5, 6, 7, 8, 9, 16
ET_REL, ET_EXEC, ET_DYN, ET_CORE = 1, 2, 3, 4
EM_386, EM_486, EM_PPC64, EM_S390, EM_ARM, EM_X86_64, EM_AARCH64, EM_RISCV = 3, 6, 21, 22, 40, 62, 183, 243
PT_LOAD, PT_DYNAMIC, PT_INTERP, PT_NOTE, PT_PHDR, PT_TLS = 1, 2, 3, 4, 6, 7
PT_GNU_STACK, PT_GNU_RELRO, PT_GNU_PROPERTY = 0x6474E551, 0x6474E552, 0x6474E553
PF_X, PF_W, PF_R = 1, 2, 4


class Header(NamedTuple):
    """Elf32_Ehdr or Elf64_Ehdr after e_ident."""

    type: int
    machine: int
    version: int
    entry: int
    phoff: int
    shoff: int
    flags: int
    ehsize: int
    phentsize: int
    phnum: int
    shentsize: int
    shnum: int
    shstrndx: int


class Phdr(NamedTuple):
    """One program header, in Elf64_Phdr's order of fields."""

    type: int
    flags: int
    offset: int
    vaddr: int
    paddr: int
    filesz: int
    memsz: int
    align: int


_STRUCTS: dict[tuple[int, str, str], struct.Struct] = {}


class Layout(NamedTuple):
    """A class (32 or 64 bits) and a byte order (struct's ``<`` or ``>``)."""

    bits: int
    order: str

    @property
    def ehsize(self) -> int:
        """Size of the ELF header in bytes."""
        return 64 if self.bits == 64 else 52

    @property
    def phentsize(self) -> int:
        """Size of a program header in bytes."""
        return 56 if self.bits == 64 else 32

    @property
    def word(self) -> int:
        """Size of an address in bytes."""
        return self.bits // 8

    @property
    def mask(self) -> int:
        """All bits of an address set; sums wrap here as the kernel's do."""
        return (1 << self.bits) - 1

    def unpack(self, codes: str) -> struct.Struct:
        """A Struct of `codes` in this byte order; ``P`` stands for an address-sized word."""
        key = (self.bits, self.order, codes)
        known = _STRUCTS.get(key)
        if known is None:
            known = struct.Struct(self.order + codes.replace("P", "Q" if self.bits == 64 else "I"))
            if len(codes) <= 16:
                _STRUCTS[key] = known
        return known

    def header(self, data: bytes) -> Header:
        """The header in `data`, which is taken to be zero past its end (as the kernel's buffer is)."""
        fields = self.unpack("HHIPPPIHHHHHH").unpack(data[16 : self.ehsize].ljust(self.ehsize - 16, b"\0"))
        return Header(*fields)

    def phdrs(self, data: bytes) -> tuple[Phdr, ...]:
        """Every whole program header in `data`."""
        whole = data[: len(data) - len(data) % self.phentsize]
        if self.bits == 64:
            return tuple(Phdr(*row) for row in self.unpack("IIQQQQQQ").iter_unpack(whole))
        rows = self.unpack("IIIIIIII").iter_unpack(whole)
        return tuple(Phdr(t, f, o, v, p, fs, ms, a) for t, o, v, p, fs, ms, f, a in rows)


LE64, LE32, BE64, BE32 = Layout(64, "<"), Layout(32, "<"), Layout(64, ">"), Layout(32, ">")
