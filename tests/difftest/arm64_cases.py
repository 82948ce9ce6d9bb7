"""Cases that are not left to chance: page sizes, AArch32, binfmt_misc, PT_GNU_PROPERTY, noexec mounts."""

from __future__ import annotations

import struct
from dataclasses import replace

from buildmatrix.host import Handler
from buildmatrix.preflight.elfimage import PT_GNU_PROPERTY, PT_LOAD
from tests.difftest.guest import Entry, Run
from tests.difftest.samples import furnished
from tests.difftest.seeds import File, Segment
from tests.difftest.seeds_arm64 import A32, FAMILIES, WIDE

NOTE_AT = 0x700
NOEXEC = "/locked"
FOREIGN = {0xF001: ("/static", "F"), 0xF002: ("/static", ""), 0xF003: ("/missing", ""), 0xF004: ("/noexec", ""),
           0xF005: ("/script", ""), 0xF006: ("/locked/static", "")}  # fmt: skip
"""Made-up machines with a binfmt_misc entry each: its interpreter and flags."""


def handlers() -> tuple[Handler, ...]:
    """An entry for each made-up machine, by e_machine alone."""
    return tuple(
        Handler(name=f"m{machine:x}", interpreter=name, flags=flags, offset=18, magic=machine.to_bytes(2, "little"))
        for machine, (name, flags) in FOREIGN.items()
    )


def property_note(*properties: tuple[int, bytes], kind: int = 5, name: bytes = b"GNU\0", cut: int = 0) -> bytes:
    """A .note.gnu.property with padded properties; `cut` bytes are missing at its end."""
    body = b"".join(
        struct.pack("<II", number, len(value)) + value + bytes(-len(value) % 8) for number, value in properties
    )
    note = struct.pack("<III", len(name), len(body), kind) + name + body
    return note[: len(note) - cut]


BTI = (0xC0000000, b"\1\0\0\0")
NOTES = {
    "good": property_note(BTI),
    "empty": property_note(),
    "sorted": property_note((5, b"12345678"), BTI),
    "unsorted": property_note(BTI, (5, b"12345678")),
    "twice": property_note(BTI, BTI),
    "wide": property_note((0xC0000000, b"\1\0\0\0\0\0\0\0")),
    "kind": property_note(BTI, kind=1),
    "name": property_note(BTI, name=b"GNV\0"),
    "cut": property_note(BTI, cut=8),
    "short": property_note(BTI, cut=20),
    "long": property_note((5, bytes(1200))),
}


def noted(file: File, note: bytes, **changes: int) -> File:
    """The file with a PT_GNU_PROPERTY in place of its PT_GNU_STACK."""
    segment = replace(
        Segment(type=PT_GNU_PROPERTY, offset=NOTE_AT, vaddr=NOTE_AT, filesz=len(note), memsz=len(note), align=8),
        **changes,
    )
    return replace(file.with_segment(len(file.segments) - 1, segment), patches=((NOTE_AT, note),))


def _plain() -> dict[str, Entry]:
    """Every family in every form, AArch32 flags, and loaders of the wrong width."""
    found: dict[str, Entry] = {}
    for family in FAMILIES:
        found[f"{family.name}-static"] = Entry(data=family.static().build())
        found[f"{family.name}-static-pie"] = Entry(data=family.static_pie().build())
        found[f"{family.name}-dynamic"] = Entry(data=family.dynamic().build())
        found[f"{family.name}-odd-entry"] = Entry(data=replace(family.static(), entry=0x411002).build())
    found["a64-narrow-loader"] = Entry(data=WIDE.dynamic(b"/a64-4k-static-pie\0").build())
    found["a64-loader-of-32"] = Entry(data=WIDE.dynamic(b"/loader32\0").build())
    found["a32-loader-of-64"] = Entry(data=A32.dynamic(b"/static\0").build())
    found["a32-no-eabi"] = Entry(data=replace(A32.static(), flags=0).build())
    found["a32-eabi4"] = Entry(data=replace(A32.static(), flags=0x04000000).build())
    found["a32-thumb"] = Entry(data=replace(A32.static(), entry=0x411001).build())
    for count in (73, 74, 292, 293, 1170, 1171):
        found[f"phnum-{count}"] = Entry(data=replace(WIDE.static(), phnum=count, size=0x20000).build())
    return found


def _aligned(file: File, align: int) -> Entry:
    index = next(at for at, segment in enumerate(file.segments) if segment.type == PT_LOAD)
    return Entry(data=file.with_segment(index, replace(file.segments[index], align=align)).build())


def _once_wrong() -> dict[str, Entry]:
    """What mutants showed that the model did not know, each with the one change that it took."""
    found: dict[str, Entry] = {}
    for bits in (40, 45, 46, 47, 48, 52, 63):
        found[f"static-pie-align-{bits}"] = _aligned(WIDE.static_pie(), 1 << bits)
        found[f"dynamic-align-{bits}"] = _aligned(WIDE.dynamic(), 1 << bits)
    for bits in (20, 24, 28, 30, 31):
        found[f"a32-static-pie-align-{bits}"] = _aligned(A32.static_pie(), 1 << bits)
        found[f"a32-dynamic-align-{bits}"] = _aligned(A32.dynamic(), 1 << bits)
    for kind in (0, 1, 4):
        found[f"loader-type-{kind}"] = Entry(data=replace(WIDE.static(), type=kind).build())
        found[f"dynamic-type-{kind}"] = Entry(data=WIDE.dynamic(f"/loader-type-{kind}\0".encode()).build())
    for flags in range(8):
        loader = WIDE.static_pie()
        last = replace(loader.segments[2], flags=flags)
        found[f"loader-bss-{flags}"] = Entry(data=loader.with_segment(2, last).build())
        found[f"dynamic-bss-{flags}"] = Entry(data=WIDE.dynamic(f"/loader-bss-{flags}\0".encode()).build())
    for entry in (0x411001, 0x411002, 0x411003, 0x401001, 0x500001):
        found[f"entry-{entry:x}"] = Entry(data=replace(WIDE.static(), entry=entry).build())
    return found


def _properties() -> dict[str, Entry]:
    """PT_GNU_PROPERTY of the file, of its interpreter, and of a file whose interpreter's counts instead."""
    found = {}
    for name, note in NOTES.items():
        found[f"note-{name}"] = Entry(data=noted(WIDE.static(), note).build())
        found[f"note32-{name}"] = Entry(data=noted(A32.static(), note).build())
        found[f"noted-loader-{name}"] = Entry(data=noted(WIDE.static_pie(), note).build())
        found[f"dynamic-{name}"] = Entry(data=WIDE.dynamic(f"/noted-loader-{name}\0".encode()).build())
    found["note-behind-interpreter"] = Entry(data=noted(WIDE.dynamic(), NOTES["kind"]).build())
    found["note-past-end"] = Entry(data=noted(WIDE.static(), NOTES["good"], offset=0x40000).build())
    found["note-negative"] = Entry(data=noted(WIDE.static(), NOTES["good"], offset=1 << 63).build())
    return found


def _locked() -> dict[str, Entry]:
    """A directory that is mounted noexec, and what reaches into it."""
    inside = {"static": WIDE.static().build(), "loader": WIDE.static_pie().build(), "script": b"#!/static\n"}
    found = {"locked": Entry(directory=True)}
    found |= {f"locked/{name}": Entry(data=data) for name, data in inside.items()}
    found["loader-locked"] = Entry(data=WIDE.dynamic(b"/locked/loader\0").build())
    found["script-locked"] = Entry(data=b"#!/locked/static\n")
    found["link-locked"] = Entry(link="locked/static", mode=0o777)
    return found


def cases() -> Run:
    """All of them in one root."""
    foreign = {f"foreign-{machine:x}": Entry(data=replace(WIDE.static(), machine=machine).build())
               for machine in (*FOREIGN, 0xF00F)}  # fmt: skip
    through = {"script-foreign": Entry(data=b"#!/foreign-f001\n")}
    asked = _plain() | _once_wrong() | _properties() | _locked() | foreign | through
    paths = tuple(f"/{name}" for name, entry in asked.items() if not entry.directory)
    return Run(tree=furnished() | asked, paths=paths, handlers=handlers(), noexec=(NOEXEC,))
