"""buildmatrix faults: run workloads under faults, hand them to a cluster, and ask the validation store."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from buildmatrix import errors
from buildmatrix.commands import _campaigns
from buildmatrix.report.terminal import printable

if TYPE_CHECKING:
    from buildmatrix.store.rows import Validation
    from buildmatrix.store.trends import Point, Trend

SUMMARY = "run workloads under injected faults, and measure what fails and recovers"
SCHEMA = 1
"""Version of the JSON document."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Subcommands and their options."""
    below = parser.add_subparsers(prog="buildmatrix faults", dest="action", metavar="ACTION", required=True)
    _campaigns.add_run(below.add_parser("run", help="inject the faults of matrix.toml here, and measure"))
    dump = below.add_parser("export", help="the faults of matrix.toml for a cluster; else every row of the store")
    _campaigns.add_export(dump)
    load = below.add_parser("import", help="what came of them in a cluster, or rows as `export` prints them")
    load.add_argument(
        "files", nargs="+", metavar="FILE",
        help="with --measurements the status of chaos objects (kubectl get … -o json), else rows as JSON Lines",
    )  # fmt: skip
    _campaigns.add_import(load)
    report = below.add_parser("report", help="trends of failure rates and recovery times, from release to release")
    report.add_argument("--artifact", metavar="NAME", help="only this artifact")
    report.add_argument("--arch", metavar="ARCH", help="only this architecture")
    report.add_argument("--fault", metavar="NAME", help="only this fault")
    report.add_argument("--release", metavar="NAME", help="end with 1 where this release is worse than the one before")
    report.add_argument("--json", action="store_true", help="one JSON document with a schema version")
    for each in (dump, report):
        each.add_argument(
            "--store", metavar="URL", default=os.environ.get(_campaigns.VARIABLE),
            help=f"sqlite:///FILE or postgresql://… (default: {_campaigns.VARIABLE}, else a file of this user)",
        )  # fmt: skip


def run(arguments: argparse.Namespace) -> int:
    """Run the action; returns the exit status."""
    status = _campaigns.run(arguments)
    return _store(arguments) if status is None else status


def _store(arguments: argparse.Namespace) -> int:
    """What concerns the validation store alone."""
    from buildmatrix.store import database, rows

    with database.Store(arguments.store or default()) as store:
        if arguments.action == "import":
            read = [row for name in arguments.files for row in _rows(name)]
            new = store.write(read)
            print(f"{len(read)} rows read, {new} new")
            return errors.EXIT_OK
        if arguments.action == "export":
            for row in store.read():
                print(json.dumps(rows.encode(row), sort_keys=True))
            return errors.EXIT_OK
        found = store.read(artifact=arguments.artifact, arch=arguments.arch, fault=arguments.fault)
    return _report(found, arguments)


def default() -> str:
    """The store of this user: SQLite below XDG_DATA_HOME."""
    base = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local/share")
    return f"sqlite:///{Path(base) / 'buildmatrix' / 'validation.db'}"


def _rows(name: str) -> Iterator[Validation]:
    from buildmatrix.store import rows

    try:
        text = sys.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise errors.UsageError(f"{name}: cannot be read", why=str(error)) from error
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            item = json.loads(line)
        except ValueError as error:
            raise errors.RowInvalid(f"{name}:{number}: got no JSON, expected one row a line", why=str(error)) from error
        if not isinstance(item, dict):
            raise errors.RowInvalid(f"{name}:{number}: got {type(item).__name__}, expected an object")
        yield rows.decode(item)


def _report(found: tuple[Validation, ...], arguments: argparse.Namespace) -> int:
    from buildmatrix.store import trends

    every = trends.trends(found)
    worse = trends.regressions(every, arguments.release) if arguments.release else ()
    if arguments.json:
        print(json.dumps(_document(every, worse), indent=2, sort_keys=True))
    else:
        print("\n".join(_lines(every)) if every else "the store holds no such measurement")
        for trend in worse:
            print(printable(f"not proven: {trend.artifact} {trend.arch} {trend.fault} in {arguments.release}"))
    if arguments.release and not any(point.release == arguments.release for trend in every for point in trend.points):
        raise errors.NothingSelected(f"--release: got {arguments.release}, which the store has no measurement of")
    return errors.EXIT_FINDINGS if worse else errors.EXIT_OK


def _document(every: tuple[Trend, ...], worse: tuple[Trend, ...]) -> dict[str, Any]:
    items = []
    for trend in every:
        points = [{**asdict(point), "first": point.first.isoformat()} for point in trend.points]
        items.append({**asdict(trend), "points": points, "regression": trend in worse})
    return {"schema": SCHEMA, "trends": items}


def _lines(every: tuple[Trend, ...]) -> Iterator[str]:
    for trend in every:
        how = ", emulated" if trend.emulated else ""
        yield printable(f"{trend.artifact} {trend.arch} under {trend.fault}{how}")
        yield from (printable(_line(point)) for point in trend.points)


def _line(point: Point) -> str:
    recovery = "-" if point.recovery_time_ms is None else f"{point.recovery_time_ms:.0f} ms"
    return (
        f"  {point.release or '(no release)':<16} {point.failure_rate_percent:6.2f} % "
        f"[{point.low:.2f}, {point.high:.2f}] of {point.runs}  recovery {recovery}  {point.change}"
    ).rstrip()
