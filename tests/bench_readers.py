"""Times readers over the ELF files of a directory: ``python -m tests.bench_readers DIR``.

Segments, dynamic section, versions and notes of every file, by this reader (as decoded objects, and its
native part alone), by pyelftools, and by LIEF where it is installed. Processor time per file in
microseconds; each file is in the page cache. Best of three rounds.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from importlib import import_module, util
from pathlib import Path
from typing import Any

from buildmatrix._native import ffi, lib

from buildmatrix.elf import read_facts
from tests import differential


def native_only(path: str) -> None:
    """The native part: open, read, free."""
    descriptor = os.open(path, os.O_RDONLY)
    error = ffi.new("int *")
    lib.bm_block_free(lib.bm_scan_fd(descriptor, lib.BM_WANT_FACTS, lib.BM_VIEW_SPEC, error))
    os.close(descriptor)


def decoded(path: str) -> None:
    """Facts as objects."""
    read_facts(path)


def pyelftools(path: str) -> None:
    """The same parts by pyelftools."""
    elffile = import_module("elftools.elf.elffile")
    segments = import_module("elftools.elf.segments")
    dynamic = import_module("elftools.elf.dynamic")
    versions = import_module("elftools.elf.gnuversions")
    with Path(path).open("rb") as stream:
        elf = elffile.ELFFile(stream)
        for segment in elf.iter_segments():
            if isinstance(segment, dynamic.DynamicSegment):
                list(segment.iter_tags())
            elif isinstance(segment, segments.NoteSegment):
                list(segment.iter_notes())
        for section in elf.iter_sections():
            if isinstance(section, (versions.GNUVerNeedSection, versions.GNUVerDefSection)):
                for _, auxiliaries in section.iter_versions():
                    list(auxiliaries)


def lief_minimal() -> Callable[[str], Any]:
    """LIEF with everything off that is not compared."""
    lief = import_module("lief")
    config = lief.ELF.ParserConfig()
    for name in ("parse_relocations", "parse_dyn_symbols", "parse_symtab_symbols", "parse_overlay"):
        setattr(config, name, False)
    return lambda path: lief.ELF.parse(path, config)


def measure(read: Callable[[str], Any], paths: Sequence[str], rounds: int = 3) -> float:
    """Processor time per file in microseconds, the best of some rounds."""
    best = float("inf")
    for _ in range(rounds):
        start = time.process_time()
        for path in paths:
            read(path)
        best = min(best, time.process_time() - start)
    return best / len(paths) * 1e6


def main(arguments: list[str]) -> int:
    """Measure over the ELF files of one directory."""
    readers: dict[str, Callable[[str], Any]] = {
        "buildmatrix, native part": native_only,
        "buildmatrix, decoded": decoded,
        "pyelftools": pyelftools,
    }
    if util.find_spec("lief"):
        readers["LIEF, minimal"] = lief_minimal()
    paths = [str(path) for path in differential.elf_files(Path(arguments[0])) if differential.is_elf(path)]
    sys.stdout.write(f"{len(paths)} files\n")
    for name, read in readers.items():
        sys.stdout.write(f"{name:26} {measure(read, paths):10.1f} us a file\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
