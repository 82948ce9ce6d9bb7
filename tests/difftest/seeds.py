"""Small executables made byte by byte: the seeds that mutants are made from.

Past its headers every file is a sled of x86-64 NOPs, so that an entry anywhere in it executes, and so
that the one instruction that is let run does nothing.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace

ET_EXEC, ET_DYN = 2, 3
PT_LOAD, PT_INTERP, PT_NOTE, PT_PHDR, PT_GNU_STACK = 1, 3, 4, 6, 0x6474E551
R, W, X = 4, 2, 1
NOP = b"\x90"


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    type: int = PT_LOAD
    flags: int = R
    offset: int = 0
    vaddr: int = 0
    paddr: int = 0
    filesz: int = 0
    memsz: int = 0
    align: int = 4096

    def pack(self) -> bytes:
        values = (self.type, self.flags, self.offset, self.vaddr, self.paddr, self.filesz, self.memsz, self.align)
        limits = (32, 32, *(64,) * 6)
        return struct.pack("<IIQQQQQQ", *(value & (1 << bits) - 1 for value, bits in zip(values, limits, strict=True)))


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """An ELF file by its fields. `patches` are (offset, bytes) put over the finished file; `size` cuts or pads it."""

    type: int = ET_EXEC
    machine: int = 62
    version: int = 1
    entry: int = 0
    phoff: int = 64
    shoff: int = 0
    flags: int = 0
    ehsize: int = 64
    phentsize: int = 56
    phnum: int | None = None
    ident: bytes = b"\x7fELF\x02\x01\x01" + bytes(9)
    segments: tuple[Segment, ...] = ()
    interp: bytes = b""
    patches: tuple[tuple[int, bytes], ...] = ()
    size: int = 0x4000
    sled: bytes = NOP

    def build(self) -> bytes:
        data = bytearray(self.sled * (max(self.size, 0x1000) // len(self.sled) + 1))
        count = len(self.segments) if self.phnum is None else self.phnum
        numbers = (
            self.type & 0xFFFF,
            self.machine & 0xFFFF,
            self.version,
            self.entry & (1 << 64) - 1,
            self.phoff & (1 << 64) - 1,
            self.shoff,
            self.flags,
            self.ehsize,
            self.phentsize & 0xFFFF,
            count & 0xFFFF,
            64,
            0,
            0,
        )
        data[0:64] = self.ident + struct.pack("<HHIQQQIHHHHHH", *numbers)
        table = b"".join(segment.pack() for segment in self.segments)
        data[64 : 64 + len(table)] = table
        if self.interp:
            data[0x800 : 0x800 + len(self.interp)] = self.interp
        for offset, patch in self.patches:
            data[offset : offset + len(patch)] = patch
        return bytes(data[: self.size])

    def with_segment(self, index: int, segment: Segment) -> File:
        """The file with one program header replaced."""
        return replace(self, segments=(*self.segments[:index], segment, *self.segments[index + 1 :]))


def _loads(base: int) -> tuple[Segment, ...]:
    return (
        Segment(flags=R, offset=0, vaddr=base, filesz=0x1000, memsz=0x1000),
        Segment(flags=R | X, offset=0x1000, vaddr=base + 0x1000, filesz=0x1000, memsz=0x1000),
        Segment(flags=R | W, offset=0x2E00, vaddr=base + 0x3E00, filesz=0x400, memsz=0x2400),
        Segment(type=PT_GNU_STACK, flags=R | W, align=16),
    )


def static() -> File:
    """A static ET_EXEC."""
    return File(entry=0x401000, segments=_loads(0x400000))


def static_pie() -> File:
    """An ET_DYN without an interpreter."""
    return File(type=ET_DYN, entry=0x1000, segments=_loads(0))


def dynamic(interp: bytes = b"/loader\0") -> File:
    """A PIE with PT_INTERP."""
    named = Segment(type=PT_INTERP, offset=0x800, vaddr=0x800, filesz=len(interp), memsz=len(interp), align=1)
    return File(type=ET_DYN, entry=0x1000, segments=(named, *_loads(0)), interp=interp)
