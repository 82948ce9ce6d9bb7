"""buildmatrix sbom: the bill of a tree, archive or image, and what changed between two bills."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from buildmatrix import __version__, attest, errors, inventory, prepare, schema
from buildmatrix.commands import _inputs
from buildmatrix.dist import SBOMS
from buildmatrix.errors import EXIT_FINDINGS, EXIT_OK, ScanFailed, UsageError
from buildmatrix.report.terminal import printable
from buildmatrix.sbom import diff, reading, tree
from buildmatrix.sbom.diff import Change
from buildmatrix.sbom.model import Bill, Tool

SUMMARY = "the bill of materials of a tree, archive or image; what changed between two"
DIFF_SCHEMA = 1
"""Version of the JSON document that `diff --json` prints."""
_MOST_BYTES = 256 << 20


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument(
        "words",
        nargs="+",
        metavar="PATH | diff OLD NEW",
        help="a directory, tar archive or OCI layout; or two SBOMs, cells or dist folders to compare",
    )
    parser.add_argument("--format", choices=schema.FORMATS, default="cyclonedx", help="(default: %(default)s)")
    parser.add_argument("-o", "--output", metavar="FILE", help="write there instead of standard output")
    parser.add_argument("--platform", default="", metavar="OS/ARCH", help="which image of a layout, as linux/arm64")
    parser.add_argument("--json", action="store_true", help="of a diff: one JSON document with a schema version")


def run(arguments: argparse.Namespace) -> int:
    """Write a bill, or print a diff; returns 1 where the bill is incomplete or the two differ."""
    words = arguments.words
    if words[0] == "diff":
        if len(words) != 3:
            raise UsageError(
                f"sbom diff: got {len(words) - 1} paths, expected two", fix="buildmatrix sbom diff OLD NEW"
            )
        return _diff(Path(words[1]), Path(words[2]), as_json=arguments.json)
    if len(words) != 1:
        raise UsageError(
            f"sbom: got {len(words)} paths, expected one", fix="one bill a tree; compare two with `sbom diff OLD NEW`"
        )
    return _write(Path(words[0]), arguments)


def _write(path: Path, arguments: argparse.Namespace) -> int:
    # SPDX prescribes SHA-1 for files (SPDX 2.3, clause 8.4); nothing rests on it.
    hashes = ("sha256", "sha1") if arguments.format == "spdx" else ("sha256",)
    found, findings = inventory.look(path, hashes, arguments.platform)
    epoch = prepare.epoch(prepare.Host.current(), None)
    made = tree.bill(found, (Tool(name="buildmatrix", version=__version__),), epoch)
    data = attest.write(made, arguments.format)
    if arguments.output:
        _save(Path(arguments.output), data)
    else:
        sys.stdout.buffer.write(data)
        sys.stdout.flush()
    for finding in findings:
        _inputs.complain("\n".join(finding.lines()))
    return EXIT_FINDINGS if findings else EXIT_OK


def _save(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
    except OSError as error:
        raise errors.DistUnwritable(
            f"{path}: cannot be written", why=error.strerror or str(error), fix="name another file with --output"
        ) from error


def _diff(old: Path, new: Path, *, as_json: bool) -> int:
    found = list(diff.units(_bills(old), _bills(new)))
    if as_json:
        print(json.dumps({"schema": DIFF_SCHEMA, "changes": [asdict(item) for item in found]}, indent=2))
    else:
        print("\n".join(_table(found)) if found else "no change")
    return EXIT_FINDINGS if found else EXIT_OK


def _bills(path: Path) -> dict[str, Bill]:
    """The bills of a file, a cell's folder, or a folder of either, by their place below it."""
    if not path.is_dir():
        return {path.name: _bill(path)}
    folders = sorted({item.parent for name in SBOMS.values() for item in path.rglob(name)})
    found = {}
    for folder in folders:
        chosen = next(folder / name for name in SBOMS.values() if (folder / name).is_file())
        found[str(folder.relative_to(path)) if folder != path else path.name] = _bill(chosen)
    if not found:
        found = {item.name: _bill(item) for item in sorted(path.glob("*.json"))}
    if not found:
        raise UsageError(
            f"{path}: got a folder without SBOMs, expected {' or '.join(SBOMS.values())} in it or below",
            fix="build first, or name an SBOM file",
        )
    return found


def _bill(path: Path) -> Bill:
    try:
        with path.open("rb") as stream:
            data = stream.read(_MOST_BYTES)
        return reading.bill(reading.parse(data))
    except OSError as error:
        raise ScanFailed(f"{path}: cannot be read", why=error.strerror or str(error), fix="correct the path") from error
    except reading.Unreadable as error:
        raise ScanFailed(
            f"{path}: not an SBOM", why=error.detail, fix="name a CycloneDX or SPDX 2 document in JSON"
        ) from error


def _table(found: Sequence[Change]) -> list[str]:
    rows = []
    for item in found:
        both = f"{item.old or 'nothing'} → {item.new or 'nothing'}"
        rows.append(tuple(map(printable, (item.unit, item.kind, item.component, item.what, both))))
    used = [index for index in range(5) if any(row[index] for row in rows)]
    widths = {index: max(len(row[index]) for row in rows) for index in used}
    return ["  ".join(row[index].ljust(widths[index]) for index in used).rstrip() for row in rows]
