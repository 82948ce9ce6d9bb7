"""What a relocation does with the symbol that was found for it (sysdeps/*/dl-machine.h elf_machine_rela)."""

from __future__ import annotations

from buildmatrix.preflight.dynobj import Symbol
from buildmatrix.preflight.elfimage import EM_X86_64, PT_TLS
from buildmatrix.preflight.glibc_machines import SHN_ABS, Failure, Reference, failed
from buildmatrix.preflight.glibc_search import Loaded
from buildmatrix.preflight.memory import Fault

PC32, COPY, R_32, TPOFF64, SIZE32, SIZE64, TLSDESC = 2, 5, 10, 18, 32, 33, 36
MASK = (1 << 64) - 1
LIBRARY = 0x7F00_0000_0000


def has_tls(item: Loaded) -> bool:
    """Whether an object has a TLS block of its own."""
    return any(phdr.type == PT_TLS and phdr.memsz for phdr in item.object.phdrs)


def consequence(where: Loaded, reference: Reference, provider: Loaded | None, symbol: Symbol | None) -> Failure | None:
    """The failure that follows from what was found, or None; x86-64's, the others' have no such traps."""
    if where.object.header.machine != EM_X86_64:
        return None
    if reference.type in (SIZE32, SIZE64) and symbol is None and reference.named:
        return Failure(signal="SIGSEGV", address=16)
    if provider is None or symbol is None:
        return None
    if reference.type in (TPOFF64, TLSDESC) and not has_tls(provider):
        return Failure(signal="SIGFPE", why=f"{provider.object.path} has no TLS block: its alignment is divided by")
    if reference.type == COPY:
        return _copied(where, reference, provider, symbol)
    return None


def _copied(where: Loaded, reference: Reference, provider: Loaded, symbol: Symbol) -> Failure | None:
    size = min(symbol.size, reference.size if reference.named else symbol.size)
    if not size:
        return None
    source, target = provider.object, where.object
    bias = 0 if symbol.shndx == SHN_ABS else source.bias
    try:
        source.space.reach((symbol.value + bias) & source.layout.mask, size)
    except Fault as fault:
        return failed(fault, source)
    try:
        target.space.reach((reference.place + target.bias) & target.layout.mask, size, write=True)
    except Fault as fault:
        return failed(fault, target)
    return None


def said(where: Loaded, reference: Reference, provider: Loaded | None, symbol: Symbol | None) -> list[str]:
    """What the loader prints and goes on."""
    if where.object.header.machine != EM_X86_64 or reference.type not in (COPY, R_32, PC32, SIZE32):
        return []
    refers = reference.own
    raw = reference.name if refers is None else where.object.string(refers.name)
    name = raw.decode(errors="surrogateescape")
    if reference.type == COPY:
        larger = symbol is not None and reference.named and symbol.size > reference.size
        return [f"Symbol `{name}' has different size in shared object, consider re-linking"] if larger else []
    if reference.type == PC32:
        return (
            [f"Symbol `{name}' causes overflow in R_X86_64_PC32 relocation"]
            if _far(where, reference, provider, symbol)
            else []
        )
    value = reference.addend + (symbol.size if reference.type == SIZE32 and symbol else 0)
    if reference.type == R_32 and symbol is not None and provider is not None:
        value += symbol.value + _load_address(provider, symbol)
    return [f"Symbol `{name}' causes overflow in R_X86_64_32 relocation"] if value & MASK > 0xFFFFFFFF else []


def _load_address(provider: Loaded, symbol: Symbol) -> int:
    """An address of that size is enough: a library's real one is not known."""
    return 0 if symbol.shndx == SHN_ABS else LIBRARY if provider.object.space.crowded else provider.object.bias


def _far(where: Loaded, reference: Reference, provider: Loaded | None, symbol: Symbol | None) -> bool:
    """Whether the distance does not fit 32 bits; libraries lie side by side, the program far from them."""
    own = LIBRARY if where.object.space.crowded else where.object.bias
    target = 0 if symbol is None or provider is None else symbol.value + _load_address(provider, symbol)
    distance = (target + reference.addend - own - reference.place) & MASK
    return not (distance < 1 << 31 or distance >= MASK + 1 - (1 << 31))
