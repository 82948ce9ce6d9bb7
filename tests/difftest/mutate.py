"""Mutants: a seed with one to three fields changed, a script's first line, a file's mode and owner."""

from __future__ import annotations

import random
from dataclasses import dataclass, fields, replace
from typing import Protocol

from tests.difftest import seeds
from tests.difftest.seeds import File, Segment

WORDS = (
    0,
    1,
    2,
    3,
    7,
    31,
    32,
    33,
    55,
    56,
    57,
    64,
    0xFF,
    0x200,
    0xFFF,
    0x1000,
    0x1001,
    0x1FFF,
    0x2000,
    0x3FFF,
    0x4000,
    0x4001,
    0x8000,
    0xFFFF,
    0x10000,
    0x400000,
    0x401000,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFF,
    1 << 32,
    1 << 40,
    (1 << 45) + 0x1000,
    0x7FFF_FFFF_F000,
    1 << 47,
    1 << 48,
    1 << 52,
    (1 << 63) - 1,
    1 << 63,
    (1 << 64) - 0x1000,
    (1 << 64) - 1,
)
TYPES = (0, 1, 2, 3, 4, 5, 6, 7, 0x6474E550, 0x6474E551, 0x6474E553, 0x70000000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One file to execute: bytes, mode, owner, and how it came about."""

    data: bytes
    mode: int
    owner: int
    story: str


class Family(Protocol):
    """The seeds of one architecture; the module `seeds` has those of x86-64."""

    def static(self) -> File: ...
    def static_pie(self) -> File: ...
    def dynamic(self, interp: bytes = ...) -> File: ...


def _near(rng: random.Random, value: int) -> int:
    if rng.random() < 0.5:
        return rng.choice(WORDS)
    return value + rng.choice((-0x1000, -1, 1, 8, 0x10, 0x800, 0x1000, 0x2000, 0x10000, -0x800, -8))


def _segment(rng: random.Random, segment: Segment) -> tuple[Segment, str]:
    name = rng.choice([field.name for field in fields(segment)])
    if name == "type":
        value = rng.choice(TYPES)
    elif name == "flags":
        value = rng.randrange(8)
    else:
        value = _near(rng, getattr(segment, name))
    return replace(segment, **{name: value}), f"{name}={value:#x}"


def _header(rng: random.Random, file: File) -> tuple[File, str]:
    name = rng.choice(
        ("type", "machine", "version", "entry", "phoff", "flags", "ehsize", "phentsize", "phnum", "ident")
    )
    if name == "ident":
        at = rng.randrange(16)
        ident = bytearray(file.ident)
        ident[at] = rng.choice((0, 1, 2, 3, 9, 97, 255))
        return replace(file, ident=bytes(ident)), f"ident[{at}]={ident[at]}"
    small = {
        "type": (0, 1, 2, 3, 4, 5, 0xFE00),
        "machine": (3, 6, 40, 62, 183, 0x3E00),
        "phentsize": (0, 32, 55, 56, 57),
        "phnum": (0, 1, 2, 3, 5, 73, 74, 1170, 1171, 0xFFFF),
        "version": (0, 1, 2),
        "flags": (0, 1, 0xFFFFFFFF),
        "ehsize": (0, 52, 64),
    }
    value = rng.choice(small[name]) if name in small else _near(rng, getattr(file, name))
    return replace(file, **{name: value}), f"{name}={value:#x}"  # type: ignore[arg-type]


def _once(rng: random.Random, file: File) -> tuple[File, str]:
    choice = rng.random()
    if choice < 0.25:
        return _header(rng, file)
    if choice < 0.85:
        index = rng.randrange(len(file.segments))
        segment, story = _segment(rng, file.segments[index])
        return file.with_segment(index, segment), f"[{index}].{story}"
    if choice < 0.95:
        size = rng.choice(
            (
                0,
                1,
                4,
                40,
                63,
                64,
                65,
                120,
                200,
                0x800,
                0xFFF,
                0x1000,
                0x1001,
                0x1FFF,
                0x2000,
                0x2E00,
                0x3000,
                0x31FF,
                0x3200,
            )
        )
        return replace(file, size=size), f"size={size:#x}"
    one, two = rng.sample(range(len(file.segments)), 2)
    swapped = list(file.segments)
    swapped[one], swapped[two] = swapped[two], swapped[one]
    return replace(file, segments=tuple(swapped)), f"swap {one} {two}"


INTERPRETERS = (
    b"/loader\0",
    b"/loader\0",
    b"/loader\0",
    b"loader\0",
    b"/missing\0",
    b"/\0",
    b"/text\0",
    b"/short\0",
    b"\0\0",
    b"/loader",
    b"/noexec\0",
    b"/deep/../loader\0",
    b"/text/x\0",
    b"/loop\0",
    b"/mutant-loader\0",
)


def elf(rng: random.Random, family: Family = seeds) -> Mutant:
    """A mutated executable."""
    name, file = rng.choice(
        (
            ("static", family.static()),
            ("static-pie", family.static_pie()),
            ("dynamic", family.dynamic(rng.choice(INTERPRETERS))),
        )
    )
    stories = [name]
    for _ in range(rng.choice((0, 1, 1, 1, 1, 2, 2, 3))):
        file, story = _once(rng, file)
        stories.append(story)
    return Mutant(data=file.build(), mode=0o755, owner=0, story=" ".join(stories))


def script(rng: random.Random) -> Mutant:
    """A first line put together from pieces."""
    pieces = (
        b" ",
        b"\t",
        b"/loader",
        b"/static",
        b"/missing",
        b"/text",
        b"\r",
        b"\0",
        b"\n",
        b"-x",
        b"static",
        b"./static",
        b"/script",
        b"a" * rng.choice((1, 100, 120, 240, 250, 300)),
        b"/./" * rng.choice((1, 40, 80)),
    )
    line = b"#!" + b"".join(rng.choice(pieces) for _ in range(rng.randrange(6)))
    if rng.random() < 0.6:
        line = b"#!" + rng.choice((b"", b" ", b"\t ")) + rng.choice((b"/static", b"/script", b"./static")) + line[2:]
    line += rng.choice((b"", b"\n", b"\nmore\n"))
    if rng.random() < 0.1:
        line = rng.choice((b"\xef\xbb\xbf", b"\n", b" ", b"#")) + line
    if rng.random() < 0.2:
        head = line.rstrip(b"\n")
        line = head.ljust(rng.choice((127, 128, 253, 254, 255, 256, 257)), rng.choice((b" ", b"/", b"a"))) + b"\n"
    return Mutant(data=line, mode=0o755, owner=0, story=f"script {line[:60]!r}")


def modes(rng: random.Random, family: Family = seeds) -> Mutant:
    """A good file with any mode and owner."""
    mode = rng.randrange(0o1000)
    owner = rng.choice((0, 1000, 1001))
    return Mutant(data=family.static().build(), mode=mode, owner=owner, story=f"mode {mode:04o} owner {owner}")


def any_mutant(rng: random.Random, family: Family = seeds) -> Mutant:
    """A mutant of any kind."""
    choice = rng.random()
    return elf(rng, family) if choice < 0.8 else script(rng) if choice < 0.97 else modes(rng, family)
