"""buildmatrix converge: which few causes are behind many symptoms."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from buildmatrix import errors

if TYPE_CHECKING:
    from buildmatrix.converge.gather import Gathered

SUMMARY = "name the root causes behind logs, traces and records"


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument(
        "inputs", metavar="INPUT", nargs="+",
        help="logs and exports, folders of them, dist/, or - for standard input; formats are told by content",
    )  # fmt: skip
    parser.add_argument("--root", metavar="DIR", type=Path, help="settle what is open by the preflight in this root")
    parser.add_argument(
        "--host", metavar="HOST", help="with --root: the target, as for explain (default: this machine)"
    )
    parser.add_argument("--window", metavar="SECONDS", type=float, default=60.0,
                        help="between a failure and what it leads to on one host (default: %(default)g)")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="one JSON document with a schema version")
    parser.add_argument("--html", metavar="FILE", type=Path, help="write a section of HTML")
    parser.add_argument("--reproducers", metavar="DIR", type=Path, help="write a minimal reproducer for every cause")


def run(arguments: argparse.Namespace) -> int:
    """Run the command; 1 where there are root causes, or something could not be read."""
    from buildmatrix.converge import conclusion, gather, join, reader, report, reproduce

    if arguments.host is not None and arguments.root is None:
        raise errors.UsageError("--host: got no --root, expected the root that programs are judged in")
    count, problems = reader.Count(), list[errors.BuildmatrixError]()
    gathered = gather.gather(reader.everything(tuple(arguments.inputs), count, problems))
    _settle(gathered, arguments)
    found = conclusion.conclude(join.join(gathered, arguments.window), gathered)
    folders = reproduce.write_all(found.causes, arguments.reproducers) if arguments.reproducers else {}
    if arguments.html:
        arguments.html.write_text(report.section(found, count), encoding="utf-8")
    if arguments.json:
        told = [error.what for error in problems]
        print(json.dumps(report.document(found, count, told, folders), indent=2, sort_keys=True))
    else:
        print("\n".join(report.lines(found, count, folders)))
    for error in problems:
        print(error, file=sys.stderr)
    return errors.EXIT_FINDINGS if found.causes or found.unknown or problems else errors.EXIT_OK


def _settle(gathered: Gathered, arguments: argparse.Namespace) -> None:
    from buildmatrix.converge import settle

    settle.settle(gathered, settle.built(gathered))
    if arguments.root is None:
        return
    from buildmatrix.host import parse
    from buildmatrix.preflight.running import running

    if not arguments.root.is_dir():
        raise errors.UsageError(f"--root: got {arguments.root}, expected the folder of a root file system")
    host = running() if arguments.host is None else parse(arguments.host)
    settle.settle(gathered, settle.asked(gathered, arguments.root, host))
