"""buildmatrix run: start each platform's image on the local engine, and say what that proves."""

from __future__ import annotations

import argparse
import sys

from buildmatrix import errors, pipeline, shipping
from buildmatrix.artifact import Outcome
from buildmatrix.commands import options
from buildmatrix.report import progress as live
from buildmatrix.report import terminal

SUMMARY = "start each platform's image on the local engine, and ask it whether it lives"


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("names", nargs="*", metavar="NAME", help="images of matrix.toml; all where none is named")
    options.add_matrix(parser)
    options.add_registry(parser)
    parser.add_argument("--platform", action="append", default=[], metavar="OS/ARCH", help="only this; may be repeated")
    parser.add_argument("--seconds", type=float, default=30.0, help="how long a platform may take (%(default)s)")


def run(arguments: argparse.Namespace) -> int:
    """Build what changed, then run every platform; returns the exit status."""
    selection = options.read(arguments)
    specs = shipping.select(selection.matrix, arguments.names)
    with live.progress() as progress:
        shipment = shipping.build_cells(selection.matrix, specs, selection.dist, options.access(arguments), progress)
        outcomes: tuple[Outcome, ...] = shipment.outcomes
        if shipment.ok:
            outcomes += shipping.build_images(shipment, progress)
        if any(outcome.failed for outcome in outcomes):
            runs: tuple[Outcome, ...] = ()
        else:
            runs = shipping.run_images(shipment, tuple(arguments.platform), arguments.seconds, progress)
    if not runs:
        terminal.summary(outcomes, sys.stdout, verb="built")
        return pipeline.exit_status(outcomes) or errors.EXIT_MISSING
    terminal.summary(runs, sys.stdout, verb="ran")
    return pipeline.exit_status(runs)
