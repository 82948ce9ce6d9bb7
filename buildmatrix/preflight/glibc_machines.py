"""Relocation types of each psABI as glibc's loader knows them (sysdeps/*/dl-machine.h), and what they ask for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from buildmatrix.preflight.dynobj import DynamicObject, Symbol
from buildmatrix.preflight.elfimage import EM_386, EM_AARCH64, EM_ARM, EM_PPC64, EM_RISCV, EM_S390, EM_X86_64
from buildmatrix.preflight.memory import Fault

SHN_ABS = 0xFFF1
CLASS_PLT, CLASS_COPY = 1, 2
DT_RELACOUNT, DT_RELCOUNT = 0x6FFFFFF9, 0x6FFFFFFA
RELATIVE_TYPES = {EM_X86_64: 8, EM_AARCH64: 1027, EM_386: 8, EM_ARM: 23, EM_S390: 12, EM_PPC64: 22, EM_RISCV: 3}


@dataclass(frozen=True, slots=True)
class Machine:
    """Relocation types of one psABI: no symbol wanted, PLT class, copy, and all that glibc knows."""

    unnamed: frozenset[int]
    plt: frozenset[int]
    copy: int
    known: frozenset[int]
    jump_slot: int
    resolver: frozenset[int]
    descriptor: frozenset[int]


MACHINES = {
    EM_X86_64: Machine(
        unnamed=frozenset({0, 8, 37, 38}), plt=frozenset({7, 16, 17, 18, 36}), copy=5, jump_slot=7,
        resolver=frozenset({37}), descriptor=frozenset({36}),
        known=frozenset({0, 1, 2, 5, 6, 7, 8, 10, 16, 17, 18, 32, 33, 36, 37, 38}),
    ),
    EM_386: Machine(
        unnamed=frozenset({0, 8, 42}), plt=frozenset({7, 14, 35, 36, 37, 41}), copy=5, jump_slot=7,
        resolver=frozenset({42}), descriptor=frozenset({41}),
        known=frozenset({0, 1, 2, 5, 6, 7, 8, 14, 35, 36, 37, 38, 41, 42}),
    ),
    EM_AARCH64: Machine(
        unnamed=frozenset({0, 256, 1027, 1032}), plt=frozenset({1026, 1028, 1029, 1030, 1031}), copy=1024,
        jump_slot=1026, resolver=frozenset({1032}), descriptor=frozenset({1031}),
        known=frozenset({0, 256, 257, 258, 1024, 1025, 1026, 1027, 1028, 1029, 1030, 1031, 1032}),
    ),
    EM_ARM: Machine(
        unnamed=frozenset({0, 23, 160}), plt=frozenset({13, 17, 18, 19, 22}), copy=20, jump_slot=22,
        resolver=frozenset({160}), descriptor=frozenset({13}),
        known=frozenset({0, 1, 2, 3, 13, 17, 18, 19, 20, 21, 22, 23, 160}),
    ),
    EM_S390: Machine(
        unnamed=frozenset({0, 12, 61}), plt=frozenset({11, 54, 55, 56}), copy=9, jump_slot=11,
        resolver=frozenset({61}), descriptor=frozenset(),
        known=frozenset({0, 1, 3, 4, 5, 9, 10, 11, 12, 16, 17, 18, 19, 20, 22, 23, 54, 55, 56, 61}),
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Wanted:
    """A version that a reference asks for: name, hash, the file it should come from, whether hidden."""

    name: bytes
    hash: int
    file: bytes | None
    hidden: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """How the loader ends: a signal, or the text of its error, or (with neither) a failed assertion."""

    signal: str = ""
    address: int = 0
    text: str = ""
    errno: str = ""
    why: str = ""
    unsure: str = ""


class Reference(NamedTuple):
    """One distinct step of relocating an object.

    `own` is the object's own symbol where none is looked up, `named` whether one is; `kind` is the lookup's
    class, `slot` says that it is bound on its first call; `type` and `place` are the relocation's.
    """

    own: Symbol | None = None
    named: bool = False
    name: bytes = b""
    wanted: Wanted | None = None
    kind: int = 0
    weak: bool = False
    slot: bool = False
    key: bytes = b""
    type: int = 0
    place: int = 0
    size: int = 0
    addend: int = 0
    bad_type: int = -1
    plt: bool = False
    failure: Failure | None = None


def key_of(name: bytes, wanted: Wanted | None, kind: int) -> bytes:
    """One word for a question to a provider: bytes remember their hash, which tuples do not."""
    asked = b"" if wanted is None else b"%s\0%x\0%d\0%s" % (wanted.name, wanted.hash, wanted.hidden, wanted.file or b"")
    return b"%s\0%d\0%s" % (name, kind & CLASS_PLT, asked)


def failed(fault: Fault, library: DynamicObject) -> Failure:
    """A memory access that the loader does not survive."""
    unsure = f"what is mapped next to {library.path}" if fault.unsure else ""
    return Failure(signal=fault.signal, address=fault.address, unsure=unsure)


def called(library: DynamicObject, address: int) -> Failure | None:
    """What becomes of a call of the loader into an object's code: an indirect function's resolver."""
    area = library.space.find(address)
    if area is None or not area.prot & 4:
        return failed(library.space.fault(address), library)
    if not library.space.backed(area, address):
        return Failure(signal="SIGBUS", address=address)
    if library.blob.read(7, 1) != b"\x03":
        library.unsure = f"what the code at {address:#x} of {library.path} does, which the loader calls"
    return None
