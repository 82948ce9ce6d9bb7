"""Go's function table: how many bytes of machine code each package takes, in stripped programs too. Pure.

Every Go program carries runtime.pclntab, by which it prints stack traces; -s and -w leave it in. Its functions lie in
the order of their addresses, so that one's size is the distance to the next. Source: cmd/link/internal/ld/pcln.go and
debug/gosym/pclntab.go, versions 1.18 and 1.20 (unchanged up to 1.26).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

_MAGICS = {0xFFFFFFF0, 0xFFFFFFF1}
_QUANTA = (1, 2, 4)
_MOST_FUNCTIONS = 4_000_000
_MOST_NAME = 1 << 16
OTHER = "(assembly and C)"
"""Functions whose names have no package: linker stubs, and what C compilers made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Table:
    order: str
    pointer: int
    functions: int
    names: int
    entries: int


def code_by_package(data: bytes) -> dict[str, int]:
    """Bytes of code by import path, from a whole file's bytes; empty where there is no table that makes sense."""
    for start in _candidates(data):
        table = _header(data, start)
        if table is not None:
            found = _sum(data, table)
            if found:
                return found
    return {}


def _candidates(data: bytes) -> Iterator[int]:
    """Where a table may start: its magic in either byte order, two zero bytes, and a sensible quantum and size."""
    for magic in sorted(_MAGICS):
        for order in "<>":
            needle = struct.pack(f"{order}I", magic) + b"\0\0"
            at = data.find(needle)
            while at >= 0:
                if at + 8 <= len(data) and data[at + 6] in _QUANTA and data[at + 7] in (4, 8):
                    yield at
                at = data.find(needle, at + 1)


def _header(data: bytes, start: int) -> _Table | None:
    order = "<" if data[start + 3] == 0xFF and data[start] in (0xF0, 0xF1) else ">"
    pointer = data[start + 7]
    words = struct.Struct(f"{order}8{'Q' if pointer == 8 else 'I'}")
    if start + 8 + words.size > len(data):
        return None
    functions, _files, _text, names, _units, _filetab, _pctab, entries = words.unpack_from(data, start + 8)
    end = len(data) - start
    if not 0 < functions <= _MOST_FUNCTIONS or names >= end or entries + functions * 8 + 4 > end:
        return None
    return _Table(order=order, pointer=pointer, functions=functions, names=start + names, entries=start + entries)


def _sum(data: bytes, table: _Table) -> dict[str, int]:
    pairs = struct.iter_unpack(f"{table.order}II", data[table.entries : table.entries + table.functions * 8])
    functions = list(pairs)
    (last,) = struct.unpack_from(f"{table.order}I", data, table.entries + table.functions * 8)
    name_at = struct.Struct(f"{table.order}i")
    found: dict[str, int] = {}
    ends = [entry for entry, _ in functions[1:]] + [last]
    for (entry, offset), end in zip(functions, ends, strict=True):
        record = table.entries + offset + 4
        if end < entry or record + 4 > len(data):
            return {}
        name = _name(data, table.names + name_at.unpack_from(data, record)[0])
        if name is None:
            return {}
        package = package_of(name)
        found[package] = found.get(package, 0) + end - entry
    return found


def _name(data: bytes, at: int) -> str | None:
    end = data.find(b"\0", at, at + _MOST_NAME) if 0 <= at < len(data) else -1
    return data[at:end].decode("utf-8", "backslashreplace") if end >= 0 else None


def package_of(symbol: str) -> str:
    """The import path in a function's name, as debug/gosym has it: up to the first dot after the last slash.

    Type arguments may hold slashes themselves, and %2e stands for a dot in the last element of a path.
    """
    for prefix in ("type:.eq.", "type:.hash."):
        symbol = symbol.removeprefix(prefix)
    plain = symbol.partition("[")[0]
    slash = plain.rfind("/")
    dot = plain.find(".", slash + 1)
    if dot < 0 or not plain[:dot]:
        return OTHER
    return plain[:dot].replace("%2e", ".")
