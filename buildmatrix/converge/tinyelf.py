"""The smallest ELF files that meet a given fate, for reproducers: made byte by byte, without a compiler.

Layouts from the ELF specification (gABI) and the processor supplements; the instructions are an exit with
status 0, or what the caller gives.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass

BASE = 0x400000
_LOAD, _DYNAMIC, _INTERP, _NOTE = 1, 2, 3, 4
_EXEC, _DYN = 2, 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Isa:
    """What differs between architectures. `crash` reads from address 0; `rare` is an instruction few CPUs have."""

    uname: str
    machine: int
    exit: bytes
    crash: bytes
    rare: bytes
    glob_dat: int
    glibc: str
    musl: str


X86_64 = Isa(
    uname="x86_64", machine=62, exit=bytes.fromhex("b83c00000031ff0f05"), crash=bytes.fromhex("488b042500000000"),
    rare=bytes.fromhex("62f17c48efc0"), glob_dat=6, glibc="/lib64/ld-linux-x86-64.so.2",
    musl="/lib/ld-musl-x86_64.so.1",
)  # fmt: skip
AARCH64 = Isa(
    uname="aarch64", machine=183, exit=struct.pack("<3I", 0xD2800000, 0xD2800BA8, 0xD4000001),
    crash=struct.pack("<2I", 0xD2800000, 0xF9400000), rare=struct.pack("<I", 0x2518E3E0), glob_dat=1025,
    glibc="/lib/ld-linux-aarch64.so.1", musl="/lib/ld-musl-aarch64.so.1",
)  # fmt: skip
ISAS = (X86_64, AARCH64)


def _header(kind: int, isa: Isa, count: int, entry: int) -> bytes:
    ident = b"\x7fELF\x02\x01\x01" + bytes(9)
    return ident + struct.pack("<HHIQQQIHHHHHH", kind, isa.machine, 1, entry, 64, 0, 0, 64, 56, count, 64, 0, 0)


def _segment(kind: int, offset: int, size: int, *, base: int = BASE, align: int = 8, flags: int = 7) -> bytes:
    return struct.pack("<IIQQQQQQ", kind, flags, offset, base + offset, base + offset, size, size, align)


def static(isa: Isa, code: bytes = b"", *, skew: int = 0) -> bytes:
    """A program that needs nothing. With `skew`, its segment's address is that much off its offset's page."""
    code = code or isa.exit
    size = 120 + len(code)
    load = _segment(_LOAD, 0, size, base=BASE + skew, align=0x1000, flags=5)
    return _header(_EXEC, isa, 1, BASE + skew + 120) + load + code


class _Strings:
    def __init__(self) -> None:
        self.data = b"\0"

    def add(self, text: str) -> int:
        at = len(self.data)
        self.data += text.encode() + b"\0"
        return at


def _hash(name: str) -> int:
    """The hash of symbol versions (gABI, Hash Table)."""
    value = 0
    for byte in name.encode():
        value = (value << 4) + byte
        high = value & 0xF0000000
        value = (value ^ (high >> 24)) & ~high & 0xFFFFFFFF
    return value


def dynamic(
    isa: Isa,
    *,
    interpreter: str = "",
    needed: tuple[str, ...] = (),
    versions: Mapping[str, str] | None = None,
    undefined: str = "",
    runpath: str = "",
    soname: str = "",
    isa_level: int = 0,
) -> bytes:
    """A dynamically linked program, or a library where there is no `interpreter`.

    `versions` are what it needs of which library; `undefined` is a symbol that must be bound at the start, with
    the first of the versions where there is one; `isa_level` is GNU_PROPERTY_X86_ISA_1_NEEDED.
    """
    base = BASE if interpreter else 0
    count = 2 + bool(interpreter) + bool(isa_level)
    strings = _Strings()
    at = 64 + 56 * count
    parts: list[tuple[str, bytes]] = [("code", isa.exit.ljust(16, b"\0"))]
    versions = versions or {}
    tags: list[tuple[int, int | str]] = [(1, strings.add(name)) for name in needed]
    tags += [(14, strings.add(soname))] if soname else []
    tags += [(29, strings.add(runpath))] if runpath else []
    symbols = bytes(24) + (struct.pack("<IBBHQQ", strings.add(undefined), 0x10, 0, 0, 0, 0) if undefined else b"")
    total = len(symbols) // 24
    parts += [("symtab", symbols), ("hash", struct.pack(f"<{3 + total}I", 1, total, total - 1, *([0] * total)))]
    tags += [(4, "hash"), (6, "symtab"), (11, 24), (5, "strtab")]
    if versions:
        parts.append(("verneed", _verneed(versions, strings)))
        parts.append(("versym", struct.pack(f"<{total}H", *([0] + [2] * (total - 1)))))
        tags += [(0x6FFFFFFE, "verneed"), (0x6FFFFFFF, len(versions)), (0x6FFFFFF0, "versym")]
    if undefined:
        parts.append(("got", bytes(8)))
        tags += [(7, "rela"), (8, 24), (9, 24), (24, 0)]
        parts.append(("rela", b"\0" * 24))
    parts += [("strtab", strings.data), ("interp", interpreter.encode() + b"\0"), ("property", _property(isa_level))]
    tags.append((10, len(strings.data)))
    parts.append(("dynamic", bytes(16 * (len(tags) + 1))))
    return _laid_out(isa, parts, tags, base, at, bool(interpreter), bool(isa_level))


def _laid_out(
    isa: Isa, parts: list[tuple[str, bytes]], tags: list[tuple[int, int | str]], base: int, at: int, runs: bool,
    levelled: bool,
) -> bytes:  # fmt: skip
    places, body = {}, b""
    for name, data in parts:
        body += bytes(-(at + len(body)) % 16)
        places[name] = at + len(body)
        body += data
    sizes = {name: len(data) for name, data in parts}
    entries = b"".join(
        struct.pack("<QQ", tag, value if isinstance(value, int) else base + places[value]) for tag, value in tags
    )
    image = bytearray(bytes(at) + body)
    image[places["dynamic"] : places["dynamic"] + len(entries)] = entries
    if "rela" in places:
        image[places["rela"] : places["rela"] + 24] = struct.pack(
            "<QQq", base + places["got"], 1 << 32 | isa.glob_dat, 0
        )
    heads = []
    if runs:
        heads.append(_segment(_INTERP, places["interp"], sizes["interp"], base=base))
    heads.append(_segment(_LOAD, 0, len(image), base=base, align=0x1000))
    heads.append(_segment(_DYNAMIC, places["dynamic"], sizes["dynamic"], base=base))
    if levelled:
        heads.append(_segment(_NOTE, places["property"], sizes["property"], base=base))
    head = _header(_EXEC if runs else _DYN, isa, len(heads), base + places["code"]) + b"".join(heads)
    image[: len(head)] = head
    return bytes(image)


def _verneed(versions: Mapping[str, str], strings: _Strings) -> bytes:
    made = b""
    for index, (library, version) in enumerate(versions.items()):
        last = index == len(versions) - 1
        made += struct.pack("<HHIII", 1, 1, strings.add(library), 16, 0 if last else 32)
        made += struct.pack("<IHHII", _hash(version), 0, 2 + index, strings.add(version), 0)
    return made


def _property(level: int) -> bytes:
    """A .note.gnu.property with the x86 levels that are needed (x86-64 psABI, 3.1).

    It is named by a PT_NOTE: glibc 2.36 on x86-64 does not look at PT_GNU_PROPERTY (tried with either alone).
    """
    return struct.pack("<III4sIIII", 4, 16, 5, b"GNU\0", 0xC0008002, 4, level, 0) if level else b""
