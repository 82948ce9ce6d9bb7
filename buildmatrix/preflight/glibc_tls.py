"""The first thread's static TLS under glibc (elf/dl-tls.c _dl_determine_tlsoffset, _dl_allocate_tls_init)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from buildmatrix.preflight.elfimage import PT_TLS, Phdr
from buildmatrix.preflight.elfload import MEMORY_FAILS
from buildmatrix.preflight.glibc_open import Crash, LoadError
from buildmatrix.preflight.glibc_search import Loaded
from buildmatrix.preflight.memory import Fault
from buildmatrix.preflight.verdict import Evidence, Stage, Stop

if TYPE_CHECKING:
    from buildmatrix.preflight.glibc import GlibcStart

MASK = (1 << 64) - 1
TOUCHED = 1 << 27
"""From this many bytes on, memory that is cleared at once may be more than a machine has left."""


def segment(item: Loaded) -> Phdr | None:
    """The TLS segment that counts: the last one that is not empty."""
    return next((phdr for phdr in reversed(item.object.phdrs) if phdr.type == PT_TLS and phdr.memsz), None)


def allocate(started: GlibcStart) -> None:
    """Room for every module's block. Raises Stop, Crash."""
    offset, most = 0, 64
    for item in started.loading.chain():
        tls = segment(item)
        if tls is None:
            continue
        if tls.memsz >> 62:
            started.start.depends.append("what comes of a size of thread-local storage that wraps around")
            return
        if not tls.align:
            if started.start.host.arch != "amd64":
                started.start.depends.append(f"{item.object.path}: its TLS alignment is 0")
                return
            raise Crash(item.object.path, Fault("SIGFPE", 0))
        if tls.align & (tls.align - 1):
            started.start.depends.append(f"{item.object.path}: its TLS alignment is no power of two")
            return
        most = max(most, tls.align)
        first = -(tls.vaddr & (tls.align - 1)) & (tls.align - 1)
        offset = ((-(-((offset + tls.memsz - first) & MASK) // tls.align) * tls.align) + first) & MASK
    if offset > MASK >> 1:
        started.start.depends.append("what comes of a size of thread-local storage that wraps around")
        return
    size = (-(-(offset + 1664) // most) * most + most) & MASK
    if size >= MEMORY_FAILS:
        raise Stop(
            Stage.LOADER,
            "bad-elf",
            Evidence(
                place=started.main.object.path, text=f"its modules ask for {size:#x} bytes of thread-local storage"
            ),
            exit_status=127,
            message="cannot allocate TLS data structures for initial thread",
            fix="link the file again",
        )
    if size >= TOUCHED:
        started.start.depends.append("how much memory the machine has: thread-local storage")


def initialise(started: GlibcStart) -> None:
    """Copy every module's image. Raises Crash, LoadError."""
    for item in started.loading.chain():
        tls = segment(item)
        if tls is None:
            continue
        library = item.object
        if tls.filesz > tls.memsz:
            why = f"PT_TLS has {tls.filesz:#x} bytes in the file and {tls.memsz:#x} in memory"
            raise LoadError("", "", cause="bad-elf" if item.is_main else "bad-library", place=library.path, why=why)
        if not tls.vaddr and tls.filesz:  # l_tls_initimage stays a null pointer, load bias or not
            raise Crash(library.path, Fault("SIGSEGV", 0))
        try:
            library.space.reach((tls.vaddr + library.bias) & library.layout.mask, tls.filesz)
        except Fault as fault:
            raise Crash(library.path, fault) from fault
