"""buildmatrix scan: facts and digests of files, trees, archives and image layouts."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import fields
from enum import Enum
from functools import cache
from typing import Any, cast

from buildmatrix import arch, elf, errors
from buildmatrix.commands import _inputs
from buildmatrix.commands._inputs import Entry
from buildmatrix.errors import EXIT_FINDINGS, EXIT_OK
from buildmatrix.facts import ElfFacts, Facts, Format, Kind

SUMMARY = "facts and digests of files, trees, archives and image layouts"

SCHEMA = 1
"""Version of the JSON lines; docs/scan.md has their schema."""

_COLUMNS = ("path", "format", "machine", "linkage", "size", "digest")


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("paths", nargs="+", metavar="PATH", help="files, directories, tar archives, OCI layouts")
    parser.add_argument("--json", action="store_true", help="one JSON object a line (docs/scan.md)")
    parser.add_argument(
        "--hash", default="sha256", metavar="LIST", help="comma-separated: sha256, sha512, sha1; or none (%(default)s)"
    )
    parser.add_argument("--no-facts", action="store_true", help="digests only")
    parser.add_argument("--executables", action="store_true", help="leave out files of no known format, and links")
    parser.add_argument("--all", action="store_true", help="directories and special files too")
    parser.add_argument("--plain", action="store_true", help="do not look into archives and image layouts")
    parser.add_argument("--threads", type=int, default=0, metavar="N", help="0: one for each processor")


def run(arguments: argparse.Namespace) -> int:
    """Print every entry; returns 1 where one could not be read or is malformed."""
    report = _Report()
    found = report.watch(_inputs.entries(arguments.paths, _options(arguments), report.failed))
    if arguments.json:
        _write_lines(found)
    elif sys.stdout.isatty():
        _write_table(found)
    else:
        _write_plain(found)
    report.close()
    return EXIT_FINDINGS if report.troubled else EXIT_OK


def _options(arguments: argparse.Namespace) -> _inputs.Options:
    names = tuple(dict.fromkeys(name.strip() for name in arguments.hash.split(",") if name.strip()))
    hashes = () if names == ("none",) else names
    unknown = [name for name in hashes if name not in elf.HASHES]
    if unknown:
        raise errors.UsageError(
            f"--hash: got {unknown[0]!r}, expected one of {', '.join(elf.HASHES)}, or none",
            fix="separate several by commas: --hash sha256,sha512",
        )
    return _inputs.Options(
        hashes=hashes,
        facts=not arguments.no_facts,
        threads=arguments.threads,
        archives=not arguments.plain,
        all_entries=arguments.all,
        recognised=arguments.executables and not arguments.no_facts,
    )


class _Report:
    """Collects what went wrong while entries pass by, and tells it at the end, after the output."""

    def __init__(self) -> None:
        self.complaints: list[object] = []

    @property
    def troubled(self) -> bool:
        """Whether anything went wrong."""
        return bool(self.complaints)

    def failed(self, error: errors.BuildmatrixError) -> None:
        """Keep an error for the end."""
        self.complaints.append(error)

    def watch(self, entries: Iterable[Entry]) -> Iterator[Entry]:
        """The same entries; complaints are kept."""
        for entry in entries:
            if (complaint := _inputs.complaint(entry)) is not None:
                self.complaints.append(complaint)
            yield entry

    def close(self) -> None:
        """Tell everything."""
        sys.stdout.flush()
        for complaint in self.complaints:
            _inputs.complain(complaint)


def _write_lines(entries: Iterable[Entry]) -> None:
    encoder = json.JSONEncoder(separators=(",", ":"), ensure_ascii=True)
    for entry in entries:
        sys.stdout.write(encoder.encode(as_json(entry)) + "\n")


def as_json(entry: Entry) -> dict[str, Any]:
    """One entry as the object of a JSON line; absent values are left out."""
    values: dict[str, Any] = {
        "schema": SCHEMA,
        "path": entry.location,
        "kind": entry.kind.value,
        "status": entry.status.value,
        "size": entry.size,
        "mode": f"{entry.mode & 0o7777:04o}",
        "uid": entry.uid,
        "gid": entry.gid,
        "mtime_ns": entry.mtime_ns,
    }
    optional = {"errno": entry.errno, "issue": entry.issue, "offset": entry.offset, "target": entry.target}
    values.update((name, value) for name, value in optional.items() if value)
    digests = {name: value for name, value in plain(entry.digests).items() if value is not None}
    if digests:
        values["digests"] = digests
    if entry.facts is not None:
        values["facts"] = plain(entry.facts)
    return values


@cache
def _names(kind: Hashable) -> tuple[str, ...]:
    return tuple(each.name for each in fields(cast(Any, kind)))


def plain(value: Any) -> Any:
    """Dataclasses as objects, tuples as arrays, bytes in hexadecimal, enumerations by value."""
    if value is None or isinstance(value, (bool, int, str)):
        return value.value if isinstance(value, Enum) else value
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    if isinstance(value, bytes):
        return value.hex()
    return {name: plain(getattr(value, name)) for name in _names(cast(Hashable, type(value)))}


def _row(entry: Entry) -> tuple[str, ...]:
    """The cells of one line of the table, in the order of _COLUMNS."""
    digest = next((value for value in plain(entry.digests).values() if value), "")
    facts = entry.facts
    form = facts.format.value if facts else entry.kind.value
    if not entry.ok:
        form = entry.issue or entry.status.value
    return (_inputs.printable(entry.location), form, _machine(facts), _linkage(entry), str(entry.size), digest)


def _machine(facts: Facts | None) -> str:
    if facts is None:
        return ""
    if facts.elf is not None:
        found = arch.by_machine(facts.elf.machine, facts.elf.bits, facts.elf.little_endian)
        return found.uname if found else arch.machine_name(facts.elf.machine)
    if facts.pe is not None:
        return f"0x{facts.pe.machine:04x}"
    if facts.macho is not None:
        return f"0x{facts.macho.cputype:x}"
    return f"{len(facts.fat)} slices" if facts.format is Format.MACHO_FAT else ""


def _linkage(entry: Entry) -> str:
    """How the file gets its code: by which loader, or why there is nothing to say."""
    if entry.kind is Kind.SYMLINK:
        return "-> " + _inputs.printable(entry.target or "")
    facts = entry.facts
    if facts is None or facts.elf is None:
        return _inputs.printable(facts.shebang or "") if facts else ""
    return _inputs.printable(facts.elf.interp) if facts.elf.interp else _without_loader(facts.elf)


def _without_loader(facts: ElfFacts) -> str:
    if facts.type == 1:
        return "object file"
    if facts.soname is not None or (facts.dynamic and not facts.static_pie):
        return "shared library"
    return "static-pie" if facts.static_pie else "static"


def _write_plain(entries: Iterable[Entry]) -> None:
    for entry in entries:
        sys.stdout.write("\t".join(_row(entry)) + "\n")


def _write_table(entries: Iterable[Entry]) -> None:
    # rich costs a tenth of a second to import, and only a terminal needs it
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    narrow = console.width < 100
    shown = [index for index, name in enumerate(_COLUMNS) if not narrow or name not in {"digest", "linkage"}]
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for index in shown:
        name = _COLUMNS[index]
        table.add_column(
            name,
            justify="right" if name == "size" else "left",
            no_wrap=name != "path",
            overflow="fold" if name == "path" else "ellipsis",
            min_width=12 if name == "path" else None,
            max_width=16 if name == "digest" else None,
        )
    for entry in entries:
        row = _row(entry)
        table.add_row(*(Text(row[index], style="" if entry.ok else "red") for index in shown))
    console.print(table)
