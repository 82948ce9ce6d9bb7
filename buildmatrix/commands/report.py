"""buildmatrix report: verify dist/, and write what was found as HTML, JSON, Markdown, SARIF or JUnit XML."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from buildmatrix import errors, pipeline, prepare, sources, verify
from buildmatrix.commands import options
from buildmatrix.dist import REPORTS, Dist
from buildmatrix.gather import publish
from buildmatrix.process import SubprocessRunner

SUMMARY = "verify dist/, and write reports for people, pull requests, code scanning and CI"


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    options.add_matrix(parser)
    options.add_selection(parser)
    parser.add_argument("--format", choices=sorted(REPORTS), help="only this one (every format, into dist/)")
    parser.add_argument("-o", "--output", metavar="FILE", help="write it there; - is standard output")
    parser.add_argument("--no-timings", action="store_true", help="leave out what depends on the machine that built")
    parser.add_argument("--exit-zero", action="store_true", help="end with 0 whatever was found, as uploads want it")
    parser.add_argument("--release", action="store_true", help="refuse development keys, and what is not signed")


def run(arguments: argparse.Namespace) -> int:
    """Verify, write, and return what `verify` would, or 0 with --exit-zero."""
    selection = options.read(arguments)
    _check(arguments, selection)
    host, runner = prepare.Host.current(), SubprocessRunner()
    verification = verify.Verification(
        plan=prepare.make_plan(selection.matrix, selection.cells, selection.dist, host, runner),
        dist=Dist(selection.dist),
        sources=sources.digest(sources.find(selection.matrix, selection.dist)),
        commit=prepare.commit(selection.matrix, host, runner),
        whole=selection.whole,
        host=host,
        runner=runner,
        keyring=prepare.keyring(selection.matrix, host, runner),
        release=arguments.release,
    )
    found = verify.examine(verification)
    _write(arguments, verification, found)
    return errors.EXIT_OK if arguments.exit_zero else pipeline.exit_status(found.outcomes)


def _check(arguments: argparse.Namespace, selection: options.Selection) -> None:
    if arguments.output and not arguments.format:
        raise errors.UsageError("--output: got no --format, expected one", fix=f"--format {' | '.join(REPORTS)}")
    if not arguments.output and not selection.whole:
        raise errors.UsageError(
            f"report: got {len(selection.cells)} of {len(selection.matrix.cells)} cells, expected --output FILE",
            why="the reports in dist/ are about all of it",
            fix="name a file: --format html --output part.html",
        )


def _write(arguments: argparse.Namespace, verification: verify.Verification, found: verify.Examination) -> None:
    timed = not arguments.no_timings
    if arguments.output == "-":
        sys.stdout.buffer.write(publish.text(verification, found, arguments.format, timed=timed))
    elif arguments.output:
        path = Path(arguments.output).absolute()
        publish.one(verification, found, arguments.format, path, timed=timed)
        print(path)
    elif arguments.format:
        path = verification.dist.root / REPORTS[arguments.format]
        publish.one(verification, found, arguments.format, path, timed=timed)
        print(path)
    else:
        for path in publish.everything(verification, found, timed=timed):
            print(path)
