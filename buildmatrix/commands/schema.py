"""buildmatrix schema: the JSON Schema of matrix.toml, or its reference page."""

from __future__ import annotations

import argparse
import json

from buildmatrix.schema import page

SUMMARY = "print the JSON Schema of matrix.toml"


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("--markdown", action="store_true", help="the reference page instead")


def run(arguments: argparse.Namespace) -> int:
    """Print; returns 0."""
    print(page.reference() if arguments.markdown else json.dumps(page.json_schema(), indent=2), end="")
    if not arguments.markdown:
        print()
    return 0
