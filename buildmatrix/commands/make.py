"""buildmatrix make: the Makefile fragment."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from buildmatrix import sources
from buildmatrix.commands import options
from buildmatrix.dist import Dist
from buildmatrix.embed import make

SUMMARY = "print a Makefile fragment with a rule for every cell"


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    options.add_matrix(parser)
    parser.add_argument("--prefix", default="", help="put before every target's name, such as go-")
    parser.add_argument("-o", "--output", metavar="FILE", help="write the fragment there, relative to make's folder")


def run(arguments: argparse.Namespace) -> int:
    """Print or write the fragment; returns 0."""
    selection = options.read(arguments)
    text = make.render(
        make.Fragment(
            matrix=selection.matrix,
            dist=selection.dist,
            sources=sources.find(selection.matrix, selection.dist),
            base=Path.cwd(),
            name=arguments.output or "buildmatrix.mk",
            prefix=arguments.prefix,
            command="buildmatrix",
        )
    )
    if arguments.output is None:
        sys.stdout.write(text)
        return 0
    path = Path(arguments.output).absolute()
    Dist(path.parent).write(path, text.encode())
    os.utime(path)  # an equal fragment is still newer than the folders that asked for it
    return 0
