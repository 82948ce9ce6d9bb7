"""Mapping of an executable by the kernel (fs/binfmt_elf.c load_elf_binary, elf_load, load_elf_interp).

Sums wrap as unsigned long does. Addresses of position-independent files are chosen here at will: the
kernel's choice is random, and nothing may depend on it. Kernels before 6.7 cleared the end of .bss
without looking whether that worked, and mapped an interpreter's .bss once, behind all its segments.
"""

from __future__ import annotations

from typing import NamedTuple

from buildmatrix.host import Host
from buildmatrix.preflight.elfimage import (
    EM_AARCH64,
    EM_ARM,
    ET_DYN,
    ET_EXEC,
    PF_R,
    PF_W,
    PF_X,
    PT_LOAD,
    Header,
    Layout,
    Phdr,
)
from buildmatrix.preflight.memory import AddressSpace, Blob, Fault

PROT_READ, PROT_WRITE, PROT_EXEC = 1, 2, 4
PIE_BASE_32 = 0x40_0000
PIE_RANDOM_32 = 1 << 28
"""Where 32-bit programs go (ELF_ET_DYN_BASE of x86, COMPAT_ELF_ET_DYN_BASE of arm64), and what chance adds."""
STACK_ROOM = {64: 1 << 36, 32: 1 << 28 | 1 << 26}
"""Below the end of the address space: where stack, vDSO and their random offsets lie."""

FILE_LIMIT = 1 << 44
"""Where file offsets begin to depend on the file system (ext4 ends near 16 TiB, others later)."""
MEMORY_FAILS, MEMORY_UNSURE = 1 << 43, 1 << 33
"""Private memory that no machine's overcommit heuristic grants; from where it may depend on RAM."""


class Image(NamedTuple):
    """One file that the kernel maps: its path in the root, bytes, layout, header and program headers."""

    path: str
    blob: Blob
    layout: Layout
    header: Header
    phdrs: tuple[Phdr, ...]


class Mapped(NamedTuple):
    """An image in memory: load bias (0 for ET_EXEC) and the entry's address."""

    image: Image
    space: AddressSpace
    bias: int
    entry: int
    phdr_address: int


class MapError(Exception):
    """A mapping fails past the point of no return: errno, the program header's index, and why."""

    def __init__(self, errno: str, index: int, why: str, depends: str = "") -> None:
        super().__init__(f"{errno}: program header {index}: {why}")
        self.errno = errno
        self.index = index
        self.why = why
        self.depends = depends


def task_size(host: Host, bits: int) -> int:
    """TASK_SIZE in bytes (arch/x86/include/asm/page_64_types.h, arch/arm64/include/asm/processor.h)."""
    if bits == 32:
        return 0xFFFF_E000 if host.arch == "amd64" else 0x1_0000_0000 - host.page_size
    if host.arch == "amd64":
        return (1 << (host.va_bits - 1)) - 4096
    return 1 << host.va_bits


def map_window(host: Host, bits: int) -> int:
    """DEFAULT_MAP_WINDOW in bytes: below it lie the stack and whatever asks for no address beyond.

    Of more than 48 bits, arm64 gives 48 away, 47 with 16K pages (VA_BITS_MIN); x86 with five levels 47.
    """
    if bits == 32:
        return task_size(host, 32)
    if host.arch == "amd64":
        return min(task_size(host, 64), (1 << 47) - 4096)
    if host.arch == "arm64" and host.va_bits > 48:
        return 1 << (47 if host.page_size == 16384 else 48)
    return task_size(host, 64)


def prot_of(flags: int) -> int:
    """PROT_ bits of a segment's PF_ bits."""
    return (PROT_READ if flags & PF_R else 0) | (PROT_WRITE if flags & PF_W else 0) | (PROT_EXEC if flags & PF_X else 0)


class Mapper:
    """Maps one image. `interpreter` says that it is loaded as PT_INTERP, `privileged` CAP_SYS_RAWIO."""

    def __init__(self, host: Host, image: Image, *, interpreter: bool, dynamic: bool, privileged: bool) -> None:
        self.host = host
        self.image = image
        self.interpreter = interpreter
        self.dynamic = dynamic
        self.privileged = privileged
        self.page = host.page_size
        self.mask = image.layout.mask
        self.limit = task_size(host, image.layout.bits)
        self.window = map_window(host, image.layout.bits)
        self.space = AddressSpace(self.page)
        self.bss_last = interpreter and host.kernel < (6, 7)
        self.bias = 0
        self.unsure: list[str] = []

    def run(self) -> Mapped:
        """Map every PT_LOAD. Raises MapError."""
        first = True
        phdr_address = 0
        self._check_extent()
        for index, phdr in enumerate(self.image.phdrs):
            if phdr.type != PT_LOAD:
                continue
            self._place(index, phdr, first)
            first = False
            self._check_size(index, phdr)
            phoff = self.image.header.phoff
            if phdr.offset <= phoff < (phdr.offset + phdr.filesz) & self.mask:
                phdr_address = phoff - phdr.offset + phdr.vaddr
        if self.bss_last:
            self._map_bss()
        entry = (self.image.header.entry + self.bias) & self.mask
        if entry >= self.limit and (self.interpreter or not self.dynamic):
            raise MapError("EINVAL", -1, f"entry {entry:#x} lies beyond the address space")
        return Mapped(self.image, self.space, self.bias, entry, (phdr_address + self.bias) & self.mask)

    def _loads(self) -> list[Phdr]:
        return [phdr for phdr in self.image.phdrs if phdr.type == PT_LOAD]

    def _total_size(self) -> int:
        loads = self._loads()
        low = min(phdr.vaddr & -self.page for phdr in loads)
        high = max((phdr.vaddr + phdr.memsz) & self.mask for phdr in loads)
        return (high - low) & self.mask

    def _check_extent(self) -> None:
        loads = self._loads()
        if loads and self.image.header.type == ET_DYN and self._total_size() == 0:
            raise MapError("EINVAL", -1, "the PT_LOAD segments have no extent")
        if self.interpreter and self.image.header.type not in (ET_EXEC, ET_DYN):
            raise MapError("EPERM", -1, f"e_type is {self.image.header.type}, expected ET_EXEC or ET_DYN")
        if not loads and self.interpreter:
            raise MapError("EINVAL", -1, "no PT_LOAD in the interpreter")

    def _place(self, index: int, phdr: Phdr, first: bool) -> None:
        total = 0
        kind = self.image.header.type
        if first and kind == ET_DYN:
            total = self._total_size()
            self.bias = ((self._base(index, phdr, total) - phdr.vaddr) & -self.page) & self.mask
        elif first and self.interpreter and kind == ET_EXEC:
            total = self._total_size()
        self._load(index, phdr, total)

    def _base(self, index: int, phdr: Phdr, total: int) -> int:
        """Where the first PT_LOAD of a position-independent image goes."""
        powers = [p.align for p in self._loads() if p.align and p.align & (p.align - 1) == 0]
        align = self.space.up(max(powers, default=0))
        if self.dynamic and not self.interpreter:
            return self._pie_base(index, max(align, self.page))
        if not phdr.filesz:
            return 0  # nothing is mapped that mmap could choose an address for
        room = self.window - STACK_ROOM[self.image.layout.bits]
        if total > room - self.host.mmap_min_addr:
            depends = "where the kernel puts the stack" if total < self.window else ""
            raise MapError("ENOMEM", index, f"{total:#x} bytes do not fit the address space", depends)
        found = (room - total) & -65536
        if self.interpreter or align <= self.page:
            return found
        if self.host.kernel < (6, 10):
            self._may_place(index, found & -align, "whether the kernel's patch level honours p_align of static PIE")
        return found & -align

    def _may_place(self, index: int, address: int, depends: str) -> None:
        """An address that `depends` on something is too low. Raises MapError."""
        if address < self.host.mmap_min_addr and not self.privileged:
            raise MapError("EPERM", index, f"p_align moves the file to address {address:#x}", depends)

    def _pie_base(self, index: int, align: int) -> int:
        """ELF_ET_DYN_BASE: two thirds of the address space, or low for 32-bit programs; rounded down."""
        if self.image.layout.bits == 64:
            return self.window // 3 * 2 & -align
        base = PIE_BASE_32 & -align
        if (PIE_BASE_32 + PIE_RANDOM_32) & -align:
            self._may_place(index, base, "where the kernel happens to put the program")
        return base

    def _load(self, index: int, phdr: Phdr, total: int) -> None:
        """elf_load: the file's part, the cleared rest of its last page, then anonymous pages."""
        address = (self.bias + phdr.vaddr) & self.mask
        within = phdr.vaddr & (self.page - 1)
        start = address & -self.page
        prot = prot_of(phdr.flags)
        if self.bss_last:
            self._map_file(index, phdr, start, prot, total)
            return
        if phdr.filesz:
            self._map_file(index, phdr, start, prot, total)
            if phdr.memsz > phdr.filesz:
                self._clear(index, start + within + phdr.filesz, prot)
        if phdr.memsz > phdr.filesz:
            zero = start + within + (phdr.filesz or 0)
            zero = self.space.up(zero) if phdr.filesz else start
            end = self.space.up(start + within + phdr.memsz) & self.mask
            self._map_zero(index, zero, end, prot)

    def _map_file(self, index: int, phdr: Phdr, start: int, prot: int, total: int) -> None:
        within = phdr.vaddr & (self.page - 1)
        size = (phdr.filesz + within + self.page - 1) & -self.page & self.mask
        offset = (phdr.offset - within) & self.mask
        if not size:
            return
        length = (total + self.page - 1) & -self.page & self.mask if total else size
        if offset & (self.page - 1):
            raise MapError(
                "EINVAL",
                index,
                f"p_offset {phdr.offset:#x} and p_vaddr {phdr.vaddr:#x} differ modulo the page size {self.page:#x}",
            )
        self._check_range(index, start, length)
        if offset + length > (1 << 63) - 1:
            raise MapError("EOVERFLOW", index, f"file offset {offset:#x} is past every file's end")
        if offset + length > FILE_LIMIT:
            self.unsure.append("the largest file offset of the file system")
        if prot & PROT_WRITE:
            self._check_memory(index, length)
        self.space.map(start, start + min(size, length), prot, self.image.blob, offset)

    def _check_range(self, index: int, start: int, length: int) -> None:
        most = self.limit if start > self.window else self.window
        if length > most or start > self.limit - length:
            raise MapError("ENOMEM", index, f"{length:#x} bytes at {start:#x} do not fit the address space")
        if start < self.window < start + length + STACK_ROOM[self.image.layout.bits]:
            self.unsure.append("where the kernel puts the stack")
        if start < self.host.mmap_min_addr and not self.privileged:
            raise MapError("EPERM", index, f"address {start:#x} lies below vm.mmap_min_addr {self.host.mmap_min_addr}")

    def _check_memory(self, index: int, length: int) -> None:
        memory = self.host.memory
        if length >= MEMORY_FAILS or (memory is not None and length > memory):
            raise MapError("ENOMEM", index, f"{length:#x} bytes of private memory are more than the machine grants")
        if length >= MEMORY_UNSURE and memory is None:
            self.unsure.append("how much memory the machine has")

    def _clear(self, index: int, start: int, prot: int) -> None:
        if not start & (self.page - 1):
            return
        try:
            self.space.clear(start, self.space.up(start))
        except Fault as fault:
            if prot & PROT_WRITE and self.host.kernel >= (6, 7):
                raise MapError(
                    "EFAULT",
                    index,
                    f"the page of .bss at {fault.address:#x} is past the end of the file and cannot be cleared",
                ) from fault

    def _map_bss(self) -> None:
        """The .bss of an interpreter before Linux 6.7: from the highest end in the file to the highest in memory."""
        rows = [(index, phdr) for index, phdr in enumerate(self.image.phdrs) if phdr.type == PT_LOAD]
        zero = max((self.bias + phdr.vaddr + phdr.filesz) & self.mask for _, phdr in rows)
        ends = [(self.bias + phdr.vaddr + phdr.memsz) & self.mask for _, phdr in rows]
        index, last = rows[ends.index(max(ends))]
        if zero & (self.page - 1):
            try:
                self.space.clear(zero, self.space.up(zero))
            except Fault as fault:
                why = f"the page of .bss at {fault.address:#x} cannot be cleared"
                raise MapError("EFAULT", index, why) from fault
        if self.space.up(max(ends)) > self.space.up(zero):
            self._map_zero(index, self.space.up(zero), self.space.up(max(ends)), prot_of(last.flags))

    def _map_zero(self, index: int, start: int, end: int, prot: int) -> None:
        length = (end - start) & self.mask
        if not length:
            return
        self._check_range(index, start, length)
        self._check_memory(index, length)
        self.space.map(start, end, PROT_READ | PROT_WRITE | (prot & PROT_EXEC))

    def _check_size(self, index: int, phdr: Phdr) -> None:
        base = self.bias if self.interpreter else 0
        address = (base + phdr.vaddr) & self.mask
        if phdr.filesz > phdr.memsz:
            raise MapError("EINVAL", index, f"p_filesz {phdr.filesz:#x} exceeds p_memsz {phdr.memsz:#x}")
        if address >= self.limit or phdr.memsz > self.limit or self.limit - phdr.memsz < address:
            raise MapError("EINVAL", index, f"{phdr.memsz:#x} bytes at {address:#x} do not fit the address space")


def entry_elsewhere(mapped: Mapped) -> bool:
    """Whether the entry lies outside a position-independent image: what else is there is a matter of chance."""
    return mapped.image.header.type == ET_DYN and mapped.space.find(mapped.entry) is None


def entry_fault(host: Host, mapped: Mapped) -> str | None:
    """The signal that fetching the first instruction gives, or None.

    x86 looks for the page before it looks at PROT_EXEC (arch/x86/mm/fault.c access_error), arm64 the
    other way round (arch/arm64/mm/fault.c). AArch64 code lies at multiples of four, or a fetch faults before
    anything is looked up (do_sp_pc_abort); for AArch32 the low bits choose the instruction set.
    """
    entry = mapped.entry
    if mapped.image.header.machine == EM_AARCH64 and entry & 3:
        return "SIGBUS"
    if mapped.image.header.machine == EM_ARM:
        entry &= -2 if entry & 1 else -4
    area = mapped.space.find(entry)
    if area is None or not area.prot:
        return "SIGSEGV"
    missing = not mapped.space.backed(area, entry)
    if missing and host.arch in ("amd64", "386"):
        return "SIGBUS"
    if not area.prot & PROT_EXEC:
        return "SIGSEGV"
    return "SIGBUS" if missing else None
