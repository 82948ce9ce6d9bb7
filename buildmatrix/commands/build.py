"""buildmatrix build: the main job."""

from __future__ import annotations

import argparse
import sys
from concurrent.futures import ThreadPoolExecutor

from buildmatrix import pipeline, prepare
from buildmatrix.commands import options
from buildmatrix.dist import Dist
from buildmatrix.process import SubprocessRunner
from buildmatrix.report import progress as live
from buildmatrix.report import terminal

SUMMARY = "build, scan and check cells; what is unchanged is skipped"


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    options.add_matrix(parser)
    options.add_selection(parser)
    parser.add_argument("--force", action="store_true", help="build even what is unchanged")
    parser.add_argument("--fail-fast", action="store_true", help="start no further cell once one has failed")
    parser.add_argument("--json", action="store_true", help="print events, one JSON object a line, and nothing else")
    parser.add_argument("--timeout", type=float, metavar="SECONDS", help="end a cell's compiler after this long")


def run(arguments: argparse.Namespace) -> int:
    """Build the selected cells; returns the exit status."""
    selection = options.read(arguments)
    host, runner = prepare.Host.current(), SubprocessRunner()
    # git is asked for the commit while the rest is looked up: an unchanged run waits for little else.
    events = live.EventProgress(sys.stdout) if arguments.json else None
    with ThreadPoolExecutor(1) as aside, events or live.progress() as progress:
        commit = aside.submit(prepare.commit, selection.matrix, host, runner)
        keyring = prepare.keyring(selection.matrix, host, runner, progress.paused)
        plan = prepare.make_plan(selection.matrix, selection.cells, selection.dist, host, runner)
        outcomes = pipeline.run(
            pipeline.Build(
                plan=plan,
                resolved=prepare.resolve(plan, host, runner, arguments.timeout),
                dist=Dist(selection.dist),
                runner=runner,
                listener=progress,
                keyring=keyring if keyring.enabled else None,
                commit=commit.result(),
                epoch=prepare.epoch(host, commit.result()),
                force=arguments.force,
                fail_fast=arguments.fail_fast,
            )
        )
    status = pipeline.exit_status(outcomes)
    if events is not None:
        events.ended(outcomes, status)
    else:
        terminal.summary(outcomes, sys.stdout, verb="built")
    return status
