"""`buildmatrix explain`: would this file execute there, and why not."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

SUMMARY = "say whether a file will execute on a target, and why not"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--batch", metavar="QUERIES")
    parser.add_argument("--roots", type=Path)
    parser.add_argument("--json", action="store_true")


def run(arguments: argparse.Namespace) -> int:
    """Run the command; returns the exit status."""
    from buildmatrix.preflight.lab import Batch

    lines = sys.stdin if arguments.batch == "-" else Path(arguments.batch).open()
    for line in Batch(arguments.roots).answers(lines):
        print(line)
    return 0
