"""BM512 page size.

Each PT_LOAD's address and file offset must be congruent modulo the page size of the kernel that
maps it, and two of them may not share a page with different permissions. A file that is linked for
4 KiB pages dies by SIGSEGV before main on a 64 KiB kernel (fs/binfmt_elf.c, elf_map).
"""

from collections.abc import Iterator

from buildmatrix.checks.rule import Check, Subject, Violation
from buildmatrix.facts import PAGE_SIZES, ElfFacts, Segment, SegmentType


def _run(subject: Subject) -> Iterator[Violation]:
    elf, promised = subject.elf, subject.target.page_sizes
    if elf is None:
        return
    failing = {
        size: "addresses and offsets that differ modulo the page size" if incongruent else "two segments in one page"
        for size, incongruent, overlap in zip(PAGE_SIZES, elf.page_incongruent, elf.page_overlap, strict=True)
        if size in promised and (incongruent or overlap)
    }
    if not failing:
        return
    sizes = " and ".join(str(size // 1024) for size in failing)
    yield Violation(
        what=f"cannot be mapped with {sizes} KiB pages (got {failing[max(failing)]}, "
        f"expected segments aligned to {max(failing):#x})",
        evidence="PT_LOAD " + ", ".join(f"{item.vaddr:#x}@{item.offset:#x}" for item in _loads(elf)),
        why="a kernel with such pages kills the program before main",
        fix=_fix(subject, max(failing)),
    )


def _loads(elf: ElfFacts) -> list[Segment]:
    return [item for item in elf.segments if item.type == SegmentType.LOAD]


def _fix(subject: Subject, size: int) -> str:
    name = subject.target.name
    if subject.target.cgo:
        return f'add "-Wl,-z,max-page-size={size}" to targets.{name}.extldflags, or declare fewer page-sizes'
    return f"drop -R from targets.{name}.ldflags, or declare fewer page-sizes"


CHECK = Check(code="BM512", title="page size", run=_run)
