"""Changes to a compiled seed: fields set to other values, the file cut, its place in the root spoilt.

A mutant is a list of patches, so that it can be made smaller as long as it still does what it does.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from tests.difftest.objects import Field

WORDS = (0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 16, 24, 37, 0x38, 0x40, 0xFF, 0x200, 0x1000, 0x1001, 0x2000, 0x4000, 0x10000,
         0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1 << 33, 1 << 40, 1 << 45, 1 << 46, 1 << 47, 1 << 62, 1 << 63,
         (1 << 64) - 0x1000, (1 << 64) - 8, (1 << 64) - 1)  # fmt: skip
TAGS = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 27, 29, 30, 32,
        35, 36, 37, 0x6FFFFEF5, 0x6FFFFFF0, 0x6FFFFFF9, 0x6FFFFFFA, 0x6FFFFFFB, 0x6FFFFFFC, 0x6FFFFFFD, 0x6FFFFFFE,
        0x6FFFFFFF, 0x7FFFFFFD, 0x7FFFFFFF)  # fmt: skip
WEIGHTS = {"ehdr": 8, "phdr": 20, "dynamic": 24, "dynsym": 12, "rela": 10, "gnu_hash": 8, "hash": 8, "versym": 5,
           "verneed": 7, "verdef": 7, "strtab": 5, "note": 2, "init_array": 1}  # fmt: skip
PLACES = ("mode 0", "directory", "missing", "loop", "link", "absolute link", "text", "empty")


@dataclass(frozen=True, slots=True, kw_only=True)
class Patch:
    """Bytes put over a file at an offset; `what` names the field."""

    at: int
    data: bytes
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """All that makes a mutant of a seed. `size` cuts the file; `place` is one of PLACES, or nothing."""

    patches: tuple[Patch, ...] = ()
    size: int | None = None
    place: str = ""

    def apply(self, seed: bytes) -> bytes:
        """The mutant's bytes."""
        data = bytearray(seed)
        for patch in self.patches:
            data[patch.at : patch.at + len(patch.data)] = patch.data
        return bytes(data[: self.size])

    @property
    def story(self) -> str:
        """The change in words."""
        words = [f"{patch.what}={int.from_bytes(patch.data, 'little'):#x}" for patch in self.patches]
        if self.size is not None:
            words.append(f"size={self.size:#x}")
        return " ".join([*words, self.place]).strip() or "unchanged"


def change(rng: random.Random, seed: bytes, tables: dict[str, list[Field]]) -> Change:
    """One change at random: mostly one to three fields."""
    choice = rng.random()
    if choice < 0.02:
        return Change()
    if choice < 0.05:
        return Change(place=rng.choice(PLACES))
    made = Change(patches=tuple(_patch(rng, seed, tables) for _ in range(rng.choice((1, 1, 1, 1, 2, 2, 3)))))
    if rng.random() < 0.06:
        cut = rng.choice((0, 10, 63, 64, 100, 500, 0x1000, 0x2000, 0x2E00, 0x3000, len(seed) // 2))
        made = replace(made, size=cut, patches=made.patches if rng.random() < 0.3 else ())
    return made


def _patch(rng: random.Random, seed: bytes, tables: dict[str, list[Field]]) -> Patch:
    names = [name for name in WEIGHTS if tables.get(name)]
    table = rng.choices(names, [WEIGHTS[name] for name in names])[0]
    field = rng.choice(tables[table])
    old = int.from_bytes(seed[field.at : field.at + field.width], "little")
    value = _value(rng, seed, field, old, tables[table]) & ((1 << 8 * field.width) - 1)
    return Patch(at=field.at, data=value.to_bytes(field.width, "little"), what=field.what)


def _value(rng: random.Random, seed: bytes, field: Field, old: int, others: list[Field]) -> int:
    if field.what.startswith("dynamic") and field.what.endswith("tag"):
        return rng.choice(TAGS)
    choice = rng.random()
    if choice < 0.4:
        return rng.choice(WORDS)
    if choice < 0.65:
        return old + rng.choice((-0x1000, -0x10, -8, -4, -2, -1, 1, 2, 3, 4, 8, 0x10, 0x18, 0x1000, 0x10000, 1 << 32))
    if choice < 0.8:
        return old ^ 1 << rng.randrange(8 * field.width)
    kind = field.what.rpartition(".")[2]
    twin = rng.choice([other for other in others if other.what.rpartition(".")[2] == kind])
    return int.from_bytes(seed[twin.at : twin.at + twin.width], "little")


def smaller(made: Change, seed: bytes) -> Iterator[Change]:
    """Every change with one thing less in it, the boldest first."""
    if made.size is not None:
        yield replace(made, size=None)
    for index in range(len(made.patches)):
        yield replace(made, patches=made.patches[:index] + made.patches[index + 1 :])
    for index, patch in enumerate(made.patches):
        for at in range(len(patch.data)):
            old = seed[patch.at + at : patch.at + at + 1]
            if len(patch.data) > 1 and patch.data[at : at + 1] != old:
                data = patch.data[:at] + old + patch.data[at + 1 :]
                yield replace(made, patches=(*made.patches[:index], replace(patch, data=data),
                                             *made.patches[index + 1 :]))  # fmt: skip


def minimise(made: Change, seed: bytes, still: Callable[[Change], bool]) -> Change:
    """The smallest change found that is `still` of interest."""
    again = True
    while again:
        again = False
        for candidate in smaller(made, seed):
            if still(candidate):
                made, again = candidate, True
                break
    return made
