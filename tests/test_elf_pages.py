"""Verdicts about page sizes, against the same rules spelled out page by page."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from buildmatrix.elf import facts_of_bytes
from buildmatrix.facts import PAGE_SIZES
from tests.elf_image import Seg, image


def page_verdicts(loads: list[Seg]) -> tuple[tuple[bool, ...], tuple[bool, ...]]:
    """The two rules in their plainest form: page by page, address by address."""

    def pages(seg: Seg, size: int) -> set[int]:
        return set(range(seg.vaddr // size, (seg.vaddr + seg.filesz - 1) // size + 1))

    def differ(a: Seg, b: Seg) -> bool:
        return (a.vaddr - a.offset, a.flags) != (b.vaddr - b.offset, b.flags)

    return (
        tuple(any((seg.vaddr - seg.offset) % size for seg in loads) for size in PAGE_SIZES),
        tuple(
            any(
                differ(a, b) and pages(a, size) & pages(b, size)
                for index, a in enumerate(loads)
                for b in loads[index + 1 :]
            )
            for size in PAGE_SIZES
        ),
    )


LOADS = st.lists(
    st.builds(
        lambda page, fine, offset, size, flags: Seg(
            vaddr=page * 4096 + fine, offset=offset * 4096 + fine, filesz=size, flags=flags
        ),
        st.integers(0, 40), st.sampled_from([0, 0, 16, 4080]), st.integers(0, 40), st.integers(1, 20000),
        st.sampled_from([4, 5, 6]),
    ),
    min_size=1, max_size=5,
)  # fmt: skip


@given(LOADS)
def test_page_verdicts_agree_with_the_rules_spelled_out(loads: list[Seg]) -> None:
    elf = facts_of_bytes(image(loads)).elf
    assert elf is not None
    incongruent, overlap = page_verdicts(loads)
    assert elf.page_incongruent == incongruent
    assert elf.page_overlap == overlap
    best = max(p for p in (1 << i for i in range(31)) if all((s.vaddr - s.offset) % p == 0 for s in loads))
    assert elf.max_align_common == best


def test_bytes_that_only_memory_has_share_pages_too() -> None:
    """The zeroes behind a segment's file bytes are mapped like the rest of it."""
    bss = Seg(vaddr=0x10000, offset=0x1000, filesz=0x10, memsz=0x4000, flags=6)
    apart = image([bss, Seg(vaddr=0x14000, offset=0x2000, filesz=0x10, flags=6)])
    shared = image([bss, Seg(vaddr=0x13000, offset=0x2000, filesz=0x10, flags=6)])
    for raw, expected in ((apart, False), (shared, True)):
        elf = facts_of_bytes(raw).elf
        assert elf is not None
        assert elf.page_overlap[0] is expected
