"""BM512 page size.

Each PT_LOAD's address and file offset must be congruent modulo the page size of the kernel that
maps it, and two of them may not share a page with different permissions. A file that is linked for
4 KiB pages dies by SIGSEGV before main on a 64 KiB kernel (fs/binfmt_elf.c, elf_map).
"""

from collections.abc import Iterator

from buildmatrix.checks.rule import Check, Subject, Violation
from buildmatrix.facts import PAGE_SIZES


def _run(subject: Subject) -> Iterator[Violation]:
    if subject.elf is None:
        return
    for index, size in enumerate(PAGE_SIZES):
        if size not in subject.target.page_sizes:
            continue
        incongruent, overlap = subject.elf.page_incongruent[index], subject.elf.page_overlap[index]
        if not incongruent and not overlap:
            continue
        defect = "address and offset differ modulo the page size" if incongruent else "two segments share a page"
        yield Violation(
            what=f"cannot be mapped with {size // 1024} KiB pages (got alignment {subject.elf.max_align_common:#x}, "
            f"expected {size:#x})",
            evidence=f"PT_LOAD: {defect}",
            why="a kernel with such pages kills the program before main",
            fix=f'add "-Wl,-z,max-page-size={size}" to targets.{subject.target.name}.extldflags, or drop {size} from '
            "its page-sizes",
        )


CHECK = Check(code="BM512", title="page size", run=_run)
