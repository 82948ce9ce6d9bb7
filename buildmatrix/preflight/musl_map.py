"""Mapping of a library by musl (ldso/dynlink.c map_library, reclaim_gaps): no class or machine is looked at."""

from __future__ import annotations

from buildmatrix.preflight.dynobj import DynamicObject
from buildmatrix.preflight.elfimage import ET_DYN, ET_EXEC, PT_DYNAMIC, PT_GNU_RELRO, PT_LOAD, Header, Layout, Phdr
from buildmatrix.preflight.elfload import FILE_LIMIT, MEMORY_FAILS, MEMORY_UNSURE, prot_of
from buildmatrix.preflight.glibc_dynamic import mark_written
from buildmatrix.preflight.memory import AddressSpace, Blob, Fault

HEAD = 960
"""Bytes that are read at first: sizeof (Ehdr[(896 + sizeof(Ehdr)) / sizeof(Ehdr)])."""
TOO_FAR, MAY_FIT = 1 << 47, 1 << 38
DT_TEXTREL = 22


def map_library(  # noqa: PLR0911  (one return for each of its own)
    blob: Blob, path: str, layout: Layout, page: int, noexec: bool
) -> DynamicObject | str:
    """musl's map_library: the object, or the errno that it fails with. Raises Fault."""
    head = blob.read(0, layout.ehsize)
    if len(head) < layout.ehsize:
        return "ENOEXEC"
    header = layout.header(head)
    if header.type not in (ET_DYN, ET_EXEC):
        return "ENOEXEC"
    phdrs, unsure = _headers(blob, layout, header)
    if isinstance(phdrs, str):
        return phdrs
    loads = [phdr for phdr in phdrs if phdr.type == PT_LOAD]
    dynamic = [phdr.vaddr for phdr in phdrs if phdr.type == PT_DYNAMIC]
    if not dynamic or not dynamic[-1]:
        return "ENOEXEC"
    if not loads:
        return "ENOMEM"  # one page is asked for at the end of the address space
    if noexec and any(phdr.flags & 1 for phdr in loads):
        return "EPERM"
    space = AddressSpace(page, crowded=True)
    library = DynamicObject(path, blob, layout, header, phdrs, space, 0)
    library.musl = True
    library.unsure = unsure
    failed = _map(library, loads)
    if failed:
        return failed
    if any(tag == DT_TEXTREL for tag, _ in library.entries):
        areas = space.areas
        space.protect(areas[0].start, areas[-1].end, 7)
    _memory_headers(library, loads)
    donate(library)
    mark_written(library, moved=False)
    return library


def _headers(blob: Blob, layout: Layout, header: Header) -> tuple[tuple[Phdr, ...] | str, str]:
    """Program headers, each where e_phentsize puts it, whatever that is; or an errno; and what is not sure of them."""
    size, entry = header.phentsize * header.phnum, layout.phentsize
    data, unsure = b"", ""
    if header.phoff + size >= 1 << 64:
        return "ENOEXEC", "what lies before the loader's buffer"
    if size <= HEAD - layout.ehsize and header.phoff + size <= min(blob.size, HEAD):
        data = blob.read(0, HEAD)[header.phoff :]
    elif header.phoff >> 63:
        return "EINVAL", ""
    else:
        data = blob.read(header.phoff, size)
        if len(data) < size:
            return "ENOEXEC", ""
    rows = []
    for index in range(header.phnum):
        row = data[index * header.phentsize : index * header.phentsize + entry]
        if len(row) < entry:
            unsure = "what lies behind the program headers in the loader's buffer"
            row = row.ljust(entry, b"\0")
        rows.append(row)
    return tuple(phdr for row in rows for phdr in layout.phdrs(row)), unsure


def _map(library: DynamicObject, loads: list[Phdr]) -> str:
    """The mapping; the errno of an mmap that fails, or nothing. Raises Fault where .bss cannot be cleared."""
    space, mask = library.space, library.layout.mask
    low = min(loads, key=lambda phdr: phdr.vaddr)
    top = max((phdr.vaddr + phdr.memsz) & mask for phdr in loads)
    start, end = space.down(low.vaddr), space.up(top) & mask
    offset = space.down(low.offset)
    length = (end - start + offset) & mask
    failed = _refused(library, start, length, offset, prot_of(low.flags))
    if failed:
        return failed
    space.map(start, start + length, prot_of(low.flags), library.blob, offset)
    for phdr in loads:
        failed = _segment(library, phdr, start, start + length)
        if failed:
            return failed
    return ""


def _refused(library: DynamicObject, start: int, length: int, offset: int, prot: int) -> str:
    """The errno of mmap(2) for a file's part, or nothing."""
    limit = TOO_FAR if library.layout.bits == 64 else 1 << 32
    if not length:
        return "EINVAL"
    if length >= limit or limit <= start < (1 << 64) - limit or start < limit <= start + length:
        return "ENOMEM"
    if offset + length >= 1 << 63:
        return "EOVERFLOW"
    if prot & 2 and length >= MEMORY_FAILS:
        return "ENOMEM"
    if prot & 2 and length >= MEMORY_UNSURE:
        library.unsure = f"how much memory the machine has: {library.path} asks for more than it may grant"
    if length > limit >> 1:
        library.unsure = f"{library.path}: how much room the address space has"
    if offset + length > FILE_LIMIT:
        library.unsure = f"{library.path}: the largest file offset of the file system"
    return ""


def _segment(library: DynamicObject, phdr: Phdr, first: int, room: int) -> str:
    space, mask, prot = library.space, library.layout.mask, prot_of(phdr.flags)
    low = space.down(phdr.vaddr)
    high = space.up((phdr.vaddr + phdr.memsz) & mask) & mask
    if low not in (first, high):
        failed = _refused(library, low, (high - low) & mask, space.down(phdr.offset), prot)
        if failed:
            return failed
        if not first <= low <= high <= room:
            library.unsure = f"what {library.path} is mapped over: its segments reach out of their room"
        space.map(low, high, prot, library.blob, space.down(phdr.offset))
    if phdr.memsz > phdr.filesz and prot & 2:
        end = (phdr.vaddr + phdr.filesz) & mask
        space.clear(end, space.up(end))
        if space.up(end) < high:
            space.map(space.up(end), high, prot)
    return ""


def _memory_headers(library: DynamicObject, loads: list[Phdr]) -> None:
    """Where dl_iterate_phdr and reclaim_gaps find the program headers; without a place there are none."""
    header = library.header
    size = header.phentsize * header.phnum
    library.memory_phdrs = ()
    for phdr in loads:
        if header.phoff >= phdr.offset and header.phoff + size <= phdr.offset + phdr.filesz:
            address = phdr.vaddr + header.phoff - phdr.offset
            rows = [library.space.read(address + index * header.phentsize, library.layout.phentsize)
                    for index in range(header.phnum)]  # fmt: skip
            library.memory_phdrs = tuple(row for data in rows for row in library.layout.phdrs(data))
            return


def donate(library: DynamicObject) -> None:
    """reclaim_gaps: what is left of the first and last page of writable segments goes to malloc. Raises Fault."""
    space, mask = library.space, library.layout.mask
    relro = next((phdr for phdr in reversed(library.phdrs) if phdr.type == PT_GNU_RELRO), None)
    low, high = (space.down(relro.vaddr), space.down((relro.vaddr + relro.memsz) & mask)) if relro else (0, 0)
    for phdr in library.memory_phdrs:
        if phdr.type != PT_LOAD or phdr.flags & 6 != 6:
            continue
        top = (phdr.vaddr + phdr.memsz) & mask
        for start, end in ((space.down(phdr.vaddr), phdr.vaddr), (top, space.up(top) & mask)):
            gap_start = high if low <= start < high else start
            gap_end = low if low <= end < high else end
            if gap_start < gap_end:
                _give(library, gap_start + library.bias, gap_end + library.bias)


def _give(library: DynamicObject, start: int, end: int) -> None:
    if end - start > library.space.page:
        raise Fault("SIGSEGV", start, unsure=True)
    library.space.clear(start, end)
    for address in range(start & -8, end, 8):
        library.space.written(address, 8)
