"""Files that claim more than is kept: what came before the cap stays, and the cap is an issue."""

from __future__ import annotations

import time

import pytest
from buildmatrix._native import lib

from buildmatrix.elf import facts_of_bytes
from buildmatrix.facts import ElfFacts
from tests.elf_image import DYNAMIC, NOTE, Seg, halves, image, words

STRTAB, STRSZ, NEEDED, SYMTAB, HASH = 5, 10, 1, 6, 4
BASE = 0x1000000


def parse(raw: bytes) -> tuple[ElfFacts, list[str]]:
    facts = facts_of_bytes(raw, symbols=True)
    assert facts.elf is not None
    return facts.elf, [issue.code for issue in facts.issues]


def dynamic(table: bytes, strings: bytes, extra: bytes = b"") -> bytes:
    """One LOAD with the dynamic section at 0x1000, then its strings, then `extra`."""
    at = 0x1000 + len(table) + 48
    table += words(STRTAB, BASE + at, STRSZ, len(strings), 0, 0)
    size = at + len(strings) + len(extra)
    segments = [Seg(vaddr=BASE, filesz=size), Seg(type=DYNAMIC, offset=0x1000, vaddr=BASE + 0x1000, filesz=len(table))]
    return image(segments, {0x1000: table, at: strings + extra}, kind=3)


def test_needed() -> None:
    count = lib.BM_MAX_NEEDED + 10
    elf, issues = parse(dynamic(words(*[NEEDED, 1] * count), b"\0a\0"))
    assert elf.needed == ("a",) * lib.BM_MAX_NEEDED
    assert issues == ["capped"]


def test_dynamic_entries() -> None:
    count = lib.BM_MAX_DYNAMIC + 10
    elf, issues = parse(dynamic(words(*[0x6FFFEF00, 1] * count), b"\0a\0"))
    assert elf.dynamic
    assert issues == ["capped", "dynamic-no-null"]


def test_the_length_of_one_string() -> None:
    longest = b"x" * (lib.BM_MAX_STRING - 1)
    elf, issues = parse(dynamic(words(NEEDED, 0), longest + b"\0"))
    assert (len(elf.needed[0]), issues) == (len(longest), [])
    elf, issues = parse(dynamic(words(NEEDED, 0), longest + b"x\0"))
    assert (elf.needed, issues) == (("",), ["capped"])


def test_the_length_of_all_strings() -> None:
    long = b"x" * 60000 + b"\0"
    elf, issues = parse(dynamic(words(*[NEEDED, 0] * 200), long))
    kept = [name for name in elf.needed if name]
    assert len(kept) == lib.BM_MAX_STRINGS // 60000
    assert set(issues) == {"capped"}


def test_notes() -> None:
    note = halves(0, 0, 7)
    raw = image([Seg(type=NOTE, offset=0x200, filesz=12 * 5000)], {0x200: note * 5000})
    elf, issues = parse(raw)
    assert (len(elf.notes), issues) == (lib.BM_MAX_NOTES, ["capped"])


def test_issues() -> None:
    segments = [Seg(vaddr=0x1000 * n, offset=0, filesz=16, align=3) for n in range(100)]
    _, issues = parse(image(segments))
    assert len(issues) == lib.BM_MAX_ISSUES
    assert issues[-1] == "capped"


@pytest.mark.parametrize(("terminated", "code"), [(True, "capped"), (False, "bad-string")])
def test_symbols_whose_names_overlap(terminated: bool, code: str) -> None:
    """Fifty thousand names that all run through the same megabyte must not cost fifty gigabytes."""
    count, strings = 50000, b"x" * (1 << 20) + (b"\0" if terminated else b"x")
    symbols = b"".join(halves(n, 0, 0, 0, 0, 0) for n in range(count))
    hashed = halves(1, count) + bytes(4 * (1 + count))
    table_size = 2 * 16
    start = BASE + 0x1000 + table_size + 48 + len(strings)
    start += -start % 8
    pad = bytes(-(0x1000 + table_size + 48 + len(strings)) % 8)
    raw = dynamic(words(SYMTAB, start, HASH, start + len(symbols)), strings, pad + symbols + hashed)
    before = time.process_time()
    elf, issues = parse(raw)
    assert time.process_time() - before < 5
    assert elf.symbols is not None
    assert len(elf.symbols) == count
    assert code in issues


def test_interpreted_as_large_numbers() -> None:
    """Counts of four thousand million must not make the reader allocate."""
    raw = image([Seg(filesz=0x1000, vaddr=BASE)], shoff=0x800, shnum=0, shentsize=64)
    raw = raw[:0x820] + words(2**64 - 1) + raw[0x828:]
    elf, issues = parse(raw)
    assert elf.shnum == 0xFFFFFFFF
    assert issues == ["shdrs-past-eof"]
