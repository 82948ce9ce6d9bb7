"""Opening and mapping one library as glibc does (elf/dl-load.c open_verify, _dl_map_object_from_fd).

A file for another machine or class is passed over and the search goes on; anything else that is wrong
with it is fatal. Messages are the loader's own.
"""

from __future__ import annotations

from buildmatrix.facts import Kind
from buildmatrix.preflight.context import Libraries
from buildmatrix.preflight.dynobj import DF_1_PIE, DT_GNU_HASH, DT_PLTREL, DT_REL, DT_RELA, DynamicObject
from buildmatrix.preflight.elfimage import ET_DYN, ET_EXEC, MAGIC, PT_DYNAMIC, PT_LOAD, Header, Layout, Phdr
from buildmatrix.preflight.elfload import MEMORY_FAILS, MEMORY_UNSURE, prot_of
from buildmatrix.preflight.libc import Glibc
from buildmatrix.preflight.memory import AddressSpace, Blob, Fault
from buildmatrix.preflight.walk import Found, View, below

DT_RELAENT = 9
WRAPS = 1 << 46
"""Load biases are at least this large on 64-bit machines."""

SKIP_MACHINE, SKIP_CLASS = "machine", "class"


class LoadError(Exception):
    """_dl_signal_error: the object's name, the text, errno's name, and for us the cause and a place."""

    def __init__(
        self,
        name: str,
        text: str,
        *,
        errno: str = "",
        cause: str = "bad-library",
        place: str = "",
        offset: int | None = None,
        why: str = "",
    ) -> None:
        super().__init__(f"{name}: {text}")
        self.name = name
        self.text = text
        self.errno = errno
        self.cause = cause
        self.place = place
        self.offset = offset
        self.why = why


class Crash(Exception):
    """The loader itself gets a signal while it reads this object."""

    def __init__(self, place: str, fault: Fault) -> None:
        super().__init__(f"{place}: {fault}")
        self.place = place
        self.fault = fault


def verify(found: Found, blob: Blob, path: str, layout: Layout, machine: int, loader: Glibc) -> str | None:
    """open_verify on an open file: None where it is fit, else which of the two reasons to pass it over.

    Raises LoadError. `path` is the name it was opened by.
    """
    if found.inode.kind is Kind.DIRECTORY:
        raise LoadError(path, "cannot read file data", errno="EISDIR", place=found.path, why="is a directory")
    head = blob.read(0, layout.ehsize)
    if len(head) < layout.ehsize:
        raise LoadError(path, "file too short", place=found.path, offset=blob.size, why=f"has {blob.size} bytes")
    text, offset = _ident_error(head, layout)
    header = layout.header(head)
    if text == SKIP_CLASS:
        return SKIP_CLASS
    if text and offset and loader.machine_first and header.machine != machine:
        return SKIP_MACHINE
    if text:
        raise LoadError(path, text, place=found.path, offset=offset, why=f"its header reads {head[:16].hex(' ')}")
    if header.version != 1:
        raise LoadError(path, "ELF file version does not match current one", place=found.path, offset=20)
    if header.machine != machine:
        return SKIP_MACHINE
    _header_error(found, blob, path, layout, header)
    return None


def _header_error(found: Found, blob: Blob, path: str, layout: Layout, header: Header) -> None:
    if header.type not in (ET_DYN, ET_EXEC):
        raise LoadError(path, "only ET_DYN and ET_EXEC can be loaded", place=found.path, offset=16)
    if header.phentsize != layout.phentsize:
        raise LoadError(path, "ELF file's phentsize not the expected size", place=found.path, offset=54)
    size = header.phnum * layout.phentsize
    if header.phoff >= 1 << 63 or len(blob.read(header.phoff, size)) < size:
        errno = "EINVAL" if header.phoff >= 1 << 63 else ""
        raise LoadError(
            path,
            "cannot read file data",
            errno=errno,
            place=found.path,
            offset=header.phoff,
            why="its program headers lie past the end of the file",
        )


def _ident_error(head: bytes, layout: Layout) -> tuple[str, int]:  # noqa: PLR0911  (one return for each of the loader's own)
    data = 1 if layout.order == "<" else 2
    osabi, version = head[7], head[8]
    if not head.startswith(MAGIC):
        return "invalid ELF header", 0
    if head[4] != layout.bits // 32:
        return SKIP_CLASS, 4
    if head[5] != data:
        return f"ELF file data encoding not {'little' if data == 1 else 'big'}-endian", 5
    if head[6] != 1:
        return "ELF file version ident does not match current one", 6
    if osabi not in (0, 3):
        return "ELF file OS ABI invalid", 7
    if version and not (osabi == 3 and version < 4):
        return "ELF file ABI version invalid", 8
    if any(head[9:16]):
        return "nonzero padding in e_ident", 9
    return "", 0


class LibraryMapper:
    """Maps one verified library. `name` is the name that was asked for, which errors go by."""

    def __init__(self, view: View, page: int, loader: Glibc, layout: Layout) -> None:
        self.view = view
        self.page = page
        self.loader = loader
        self.layout = layout

    def load(self, store: Libraries, found: Found, blob: Blob, name: str) -> DynamicObject:
        """The library in memory. Raises LoadError or Crash; both are remembered."""
        noexec = below(found.path, self.view.noexec)
        key = (found.inode.key, self.page, f"glibc {self.loader.version} {self.layout.bits} {noexec}")
        known = store.glibc.get(key)
        if known is None:
            try:
                known = self._load(found, blob, name, noexec)
            except (LoadError, Crash) as error:
                known = error
            store.glibc[key] = known
        if isinstance(known, LoadError):
            raise LoadError(
                name,
                known.text,
                errno=known.errno,
                cause=known.cause,
                place=known.place,
                offset=known.offset,
                why=known.why,
            )
        if isinstance(known, Exception):
            raise known
        return known

    def _load(self, found: Found, blob: Blob, name: str, noexec: str | None) -> DynamicObject:
        layout = self.layout
        header = layout.header(blob.read(0, layout.ehsize))
        phdrs = layout.phdrs(blob.read(header.phoff, header.phnum * layout.phentsize))
        loads = self._loads(found, header, phdrs, name)
        self._before_mapping(found, header, phdrs, loads, name)
        space = AddressSpace(self.page)
        self._map(found, blob, loads, space, name, noexec)
        library = DynamicObject(found.path, blob, layout, header, phdrs, space, 0)
        if any(MEMORY_UNSURE <= phdr.memsz - phdr.filesz < 1 << 63 for phdr in loads):
            library.unsure = f"how much memory the machine has: {found.path} asks for more than it may grant"
        last = max(phdr.vaddr + phdr.filesz for phdr in loads)
        if space.up(last) > space.up(loads[-1].vaddr + loads[-1].memsz):
            library.unsure = f"what {found.path} is mapped over: its segments reach out of their room"
        try:
            self._after_mapping(library, found, name)
        except Fault as fault:
            raise Crash(found.path, fault) from fault
        return library

    def _loads(self, found: Found, header: Header, phdrs: tuple[Phdr, ...], name: str) -> list[Phdr]:
        loads = [phdr for phdr in phdrs if phdr.type == PT_LOAD]
        old = self.loader.version is not None and self.loader.version < (2, 35)
        for index, phdr in enumerate(phdrs):
            if phdr.type != PT_LOAD:
                continue
            where = header.phoff + index * self.layout.phentsize
            text = self._old_alignment(phdr) if old else self._alignment(phdr)
            if text:
                fine = (phdr.vaddr - phdr.offset) % 4096 == 0 and self.page > 4096
                raise LoadError(
                    name,
                    text,
                    cause="page-size" if fine else "bad-library",
                    place=found.path,
                    offset=where,
                    why=f"p_vaddr {phdr.vaddr:#x} and p_offset {phdr.offset:#x} on {self.page}-byte pages",
                )
        return loads

    def _alignment(self, phdr: Phdr) -> str:
        bad = (phdr.vaddr - phdr.offset) & (self.page - 1)
        return "ELF load command address/offset not page-aligned" if bad else ""

    def _old_alignment(self, phdr: Phdr) -> str:
        if phdr.align & (self.page - 1):
            return "ELF load command alignment not page-aligned"
        bad = (phdr.vaddr - phdr.offset) & (phdr.align - 1) & self.layout.mask
        return "ELF load command address/offset not properly aligned" if bad else ""

    def _before_mapping(
        self, found: Found, header: Header, phdrs: tuple[Phdr, ...], loads: list[Phdr], name: str
    ) -> None:
        if not loads:
            raise LoadError(name, "object file has no loadable segments", place=found.path)
        if header.type != ET_DYN:
            raise LoadError(name, "cannot dynamically load executable", place=found.path, offset=16)
        dynamic = [phdr for phdr in phdrs if phdr.type == PT_DYNAMIC]
        if not dynamic or any(phdr.filesz == 0 for phdr in dynamic) or not dynamic[-1].vaddr:
            raise LoadError(name, "object file has no dynamic section", place=found.path)

    def _map(
        self, found: Found, blob: Blob, loads: list[Phdr], space: AddressSpace, name: str, noexec: str | None
    ) -> None:
        mask = self.layout.mask
        start = space.down(loads[0].vaddr)
        length = ((loads[-1].vaddr + loads[-1].memsz) - start) & mask
        failed = "failed to map segment from shared object"
        if not length or length > 1 << 46 or (self.layout.bits == 32 and length > 1 << 31):
            raise LoadError(name, failed, place=found.path, why=f"its segments span {length:#x} bytes")
        self._extent(found, loads, space, name, start + length)
        space.map(start, space.up(start + length), 0)
        for index, phdr in enumerate(loads):
            if noexec is not None and phdr.flags & 1:
                raise LoadError(name, failed, cause="noexec-mount", place=noexec, why="is mounted noexec")
            low, high = space.down(phdr.vaddr), space.up(phdr.vaddr + phdr.filesz) & self.layout.mask
            if index == 0 or high > low:
                end = high if index else max(high, low)
                space.map(low, end, prot_of(phdr.flags), blob, space.down(phdr.offset))
            self._bss(found, phdr, space)

    def _extent(self, found: Found, loads: list[Phdr], space: AddressSpace, name: str, end: int) -> None:
        """What has_holes checks, and segments that reach out of the room that the first and last one span."""
        first, last = loads[0], loads[-1]
        ends = [space.up((phdr.vaddr + phdr.filesz) & self.layout.mask) & self.layout.mask for phdr in loads]
        starts = [space.down(phdr.vaddr) for phdr in loads]
        if any(before != after for before, after in zip(ends, starts[1:], strict=False)) and starts[-1] < ends[0]:
            why = f"segment at {last.vaddr:#x} begins before the one at {first.vaddr:#x} ends"
            raise LoadError(name, "ELF load command address/offset not page-aligned", place=found.path, why=why)
        if max(*ends, *starts) > end + (1 << 39):
            raise LoadError(
                name,
                "failed to map segment from shared object",
                place=found.path,
                why="a segment reaches past the address space",
            )

    def _bss(self, found: Found, phdr: Phdr, space: AddressSpace) -> None:
        zero, end = phdr.vaddr + phdr.filesz, (phdr.vaddr + phdr.memsz) & self.layout.mask
        if end <= zero or (self.layout.bits == 64 and end > self.layout.mask - WRAPS):
            return  # with the load bias the end wraps to below the start
        page = min(space.up(zero), end)
        try:
            if page > zero:
                space.clear(zero, page, force=True)
        except Fault as fault:
            raise Crash(found.path, fault) from fault
        if end - page >= MEMORY_FAILS:
            raise LoadError("", "cannot map zero-fill pages", place=found.path, why=f"p_memsz is {phdr.memsz:#x}")
        if end > page:
            space.map(space.up(zero), space.up(end), prot_of(phdr.flags))

    def _after_mapping(self, library: DynamicObject, found: Found, name: str) -> None:
        tags = library.tags
        if tags.get(DT_PLTREL, DT_RELA) not in (DT_REL, DT_RELA):
            raise LoadError(name, "", cause="bad-library", place=found.path, why="DT_PLTREL is neither REL nor RELA")
        if DT_RELA in tags and DT_RELAENT not in tags:
            raise Fault("SIGSEGV", 8)
        if DT_RELA in tags and tags[DT_RELAENT] != library.layout.word * 3:
            raise LoadError(name, "", cause="bad-library", place=found.path, why="DT_RELAENT is not the size of a Rela")
        text = _hash_error(library)
        if text:
            raise LoadError(name, "", cause="bad-library", place=found.path, why=text)
        if library.flags_1 & DF_1_PIE:
            raise LoadError(
                name,
                "cannot dynamically load position-independent executable",
                place=found.path,
                why="DF_1_PIE marks an executable",
            )


def _hash_error(library: DynamicObject) -> str:
    """_dl_setup_hash: its assertion on the size of the Bloom filter."""
    address = library.address_of(DT_GNU_HASH)
    if address is None:
        return ""
    words = library.layout.unpack("IIII").unpack(library.space.read(address, 16))[2]
    return "the GNU hash table's Bloom filter is no power of two" if words & (words - 1) & 0xFFFFFFFF else ""
