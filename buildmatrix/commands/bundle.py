"""buildmatrix bundle: what goes back to this version on a bare host, one archive a machine."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from buildmatrix import prepare, signed
from buildmatrix.bundle import cells, layouts, pack
from buildmatrix.bundle.spec import Contents
from buildmatrix.commands import _inputs, options
from buildmatrix.commands.options import Selection
from buildmatrix.dist import Dist
from buildmatrix.errors import EXIT_OK, BundleRefused, UsageError
from buildmatrix.images import record as image_record
from buildmatrix.process import SubprocessRunner
from buildmatrix.signing import blobs
from buildmatrix.signing.keyring import Keyring

SUMMARY = "pack what goes back to this version on a bare host: one archive with a script for each machine"


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    options.add_matrix(parser)
    options.add_selection(parser)
    parser.add_argument("--image", metavar="NAME", help="an image in dist/ instead of programs")
    parser.add_argument("--layout", metavar="DIR", help="any OCI layout instead of programs; needs --version")
    parser.add_argument("--version", metavar="VERSION", help="of --layout: the version that it holds")
    parser.add_argument("--to", default="", metavar="PATH", help="where it is installed on hosts, if not said there")
    parser.add_argument("-o", "--output", metavar="DIR", help="where archives go (bundles/ beside the matrix file)")


def run(arguments: argparse.Namespace) -> int:
    """Write and sign the archives, and print their names; returns 0."""
    selection = options.read(arguments)
    keyring = prepare.keyring(selection.matrix, prepare.Host.current(), SubprocessRunner())
    found = tuple(_contents(arguments, selection, keyring))
    signer = keyring.signer() if keyring.enabled else None
    folder = Path(arguments.output) if arguments.output else selection.matrix.root / "bundles"
    for contents in found:
        path = pack.write(contents, folder)
        print(f"{path}: {contents.script}, {len(contents.members)} files")
        if signer is not None:
            print(f"{blobs.sign(path, signer)}: {blobs.describe(signer.identity)}")
    return EXIT_OK


def _contents(arguments: argparse.Namespace, selection: Selection, keyring: Keyring) -> Iterator[Contents]:
    dist = Dist(selection.dist)
    if arguments.layout and arguments.image:
        raise UsageError("got --layout and --image, expected one of them")
    if arguments.layout:
        if not arguments.version:
            raise UsageError("--layout: got no version", fix="say --version: a layout does not tell it")
        name = selection.matrix.project.name
        yield from layouts.contents(Path(arguments.layout), name=name, version=arguments.version, to=arguments.to)
        return
    if arguments.image:
        record = image_record.read(dist, arguments.image)
        if record is None:
            raise UsageError(
                f"--image: got {arguments.image}, which was not built", fix=f"buildmatrix image {arguments.image}"
            )
        layout = image_record.layout_path(dist, record.name)
        yield from layouts.contents(layout, name=record.name, version=record.version, to=arguments.to)
        return
    records = cells.select(dist, arguments.target, arguments.binary)
    for item in records:
        _signed(dist, signed.Files.of(item), keyring)
    name = selection.matrix.project.name
    yield from cells.contents(dist, records, name=name, to=arguments.to, left_out=_inputs.complain)


def _signed(dist: Dist, files: signed.Files, keyring: Keyring) -> None:
    """Refuse a cell whose signatures are not good by today's policy; nothing is asked where nothing signs."""
    wrong = tuple(signed.findings(dist, files, keyring, now=datetime.now(UTC), release=False))
    if wrong:
        raise BundleRefused(
            f"{files.cell}: {wrong[0].rule}: {wrong[0].what}",
            why=wrong[0].why,
            fix=wrong[0].fix or "build the cell again",
        )
