"""buildmatrix push: publish images by digest, prove them in the registry, and set their tags last."""

from __future__ import annotations

import argparse
import sys

from buildmatrix import pipeline, shipping
from buildmatrix.commands import options
from buildmatrix.report import progress as live
from buildmatrix.report import terminal

SUMMARY = "publish images by digest, prove them in the registry, and set their tags last"


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("names", nargs="*", metavar="NAME", help="images of matrix.toml; all where none is named")
    options.add_matrix(parser)
    options.add_registry(parser)
    parser.add_argument("--repository", metavar="REPOSITORY", help="push there instead of images.NAME.repository")


def run(arguments: argparse.Namespace) -> int:
    """Build what changed, push, and say what was tagged; returns the exit status."""
    selection = options.read(arguments)
    specs = shipping.select(selection.matrix, arguments.names)
    targets = shipping.repositories(specs, arguments.repository)
    with live.progress() as progress:
        shipment = shipping.build_cells(selection.matrix, specs, selection.dist, options.access(arguments), progress)
        outcomes = shipment.outcomes
        if shipment.ok:
            outcomes += shipping.build_images(shipment, progress)
        failed = any(outcome.failed for outcome in outcomes)
        pushes = () if failed else shipping.push_images(shipment, targets, progress)
    if failed:
        terminal.summary(outcomes, sys.stdout, verb="built")
        print("nothing was pushed")
        return pipeline.exit_status(outcomes)
    for push in pushes:
        for name, digest in push.tags:
            print(f"{push.repository}:{name}  {digest}")
    terminal.summary((push.outcome for push in pushes), sys.stdout, verb="pushed")
    return pipeline.exit_status(push.outcome for push in pushes)
