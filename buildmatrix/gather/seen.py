"""What each check looked at in one artifact, in words: the evidence of a pass. Pure.

An empty text means that the check has nothing to say about an artifact of this kind.
"""

from __future__ import annotations

from collections.abc import Callable

from buildmatrix import arch
from buildmatrix.checks import floor, libc
from buildmatrix.checks.rule import Subject
from buildmatrix.facts import ElfType, GoInfo, SegmentType

_ELF_TYPES = {ElfType.EXEC: "ET_EXEC", ElfType.DYN: "ET_DYN"}
_ISA = ("x86-64-v1", "x86-64-v2", "x86-64-v3", "x86-64-v4")
_WITH_ABI_FLAGS = ("arm", "riscv64", "ppc64le")


def _machine(subject: Subject) -> str:
    facts = subject.facts
    if facts.elf is not None:
        order = "little" if facts.elf.little_endian else "big"
        return f"{arch.machine_name(facts.elf.machine)}, {facts.elf.bits}-bit, {order}-endian"
    if facts.macho is not None:
        return f"Mach-O CPU type {facts.macho.cputype:#x}"
    return f"COFF machine {facts.pe.machine:#x}" if facts.pe is not None else ""


def _format(subject: Subject) -> str:
    return f"the file is {subject.facts.format}, and {subject.target.goos} runs {subject.target.format}"


def _structure(subject: Subject) -> str:
    return f"headers, segments and tables lie inside its {subject.facts.size} bytes"


def _type(subject: Subject) -> str:
    facts = subject.facts
    if facts.elf is not None:
        return _ELF_TYPES.get(ElfType(facts.elf.type), "") if facts.elf.type in list(ElfType) else "another type"
    if facts.macho is not None:
        return f"Mach-O file type {facts.macho.filetype}"
    return f"PE characteristics {facts.pe.characteristics:#x}" if facts.pe is not None else ""


def _loader(subject: Subject) -> str:
    return "" if subject.elf is None else subject.elf.interp or "no PT_INTERP: needs no loader"


def _needed(subject: Subject) -> str:
    return "" if subject.elf is None else ", ".join(subject.elf.needed) or "no DT_NEEDED: needs no library"


def _libc(subject: Subject) -> str:
    if subject.elf is None or subject.target.goos != "linux":
        return ""
    signs = libc.flavours(subject.elf)
    return "; ".join(f"{name}: {sign}" for name, sign in signs.items()) or "no sign of a C library"


def _floor(subject: Subject) -> str:
    if subject.elf is None or not subject.target.libc_floor:
        return ""
    need = floor.highest(subject.elf.version_needs)
    return f"needs {need.version if need else 'no version of glibc'}, promised {subject.target.libc_floor}"


def _rpath(subject: Subject) -> str:
    if subject.elf is None:
        return ""
    return subject.elf.runpath or subject.elf.rpath or "no run path"


def _level(subject: Subject) -> str:
    variable, go = subject.architecture.level_variable, subject.facts.go
    return f"{variable}={go.setting(variable)}" if go is not None and variable else ""


def _isa(subject: Subject) -> str:
    if subject.elf is None or subject.architecture.goarch != "amd64":
        return ""
    return isa_level(subject.elf.x86_isa_needed) or "no GNU property asks for more than x86-64-v1"


def isa_level(bits: int) -> str:
    """The x86-64 level that GNU_PROPERTY_X86_ISA_1_NEEDED asks for, or nothing."""
    return _ISA[min(bits.bit_length(), len(_ISA)) - 1] if bits else ""


def _alignment(subject: Subject) -> str:
    if subject.elf is None or not subject.target.page_sizes:
        return ""
    loads = sum(segment.type == SegmentType.LOAD for segment in subject.elf.segments)
    sizes = " and ".join(f"{size // 1024} KiB" for size in subject.target.page_sizes)
    return f"{loads} PT_LOAD segments, congruent up to {subject.elf.max_align_common:#x}; pages of {sizes}"


def _stack(subject: Subject) -> str:
    if subject.elf is None:
        return ""
    flags = subject.elf.stack_flags
    return "no PT_GNU_STACK" if flags is None else f"PT_GNU_STACK flags {flags:#x}"


def _relro(subject: Subject) -> str:
    if subject.elf is None or subject.elf.interp is None:
        return ""
    return f"PT_GNU_RELRO {'present' if subject.elf.relro else 'absent'}, DT_TEXTREL absent"


def _pie(subject: Subject) -> str:
    return "" if subject.elf is None or not subject.target.pie else "position-independent, as the target asks"


def _info(subject: Subject) -> str:
    go = subject.facts.go
    return f"{go.version}, {go.path}, CGO_ENABLED={go.setting('CGO_ENABLED')}" if go is not None else ""


def _modules(subject: Subject) -> str:
    if subject.facts.go is None or subject.sums is None:
        return ""
    return f"{_count(subject.facts.go)}, each with the sum that go.sum has"


def _count(go: GoInfo) -> str:
    return f"{len(go.modules)} module{'' if len(go.modules) == 1 else 's'}"


def _abi(subject: Subject) -> str:
    if subject.elf is None or subject.architecture.goarch not in _WITH_ABI_FLAGS:
        return ""
    return f"e_flags {subject.elf.flags:#x}"


SEEN: dict[str, Callable[[Subject], str]] = {
    "BM501": _machine,
    "BM502": _format,
    "BM503": _structure,
    "BM504": _type,
    "BM505": _loader,
    "BM506": _needed,
    "BM507": _libc,
    "BM508": _floor,
    "BM509": _rpath,
    "BM510": _level,
    "BM511": _isa,
    "BM512": _alignment,
    "BM513": _stack,
    "BM514": _relro,
    "BM515": _pie,
    "BM516": _info,
    "BM517": _modules,
    "BM519": _abi,
}
"""By the check's code."""
