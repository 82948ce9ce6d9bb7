"""buildmatrix sign: sign files with the signer of [signing]."""

from __future__ import annotations

import argparse
from pathlib import Path

from buildmatrix import prepare
from buildmatrix.commands import options
from buildmatrix.errors import EXIT_OK, UsageError
from buildmatrix.process import SubprocessRunner
from buildmatrix.signing import blobs

SUMMARY = "sign files; `build` signs dist/ by itself"


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    options.add_matrix(parser)
    parser.add_argument("file", nargs="+", metavar="FILE", help="gets a bundle beside it, FILE.sigstore.json")


def run(arguments: argparse.Namespace) -> int:
    """Sign each file and print where its bundle is; returns 0."""
    selection = options.read(arguments)
    keyring = prepare.keyring(selection.matrix, prepare.Host.current(), SubprocessRunner())
    if not keyring.enabled:
        raise UsageError("nobody to sign with: got signing.backend = 'none'", fix="set signing.backend in matrix.toml")
    signer = keyring.signer()
    for name in arguments.file:
        print(f"{blobs.sign(Path(name), signer)}: {blobs.describe(signer.identity)}")
    return EXIT_OK
