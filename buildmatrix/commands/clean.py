"""buildmatrix clean: remove from dist/ what matrix.toml does not account for, or all of it."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from buildmatrix import attest, signed, trust
from buildmatrix.commands import options
from buildmatrix.dist import INDEX_FILES, RECORD, REPORTS, STATE, Dist
from buildmatrix.errors import UsageError
from buildmatrix.images.record import FOLDER

SUMMARY = "remove what matrix.toml does not account for from dist/"


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    options.add_matrix(parser)
    parser.add_argument("--all", action="store_true", help="remove every artifact and record too")
    parser.add_argument("-n", "--dry-run", action="store_true", help="only say what would be removed")


def run(arguments: argparse.Namespace) -> int:
    """Remove and say what; returns 0."""
    selection = options.read(arguments)
    dist = Dist(selection.dist)
    if not dist.root.is_dir():
        return 0
    _own_output(dist, selection)
    kept = set() if arguments.all else {STATE, *INDEX_FILES, *(cell.id for cell in selection.matrix.cells)}
    if not arguments.all:
        kept |= set(REPORTS.values())
    if selection.matrix.images and not arguments.all:
        kept.add(FOLDER)
    doomed = [path for path in sorted(dist.root.iterdir()) if path.name not in kept]
    if not arguments.all:
        doomed += _strays(selection, dist)
    for path in doomed:
        print(f"{'would remove' if arguments.dry_run else 'removed'} {path}")
        if not arguments.dry_run:
            _remove(path)
    return 0


def _own_output(dist: Dist, selection: options.Selection) -> None:
    """Refuse a folder without a single trace of buildmatrix: a mistyped --dist must not empty it."""
    names = {path.name for path in dist.root.iterdir()}
    if names and not names & {STATE, *INDEX_FILES, *(cell.id for cell in selection.matrix.cells)}:
        raise UsageError(
            f"--dist: got {dist.root}, which holds {len(names)} entries and none of buildmatrix's, "
            "expected an output folder",
            fix="correct --dist, or remove the folder by hand",
        )


def _strays(selection: options.Selection, dist: Dist) -> list[Path]:
    """Files inside cell folders that no step writes."""
    documents = attest.names(selection.matrix)
    expected = set()
    for cell in selection.matrix.cells:
        written = [cell.file_name, RECORD, *documents]
        written += signed.names(cell.file_name, documents) if selection.matrix.signing.backend != trust.NONE else ()
        expected |= {Path(cell.id) / name for name in written}
    folders = {cell.id for cell in selection.matrix.cells}
    strays = [dist.root / path for path in dist.entries() if path.parts[0] in folders and path not in expected]
    images = dist.root / FOLDER
    names = {spec.name for spec in selection.matrix.images}
    entries = sorted(images.iterdir()) if names and images.is_dir() else []
    return strays + [
        path for path in entries if path.name not in names and path.name.removesuffix(".json") not in names
    ]


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
