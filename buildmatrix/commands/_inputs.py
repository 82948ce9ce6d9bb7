"""What `scan` and `hash` are given: files, trees, archives and image layouts, turned into entries."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from buildmatrix import archives, elf, errors
from buildmatrix.archives import MemberScan
from buildmatrix.elf import Progress, Scan
from buildmatrix.facts import Status
from buildmatrix.oci.marker import is_layout

Entry = Scan | MemberScan


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What to compute for every entry."""

    hashes: tuple[str, ...]
    facts: bool
    threads: int = 0
    archives: bool = True
    all_entries: bool = False
    recognised: bool = False
    progress: Callable[[Progress], None] | None = None


def entries(
    paths: Sequence[str], options: Options, failed: Callable[[errors.BuildmatrixError], None]
) -> Iterator[Entry]:
    """Every entry under `paths`, in the order of the paths; a damaged archive goes to `failed`.

    Plain files that stand next to each other in `paths` are scanned as one batch.
    """
    files: list[str] = []
    for path in paths:
        special = _special(path, options)
        if special is None:
            files.append(path)
            continue
        yield from _files(files, options)
        files = []
        try:
            yield from special
        except (errors.ScanFailed, errors.UsageError) as error:
            failed(error)
    yield from _files(files, options)


def _special(path: str, options: Options) -> Iterator[Entry] | None:
    """The entries of a tree, layout or archive; None for a plain file."""
    place = Path(path)
    if place.is_dir():
        if options.archives and is_layout(place):
            return archives.scan_layout(place, hashes=options.hashes, facts=options.facts)
        return _tree(path, options)
    if options.archives and place.is_file() and archives.is_archive(place):
        return archives.Archive(place, location=path, hashes=options.hashes, facts=options.facts).scan()
    return None


def _tree(path: str, options: Options) -> Iterator[Entry]:
    found = elf.scan_tree(
        path,
        hashes=options.hashes,
        facts=options.facts,
        threads=options.threads,
        progress=options.progress,
        all_entries=options.all_entries,
        recognised=options.recognised,
    )
    return iter(sorted(found, key=lambda entry: os.fsencode(entry.path)))


def _files(paths: Sequence[str], options: Options) -> Iterator[Entry]:
    if paths:
        found = elf.scan(
            paths, hashes=options.hashes, facts=options.facts, threads=options.threads, progress=options.progress
        )
        yield from sorted(found, key=lambda entry: entry.root)


def complaint(entry: Entry) -> str | None:
    """What is wrong with an entry, in one line; None where nothing is."""
    if entry.ok:
        return None
    if entry.status is Status.MALFORMED:
        return f"{entry.location}: malformed: {entry.issue} at byte {entry.offset}"
    reason = f": {os.strerror(entry.errno)}" if entry.errno else ""
    where = f" at byte {entry.offset}" if entry.offset else ""
    return f"{entry.location}: {entry.status}{reason}{where}"


def was_read(entry: Entry) -> bool:
    """Whether every byte was seen."""
    return entry.status in {Status.OK, Status.MALFORMED}


def complain(line: object) -> None:
    """One line, or an error with its remedy, on standard error; what is not UTF-8 is shown escaped."""
    sys.stderr.write("\n".join(printable(part) for part in str(line).split("\n")) + "\n")


def printable(text: str) -> str:
    """Text that any terminal can show: control characters and bytes that are not UTF-8 as escapes."""
    return "".join(char if char.isprintable() else _escape(char) for char in text)


def _escape(char: str) -> str:
    code = ord(char)
    return f"\\x{code & 0xFF:02x}" if code < 0x20 or 0xDC80 <= code <= 0xDCFF else f"\\u{code:04x}"
