"""buildmatrix verify: prove dist/ from its bytes."""

from __future__ import annotations

import argparse
import sys

from buildmatrix import pipeline, prepare, sources, verify
from buildmatrix.commands import options
from buildmatrix.dist import Dist
from buildmatrix.process import SubprocessRunner
from buildmatrix.report import terminal

SUMMARY = "prove dist/ from its bytes, trusting no record"


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    options.add_matrix(parser)
    options.add_selection(parser)


def run(arguments: argparse.Namespace) -> int:
    """Verify the selected cells, and dist/ as a whole where all are selected; returns the exit status."""
    selection = options.read(arguments)
    host, runner = prepare.Host.current(), SubprocessRunner()
    outcomes = verify.run(
        verify.Verification(
            plan=prepare.make_plan(selection.matrix, selection.cells, selection.dist, host, runner),
            dist=Dist(selection.dist),
            sources=sources.digest(sources.find(selection.matrix, selection.dist)),
            commit=prepare.commit(selection.matrix, host, runner),
            whole=selection.whole,
            host=host,
            runner=runner,
        )
    )
    terminal.summary(outcomes, sys.stdout, verb="verified")
    return pipeline.exit_status(outcomes)
