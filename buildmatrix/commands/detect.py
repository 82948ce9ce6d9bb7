"""buildmatrix detect: a script that says on a bare host whether a root cause strikes there."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from buildmatrix import prepare
from buildmatrix.bundle import cells
from buildmatrix.commands import options
from buildmatrix.detect import causes, programs, script
from buildmatrix.detect.table import Program
from buildmatrix.dist import Dist
from buildmatrix.errors import EXIT_OK, DistUnwritable, UsageError
from buildmatrix.process import SubprocessRunner
from buildmatrix.signing import blobs

SUMMARY = "write scripts that say on a bare host whether a root cause strikes there"


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("cause", metavar="CAUSE|CODE", help="a root cause of the preflight, or a code such as BM508")
    options.add_matrix(parser)
    options.add_selection(parser)
    parser.add_argument("--release", metavar="DIR", help="the dist folder or OCI layout that is asked about (dist/)")
    parser.add_argument("--fixed", metavar="DIR", help="the dist folder of a release in which the cause was removed")
    parser.add_argument("--version", metavar="VERSION", help="the release's name in the script, if not its own")
    parser.add_argument("-o", "--output", metavar="FILE", help="write there and sign it, instead of standard output")


def run(arguments: argparse.Namespace) -> int:
    """Write the script; returns 0."""
    cause = causes.find(arguments.cause)
    selection = options.read(arguments)
    version, found = _release(arguments, selection.dist)
    fixed: tuple[str, ...] = ()
    if arguments.fixed:
        other = Dist(Path(arguments.fixed))
        fixed = tuple(programs.digests(programs.of_records(other, cells.select(other, (), ()))))
    data = script.make(cause, version, found, fixed)
    if not arguments.output:
        sys.stdout.buffer.write(data)
        sys.stdout.flush()
        return EXIT_OK
    path = Path(arguments.output)
    try:
        path.write_bytes(data)
        path.chmod(0o755)
    except OSError as error:
        raise DistUnwritable(
            f"{path}: cannot be written", why=error.strerror or str(error), fix="name another file with --output"
        ) from error
    keyring = prepare.keyring(selection.matrix, prepare.Host.current(), SubprocessRunner())
    if keyring.enabled:
        signer = keyring.signer()
        print(f"{blobs.sign(path, signer)}: {blobs.describe(signer.identity)}")
    return EXIT_OK


def _release(arguments: argparse.Namespace, dist: Path) -> tuple[str, tuple[Program, ...]]:
    """The release's name and programs."""
    place = Path(arguments.release) if arguments.release else dist
    if (place / "oci-layout").is_file():
        if not arguments.version:
            raise UsageError("--release: got a layout and no version", fix="say --version: a layout does not tell it")
        return arguments.version, programs.of_layout(place)
    opened = Dist(place)
    records = cells.select(opened, arguments.target, arguments.binary)
    versions = sorted({record.inputs.version for record in records})
    return arguments.version or "+".join(versions), programs.of_records(opened, records)
