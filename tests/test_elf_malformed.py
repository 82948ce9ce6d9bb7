"""Files that lie about themselves: each names its own defect, and none stops the reader."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildmatrix.elf import View, facts_of_bytes
from buildmatrix.facts import ElfFacts, Facts
from tests.elf_image import DYNAMIC, GNU_PROPERTY, INTERP, NOTE, Seg, halves, image, words

HERE = Path(__file__).parent / "fixtures/elf"
TEXT = Seg(flags=5, offset=0, vaddr=0x10000, filesz=0x1000, align=4096)
NULL, NEEDED, HASH, STRTAB, SYMTAB, STRSZ, SYMENT, SONAME, GNU_HASH = 0, 1, 4, 5, 6, 10, 11, 14, 0x6FFFFEF5
VERNEED, VERNEEDNUM, VERDEF, VERDEFNUM = 0x6FFFFFFE, 0x6FFFFFFF, 0x6FFFFFFC, 0x6FFFFFFD


def read(raw: bytes) -> Facts:
    return facts_of_bytes(raw, symbols=True)


def elf_of(raw: bytes) -> ElfFacts:
    elf = read(raw).elf
    assert elf is not None
    return elf


def codes(raw: bytes) -> list[str]:
    return [issue.code for issue in read(raw).issues]


def dynamic(*tags: int, content: dict[int, bytes] | None = None, at: int = 0x400, end: bool = True) -> bytes:
    """A file with one LOAD at 0x10000, the dynamic section at `at` and strings at 0x800."""
    table = words(*tags, *((NULL, 0) if end else ()))
    segments = [TEXT, Seg(type=DYNAMIC, offset=at, vaddr=0x10000 + at, filesz=len(table), align=8)]
    return image(segments, {at: table, 0x800: b"\0libx.so\0V1\0name\0", **(content or {})}, kind=3)


STRINGS = (STRTAB, 0x10800, STRSZ, 17)
SOUND = image([TEXT])


def test_the_builder_makes_sound_files() -> None:
    assert codes(SOUND) == []
    assert codes(dynamic(NEEDED, 1, *STRINGS)) == []
    for bits in (32, 64):
        for big in (False, True):
            elf = elf_of(image([TEXT], bits=bits, big=big, machine=8))
            assert (elf.bits, elf.little_endian, elf.machine) == (bits, not big, 8)
            assert elf.segments[0].vaddr == 0x10000


def patched(raw: bytes, at: int, value: bytes) -> bytes:
    return raw[:at] + value + raw[at + len(value) :]


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (SOUND[:40], ["short-header"]),
        (b"\x7fELF", ["bad-ident-version", "bad-class", "bad-data", "short-header"]),
        (patched(SOUND, 4, b"\x09"), ["bad-class"]),
        (patched(SOUND, 5, b"\x00"), ["bad-data"]),
        (patched(SOUND, 6, b"\x00"), ["bad-ident-version"]),
        (image([TEXT], version=2), ["bad-version"]),
        (image([TEXT], ehsize=63), ["bad-ehsize"]),
        (image([TEXT], phentsize=32), ["bad-phentsize"]),
        (image([TEXT], phentsize=0), ["bad-phentsize"]),
        (image([TEXT], phoff=0x2000), ["phdrs-past-eof"]),
        (image([TEXT], phoff=2**64 - 8), ["phdrs-past-eof"]),
        (image([TEXT], phnum=4000, size=300000), ["too-many-phdrs"]),
        (image([TEXT], shoff=0x800, shnum=2, shentsize=40), ["bad-shentsize"]),
        (image([TEXT], shoff=0x2000, shnum=2), ["shdrs-past-eof"]),
        (image([TEXT], shoff=2**63, shnum=0), ["shdrs-past-eof"]),
        (SOUND[:0x800], ["segment-past-eof"]),
        (image([Seg(filesz=0x100, memsz=0x80)]), ["filesz-over-memsz"]),
        (image([Seg(vaddr=2**64 - 0x1000, filesz=16, memsz=0x2000)]), ["address-overflow"]),
        (image([Seg(vaddr=2**32 - 0x1000, filesz=16, memsz=0x2000)], bits=32), ["address-overflow"]),
        (image([TEXT, Seg(vaddr=0x10800, offset=0x800, filesz=16)]), ["loads-overlap"]),
        (image([TEXT, Seg(vaddr=0x4000, filesz=16)]), ["loads-unsorted"]),
        (image([Seg(vaddr=0x10000, filesz=16, align=3)]), ["bad-align"]),
        (image([Seg(vaddr=0x10010, filesz=16, align=4096)]), ["bad-align"]),
        (image([TEXT, Seg(type=INTERP, offset=0x200, filesz=1)]), ["bad-interp"]),
        (image([TEXT, Seg(type=INTERP, offset=0x200, filesz=4097)]), ["bad-interp"]),
        (image([TEXT, Seg(type=INTERP, offset=0x200, filesz=4)], {0x200: b"/abc"}), ["bad-interp"]),
        (image([TEXT, *[Seg(type=INTERP, offset=0x200, filesz=3)] * 2], {0x200: b"/a\0"}), ["second-interp"]),
    ],
)
def test_headers_and_segments(raw: bytes, expected: list[str]) -> None:
    assert codes(raw) == expected


def test_odd_idents_leave_the_rest_readable() -> None:
    for at, value in ((4, b"\x09"), (5, b"\x07"), (6, b"\x00"), (7, b"\x42"), (8, b"\x01"), (12, b"\x01")):
        elf = elf_of(patched(SOUND, at, value))
        assert (elf.bits, elf.machine, len(elf.segments)) == (64, 183, 1)
    assert elf_of(patched(SOUND, 12, b"\x01")).ident_pad_set
    assert elf_of(patched(SOUND, 7, b"\x03")).osabi == 3


def test_layout_tells_the_class_that_the_ident_denies() -> None:
    assert elf_of(patched(SOUND, 4, b"\x01")).class_by_layout == 64
    small = image([TEXT], bits=32, big=True, machine=8)
    assert elf_of(patched(small, 4, b"\x02")).class_by_layout == 32
    forced = facts_of_bytes(patched(small, 4, b"\x02"), view=View.ELF32_BE)
    assert forced.issues == ()
    assert forced.elf is not None
    assert forced.elf.machine == 8


def test_counts_too_large_for_the_header() -> None:
    """PN_XNUM, e_shnum 0 and SHN_XINDEX: the counts stand in section header 0."""
    first = struct.pack("<IIQQQQIIQQ", 0, 0, 0, 0, 0, 1, 0, 1, 0, 0)
    raw = image([TEXT], {0x800: first}, phnum=0xFFFF, shoff=0x800, shnum=0, shstrndx=0xFFFF)
    elf = elf_of(raw)
    assert codes(raw) == []
    assert (elf.phnum, elf.phnum_raw, elf.shnum, elf.shstrndx, len(elf.segments)) == (1, 0xFFFF, 1, 0, 1)


def test_truncation_and_trailing_data() -> None:
    assert not elf_of(SOUND).truncated
    assert elf_of(SOUND[:-1]).truncated
    longer = elf_of(SOUND + b"signature")
    assert (longer.truncated, longer.described_end) == (False, len(SOUND))


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (dynamic(NEEDED, 1, *STRINGS, end=False), ["dynamic-no-null"]),
        (dynamic(NEEDED, 1), ["bad-strtab", "bad-string"]),
        (dynamic(NEEDED, 1, STRTAB, 0x90000, STRSZ, 17), ["bad-strtab", "bad-string"]),
        (dynamic(NEEDED, 1, STRTAB, 0x10800, STRSZ, 0x10000), ["bad-strtab"]),
        (dynamic(NEEDED, 1, STRTAB, 0x10800), ["bad-dynamic", "bad-string"]),
        (dynamic(NEEDED, 17, *STRINGS), ["bad-string"]),
        (dynamic(NEEDED, 2**40, *STRINGS), ["bad-string"]),
        (dynamic(SONAME, 12, STRTAB, 0x10800, STRSZ, 14), ["bad-string"]),
        (dynamic(GNU_HASH, 0x10900, SYMTAB, 0x10A00, *STRINGS), ["bad-hash"]),
        (dynamic(GNU_HASH, 0x99900, SYMTAB, 0x10A00, *STRINGS), ["bad-hash"]),
        (dynamic(HASH, 0x10900, SYMTAB, 0x10A00, *STRINGS), ["bad-hash"]),
        (dynamic(HASH, 0x10900, SYMTAB, 0x10A00, *STRINGS, content={0x900: halves(1, 2**31)}), ["bad-hash"]),
        (dynamic(HASH, 0x10900, SYMTAB, 0x10FF0, *STRINGS, content={0x900: halves(1, 3, 0, 0)}), ["bad-symtab"]),
        (dynamic(HASH, 0x10900, SYMTAB, 0x10A00, SYMENT, 16, *STRINGS, content={0x900: halves(1, 1)}), ["bad-symtab"]),
        (dynamic(VERNEED, 0x10900, VERNEEDNUM, 1, *STRINGS), ["bad-verneed"]),
        (dynamic(VERDEF, 0x10900, VERDEFNUM, 1, *STRINGS), ["bad-verdef"]),
        (dynamic(VERNEED, 0x90000, VERNEEDNUM, 1, *STRINGS), ["bad-verneed"]),
    ],
)
def test_dynamic_sections(raw: bytes, expected: list[str]) -> None:
    assert codes(raw) == expected


def test_the_loader_finds_the_dynamic_section_by_address() -> None:
    """Where address and offset of PT_DYNAMIC disagree, the address counts and it is an issue."""
    decoy, real = words(NULL, 0), words(NEEDED, 1, *STRINGS, NULL, 0)
    segments = [TEXT, Seg(type=DYNAMIC, offset=0x300, vaddr=0x10400, filesz=len(real), align=8)]
    raw = image(segments, {0x300: decoy, 0x400: real, 0x800: b"\0libx.so\0V1\0name\0"}, kind=3)
    assert elf_of(raw).needed == ("libx.so",)
    assert codes(raw) == ["dynamic-elsewhere"]


def test_the_last_of_two_dynamic_sections_counts() -> None:
    tables = [words(NEEDED, 4, *STRINGS, NULL, 0), words(NEEDED, 1, *STRINGS, NULL, 0)]
    segments = [TEXT, *(Seg(type=DYNAMIC, offset=at, vaddr=0x10000 + at, filesz=0x40) for at in (0x300, 0x400))]
    raw = image(segments, {0x300: tables[0], 0x400: tables[1], 0x800: b"\0libx.so\0V1\0name\0"}, kind=3)
    assert elf_of(raw).needed == ("libx.so",)
    assert codes(raw) == ["second-dynamic"]


def test_a_dynamic_section_past_the_end() -> None:
    segments = [TEXT, Seg(type=DYNAMIC, offset=0xF80, vaddr=0x10F80, filesz=0x800, align=8)]
    raw = image(segments, {0xF80: words(NEEDED, 1, *STRINGS), 0x800: b"\0libx.so\0V1\0name\0"}, kind=3)[:0x1000]
    assert elf_of(raw).needed == ("libx.so",)
    assert codes(raw) == ["segment-past-eof", "dynamic-past-eof"]


def test_an_ambiguous_address_is_reported_and_the_later_load_wins() -> None:
    segments = [
        TEXT,
        Seg(offset=0x1000, vaddr=0x10000, filesz=0x1000),
        Seg(type=DYNAMIC, offset=0x1400, vaddr=0x10400, filesz=0x60),
    ]
    table = words(NEEDED, 1, *STRINGS, NULL, 0)
    raw = image(segments, {0x1400: table, 0x800: b"\0first\0", 0x1800: b"\0later.so\0V1\0nam\0"}, kind=3)
    assert elf_of(raw).needed == ("later.so",)
    assert set(codes(raw)) == {"loads-overlap", "ambiguous-vaddr"}


def need(library: int, count: int, aux: int, link: int) -> bytes:
    return struct.pack("<HHIII", 1, count, library, aux, link)


def aux(name: int, link: int, flags: int = 0) -> bytes:
    return struct.pack("<IHHII", 0x1234, flags, 2, name, link)


@pytest.mark.parametrize(
    ("table", "versions", "expected"),
    [
        (need(1, 1, 16, 0) + aux(9, 0), 1, []),
        (need(1, 2, 16, 0) + aux(9, 16) + aux(12, 0), 2, []),
        (need(1, 2, 16, 0) + aux(9, 0), 1, ["bad-verneed"]),  # counts one more than there is
        (need(1, 1, 16, 0) + aux(9, 16) + aux(12, 0), 2, ["bad-verneed"]),  # links decide, as in glibc
        (need(1, 1, 16, 0xFFFFFFF0) + aux(9, 0), 1, ["bad-verneed"]),
        (need(1, 1, 0xFFFFFFF0, 0) + aux(9, 0), 0, ["bad-verneed"]),
        (need(1, 1, 16, 0) + aux(200, 0), 1, ["bad-string"]),
        (need(200, 1, 16, 0) + aux(9, 0), 1, ["bad-string"]),
        (need(1, 1, 16, 1) + aux(9, 0), 1, ["bad-verneed"]),  # a link into itself
    ],
)
def test_version_chains(table: bytes, versions: int, expected: list[str]) -> None:
    raw = dynamic(VERNEED, 0x10900, VERNEEDNUM, 1, *STRINGS, content={0x900: table})
    assert len(elf_of(raw).version_needs) == versions
    assert codes(raw) == expected


def test_a_chain_of_endless_versions_is_capped() -> None:
    """One-byte links through a large table would cost the square of its size."""
    size = 1 << 18
    table = need(1, 1, 16, 0) + b"".join(aux(9, 1)[:12] + b"\1\0\0\0" for _ in range(8))
    filler = bytes([1, 0, 0, 0]) * (size // 4)
    segments = [Seg(flags=4, filesz=size, vaddr=0x10000), Seg(type=DYNAMIC, offset=0x400, vaddr=0x10400, filesz=0x60)]
    raw = image(
        segments,
        {0x900: filler[: size - 0x900], 0x901: table,
         0x400: words(VERNEED, 0x10901, VERNEEDNUM, 1, *STRINGS, NULL, 0), 0x800: b"\0libx.so\0V1\0name\0"},
        kind=3,
    )  # fmt: skip
    assert len(elf_of(raw).version_needs) <= 65536
    assert codes(raw) != []


def note(name: bytes, kind: int, desc: bytes, pad: int = 4) -> bytes:
    head = halves(len(name), len(desc), kind) + name
    head += bytes(-len(head) % pad)
    return head + desc + bytes(-len(desc) % pad)


def with_notes(raw: bytes, *, kind: int = NOTE, align: int = 4) -> bytes:
    machine = 62 if kind == GNU_PROPERTY else 183
    return image([TEXT, Seg(type=kind, offset=0x600, filesz=len(raw), align=align)], {0x600: raw}, machine=machine)


def test_notes() -> None:
    raw = note(b"GNU\0", 3, b"\xab\xcd\xef") + note(b"Go\0\0", 4, b"build/id") + note(b"Vendor\0", 9, b"")
    elf = elf_of(with_notes(raw))
    assert (elf.build_id, elf.go_build_id) == ("abcdef", "build/id")
    assert [(n.name, n.type, n.desc) for n in elf.notes] == [
        ("GNU", 3, b"\xab\xcd\xef"), ("Go", 4, b"build/id"), ("Vendor", 9, b"")
    ]  # fmt: skip


def test_notes_with_eight_byte_padding() -> None:
    raw = note(b"GNU\0", 3, b"\x01", pad=8) + note(b"Five5\0", 1, b"desc", pad=8)
    assert [n.name for n in elf_of(with_notes(raw, align=8)).notes] == ["GNU", "Five5"]


@pytest.mark.parametrize(
    "raw",
    [
        halves(4, 2**32 - 1, 3) + b"GNU\0",
        halves(2**32 - 1, 4, 3) + b"GNU\0",
        halves(4, 16, 3) + b"GNU\0" + bytes(8),
        note(b"GNU\0", 1, bytes(8)),
    ],
)
def test_bad_notes(raw: bytes) -> None:
    assert codes(with_notes(raw)) == ["bad-note"]


def test_large_descriptors_are_capped() -> None:
    raw = image([Seg(type=NOTE, offset=0x200, filesz=8216)], {0x200: note(b"GNU\0", 77, b"x" * 8192)})
    assert codes(raw) == ["capped"]
    assert len(elf_of(raw).notes[0].desc) == 4096


def prop(kind: int, value: bytes) -> bytes:
    return halves(kind, len(value)) + value + bytes(-len(value) % 8)


ISA, FEATURES = 0xC0008002, 0xC0000002


@pytest.mark.parametrize(
    ("desc", "expected", "unsorted"),
    [
        (prop(FEATURES, halves(3)) + prop(ISA, halves(4)), [], False),
        (prop(ISA, halves(4)) + prop(FEATURES, halves(3)), ["bad-property"], True),
        (prop(ISA, halves(4)) * 2, ["bad-property"], True),
        (halves(ISA, 400) + halves(4, 0), ["bad-property"], False),
        (prop(ISA, halves(4)) + bytes(4), ["bad-property"], False),
    ],
)
def test_properties(desc: bytes, expected: list[str], unsorted: bool) -> None:
    raw = with_notes(note(b"GNU\0", 5, desc, pad=8), kind=GNU_PROPERTY, align=8)
    elf = elf_of(raw)
    assert codes(raw) == expected
    assert (elf.property_present, elf.property_unsorted) == (True, unsorted)
    if not expected:
        assert (elf.x86_isa_needed, elf.x86_features) == (4, 3)


def test_a_property_segment_without_properties() -> None:
    assert codes(with_notes(note(b"GNU\0", 3, bytes(8)), kind=GNU_PROPERTY)) == ["bad-property"]
    assert codes(with_notes(bytes(4), kind=GNU_PROPERTY)) == ["bad-property"]


def go_blob(version: bytes = b"go1.24", text: bytes = b"") -> bytes:
    return b"\xff Go buildinf:\x08\x02" + bytes(16) + bytes([len(version)]) + version + bytes([len(text)]) + text


def test_go_build_information_far_from_the_start() -> None:
    """The blob may lie anywhere in the data segment; empty LOADs before it are no data segments."""
    data = Seg(flags=6, offset=0x1000, vaddr=0x20000, filesz=0x80000)
    empty = Seg(flags=6, offset=0x1000, vaddr=0x18000, filesz=0, memsz=0x100)
    raw = image([TEXT, empty, data], {0x1000 + 0x70000: go_blob()})
    go = read(raw).go
    assert go is not None
    assert go.version == "go1.24"
    assert read(image([TEXT, data], {0x1000 + 0x70008: go_blob()})).go is None  # not aligned
    assert read(image([TEXT, data], {0x400: go_blob()})).go is None  # not in the data segment


@pytest.mark.parametrize(
    "blob", [go_blob(b""), go_blob()[:32] + b"\xff" * 16, b"\xff Go buildinf:\x08\x00" + words(1, 2), go_blob()[:15]]
)
def test_bad_go_build_information(blob: bytes) -> None:
    raw = image([TEXT, Seg(flags=6, offset=0x1000, vaddr=0x20000, filesz=0x100)], {0x1000: blob})
    assert read(raw).go is None
    assert codes(raw) == ["bad-buildinfo"]


def test_module_text_that_go_would_not_write() -> None:
    marks = bytes(16)
    raw = image(
        [TEXT, Seg(flags=6, offset=0x1000, vaddr=0x20000, filesz=0x100)],
        {0x1000: go_blob(text=marks + b"mod\tonly-a-path\n" + marks)},
    )
    go = read(raw).go
    assert go is not None
    assert (go.version, go.main) == ("go1.24", None)
    assert codes(raw) == ["bad-buildinfo"]


@pytest.mark.parametrize("name", ["small-library-arm", "go-inline-amd64", "static-mips", "windows-amd64"])
def test_decoding_survives_every_changed_byte(name: str) -> None:
    raw = (HERE / name).read_bytes()
    for at in range(min(len(raw), 2400)):
        for view in (None, View.ELF64_BE) if at % 16 == 0 else (None,):
            facts = facts_of_bytes(patched(raw, at, bytes([raw[at] ^ 0xFF])), symbols=True, view=view)
            assert facts.size == len(raw)


@given(st.binary(max_size=300), st.sampled_from([b"\x7fELF\x02\x01\x01", b"MZ", b"\xcf\xfa\xed\xfe", b"#!", b""]))
def test_decoding_survives_anything(tail: bytes, magic: bytes) -> None:
    assert facts_of_bytes(magic + tail, symbols=True).size == len(magic + tail)
