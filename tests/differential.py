"""Compares the reader with pyelftools over a directory: ``python -m tests.differential DIR``.

Two readers that share no line of code agree about every ELF file, or one of them is wrong. Prints each
disagreement and exits with 1 where there was any.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from elftools.common.exceptions import ELFError
from elftools.elf.dynamic import DynamicSegment
from elftools.elf.elffile import ELFFile
from elftools.elf.gnuversions import GNUVerDefSection, GNUVerNeedSection, GNUVerSymSection
from elftools.elf.sections import SymbolTableSection
from elftools.elf.segments import InterpSegment, NoteSegment

from buildmatrix.elf import read_facts
from buildmatrix.facts import ElfFacts

Difference = tuple[str, Any, Any]
"""What is compared, what the reader says, what pyelftools says."""


def text(value: str | bytes) -> str:
    """Strings as the reader gives them: pyelftools decodes with replacement, or not at all."""
    raw = value if isinstance(value, bytes) else value.encode("utf-8", "surrogateescape")
    return raw.decode("utf-8", "surrogateescape")


def _header(ours: ElfFacts, theirs: ELFFile) -> Iterator[Difference]:
    header = theirs.header
    raw = theirs.stream
    yield "bits", ours.bits, theirs.elfclass
    yield "little_endian", ours.little_endian, theirs.little_endian
    for name in ("e_entry", "e_phoff", "e_shoff", "e_flags", "e_ehsize", "e_phentsize", "e_shentsize"):
        yield name, getattr(ours, name[2:]), header[name]
    yield "phnum", ours.phnum, theirs.num_segments()
    yield "shnum", ours.shnum, theirs.num_sections()
    raw.seek(16)
    kind, machine = theirs.structs.Elf_half("").parse(raw.read(2)), theirs.structs.Elf_half("").parse(raw.read(2))
    yield "type", ours.type, kind
    yield "machine", ours.machine, machine


def _segments(ours: ElfFacts, theirs: ELFFile) -> Iterator[Difference]:
    for index, (mine, other) in enumerate(zip(ours.segments, theirs.iter_segments(), strict=True)):
        for name in ("offset", "vaddr", "paddr", "filesz", "memsz", "flags", "align"):
            yield f"segment {index} {name}", getattr(mine, name), other[f"p_{name}"]
    interpreters = [
        text(segment.get_interp_name() or "")
        for segment in theirs.iter_segments()
        if isinstance(segment, InterpSegment) and segment["p_filesz"]
    ]
    yield "interp", ours.interp, interpreters[0] if interpreters else None


def _tags(theirs: ELFFile) -> dict[str, list[Any]]:
    tags: dict[str, list[Any]] = {}
    for segment in theirs.iter_segments():
        if isinstance(segment, DynamicSegment) and segment["p_filesz"]:
            for tag in segment.iter_tags():
                tags.setdefault(str(tag.entry.d_tag), []).append(tag)
    return tags


def _dynamic(ours: ElfFacts, theirs: ELFFile) -> Iterator[Difference]:
    tags = _tags(theirs)
    yield "needed", ours.needed, tuple(text(tag.needed) for tag in tags.get("DT_NEEDED", []))
    for name in ("soname", "rpath", "runpath"):
        found = tags.get(f"DT_{name.upper()}")
        yield name, getattr(ours, name), text(getattr(found[-1], name)) if found else None
    flags = sum(tag.entry.d_val for tag in tags.get("DT_FLAGS", []))
    yield "dt_flags", ours.dt_flags, flags
    yield "dt_flags_1", ours.dt_flags_1, sum(tag.entry.d_val for tag in tags.get("DT_FLAGS_1", []))
    yield "textrel", ours.textrel, "DT_TEXTREL" in tags or bool(flags & 4)
    yield "has_relr", ours.has_relr, "DT_RELR" in tags
    yield "has_gnu_hash", ours.has_gnu_hash, "DT_GNU_HASH" in tags
    yield "has_sysv_hash", ours.has_sysv_hash, "DT_HASH" in tags


def _versions(ours: ElfFacts, theirs: ELFFile) -> Iterator[Difference]:
    needs: list[Any] = []
    definitions: list[Any] = []
    for section in theirs.iter_sections():
        if isinstance(section, GNUVerNeedSection):
            needs += [
                (
                    text(need.name or ""),
                    text(aux.name or ""),
                    aux["vna_hash"],
                    aux["vna_other"],
                    bool(aux["vna_flags"] & 2),
                )
                for need, auxiliaries in section.iter_versions()
                for aux in auxiliaries
            ]
        elif isinstance(section, GNUVerDefSection):
            for definition, auxiliaries in section.iter_versions():
                first = next(iter(auxiliaries))
                definitions.append((text(first.name or ""), definition["vd_hash"], definition["vd_ndx"]))
    if theirs.num_sections():
        yield (
            "version needs",
            [(need.library, need.version, need.hash, need.index, need.weak) for need in ours.version_needs],
            needs,
        )
        yield (
            "version definitions",
            [(definition.name, definition.hash, definition.index) for definition in ours.version_definitions],
            definitions,
        )


def _notes(ours: ElfFacts, theirs: ELFFile) -> Iterator[Difference]:
    sizes: list[Any] = []
    for segment in theirs.iter_segments():
        if isinstance(segment, NoteSegment) and segment["p_type"] == "PT_NOTE" and segment["p_filesz"]:
            sizes += [(text(note["n_name"]), bytes(note["n_descdata"])) for note in segment.iter_notes()]
    yield "notes", [(note.name, note.desc) for note in ours.notes], sizes
    identities = [desc.hex() for (name, desc), note in zip(sizes, ours.notes, strict=False) if _is_build_id(name, note)]
    yield "build id", ours.build_id, identities[0] if identities else None


def _is_build_id(name: str, note: Any) -> bool:
    return name == "GNU" and note.type == 3


def _symbol_versions(theirs: ELFFile) -> list[int]:
    for section in theirs.iter_sections():
        if isinstance(section, GNUVerSymSection):
            width = theirs.structs.Elf_half("")
            raw = section.data()
            return [width.parse(raw[at : at + 2]) for at in range(0, len(raw), 2)]
    return []


def _symbols(ours: ElfFacts, theirs: ELFFile) -> Iterator[Difference]:
    table = theirs.get_section_by_name(".dynsym")
    if not isinstance(table, SymbolTableSection) or table["sh_type"] != "SHT_DYNSYM" or ours.symbols is None:
        return
    versions = _symbol_versions(theirs)
    yield "symbol count", ours.symbol_count, table.num_symbols()
    expected = [
        (text(symbol.name), symbol["st_value"], symbol["st_size"], versions[index] if versions else 0)
        for index, symbol in enumerate(table.iter_symbols())
    ]
    got = [(symbol.name, symbol.value, symbol.size, symbol.version | (symbol.hidden << 15)) for symbol in ours.symbols]
    yield "symbols", got, expected


def _sections(ours: ElfFacts, theirs: ELFFile) -> Iterator[Difference]:
    sections = list(theirs.iter_sections())
    names = {section.name for section in sections}
    yield "has_symtab", ours.has_symtab, any(section["sh_type"] == "SHT_SYMTAB" for section in sections)
    yield (
        "has_debug",
        ours.has_debug,
        any(
            section.name in (".debug_info", ".zdebug_info") and section["sh_type"] != "SHT_NOBITS"
            for section in sections
        ),
    )
    yield "go section", ours.has_sections and ".go.buildinfo" in names, ".go.buildinfo" in names


def compare(ours: ElfFacts, stream: BinaryIO) -> list[Difference]:
    """Every disagreement about one file."""
    theirs = ELFFile(stream)
    parts = (_header, _segments, _dynamic, _versions, _notes, _symbols, _sections)
    return [item for part in parts for item in part(ours, theirs) if item[1] != item[2]]


def compare_file(path: Path) -> list[Difference] | None:
    """The disagreements about one file, or None where it is no ELF file."""
    with path.open("rb") as stream:
        if stream.read(4) != b"\x7fELF":
            return None
        ours = read_facts(path, symbols=True).elf
        assert ours is not None
        try:
            return compare(ours, stream)
        except (ELFError, OSError, ValueError, AttributeError, TypeError, KeyError) as problem:
            return [("pyelftools", "read", f"{type(problem).__name__}: {problem}")]


def elf_files(root: Path) -> Iterator[Path]:
    """Regular files under a directory, in a fixed order."""
    for path in sorted(root.rglob("*")):
        if path.is_file() and not path.is_symlink():
            yield path


def is_elf(path: Path) -> bool:
    """Whether a file starts as an ELF file does."""
    with path.open("rb") as stream:
        return stream.read(4) == b"\x7fELF"


def shorten(value: Any) -> str:
    """A value as it fits on a line."""
    shown = repr(value)
    return shown if len(shown) < 200 else shown[:200] + "…"


def main(arguments: list[str]) -> int:
    """Compare everything under the directories given."""
    compared = disagreements = 0
    for path in (path for argument in arguments for path in elf_files(Path(argument))):
        found = compare_file(path)
        compared += found is not None
        for what, ours, theirs in found or ():
            disagreements += 1
            sys.stdout.write(f"{path}: {what}: reader {shorten(ours)}, pyelftools {shorten(theirs)}\n")
    sys.stdout.write(f"{compared} files compared, {disagreements} disagreements\n")
    return 1 if disagreements else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
