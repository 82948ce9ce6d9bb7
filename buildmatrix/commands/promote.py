"""buildmatrix promote: take a release to another registry or repository, with all that belongs to it."""

from __future__ import annotations

import argparse
import sys

from buildmatrix import errors
from buildmatrix.commands import options
from buildmatrix.report import terminal

SUMMARY = "take a release to another registry or repository, with all that belongs to it"


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("source", metavar="SRC", help="the release: REPOSITORY:TAG or REPOSITORY@DIGEST")
    parser.add_argument("destination", metavar="DST", help="the repository to take it to, without a tag")
    options.add_terms(parser)
    options.add_registry(parser)


def run(arguments: argparse.Namespace) -> int:
    """Promote; returns the exit status."""
    from buildmatrix.release import gate, promote

    with (
        options.opened(arguments, arguments.source) as (source, target),
        options.opened(arguments, arguments.destination, target=False) as (destination, _),
    ):
        if source.name == destination.name:
            raise errors.UsageError(f"{source.name}: got one repository twice, expected two")
        threads = options.access(arguments).threads
        done = promote.promote(source, target, destination, options.terms(arguments), threads=threads, told=_told)
    colour = terminal.coloured(sys.stdout)
    for line in gate.lines(done.verdicts, colour):
        print(line)
    for name, digest in done.tags:
        print(f"{destination.name}:{name}  {digest}")
    if not done.passed:
        print("nothing was promoted: no tag was set")
    return errors.EXIT_OK if done.passed else errors.EXIT_FINDINGS


def _told(step: str) -> None:
    print(step, file=sys.stderr, flush=True)
