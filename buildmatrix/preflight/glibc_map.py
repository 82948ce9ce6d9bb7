"""Mapping of one verified library by glibc (elf/dl-load.c _dl_map_object_from_fd, dl-map-segments.h).

The model's load bias is 0, whatever the real one is: sums that would leave the address space with any
bias fail, and what may or may not overlap other mappings is said to be unsure.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from buildmatrix.preflight.context import Libraries
from buildmatrix.preflight.dynobj import DF_1_PIE, DynamicObject
from buildmatrix.preflight.elfimage import ET_DYN, PT_DYNAMIC, PT_LOAD, PT_PHDR, Header, Layout, Phdr
from buildmatrix.preflight.elfload import FILE_LIMIT, MEMORY_FAILS, MEMORY_UNSURE, prot_of
from buildmatrix.preflight.glibc_dynamic import (
    Assertion,
    mark_written,
    read_dynamic,
    read_hash,
    read_notes,
    read_soname,
)
from buildmatrix.preflight.glibc_open import Crash, LoadError
from buildmatrix.preflight.libc import Glibc
from buildmatrix.preflight.memory import AddressSpace, Blob, Fault
from buildmatrix.preflight.walk import Found, View, below

FAILED = "failed to map segment from shared object"
TOO_FAR, MAY_FIT = 1 << 47, 1 << 38
"""Sizes and offsets that no address space holds; from where it depends on where the kernel begins."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """struct loadcmd: one PT_LOAD with addresses in bytes relative to the load bias."""

    start: int
    end: int
    data_end: int
    memory_end: int
    offset: int
    prot: int


class LibraryMapper:
    """Maps one verified library. `name` is the name that was asked for, which errors go by."""

    def __init__(self, view: View, page: int, loader: Glibc, layout: Layout) -> None:
        self.view = view
        self.page = page
        self.loader = loader
        self.version = loader.version or (2, 36)
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
                depends=known.depends,
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
        space = AddressSpace(self.page, crowded=True)
        library = DynamicObject(found.path, blob, layout, header, phdrs, space, 0)
        commands = [self._command(phdr) for phdr in loads]
        try:
            self._map(library, commands, loads, name, noexec)
            self._after_mapping(library, commands, found, name)
        except Assertion as error:
            raise LoadError(name, "", place=found.path, why=str(error), depends=library.unsure) from error
        except LoadError as error:
            error.depends = error.depends or library.unsure
            raise
        except Fault as fault:
            raise Crash(found.path, fault, library.unsure) from fault
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
                    why=f"p_vaddr {phdr.vaddr:#x} and p_offset {phdr.offset:#x} differ in {self.page}-byte pages"
                    + (", though not in 4096-byte ones: it is linked for 4K pages" if fine else ""),
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

    def _command(self, phdr: Phdr) -> Command:
        mask, page = self.layout.mask, self.page
        data_end = (phdr.vaddr + phdr.filesz) & mask
        return Command(
            start=phdr.vaddr & -page & mask,
            end=(data_end + page - 1) & -page & mask,
            data_end=data_end,
            memory_end=(phdr.vaddr + phdr.memsz) & mask,
            offset=phdr.offset & -page & mask,
            prot=prot_of(phdr.flags),
        )

    # _dl_map_segments.

    def _map(
        self, library: DynamicObject, commands: list[Command], loads: list[Phdr], name: str, noexec: str | None
    ) -> None:
        """Raises LoadError, Crash."""
        first, last, space, mask = commands[0], commands[-1], library.space, self.layout.mask
        length = (last.memory_end - first.start) & mask
        refused = noexec is not None and any(command.prot & 4 for command in commands)
        if refused and first.prot & 4:
            raise LoadError(name, FAILED, cause="noexec-mount", place=noexec or "", why="is mounted noexec")
        self._reserve(library, first, length, loads, name)
        room = (first.start, first.start + space.up(length))
        space.map(*room, first.prot, library.blob, first.offset)
        if any(before.end != after.start for before, after in pairwise(commands)):
            self._holes(library, commands, room, name)
        for index, command in enumerate(commands):
            if index and command.end > command.start:
                if refused and command.prot & 4:
                    raise LoadError(name, FAILED, cause="noexec-mount", place=noexec or "", why="is mounted noexec")
                self._room(library, command.start, command.end, room, name, command)
                space.map(command.start, command.end, command.prot, library.blob, command.offset)
            self._bss(library, command, room)

    def _reserve(self, library: DynamicObject, first: Command, length: int, loads: list[Phdr], name: str) -> None:
        """The first mmap, which makes room for all."""
        aligns = [phdr.align for phdr in loads if not phdr.align & (phdr.align - 1)]
        align = max(aligns, default=0) if self.version >= (2, 35) else 0
        room = length if align <= self.page else length + align if length >= align else 2 * align
        place = library.path
        limit = TOO_FAR if self.layout.bits == 64 else 1 << 32
        if not length or room >= limit or first.offset + length >= 1 << 63:
            raise LoadError(
                name, FAILED, place=place, why=f"its segments span {length:#x} bytes, aligned to {align:#x}"
            )
        if room > limit >> 1 or first.offset + length > FILE_LIMIT:
            library.unsure = f"{place}: how much room the address space has"
        if first.prot & 2 and length >= MEMORY_FAILS:
            raise LoadError(name, FAILED, place=place, why=f"its segments span {length:#x} bytes of private memory")
        if first.prot & 2 and length >= MEMORY_UNSURE:
            library.unsure = f"how much memory the machine has: {place} asks for more than it may grant"

    def _holes(self, library: DynamicObject, commands: list[Command], room: tuple[int, int], name: str) -> None:
        first, last = commands[0], commands[-1]
        if last.start < first.end:
            why = f"the last segment, at {last.start:#x}, begins before the first one ends, at {first.end:#x}"
            raise LoadError(name, "ELF load command address/offset not page-aligned", place=library.path, why=why)
        if last.start > first.end:
            if last.start > room[1]:
                text = "cannot change memory protections"
                raise LoadError(name, text, place=library.path, why=f"{last.start:#x} is past its room",
                                depends=f"what is mapped next to {library.path}")  # fmt: skip
            library.space.protect(first.end, last.start, 0)

    def _room(
        self, library: DynamicObject, start: int, end: int, room: tuple[int, int], name: str, command: Command
    ) -> None:
        """A later mapping at a fixed address: the kernel refuses it, or it replaces whatever is there."""
        size = end - start
        far = start >= TOO_FAR and start < (1 << 64) - TOO_FAR
        if far or start + size >= TOO_FAR * 2 or (start < TOO_FAR <= end) or command.offset + size >= 1 << 63:
            raise LoadError(name, FAILED, place=library.path, why=f"{size:#x} bytes at {start:#x} are out of reach")
        if start < room[0] or end > room[1]:
            distance = (end - room[1]) & self.layout.mask
            if MAY_FIT * 8 < distance < TOO_FAR:
                raise LoadError(name, FAILED, place=library.path, why=f"{end:#x} is past the address space")
            library.unsure = f"what {library.path} is mapped over: its segments reach out of their room"
        if command.prot & 2 and size >= MEMORY_UNSURE:
            library.unsure = f"how much memory the machine has: {library.path} asks for more than it may grant"
        if command.offset + size > FILE_LIMIT:
            library.unsure = f"{library.path}: the largest file offset of the file system"

    def _bss(self, library: DynamicObject, command: Command, room: tuple[int, int]) -> None:
        """The rest of the last page is cleared, then zero pages are mapped."""
        space, zero, end = library.space, command.data_end, command.memory_end
        if end <= zero or _near(end) <= _near(zero):
            return
        page_end = min(space.up(zero), end)
        try:
            if page_end > zero:
                self._clear(library, zero, page_end, command)
        except Fault as fault:
            raise Crash(library.path, fault, library.unsure) from fault
        size = end - space.up(zero)
        if size <= 0:
            return
        if size >= MEMORY_FAILS or end >= TOO_FAR:
            raise LoadError("", "cannot map zero-fill pages", place=library.path, why=f"{size:#x} bytes of zeros")
        if size >= MEMORY_UNSURE:
            library.unsure = f"how much memory the machine has: {library.path} asks for more than it may grant"
        if end > room[1] or zero < room[0]:
            library.unsure = f"what {library.path} is mapped over: its segments reach out of their room"
        space.map(space.up(zero), space.up(end), command.prot)

    def _clear(self, library: DynamicObject, zero: int, end: int, command: Command) -> None:
        space = library.space
        if not command.prot & 2:
            if space.find(zero) is None:
                text = "cannot change memory protections"
                raise LoadError("", text, place=library.path, why=f"nothing is mapped at {zero:#x}",
                                depends=f"what is mapped next to {library.path}")  # fmt: skip
            page = space.down(zero)
            space.protect(page, page + self.page, command.prot | 2)
            space.clear(zero, end)
            space.protect(page, page + self.page, command.prot)
            return
        space.clear(zero, end)

    # What follows.

    def _after_mapping(self, library: DynamicObject, commands: list[Command], found: Found, name: str) -> None:
        read_dynamic(library, self.version)
        if library.flags_1 & DF_1_PIE:
            raise LoadError(
                name,
                "cannot dynamically load position-independent executable",
                place=found.path,
                why="DF_1_PIE marks an executable",
            )
        self._own_headers(library, commands)
        read_notes(library)
        read_hash(library)
        mark_written(library, moved=True)
        read_soname(library)

    def _own_headers(self, library: DynamicObject, commands: list[Command]) -> None:
        """l_phdr: where PT_PHDR says, else where a segment holds the headers; from there on they are read in memory."""
        header, size = library.header, library.header.phnum * self.layout.phentsize
        address = None
        for phdr in library.phdrs:
            if phdr.type == PT_PHDR and phdr.vaddr:
                address = phdr.vaddr
        if address is None:
            for command in commands:
                length = (command.end - command.start) & self.layout.mask
                if command.offset <= header.phoff and length + command.offset >= header.phoff + size:
                    address = command.start + header.phoff - command.offset
                    break
        if address:
            library.headers_in_memory(address, header.phnum)


def _near(value: int) -> int:
    """An address relative to the load bias; below it, where the sum with any bias wraps around."""
    return value - (1 << 64) if value >= (1 << 64) - TOO_FAR else value
