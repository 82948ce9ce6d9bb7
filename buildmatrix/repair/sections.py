"""The sections of a file, by pyelftools: a second reader, so that one reader's mistake does not hide an edit's."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass

from buildmatrix.errors import RepairFailed


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One section header; address, offset and size in bytes. `kind` is such as ``SHT_PROGBITS``."""

    name: str
    kind: str
    flags: int
    address: int
    offset: int
    size: int

    @property
    def held(self) -> bool:
        """Whether it has bytes in the file."""
        return self.kind not in ("SHT_NOBITS", "SHT_NULL") and self.size > 0


def read(data: bytes, name: str) -> tuple[Section, ...]:
    """Every section of an ELF file. Raises RepairFailed where they cannot be read."""
    from elftools.common.exceptions import ELFError
    from elftools.construct import ConstructError
    from elftools.elf.elffile import ELFFile

    try:
        return tuple(_sections(ELFFile(io.BytesIO(data))))
    except (ELFError, ConstructError, ValueError, KeyError, IndexError, OverflowError, UnicodeDecodeError) as error:
        raise RepairFailed(
            f"{name}: its section headers cannot be read", why=str(error), fix="build the program again instead"
        ) from error


def _sections(file) -> Iterator[Section]:  # type: ignore[no-untyped-def]  # pyelftools has no types
    for item in file.iter_sections():
        yield Section(
            name=item.name,
            kind=str(item["sh_type"]),
            flags=int(item["sh_flags"]),
            address=int(item["sh_addr"]),
            offset=int(item["sh_offset"]),
            size=int(item["sh_size"]),
        )
