"""The actions of `buildmatrix faults` that inject faults here, or hand them to a cluster and take its results."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from buildmatrix import errors
from buildmatrix.commands import options
from buildmatrix.dist import Dist
from buildmatrix.errors import NothingSelected, UsageError
from buildmatrix.faults import campaign, chaosmesh, chaosresults, running, sink, table
from buildmatrix.faults.campaign import Campaign, Measured
from buildmatrix.finding import Finding, Severity
from buildmatrix.matrix import Cell, Matrix
from buildmatrix.process import SubprocessRunner

VARIABLE = "BUILDMATRIX_STORE"


def add_run(parser: argparse.ArgumentParser) -> None:
    """Options of `faults run`."""
    _add_selection(parser)
    parser.add_argument("--runs", type=int, default=0, metavar="N", help="how often, whatever the faults say")
    _add_rows(parser)


def add_export(parser: argparse.ArgumentParser) -> None:
    """Options of `faults export` for clusters."""
    _add_selection(parser)
    parser.add_argument("--chaos-mesh", action="store_true", help="the faults as objects of Chaos Mesh")
    parser.add_argument("--output", metavar="DIR", default="chaos", help="the folder of the manifests (%(default)s)")


def add_import(parser: argparse.ArgumentParser) -> None:
    """Options of `faults import` for clusters."""
    parser.add_argument("--measurements", metavar="FILE", help="probes as JSON lines; FILE are then chaos objects")
    _add_rows(parser)


def _add_selection(parser: argparse.ArgumentParser) -> None:
    options.add_matrix(parser)
    options.add_selection(parser)
    parser.add_argument("-f", "--fault", action="append", default=[], metavar="NAME", help="only this; may be repeated")


def _add_rows(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rows", metavar="FILE", help="where the rows go (.buildmatrix/faults/, one file a campaign)")
    parser.add_argument("--store", metavar="URL", default=os.environ.get(VARIABLE), help=f"the validation store that "
                        f"they also go to (default: {VARIABLE})")  # fmt: skip


def run(arguments: argparse.Namespace) -> int | None:
    """Do what the action says; returns the exit status, None where the action is not one of these."""
    if arguments.action == "run":
        return _run(arguments)
    if arguments.action == "export" and arguments.chaos_mesh:
        return _export(arguments)
    if arguments.action == "import" and arguments.measurements:
        return _import(arguments)
    return None


def _campaigns(selection: options.Selection, arguments: argparse.Namespace) -> list[Campaign]:
    """One campaign for each workload and selected cell."""
    found = []
    for workload in selection.matrix.workloads:
        faults = tuple(
            fault
            for fault in selection.matrix.faults
            if workload.name in fault.workloads and (not arguments.fault or fault.name in arguments.fault)
        )
        for cell in selection.cells if faults else ():
            if cell.id in workload.cells:
                path, release = _artifact(selection, cell)
                subject = running.subject(workload, cell, path, selection.dist)
                found.append(
                    Campaign(workload=workload, subject=subject, faults=faults, release=release, runs=arguments.runs)
                )
    if not found:
        raise NothingSelected(
            "no campaign: got no workload with a fault among the selected cells, expected one",
            fix="name targets and faults of matrix.toml, or add [workloads.NAME] and [faults.NAME]",
        )
    return found


def _artifact(selection: options.Selection, cell: Cell) -> tuple[Path, str]:
    """The cell's artifact, held to its record, and the release that it is of."""
    dist = Dist(selection.dist)
    record = dist.read_record(cell.id)
    path = dist.folder(cell.id) / cell.file_name
    if record is None or not path.is_file():
        raise UsageError(f"{path}: is not there", fix=f"build it: buildmatrix build --target {cell.target.name}")
    if running.digest(path) != record.artifact.sha256:
        raise UsageError(
            f"{path}: got other bytes than its record says, expected {record.artifact.sha256}",
            fix="build it again: rows must be about an artifact that is known",
        )
    return path, record.inputs.version


def _run(arguments: argparse.Namespace) -> int:
    if arguments.runs < 0:
        raise UsageError(f"--runs: got {arguments.runs}, expected a positive number")
    selection = options.read(arguments)
    _check_faults(selection.matrix, arguments.fault)
    runner, status = SubprocessRunner(), errors.EXIT_OK
    for item in _campaigns(selection, arguments):
        measured = campaign.run(item, runner, os.environ, _told(item))
        _keep(selection.matrix.root, arguments, measured)
        sys.stdout.write(table.text(measured.rows))
        status = max(status, _report(measured.findings))
        sys.stdout.flush()
    return status


def _check_faults(parsed: Matrix, names: list[str]) -> None:
    known = [fault.name for fault in parsed.faults]
    for name in names:
        if name not in known:
            raise UsageError(f"--fault: got {name!r}, expected one of {', '.join(known) or '[faults]'}")


def _told(item: Campaign) -> campaign.Told:
    """Progress on a terminal, nothing in a log."""

    def told(name: str, number: int, count: int) -> None:
        if sys.stderr.isatty():
            end = "\n" if number == count else ""
            sys.stderr.write(f"\r\x1b[K{item.subject.cell.id} {item.workload.name}: {number}/{count} {name}{end}")
            sys.stderr.flush()

    return told


def _keep(root: Path, arguments: argparse.Namespace, measured: Measured) -> None:
    """Into the store where one is named, and into a file a campaign; with --rows one of all campaigns."""
    if not measured.rows:
        return
    if arguments.store:
        sink.store(measured.rows, arguments.store)
    if arguments.rows is None:
        sink.keep(measured.rows, sink.path_of(root, measured.rows[0]))
        return
    path = Path(arguments.rows).absolute()
    kept: list[Path] = getattr(arguments, "kept", [])
    before = sink.read([path]) if path in kept else ()
    sink.keep((*before, *measured.rows), path)
    arguments.kept = [path]


def _report(findings: tuple[Finding, ...]) -> int:
    for finding in findings:
        print("\n".join(finding.lines()))
    return errors.EXIT_FINDINGS if any(item.severity is Severity.ERROR for item in findings) else errors.EXIT_OK


def _export(arguments: argparse.Namespace) -> int:
    selection = options.read(arguments)
    _check_faults(selection.matrix, arguments.fault)
    wanted = {cell for workload in selection.matrix.workloads for cell in workload.cells}
    artifacts = {cell.id: _described(selection, cell) for cell in selection.cells if cell.id in wanted}
    exported = chaosmesh.export(selection.matrix, artifacts, tuple(arguments.fault))
    folder = Path(arguments.output).absolute()
    for name, manifest in exported.manifests:
        Dist(folder).write(folder / name, chaosmesh.encode(manifest))
        print(folder / name)
    return max(_report(exported.findings), errors.EXIT_OK if exported.manifests else errors.EXIT_MISSING)


def _described(selection: options.Selection, cell: Cell) -> chaosmesh.Artifact:
    path, release = _artifact(selection, cell)
    return chaosmesh.Artifact(
        cell=cell.id, goarch=cell.target.goarch, digest=f"sha256:{running.digest(path)}", release=release
    )


def _import(arguments: argparse.Namespace) -> int:
    measured = chaosresults.rows([Path(name) for name in arguments.files], Path(arguments.measurements))
    _keep(Path.cwd(), arguments, measured)
    sys.stdout.write(table.text(measured.rows))
    return _report(measured.findings)
