"""Seeds for arm64 kernels: AArch64 files that fit pages up to 64K, ones that fit 4K only, and AArch32 files.

Past its headers every file is a sled of NOPs of its own instruction set.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from tests.difftest.seeds import ET_DYN, PT_GNU_STACK, PT_INTERP, File, R, Segment, W, X

EM_ARM, EM_AARCH64 = 40, 183
NOP = bytes.fromhex("1f2003d5")
NOP32 = bytes.fromhex("00f020e3")
EF_ARM_EABI_VER5 = 0x05000000


@dataclass(frozen=True, slots=True, kw_only=True)
class File32(File):
    """An ELF32 file by its fields; values wrap to 32 bits."""

    def build(self) -> bytes:
        data = bytearray(self.sled * (max(self.size, 0x1000) // len(self.sled) + 1))
        count = len(self.segments) if self.phnum is None else self.phnum
        small = [value & 0xFFFF for value in (self.type, self.machine, self.ehsize, self.phentsize, count)]
        wide = [value & 0xFFFFFFFF for value in (self.version, self.entry, self.phoff, self.shoff, self.flags)]
        data[0:52] = self.ident + struct.pack("<HHIIIIIHHHHHH", *small[:2], *wide, *small[2:], 40, 0, 0)
        table = b"".join(self._pack(segment) for segment in self.segments)
        data[52 : 52 + len(table)] = table
        if self.interp:
            data[0x800 : 0x800 + len(self.interp)] = self.interp
        for offset, patch in self.patches:
            data[offset : offset + len(patch)] = patch
        return bytes(data[: self.size])

    @staticmethod
    def _pack(segment: Segment) -> bytes:
        values = (segment.type, segment.offset, segment.vaddr, segment.paddr, segment.filesz, segment.memsz,
                  segment.flags, segment.align)  # fmt: skip
        return struct.pack("<8I", *(value & 0xFFFFFFFF for value in values))


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """Seeds of one instruction set (`bits` 32 or 64), laid out for pages up to `page` bytes."""

    name: str
    bits: int = 64
    page: int = 0x10000

    def _file(self, kind: int, entry: int, segments: tuple[Segment, ...], interp: bytes = b"") -> File:
        if self.bits == 64:
            return File(type=kind, machine=EM_AARCH64, entry=entry, segments=segments, interp=interp, sled=NOP)
        return File32(
            type=kind, machine=EM_ARM, flags=EF_ARM_EABI_VER5, entry=entry, segments=segments, interp=interp,
            sled=NOP32, ident=b"\x7fELF\x01\x01\x01" + bytes(9), phoff=52, ehsize=52, phentsize=32,
        )  # fmt: skip

    def _loads(self, base: int) -> tuple[Segment, ...]:
        step = self.page
        return (
            Segment(flags=R, offset=0, vaddr=base, filesz=0x1000, memsz=0x1000, align=step),
            Segment(flags=R | X, offset=0x1000, vaddr=base + step + 0x1000 * (step > 0x1000), filesz=0x1000,
                    memsz=0x1000, align=step),
            Segment(flags=R | W, offset=0x2E00, vaddr=base + step * (2 if step > 0x1000 else 1) + 0x2E00,
                    filesz=0x400, memsz=0x2400, align=step),
            Segment(type=PT_GNU_STACK, flags=R | W, align=16),
        )  # fmt: skip

    def static(self) -> File:
        """A static ET_EXEC."""
        loads = self._loads(0x400000)
        return self._file(2, loads[1].vaddr, loads)

    def static_pie(self) -> File:
        """An ET_DYN without an interpreter."""
        loads = self._loads(0)
        return self._file(ET_DYN, loads[1].vaddr, loads)

    def dynamic(self, interp: bytes = b"/loader\0") -> File:
        """A PIE with PT_INTERP; a 32-bit one names the 32-bit loader instead of the absolute name."""
        if self.bits == 32 and interp == b"/loader\0":
            interp = b"/loader32\0"
        named = Segment(type=PT_INTERP, offset=0x800, vaddr=0x800, filesz=len(interp), memsz=len(interp), align=1)
        loads = self._loads(0)
        return self._file(ET_DYN, loads[1].vaddr, (named, *loads), interp)


WIDE = Family(name="a64")
NARROW = Family(name="a64-4k", page=0x1000)
A32 = Family(name="a32", bits=32)
FAMILIES = (WIDE, NARROW, A32)
