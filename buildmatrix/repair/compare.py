"""What an edit may change, held against what it changed: facts, memory, sections. Pure.

An edit may move and rewrite what the loader reads (names, versions, hashes, relocations, notes, headers). Code, data
and everything that the program itself reads have to be the same bytes at the same addresses with the same rights.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from buildmatrix.checks.alignment import mappable
from buildmatrix.facts import PF_X, ElfFacts, Facts, Segment, SegmentType
from buildmatrix.repair.edits import Edits, expected
from buildmatrix.repair.sections import Section

UNCHANGED = (
    "bits", "little_endian", "elf_class", "elf_data", "ident_version", "osabi", "abiversion", "type", "machine",
    "flags", "entry", "soname", "dt_flags", "dt_flags_1", "version_definitions", "symbol_count", "has_gnu_hash",
    "has_sysv_hash", "has_relr", "build_id", "go_build_id", "abi_tag", "x86_isa_needed", "x86_isa_used",
    "x86_features", "aarch64_features", "property_present", "stack_flags", "relro", "bind_now", "textrel", "pie",
    "static_pie", "has_tls", "has_sections", "has_symtab", "has_debug",
)  # fmt: skip
"""Facts that no edit may touch."""

_MOVABLE = frozenset(
    {
        "SHT_DYNAMIC", "SHT_STRTAB", "SHT_HASH", "SHT_GNU_HASH", "SHT_DYNSYM", "SHT_GNU_versym", "SHT_GNU_verneed",
        "SHT_GNU_verdef", "SHT_REL", "SHT_RELA", "SHT_RELR", "SHT_NOTE", "SHT_NULL",
    }
)  # fmt: skip
_REWRITTEN = frozenset({".interp", ".dynamic", ".dynstr", ".gnu.version_r", ".dynsym", ".symtab"})
"""Sections whose content is what the edits are about, or holds numbers of sections and addresses of moved ones."""

_ALLOCATED, _THREAD_LOCAL = 2, 0x400
_HEADERS = {32: 52, 64: 64}


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """One state of the file: its bytes, what the native reader says, and its sections."""

    data: bytes
    facts: Facts
    elf: ElfFacts
    sections: tuple[Section, ...]


def problems(before: File, after: File, edits: Edits) -> tuple[str, ...]:
    """Everything that is not as it should be after the edits; nothing where the repair is good."""
    return tuple(_problems(before, after, edits))


def _problems(before: File, after: File, edits: Edits) -> Iterator[str]:
    if after.facts.issues or after.elf.truncated:
        yield f"the file is damaged: {after.facts.issues[0].code if after.facts.issues else 'truncated'}"
    for name in UNCHANGED:
        old, new = getattr(before.elf, name), getattr(after.elf, name)
        if old != new:
            yield f"{name}: got {new}, expected {old} as before"
    yield from _edited(before.elf, after.elf, edits)
    if before.facts.go != after.facts.go:
        yield "the Go build info is another"
    if set(before.elf.notes) != set(after.elf.notes):
        yield "the notes are others"
    if _symbols(before.elf) != _symbols(after.elf):
        yield "the dynamic symbols are others"
    lost = set(mappable(before.elf)) - set(mappable(after.elf))
    if lost:
        yield f"it can no longer be mapped with pages of {', '.join(map(str, sorted(lost)))} bytes"
    for kind in (SegmentType.TLS, SegmentType.GNU_RELRO):
        if _places(before.elf, kind) != _places(after.elf, kind):
            yield f"{kind.name} lies elsewhere"
    yield from _memory(before, after)
    yield from _contents(before, after)


def _edited(before: ElfFacts, after: ElfFacts, edits: Edits) -> Iterator[str]:
    wanted = expected(before, edits)
    for name in ("interp", "rpath", "runpath", "needed"):
        got, right = getattr(after, name), getattr(wanted, name)
        if got != right:
            yield f"{name}: got {got}, expected {right}"
    names = dict(edits.replaced)
    needs = {(names.get(item.library, item.library), item.version, item.weak) for item in before.version_needs}
    if needs != {(item.library, item.version, item.weak) for item in after.version_needs}:
        yield "the version needs are others"


def _symbols(elf: ElfFacts) -> list[tuple[object, ...]]:
    found = elf.symbols or ()
    return [(s.name, s.defined, s.binding, s.type, s.visibility, s.version, s.hidden, s.value, s.size) for s in found]


def _places(elf: ElfFacts, kind: SegmentType) -> list[tuple[int, int]]:
    return [(item.vaddr, item.memsz) for item in elf.segments if item.type == kind]


def loads(elf: ElfFacts) -> list[Segment]:
    """The segments that are mapped."""
    return [item for item in elf.segments if item.type == SegmentType.LOAD]


def _memory(before: File, after: File) -> Iterator[str]:
    for segment in loads(before.elf):
        for start, end in _protected(before, segment):
            home = _home(after.elf, start, end, segment.flags)
            if home is None:
                yield f"what was mapped from {start:#x} to {end:#x} no longer is, with the same rights"
            elif _mapped(before, segment, start, end) != _mapped(after, home, start, end):
                yield f"bytes between {start:#x} and {end:#x} are others"


def _home(elf: ElfFacts, start: int, end: int, flags: int) -> Segment | None:
    """The segment that maps a range of addresses with exactly these rights."""
    fitting = (item for item in loads(elf) if item.vaddr <= start and end <= item.vaddr + item.memsz)
    return next((item for item in fitting if item.flags == flags), None)


def _mapped(file: File, segment: Segment, start: int, end: int) -> bytes:
    """What a process finds in a range of addresses of a segment: bytes of the file, then zeros."""
    low, high = start - segment.vaddr, min(end - segment.vaddr, segment.filesz)
    held = file.data[segment.offset + low : segment.offset + high] if low < high else b""
    return held.ljust(end - start, b"\0")


def _movable(section: Section) -> bool:
    return bool(section.flags & _ALLOCATED) and (section.kind in _MOVABLE or section.name == ".interp")


def _protected(before: File, segment: Segment) -> Iterator[tuple[int, int]]:
    """The ranges of addresses in a segment that have to keep their bytes: each section that is no loader's alone.

    In code, also what lies between sections and is not zero, but for the headers.
    """
    top = segment.vaddr + segment.memsz
    known = []
    for item in before.sections:
        unmapped = not item.flags & _ALLOCATED or (item.kind == "SHT_NOBITS" and item.flags & _THREAD_LOCAL)
        if unmapped or not item.size or not segment.vaddr <= item.address or item.address + item.size > top:
            continue
        known.append((item.address, item.address + item.size))
        if not _movable(item):
            yield known[-1]
    if segment.flags & PF_X:
        for start, end in _without((segment.vaddr, segment.vaddr + segment.filesz), [*known, *_headers(before.elf)]):
            if any(_mapped(before, segment, start, end)):
                yield start, end


def _headers(elf: ElfFacts) -> list[tuple[int, int]]:
    """The addresses of the ELF header and of the program headers."""
    ranges = [(0, _HEADERS[elf.bits]), (elf.phoff, elf.phoff + elf.phnum * elf.phentsize)]
    return [
        (item.vaddr + start - item.offset, item.vaddr + end - item.offset)
        for item in loads(elf)
        for start, end in ranges
        if item.offset <= start and end <= item.offset + item.filesz
    ]


def _without(whole: tuple[int, int], holes: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    start, end = whole
    for low, high in sorted(holes):
        if high <= start or low >= end:
            continue
        if low > start:
            yield start, low
        start = max(start, high)
    if start < end:
        yield start, end


def pairs(before: tuple[Section, ...], after: tuple[Section, ...]) -> Iterator[tuple[Section, Section | None]]:
    """Each section with what became of it: the one of the same name and kind, in the order among its namesakes."""
    left = list(after)
    for item in before:
        found = next((other for other in left if (other.name, other.kind) == (item.name, item.kind)), None)
        if found is not None:
            left.remove(found)
        yield item, found


def _contents(before: File, after: File) -> Iterator[str]:
    for old, new in pairs(before.sections, after.sections):
        if not old.held or old.name in _REWRITTEN or old.name == ".shstrtab":
            continue
        if new is None:
            yield f"the section {old.name} is lost"
        elif content(before, old) != content(after, new):
            yield f"the section {old.name} has other bytes"


def content(file: File, section: Section) -> bytes:
    """A section's bytes."""
    return file.data[section.offset : section.offset + section.size]
