"""Groups of A64 instructions that older CPUs lack, as they stand in code (Arm Architecture Reference Manual, C4.1).

Constants lie among instructions: hash functions keep their tables there. An LSE atomic has its whole
encoding checked. SVE's encoding space is an eighth of all words, so only instructions that SVE code cannot
do without are looked for, such as those that make a predicate or ask for the vector's length, and one of
them alone counts for nothing.
"""

from __future__ import annotations

import sys
from array import array

SVE_MARKS = (
    (0xFF3EFC10, 0x2518E000),  # PTRUE, PTRUES
    (0xFF30FC00, 0x0420E000),  # CNTB, CNTH, CNTW, CNTD
    (0xFF30F800, 0x0430E000),  # INCB … DECD
    (0xFFFFF800, 0x04BF5000),  # RDVL
    (0xFFE0F800, 0x04205000),  # ADDVL
    (0xFFE0F800, 0x04605000),  # ADDPL
    (0xFF20E000, 0x25200000),  # WHILELT and the like
)
"""Mask and value of each."""

NEAR = 256
"""Two marks within so many instructions belong together."""


def groups(code: bytes) -> set[str]:
    """``lse`` and ``sve``, as far as they occur in little-endian instructions."""
    words = array("I", code)
    if sys.byteorder == "big":
        words.byteswap()
    found: set[str] = set()
    last = -NEAR - 1
    for index, word in enumerate(words):
        if (word & 0x3F200C00 == 0x38200000 and _atomic(word)) or word & 0x3FA07C00 == 0x08A07C00:
            found.add("lse")
        elif word & 0xDE000000 == 0x04000000 and any(word & mask == value for mask, value in SVE_MARKS):
            if index - last <= NEAR:
                found.add("sve")
            last = index
    return found


def _atomic(word: int) -> bool:
    """LDADD … LDUMIN with o3 0, SWP with o3 1."""
    return not word & 0x8000 or not word & 0x7000
