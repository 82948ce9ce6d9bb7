"""BM512 page size.

Each PT_LOAD's address and file offset must be congruent modulo the page size of the kernel that maps
it: the kernel refuses other mappings and kills the program. Where two segments share a page of that
kernel, the later mapping wins (fs/binfmt_elf.c, elf_load): the earlier segment's last bytes are then
other bytes, or code that may not be executed, or data that may not be written, and the program dies
when it gets there. Read-only data that only becomes writable still works; that is a warning.
"""

from collections.abc import Iterator
from itertools import pairwise

from buildmatrix.checks.rule import Check, Subject, Violation
from buildmatrix.facts import PAGE_SIZES, PF_W, PF_X, ElfFacts, Segment, SegmentType
from buildmatrix.finding import Severity

_INCONGRUENT = "addresses and offsets that differ modulo the page size"
_CLASH = "two segments in one page with other bytes or fewer rights"
EXPOSED = "read-only data in one page with writable data"
"""The one defect with which a program still works."""

_WHY = {
    _INCONGRUENT: "a kernel with such pages refuses the mapping and kills the program before main",
    _CLASH: "the later segment is mapped over the earlier one's end: code there cannot run, data there is wrong",
    EXPOSED: "it runs, but what should be read-only can be written",
}


def _run(subject: Subject) -> Iterator[Violation]:
    elf = subject.elf
    if elf is None:
        return
    promised = [(index, size) for index, size in enumerate(PAGE_SIZES) if size in subject.target.page_sizes]
    found = {size: its for index, size in promised if (its := defect(elf, index))}
    for kind, why in _WHY.items():
        sizes = [size for size, its in found.items() if its == kind]
        if not sizes:
            continue
        names = " and ".join(str(size // 1024) for size in sizes)
        verb = "is mapped badly" if kind == EXPOSED else "cannot be mapped"
        yield Violation(
            what=f"{verb} with {names} KiB pages (got {kind}, expected segments aligned to {max(sizes):#x})",
            evidence="PT_LOAD " + ", ".join(f"{item.vaddr:#x}@{item.offset:#x}" for item in _loads(elf)),
            why=why,
            fix=_fix(subject, max(sizes)),
            severity=Severity.WARNING if kind == EXPOSED else Severity.ERROR,
        )


def defect(elf: ElfFacts, index: int) -> str:
    """What is wrong with a file under kernels with pages of PAGE_SIZES[index]; empty where nothing is.

    EXPOSED runs nevertheless.
    """
    size = PAGE_SIZES[index]
    if elf.page_incongruent[index]:
        return _INCONGRUENT
    if not elf.page_overlap[index]:
        return ""
    shared = [
        (one, two) for one, two in pairwise(_loads(elf)) if (one.vaddr + one.memsz - 1) // size >= two.vaddr // size
    ]
    harmless = shared and all(
        one.vaddr - one.offset == two.vaddr - two.offset and not one.flags & ~two.flags & (PF_X | PF_W)
        for one, two in shared
    )
    return EXPOSED if harmless else _CLASH


def mappable(elf: ElfFacts) -> tuple[int, ...]:
    """The page sizes in bytes that kernels can map the file with, so that it works."""
    return tuple(size for index, size in enumerate(PAGE_SIZES) if defect(elf, index) in ("", EXPOSED))


def _loads(elf: ElfFacts) -> list[Segment]:
    return [item for item in elf.segments if item.type == SegmentType.LOAD]


def _fix(subject: Subject, size: int) -> str:
    name = subject.target.name
    if subject.target.cgo:
        return f'add "-Wl,-z,max-page-size={size}" to targets.{name}.extldflags, or declare fewer page-sizes'
    return f"drop -R and -T from targets.{name}.ldflags, or declare fewer page-sizes"


CHECK = Check(code="BM512", title="page size", run=_run)
