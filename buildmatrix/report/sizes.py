"""Where the bytes of one file go: sections, and Go code by package and module. Pure, over the file's bytes."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator, Sequence

from buildmatrix.facts import Facts, Format, GoInfo
from buildmatrix.report import pclntab
from buildmatrix.report.model import Part, Sizes

HEADERS = "headers and padding"
STANDARD = "standard library"
_MACHO_64, _LC_SEGMENT_64, _ZEROFILL = 0xFEEDFACF, 0x19, (1, 12, 18)
_MOST_COMMANDS = 4096


def measure(data: bytes, facts: Facts) -> Sizes:
    """The sizes of a file whose facts are known; a section table that cannot be read leaves one part, the file."""
    packages = pclntab.code_by_package(data)
    ordered = tuple(Part(name=name, size=size) for name, size in sorted(packages.items()) if size)
    return Sizes(
        total=len(data),
        sections=tuple(_whole(_sections(data, facts.format), len(data))),
        code=sum(packages.values()),
        packages=ordered,
        modules=by_module(ordered, facts.go),
    )


def by_module(packages: Sequence[Part], go: GoInfo | None) -> tuple[Part, ...]:
    """Packages added up by the module that provides them, by the longest path that fits."""
    if go is None or not packages:
        return ()
    own = go.main.path if go.main is not None else ""
    known = sorted({own, *(module.path for module in go.modules)} - {""}, key=len, reverse=True)
    found: dict[str, int] = {}
    for part in packages:
        owner = own if part.name == "main" and own else _owner(part.name, known)
        found[owner] = found.get(owner, 0) + part.size
    return tuple(Part(name=name, size=size) for name, size in sorted(found.items()))


def _owner(package: str, modules: Sequence[str]) -> str:
    fitting = next((path for path in modules if package == path or package.startswith(f"{path}/")), None)
    if fitting is not None:
        return fitting
    return package if package == pclntab.OTHER or "." in package.partition("/")[0] else STANDARD


def _whole(sections: Iterator[Part], total: int) -> Iterator[Part]:
    """Sections, and what of the file no section accounts for."""
    left = total
    for part in sections:
        size = min(part.size, left)
        left -= size
        yield Part(name=part.name, size=size)
    if left:
        yield Part(name=HEADERS, size=left)


def _sections(data: bytes, kind: Format) -> Iterator[Part]:
    readers = {Format.ELF: _elf, Format.PE: _pe, Format.MACHO: _macho}
    reader = readers.get(kind)
    if reader is None:
        return
    try:
        found = [part for part in reader(data) if part.size]
    except (struct.error, ValueError):
        return
    yield from found


def _elf(data: bytes) -> Iterator[Part]:
    from elftools.common.exceptions import ELFError
    from elftools.elf.elffile import ELFFile

    try:
        sections = [
            (section.name, int(section["sh_size"]))
            for section in ELFFile(io.BytesIO(data)).iter_sections()
            if section["sh_type"] not in ("SHT_NOBITS", "SHT_NULL")
        ]
    except (ELFError, UnicodeError, AttributeError, TypeError, LookupError, OverflowError) as error:
        raise ValueError(str(error)) from error
    for name, size in sections:
        yield Part(name=name or "(unnamed)", size=size)


def _pe(data: bytes) -> Iterator[Part]:
    """The section table after the optional header (Microsoft PE format, 3 and 4)."""
    (start,) = struct.unpack_from("<I", data, 0x3C)
    count, optional = struct.unpack_from("<H12xH", data, start + 6)
    at = start + 24 + optional
    for index in range(count):
        name, size = struct.unpack_from("<8s8xI", data, at + 40 * index)
        yield Part(name=_text(name) or "(unnamed)", size=size)


def _macho(data: bytes) -> Iterator[Part]:
    """Sections of 64-bit segments that have bytes in the file, else the segment itself (mach-o/loader.h)."""
    magic, commands = struct.unpack_from("<I12xI", data, 0)
    if magic != _MACHO_64:
        return
    at = 32
    for _ in range(min(commands, _MOST_COMMANDS)):
        kind, length = struct.unpack_from("<II", data, at)
        if kind == _LC_SEGMENT_64:
            segment, size, count = struct.unpack_from("<16s24xQ8xI", data, at + 8)
            sections = [struct.unpack_from("<16s16s8xQ16xI", data, at + 72 + 80 * index) for index in range(count)]
            yield from (
                Part(name=f"{_text(owner)},{_text(name)}", size=bytes_)
                for name, owner, bytes_, flags in sections
                if flags & 0xFF not in _ZEROFILL
            )
            if not sections:
                yield Part(name=_text(segment), size=size)
        at += max(length, 8)


def _text(name: bytes) -> str:
    return name.rstrip(b"\0").decode("utf-8", "backslashreplace")
