"""Files for a guest to execute: mutants of executables, of interpreters and of scripts, and the root around them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from tests.difftest.guest import Entry, Tree
from tests.difftest.mutate import INTERPRETERS, any_mutant, elf
from tests.difftest.seeds import Segment
from tests.difftest.seeds_arm64 import A32, FAMILIES, NARROW, WIDE, Family

ODD = Segment(flags=6, offset=0x2E01, vaddr=0x22E00, filesz=16, memsz=16)
"""A segment that no page size can map."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One mutant. With `via` it is not executed itself, but as PT_INTERP of the executable `via`.

    `via` is the name of the family of that executable.
    """

    data: bytes
    mode: int = 0o755
    owner: int = 0
    via: str = ""
    story: str = ""


@cache
def _furniture() -> dict[str, Entry]:
    loader = WIDE.static_pie()
    return {
        "deep": Entry(directory=True),
        "loader": Entry(data=loader.build()),
        "static": Entry(data=WIDE.static().build()),
        "text": Entry(data=b"text\n" * 20),
        "short": Entry(data=b"\x7fELF"),
        "noexec": Entry(data=loader.build(), mode=0o644),
        "script": Entry(data=b"#!/static\n"),
        "mutant-loader": Entry(data=loader.with_segment(2, ODD).build()),
        "loader32": Entry(data=A32.static_pie().build()),
        "loop": Entry(link="loop", mode=0o777),
    }


def furnished() -> dict[str, Entry]:
    """What scripts and PT_INTERP of mutants may name."""
    return dict(_furniture())


def any_sample(rng: random.Random) -> Sample:
    """A mutant of any kind and family; one in eight is an interpreter."""
    family = rng.choices((WIDE, NARROW, A32), (7, 1, 2))[0]
    through = rng.random() < 0.12
    mutant = elf(rng, family) if through else any_mutant(rng, family)
    via = family.name if through else ""
    words = f"{family.name} {'interpreter ' if through else ''}{mutant.story}"
    return Sample(data=mutant.data, mode=mutant.mode, owner=mutant.owner, via=via, story=words)


def tree_of(samples: Sequence[Sample]) -> tuple[Tree, tuple[str, ...]]:
    """A furnished root with the samples in it, and the paths to execute."""
    families = {family.name: family for family in FAMILIES}
    tree, paths = furnished(), []
    for index, one in enumerate(samples):
        name = f"m{index}"
        tree[name] = Entry(data=one.data, mode=one.mode, owner=one.owner)
        if one.via:
            program = families[one.via].dynamic(f"/{name}\0".encode())
            name = f"x{index}"
            tree[name] = Entry(data=program.build())
        paths.append(f"/{name}")
    return tree, tuple(paths)


def nearest_seed(sample: Sample) -> bytes:
    """The unmutated file that a sample differs least from."""
    return min(_every_seed(), key=lambda seed: sum(a != b for a, b in zip(seed, sample.data, strict=False)))


@cache
def _every_seed() -> list[bytes]:
    return [seed for family in FAMILIES for seed in _seeds(family)]


def _seeds(family: Family) -> list[bytes]:
    dynamic = [family.dynamic(name) for name in sorted(set(INTERPRETERS))]
    return [file.build() for file in (family.static(), family.static_pie(), *dynamic)]


def smaller(sample: Sample) -> list[Sample]:
    """The sample with one change less, in every way: a word set back, the length restored."""
    if not sample.data.startswith(b"\x7fELF"):
        return []
    seed = nearest_seed(sample)
    words = [at for at in range(0, min(len(seed), len(sample.data)), 4)
             if seed[at : at + 4] != sample.data[at : at + 4]]  # fmt: skip
    found = [sample.data[:at] + seed[at : at + 4] + sample.data[at + 4 :] for at in words[:16]]
    if len(sample.data) != len(seed):
        found.append(sample.data[: len(seed)] + seed[len(sample.data) :])
    return [Sample(data=data, mode=sample.mode, owner=sample.owner, via=sample.via, story=_story(data, seed))
            for data in found]  # fmt: skip


def _story(data: bytes, seed: bytes) -> str:
    changes = [
        f"{at:#x}={int.from_bytes(data[at : at + 4], 'little'):#x}"
        for at in range(0, min(len(data), len(seed)), 4)
        if data[at : at + 4] != seed[at : at + 4]
    ]
    size = [f"size={len(data):#x}"] if len(data) != len(seed) else []
    return " ".join(["minimised", *changes, *size])
