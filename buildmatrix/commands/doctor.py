"""buildmatrix doctor: what is here, what is missing for which session, and the one command that mends it."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator

from buildmatrix import errors, prepare
from buildmatrix.commands import options
from buildmatrix.diagnosis import services, tools
from buildmatrix.diagnosis.probe import Health, Probe
from buildmatrix.oci import credentials
from buildmatrix.prepare import Host
from buildmatrix.process import SubprocessRunner
from buildmatrix.report.terminal import printable

SUMMARY = "say what is here, what is missing for which session, and what mends it"
SCHEMA = 1
"""Version of the JSON document that --json prints."""

_WORDS = {Health.OK: "ok", Health.LATER: "ok", Health.WARN: "WARN", Health.MISSING: "FAIL"}
_SHOWN = 4


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    options.add_matrix(parser)
    options.add_selection(parser)
    parser.add_argument("--json", action="store_true", help="one JSON document with a schema version")


def run(arguments: argparse.Namespace) -> int:
    """Print one line a probe; returns 0, or the exit status of the first that building or verifying needs."""
    found: list[Probe] = []
    for probe in _probes(options.read(arguments)):
        found.append(probe)
        if not arguments.json:
            print("\n".join(_lines(probe)), flush=True)
    broken = [probe for probe in found if probe.health is Health.MISSING and probe.required]
    status = broken[0].exit_status if broken else errors.EXIT_OK
    if arguments.json:
        print(_document(found, status))
    elif broken:
        print(f"\n{len(broken)} missing for building or verifying", file=sys.stderr)
    return status


def _probes(selection: options.Selection) -> Iterator[Probe]:
    host, runner = Host.current(), SubprocessRunner()
    matrix = selection.matrix
    yield from tools.probes(matrix, selection.cells, selection.dist, host, runner)
    keyring = prepare.keyring(matrix, host, runner)
    commit = prepare.commit(matrix, host, runner)
    yield from services.probes(matrix, host, keyring, credentials.from_environment(runner), commit)


def _lines(probe: Probe) -> Iterator[str]:
    """A line, and what to do below it where there is something to do."""
    word = "miss" if probe.health is Health.MISSING and not probe.required else _WORDS[probe.health]
    yield printable(f"{word:<4}  {probe.name}: {probe.found}")
    if probe.health in (Health.WARN, Health.MISSING):
        sessions = ", ".join(probe.needed_by[:_SHOWN]) + (" …" if len(probe.needed_by) > _SHOWN else "")
        for label, text in (("for", sessions), ("why", probe.why), ("fix", probe.fix)):
            if text:
                yield printable(f"      {label}: {text}")


def _document(found: list[Probe], status: int) -> str:
    probes = [
        {
            "name": probe.name,
            "health": str(probe.health),
            "found": probe.found,
            "sessions": list(probe.needed_by),
            "why": probe.why,
            "fix": probe.fix,
            "required": probe.required,
        }
        for probe in found
    ]
    return json.dumps({"schema": SCHEMA, "exit_status": status, "probes": probes}, indent=2, sort_keys=True)
