"""buildmatrix faults: run workloads under faults, or hand the same faults to a cluster and take its results."""

from __future__ import annotations

import argparse

from buildmatrix.commands import _campaigns
from buildmatrix.errors import UsageError

SUMMARY = "run workloads under injected faults, and measure what fails and recovers"


def configure(parser: argparse.ArgumentParser) -> None:
    """Subcommands and their options."""
    below = parser.add_subparsers(prog="buildmatrix faults", dest="action", metavar="ACTION", required=True)
    _campaigns.add_run(below.add_parser("run", help="inject the faults of matrix.toml here, and measure"))
    _campaigns.add_export(below.add_parser("export", help="the faults of matrix.toml for a cluster"))
    load = below.add_parser("import", help="what came of them in a cluster, as rows")
    load.add_argument("files", nargs="+", metavar="FILE", help="status of chaos objects (kubectl get … -o json)")
    _campaigns.add_import(load)


def run(arguments: argparse.Namespace) -> int:
    """Run the action; returns the exit status."""
    status = _campaigns.run(arguments)
    if status is None:
        wanted = "--chaos-mesh" if arguments.action == "export" else "--measurements FILE"
        raise UsageError(f"faults {arguments.action}: got no {wanted}, expected it", fix="docs/faults.md shows both")
    return status
