"""buildmatrix plan: every cell with its exact argv and environment, before anything runs."""

from __future__ import annotations

import argparse
import json
import re
import shlex

from buildmatrix import plan, prepare
from buildmatrix.commands import options
from buildmatrix.process import SubprocessRunner

SUMMARY = "show every cell with its exact command, and run nothing"
PLAN_SCHEMA = 1

_USER_INFO = re.compile(r"//[^/@\s]+@")


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    options.add_matrix(parser)
    options.add_selection(parser)
    parser.add_argument("--json", action="store_true", help="one JSON document with a schema version")


def run(arguments: argparse.Namespace) -> int:
    """Print the plan; returns 0."""
    selection = options.read(arguments)
    made = prepare.make_plan(
        selection.matrix, selection.cells, selection.dist, prepare.Host.current(), SubprocessRunner()
    )
    if arguments.json:
        print(json.dumps(document(made), indent=2))
        return 0
    print(f"{made.matrix.project.name} {made.version}: {len(made.cells)} cells, {made.workers} at once")
    print(f"go {made.go.version}: {made.go.program}" + (" (to be installed)" if made.go.wheel else ""))
    shared = _shared_environment(made)
    print("\nevery cell gets\n" + "\n".join(f"  {name}={value}" for name, value in shared))
    for item in made.cells:
        print(f"\n{item.cell.id}  {item.cell.target.goos}/{item.cell.target.goarch} {item.cell.target.level}".rstrip())
        own = [pair for pair in _environment(item) if pair not in shared]
        print("\n".join(f"  {name}={value}" for name, value in own))
        print(f"  cd {shlex.quote(str(item.command.cwd))}")
        print(f"  {shlex.join(item.command.argv)}")
    return 0


def _environment(item: plan.PlannedCell) -> list[tuple[str, str]]:
    """The exact environment, but for passwords in addresses."""
    return [(name, _USER_INFO.sub("//***@", value)) for name, value in item.command.environment]


def _shared_environment(made: plan.Plan) -> list[tuple[str, str]]:
    first = _environment(made.cells[0])
    rest = [set(_environment(item)) for item in made.cells]
    return [pair for pair in first if all(pair in other for other in rest)]


def document(made: plan.Plan) -> dict[str, object]:
    """The plan as JSON values."""
    cells = [
        {
            "cell": item.cell.id,
            "binary": item.cell.binary.name,
            "target": item.cell.target.name,
            "goos": item.cell.target.goos,
            "goarch": item.cell.target.goarch,
            "level": item.cell.target.level,
            "libc": item.cell.target.libc,
            "compiler": item.compiler.label if item.compiler else None,
            "argv": list(item.command.argv),
            "environment": dict(_environment(item)),
            "cwd": str(item.command.cwd),
            "artifact": str(made.dist / item.cell.id / item.cell.file_name),
        }
        for item in made.cells
    ]
    return {
        "schema": PLAN_SCHEMA,
        "project": made.matrix.project.name,
        "version": made.version,
        "go": {"version": made.go.version, "program": str(made.go.program)},
        "workers": made.workers,
        "cells": cells,
    }
