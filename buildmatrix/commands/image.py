"""buildmatrix image: build multi-arch images into dist/images/ and prove them from their bytes."""

from __future__ import annotations

import argparse
import sys

from buildmatrix import pipeline, shipping
from buildmatrix.commands import options
from buildmatrix.report import progress as live
from buildmatrix.report import terminal

SUMMARY = "build multi-arch images and prove them from their bytes"


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("names", nargs="*", metavar="NAME", help="images of matrix.toml; all where none is named")
    options.add_matrix(parser)
    options.add_registry(parser)
    parser.add_argument("--force", action="store_true", help="assemble even what is unchanged")


def run(arguments: argparse.Namespace) -> int:
    """Build the cells that the images need, then the images; returns the exit status."""
    selection = options.read(arguments)
    specs = shipping.select(selection.matrix, arguments.names)
    with live.progress() as progress:
        shipment = shipping.build_cells(selection.matrix, specs, selection.dist, options.access(arguments), progress)
        outcomes = shipment.outcomes
        if shipment.ok:
            outcomes += shipping.build_images(shipment, progress, force=arguments.force)
    terminal.summary(outcomes, sys.stdout, verb="built")
    return pipeline.exit_status(outcomes)
