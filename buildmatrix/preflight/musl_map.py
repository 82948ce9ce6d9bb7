"""Mapping of a library by musl (ldso/dynlink.c map_library): no class, machine or version is looked at."""

from __future__ import annotations

from buildmatrix.preflight.dynobj import DynamicObject
from buildmatrix.preflight.elfimage import ET_DYN, ET_EXEC, PT_DYNAMIC, PT_LOAD, Layout, Phdr
from buildmatrix.preflight.elfload import MEMORY_FAILS, MEMORY_UNSURE, prot_of
from buildmatrix.preflight.memory import AddressSpace, Blob


def map_library(  # noqa: PLR0911  (one return for each of its own)
    blob: Blob, path: str, layout: Layout, page: int, noexec: bool
) -> DynamicObject | str:
    """musl's map_library: the object, or the errno that it fails with."""
    head = blob.read(0, layout.ehsize)
    if len(head) < layout.ehsize:
        return "ENOEXEC"
    header = layout.header(head)
    size = header.phentsize * header.phnum
    if header.type not in (ET_DYN, ET_EXEC):
        return "ENOEXEC"
    data = blob.read(header.phoff, size) if header.phoff < 1 << 63 else b""
    if len(data) < size or header.phentsize < layout.phentsize:
        return "ENOEXEC"
    rows = [data[at : at + layout.phentsize] for at in range(0, size, header.phentsize)]
    phdrs = tuple(phdr for row in rows for phdr in layout.phdrs(row))
    loads = [phdr for phdr in phdrs if phdr.type == PT_LOAD]
    dynamic = [phdr.vaddr for phdr in phdrs if phdr.type == PT_DYNAMIC]
    if not dynamic or not dynamic[-1] or not loads:
        return "ENOEXEC"
    if noexec and any(phdr.flags & 1 for phdr in loads):
        return "EPERM"
    space = _mapped(blob, loads, layout, page)
    if isinstance(space, str):
        return space
    library = DynamicObject(path, blob, layout, header, phdrs, space, 0)
    library.musl = True
    if _private(loads) >= MEMORY_UNSURE:
        library.unsure = f"how much memory the machine has: {path} asks for more than it may grant"
    return library


def _private(loads: list[Phdr]) -> int:
    """The largest writable segment in bytes; sizes that wrap are not asked for."""
    return max((phdr.memsz for phdr in loads if phdr.flags & 2 and phdr.memsz < 1 << 63), default=0)


def _mapped(blob: Blob, loads: list[Phdr], layout: Layout, page: int) -> AddressSpace | str:
    """The mapping, or the errno of the mmap that fails. Raises Fault where .bss cannot be cleared."""
    low = min(loads, key=lambda phdr: phdr.vaddr)
    high = max((phdr.vaddr + phdr.memsz) & layout.mask for phdr in loads)
    if high - low.vaddr > 1 << 46 or _private(loads) >= MEMORY_FAILS:
        return "ENOMEM"
    if any(phdr.offset >= (1 << 63) - (1 << 40) for phdr in loads):
        return "EOVERFLOW"
    space = AddressSpace(page)
    start = space.down(low.vaddr)
    space.map(start, space.up(high), prot_of(low.flags), blob, space.down(low.offset))
    for phdr in loads:
        _segment(space, phdr.vaddr, phdr.filesz, phdr.memsz, phdr.offset, prot_of(phdr.flags), blob, start)
    return space


def _segment(
    space: AddressSpace, vaddr: int, filesz: int, memsz: int, offset: int, prot: int, blob: Blob, start: int
) -> None:
    low, high = space.down(vaddr), space.up(vaddr + memsz)
    if low != start:
        space.map(low, high, prot, blob, space.down(offset))
    if memsz > filesz and prot & 2:
        end = vaddr + filesz
        space.clear(end, space.up(end))
        if space.up(end) < high:
            space.map(space.up(end), high, prot)
