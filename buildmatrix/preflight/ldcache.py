"""/etc/ld.so.cache: the file as glibc's loader reads it, and the search in it.

Layout and search follow glibc elf/dl-cache.c and sysdeps/generic/dl-cache.h (format 1.1, alone or
behind the old ld.so-1.7.0 table). Nothing is believed before it is bounded by the file's size; an
entry whose strings lie outside is skipped as the loader skips it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import NamedTuple, overload

MAGIC_NEW = b"glibc-ld.so.cache1.1"
MAGIC_OLD = b"ld.so-1.7.0"
HEADER_NEW, ENTRY_NEW = 48, 24
HEADER_OLD, ENTRY_OLD = 16, 12
HWCAP_EXTENSION = 1 << 62
EXTENSION_MAGIC = 0xEAA42174
TAG_GENERATOR, TAG_HWCAPS = 0, 1
MOST_SECTIONS, MOST_HWCAPS = 64, 64

FLAGS = {
    "amd64": 0x0303, "386": 0x0003, "arm64": 0x0A03, "arm": 0x0903, "s390x": 0x0403, "ppc64": 0x0503,
    "ppc64le": 0x0503, "riscv64": 0x1003, "loong64": 0x1203, "mips64le": 0x0603, "mipsle": 0x0003,
}  # fmt: skip
"""Entry flags by GOARCH (sysdeps/generic/ldconfig.h and the ports' dl-cache.h)."""

ACCEPTED = {0x0003: (1, 3), 0x0903: (0x0903, 3)}
"""Flags that a loader takes besides its own (_dl_cache_check_flags)."""

ARCH_NAMES = {
    0x0003: "i386", 0x0303: "x86-64", 0x0803: "x32", 0x0A03: "AArch64", 0x0903: "Arm hard float", 0x0403: "s390x",
    0x0503: "PowerPC64", 0x1003: "RISC-V lp64d", 0x0F03: "RISC-V lp64", 0x1203: "LoongArch lp64d",
}  # fmt: skip


class Entry(NamedTuple):
    """One cached library: key is the SONAME, value the path. `hwcaps` names its subdirectory."""

    key: str
    value: str
    flags: int
    hwcap: int
    hwcaps: str = ""


class Cache(NamedTuple):
    """A readable cache. `entries` keep the file's order, which the binary search relies on."""

    entries: Sequence[Entry | None]
    generator: str = ""


class Rows(Sequence["Entry | None"]):
    """The entries of a file, read when they are asked for: what a hostile file claims costs no memory."""

    def __init__(self, count: int, at: Callable[[int], Entry | None]) -> None:
        self._count = count
        self._at = at

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> Entry | None: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Entry | None]: ...

    def __getitem__(self, index: int | slice) -> Entry | Sequence[Entry | None] | None:
        if isinstance(index, slice):
            start, stop, _ = index.indices(self._count)
            return Rows(max(stop - start, 0), lambda number: self._at(start + number))
        if not 0 <= index < self._count:
            raise IndexError(index)
        return self._at(index)


class Unusable(NamedTuple):
    """Why the loader would ignore the file."""

    why: str


def read(data: bytes, *, little_endian: bool = True) -> Cache | Unusable:
    """The cache in `data`, as a loader of that byte order reads it."""
    order = "<" if little_endian else ">"
    if len(data) > HEADER_NEW and data.startswith(MAGIC_NEW):
        return _read_new(data, 0, order)
    if len(data) > HEADER_OLD and data.startswith(MAGIC_OLD):
        count = struct.unpack_from(order + "I", data, 12)[0]
        if (len(data) - HEADER_OLD) // ENTRY_OLD < count:
            return Unusable(why=f"its header claims {count} entries, more than the file holds")
        start = (HEADER_OLD + count * ENTRY_OLD + 7) & -8
        if data[start : start + len(MAGIC_NEW)] == MAGIC_NEW and len(data) >= start + HEADER_NEW:
            return _read_new(data, start, order)
        return _read_old(data, count, order)
    return Unusable(why="it is empty" if not data else f"it begins with {data[:12]!r}, not with the cache's magic")


def _read_new(data: bytes, start: int, order: str) -> Cache | Unusable:
    count, _, flags = struct.unpack_from(order + "IIB", data, start + 20)
    if not start and (len(data) - HEADER_NEW) // ENTRY_NEW < count:
        return Unusable(why=f"its header claims {count} entries, more than the file holds")
    if flags & 3 not in (0, 2 if order == "<" else 3):
        return Unusable(why="it was written for the other byte order")
    names, generator = _extensions(data, start, order)
    row = struct.Struct(order + "iIIIQ")

    def at(index: int) -> Entry | None:
        kind, key, value, _, hwcap = row.unpack_from(data, start + HEADER_NEW + index * ENTRY_NEW)
        named = names.get(hwcap & 0xFFFFFFFF, "?") if hwcap >> 32 == HWCAP_EXTENSION >> 32 else ""
        return _entry(data, start, key, value, kind & 0xFFFFFFFF, hwcap, named)

    return Cache(entries=Rows(min(count, (len(data) - start - HEADER_NEW) // ENTRY_NEW), at), generator=generator)


def _read_old(data: bytes, count: int, order: str) -> Cache:
    base = HEADER_OLD + count * ENTRY_OLD

    def at(index: int) -> Entry | None:
        kind, key, value = struct.unpack_from(order + "iII", data, HEADER_OLD + index * ENTRY_OLD)
        return _entry(data, base, key, value, kind & 0xFFFFFFFF, 0, "")

    return Cache(entries=Rows(count, at))


def _entry(data: bytes, base: int, key: int, value: int, flags: int, hwcap: int, hwcaps: str) -> Entry | None:
    if base + key >= len(data) or base + value >= len(data):
        return None
    texts = (_string(data, base + key), _string(data, base + value))
    return Entry(key=texts[0], value=texts[1], flags=flags, hwcap=hwcap, hwcaps=hwcaps)


def _string(data: bytes, at: int) -> str:
    end = data.find(b"\0", at, at + 4096)
    return data[at : end if end >= 0 else at + 4096].decode(errors="surrogateescape")


def _extensions(data: bytes, start: int, order: str) -> tuple[dict[int, str], str]:
    """Names of glibc-hwcaps subdirectories by index, and what wrote the file."""
    offset = struct.unpack_from(order + "I", data, start + 32)[0]
    names: dict[int, str] = {}
    generator = ""
    if not offset or offset % 4 or len(data) - offset < 8:
        return names, generator
    magic, count = struct.unpack_from(order + "II", data, offset)
    if magic != EXTENSION_MAGIC or count > (len(data) - offset - 8) // 16:
        return names, generator
    for index in range(min(count, MOST_SECTIONS)):
        tag, _, at, size = struct.unpack_from(order + "IIII", data, offset + 8 + 16 * index)
        if at + size > len(data):
            continue
        if tag == TAG_GENERATOR:
            generator = data[at : at + min(size, 4096)].decode(errors="replace").rstrip("\0")
        elif tag == TAG_HWCAPS:
            words = struct.unpack_from(f"{order}{min(size // 4, MOST_HWCAPS)}I", data, at)
            names = {number: _string(data, word) for number, word in enumerate(words) if word < len(data)}
    return names, generator


def compare(left: str, right: str) -> int:
    """_dl_cache_libcmp: digits compare as numbers, and sort after other characters."""
    one, two = left.encode(errors="surrogateescape"), right.encode(errors="surrogateescape")
    a = b = 0
    while a < len(one):
        x, y = one[a], two[b] if b < len(two) else 0
        if 48 <= x <= 57:
            if not 48 <= y <= 57:
                return 1
            a, first = _number(one, a)
            b, second = _number(two, b)
            if first != second:
                return first - second
        elif 48 <= y <= 57:
            return -1
        elif x != y:
            return x - y
        else:
            a, b = a + 1, b + 1
    return -(two[b] if b < len(two) else 0)


def _number(text: bytes, at: int) -> tuple[int, int]:
    start = at
    while at < len(text) and 48 <= text[at] <= 57:
        at += 1
    return at, int(text[start:at])


def lookup(cache: Cache, name: str, flags: int, hwcaps: tuple[str, ...], bits: int = 0) -> Entry | None:
    """What the loader takes for `name`: entries of `flags`, the best of `hwcaps` (best first) if any.

    Follows search_cache: a binary search, then every entry of the name in the file's order. `bits` are those that an
    entry of an older subdirectory may carry; among them at most one is a platform.
    """
    left, right = 0, len(cache.entries) - 1
    while left <= right:
        middle = (left + right) // 2
        entry = cache.entries[middle]
        if entry is None:
            return None
        order = compare(name, entry.key)
        if not order:
            return _best(cache, middle, right, name, flags, hwcaps, bits)
        if order < 0:
            left = middle + 1
        else:
            right = middle - 1
    return None


def _best(
    cache: Cache, middle: int, right: int, name: str, flags: int, hwcaps: tuple[str, ...], bits: int
) -> Entry | None:
    first = middle
    while first > 0:
        before = cache.entries[first - 1]
        if before is None or compare(name, before.key):
            break
        first -= 1
    best: Entry | None = None
    rank = len(hwcaps)
    for entry in cache.entries[first : right + 1]:
        if entry is None or compare(name, entry.key):
            break
        if entry.flags not in ACCEPTED.get(flags, (flags,)):
            continue
        if entry.hwcap >> 32 == HWCAP_EXTENSION >> 32:
            if entry.hwcaps in hwcaps and hwcaps.index(entry.hwcaps) < rank:
                best, rank = entry, hwcaps.index(entry.hwcaps)
            continue
        if best is None and entry.hwcap & ~bits:
            continue
        return best or entry
    return best
