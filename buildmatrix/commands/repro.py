"""buildmatrix repro: is every cell's output the same from any folder and any cache?"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from buildmatrix import pipeline, prepare, repro
from buildmatrix.commands import options
from buildmatrix.process import SubprocessRunner
from buildmatrix.report import progress as live
from buildmatrix.report import terminal

SUMMARY = "build twice in different folders and compare every byte"


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    options.add_matrix(parser)
    options.add_selection(parser)
    parser.add_argument("--keep", metavar="DIR", help="build in this folder and leave both copies there")


def run(arguments: argparse.Namespace) -> int:
    """Build the selected cells twice and compare; returns the exit status."""
    selection = options.read(arguments)
    host, runner = prepare.Host.current(), SubprocessRunner()
    plan = prepare.make_plan(selection.matrix, selection.cells, selection.dist, host, runner)
    resolved = prepare.resolve(plan, host, runner)
    with tempfile.TemporaryDirectory(prefix="buildmatrix-repro-") as scratch, live.progress() as progress:
        folder = Path(arguments.keep).absolute() if arguments.keep else Path(scratch)
        outcomes = repro.run(
            repro.Repro(plan=plan, resolved=resolved, host=host, runner=runner, listener=progress, scratch=folder)
        )
    terminal.summary(outcomes, sys.stdout, verb="same")
    print(repro.where(plan))
    return pipeline.exit_status(outcomes)
