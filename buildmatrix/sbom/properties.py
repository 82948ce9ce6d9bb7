"""What a file's bytes say, as ``buildmatrix:…`` properties of its component. Pure.

Names and values are a stable interface: policies match on them. A value that a file does not have is left
out; lists give one property for each item.
"""

from __future__ import annotations

from collections.abc import Iterator

from buildmatrix import arch
from buildmatrix.facts import PAGE_SIZES, PF_X, ElfFacts, Facts, GoInfo

Pairs = Iterator[tuple[str, str]]
_TYPES = {0: "NONE", 1: "REL", 2: "EXEC", 3: "DYN", 4: "CORE"}


def of(facts: Facts) -> tuple[tuple[str, str], ...]:
    """Every property of a file, sorted."""
    found = [("buildmatrix:format", facts.format.value)]
    if facts.elf is not None:
        found += [(f"buildmatrix:elf:{name}", value) for name, value in _elf(facts.elf)]
    if facts.pe is not None:
        found.append(("buildmatrix:pe:machine", f"{facts.pe.machine:#06x}"))
        found.append(("buildmatrix:pe:subsystem", str(facts.pe.subsystem)))
    if facts.macho is not None:
        found.append(("buildmatrix:macho:cputype", f"{facts.macho.cputype:#x}"))
        found.append(("buildmatrix:macho:cpusubtype", f"{facts.macho.cpusubtype:#x}"))
    if facts.go is not None:
        found += [(f"buildmatrix:go:{name}", value) for name, value in _go(facts.go)]
    return tuple(sorted(found))


def _go(info: GoInfo) -> Pairs:
    yield "version", info.version
    if info.path:
        yield "package", info.path
    for name, value in info.settings:
        yield f"setting:{name}", value


def _elf(elf: ElfFacts) -> Pairs:
    row = arch.by_machine(elf.machine, elf.bits, elf.little_endian)
    yield "class", str(elf.bits)
    yield "data", "little-endian" if elf.little_endian else "big-endian"
    yield "machine", row.uname if row else arch.machine_name(elf.machine)
    yield "type", _TYPES.get(elf.type, str(elf.type))
    if elf.flags:
        yield "flags", f"{elf.flags:#x}"
    yield "osabi", str(elf.osabi)
    yield from _linkage(elf)
    yield from _hardening(elf)
    yield from _identity(elf)


def _linkage(elf: ElfFacts) -> Pairs:
    plain = {"interpreter": elf.interp, "soname": elf.soname, "rpath": elf.rpath, "runpath": elf.runpath}
    yield from ((name, value) for name, value in plain.items() if value is not None)
    yield from (("needed", name) for name in elf.needed)
    yield from sorted({("symbol-version", f"{item.library}:{item.version}") for item in elf.version_needs})


def _hardening(elf: ElfFacts) -> Pairs:
    yield "pie", str(elf.pie).lower()
    yield "relro", ("full" if elf.bind_now else "partial") if elf.relro else "none"
    if elf.stack_flags is not None:
        yield "executable-stack", str(bool(elf.stack_flags & PF_X)).lower()
    yield "text-relocations", str(elf.textrel).lower()
    for size, torn, overlap in zip(PAGE_SIZES, elf.page_incongruent, elf.page_overlap, strict=True):
        yield f"page-size-{size}", "fits" if not torn and not overlap else "does-not-fit"


def _identity(elf: ElfFacts) -> Pairs:
    if elf.build_id is not None:
        yield "build-id", elf.build_id
    if elf.go_build_id:
        yield "go-build-id", elf.go_build_id
    if elf.abi_tag is not None:
        yield "abi-kernel", ".".join(map(str, elf.abi_tag.version))
    if elf.x86_isa_needed:
        yield "x86-isa-needed", f"{elf.x86_isa_needed:#x}"
    if elf.aarch64_features:
        yield "aarch64-features", f"{elf.aarch64_features:#x}"
    yield "symbol-table", str(elf.has_symtab).lower()
    yield "debug-information", str(elf.has_debug).lower()
