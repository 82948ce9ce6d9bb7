"""Parts of a program that lose a right because a later segment is mapped over the page that they share.

With pages larger than the file was linked for, the last page of one segment may also be the first of the
next; the later mapping wins (fs/binfmt_elf.c elf_load: MAP_FIXED). The bytes are the same, the rights are
the later segment's: code that lies there cannot be executed. Whether it is reached, bytes do not tell.
"""

from __future__ import annotations

from collections.abc import Iterator

from buildmatrix.preflight.elfimage import PF_W, PF_X, PT_LOAD, Phdr
from buildmatrix.preflight.elfload import PROT_EXEC, PROT_WRITE, Mapped

_RIGHTS = ((PF_X, PROT_EXEC, "executed"), (PF_W, PROT_WRITE, "written"))


def lost_rights(mapped: Mapped) -> tuple[str, ...]:
    """What a verdict on an image that the kernel has mapped depends on, for each such part."""
    return tuple(text for phdr in mapped.image.phdrs if phdr.type == PT_LOAD for text in _of_segment(mapped, phdr))


def _of_segment(mapped: Mapped, phdr: Phdr) -> Iterator[str]:
    start = mapped.bias + phdr.vaddr
    end = start + phdr.memsz
    for flag, right, word in _RIGHTS:
        lost = [
            (max(area.start, start), min(area.end, end))
            for area in mapped.space.areas
            if area.start < end and area.end > start and phdr.flags & flag and not area.prot & right
        ]
        if lost:
            yield (
                f"whether {lost[0][0]:#x} to {lost[-1][1]:#x} is {word}: another segment is mapped over that part, "
                f"since they share a page of {mapped.space.page // 1024}K"
            )
