"""Makes small ELF files byte by byte, so that a test can say exactly what is wrong with them."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

LOAD, DYNAMIC, INTERP, NOTE, GNU_PROPERTY = 1, 2, 3, 4, 0x6474E553


@dataclass(frozen=True, slots=True, kw_only=True)
class Seg:
    """A program header; `filesz` is also the memory size where that is not given."""

    type: int = LOAD
    flags: int = 4
    offset: int = 0
    vaddr: int = 0
    filesz: int = 0
    memsz: int | None = None
    align: int = 0


def words(*values: int, big: bool = False) -> bytes:
    """64-bit words."""
    return struct.pack(f"{'>' if big else '<'}{len(values)}Q", *values)


def halves(*values: int, big: bool = False) -> bytes:
    """32-bit words."""
    return struct.pack(f"{'>' if big else '<'}{len(values)}I", *values)


def _program_header(seg: Seg, bits: int, order: str) -> bytes:
    memsz = seg.filesz if seg.memsz is None else seg.memsz
    if bits == 64:
        return struct.pack(
            f"{order}2I6Q", seg.type, seg.flags, seg.offset, seg.vaddr, seg.vaddr, seg.filesz, memsz, seg.align
        )
    return struct.pack(
        f"{order}8I", seg.type, seg.offset, seg.vaddr, seg.vaddr, seg.filesz, memsz, seg.flags, seg.align
    )


def image(
    segments: Sequence[Seg] = (),
    content: Mapping[int, bytes] | None = None,
    *,
    bits: int = 64,
    big: bool = False,
    machine: int = 183,
    kind: int = 2,
    size: int = 0,
    **header: int,
) -> bytes:
    """An ELF file: headers, then `content` by offset, padded to `size` and to what the segments claim.

    `header` overrides phoff, phnum, phentsize, shoff, shnum, shentsize, shstrndx, ehsize, flags, version
    and entry.
    """
    order, ehsize, entry_size = (">" if big else "<"), (64 if bits == 64 else 52), (56 if bits == 64 else 32)
    values = {"version": 1, "entry": 0, "phoff": ehsize, "shoff": 0, "flags": 0, "ehsize": ehsize,
              "phentsize": entry_size, "phnum": len(segments), "shentsize": 64 if bits == 64 else 40,
              "shnum": 0, "shstrndx": 0, **header}  # fmt: skip
    ident = b"\x7fELF" + bytes([bits // 32, 2 if big else 1, 1]) + bytes(9)
    fields = [kind, machine, *(values[name] for name in values)]
    raw = bytearray(ident + struct.pack(f"{order}HHI3{'Q' if bits == 64 else 'I'}I6H", *fields))
    raw += b"".join(_program_header(seg, bits, order) for seg in segments)
    ends = [seg.offset + seg.filesz for seg in segments if seg.offset + seg.filesz < 1 << 24]
    length = max([size, len(raw), *ends, *(at + len(part) for at, part in (content or {}).items())])
    raw += bytes(length - len(raw))
    for at, part in (content or {}).items():
        raw[at : at + len(part)] = part
    return bytes(raw)
