"""From an examination of dist/ to the model of a report."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from buildmatrix import __version__, attest, codes, prepare, timings
from buildmatrix.artifact import Outcome
from buildmatrix.finding import Finding
from buildmatrix.gather import documents, grid, places
from buildmatrix.matrix import Cell
from buildmatrix.report import sizes
from buildmatrix.report.model import (
    STATES,
    Column,
    Location,
    Machine,
    ReportModel,
    Row,
    Signed,
    Sizes,
    State,
    Timing,
    worst,
)
from buildmatrix.verify import Examination, Verification

_MOST_BYTES = 1 << 30
"""Larger files are not divided: a report must not take more memory than a build."""


def model(verification: Verification, found: Examination, *, timed: bool = True) -> ReportModel:
    """The report on what was verified. Without `timed` it depends on nothing but dist/ and the matrix."""
    plan, dist = verification.plan, verification.dist
    matrix, cells = plan.matrix, tuple(item.cell for item in plan.cells)
    outcomes = {item.cell: _portable(item, matrix.root) for item in found.outcomes}
    columns = grid.columns([outcomes[cell.id] for cell in cells])
    signatures = tuple(documents.signatures(dist, cells)) if verification.keyring.enabled else ()
    report = ReportModel(
        project=matrix.project.name,
        version=plan.version,
        commit=verification.commit.hash if verification.commit is not None else "",
        epoch=prepare.epoch(verification.host, verification.commit),
        tool=__version__,
        go=plan.go.version,
        whole=verification.whole,
        columns=columns,
        rows=tuple(_row(verification, found, cell, outcomes[cell.id], columns, signatures) for cell in cells),
        other=outcomes["dist"].findings if "dist" in outcomes else (),
        machines=tuple(Machine(name=item.name, words=item.words, goarch=item.goarch) for item in matrix.fleet),
        bills=tuple(documents.bills(matrix, dist, cells)),
        signatures=signatures,
        signing=matrix.signing.backend,
        images=tuple(documents.images(matrix, dist, outcomes)) if verification.whole else (),
        timings=tuple(_timings(verification, cells)) if timed else (),
        locations=(*documents.locations(matrix, cells), ("", Location(path=_matrix_path(verification)))),
        titles=(),
    )
    return replace(report, titles=tuple(_titles(report)))


def _portable(outcome: Outcome, root: Path) -> Outcome:
    """An outcome whose findings name files by their paths in the project: where it lies is no part of a report."""
    prefix = f"{root}/"
    return replace(
        outcome,
        findings=tuple(
            replace(item, **{name: getattr(item, name).replace(prefix, "") for name in ("what", "evidence", "why")})
            for item in outcome.findings
        ),
    )


def _matrix_path(verification: Verification) -> str:
    path = verification.plan.matrix.path.resolve()
    return str(path.relative_to(documents.repository(path.parent)))


def _row(
    verification: Verification,
    found: Examination,
    cell: Cell,
    outcome: Outcome,
    columns: tuple[Column, ...],
    signatures: tuple[Signed, ...],
) -> Row:
    subject, artifact = found.subjects.get(cell.id), outcome.artifact
    judged, edges = places.judged(found.fleet, subject) if subject is not None else ((), ())
    looked = grid.Looked(
        outcome=outcome,
        subject=subject,
        places=judged,
        documents=attest.names(verification.plan.matrix),
        signer=next((item.signer for item in signatures if item.cell == cell.id), ""),
        signing=verification.keyring.enabled,
        starts=cell.binary.exec,
    )
    return Row(
        cell=cell.id,
        binary=cell.binary.name,
        target=cell.target.name,
        platform=f"{cell.target.goos}/{cell.target.goarch}",
        file=cell.file_name,
        size=artifact.size if artifact is not None else 0,
        sha256=artifact.sha256 if artifact is not None else "",
        state=_state(outcome),
        marks=tuple(grid.marks(columns, looked)),
        sizes=_sizes(verification, found, cell),
        needs=places.needs(subject) if subject is not None else None,
        edges=edges,
        places=judged,
    )


def _state(outcome: Outcome) -> State:
    if outcome.failed:
        return State.FAILED
    return worst((State.PASSED, *(STATES[item.severity] for item in outcome.findings)))


def _sizes(verification: Verification, found: Examination, cell: Cell) -> Sizes | None:
    """Where an artifact's bytes go, as long as they are those that were verified."""
    subject, scan = found.subjects.get(cell.id), found.scans.get(cell.id)
    if subject is None or scan is None or scan.size > _MOST_BYTES:
        return None
    try:
        data = Path(verification.dist.folder(cell.id) / cell.file_name).read_bytes()
    except OSError:
        return None
    return sizes.measure(data, subject.facts) if len(data) == scan.size else None


def _timings(verification: Verification, cells: tuple[Cell, ...]) -> Iterator[Timing]:
    for cell in cells:
        if steps := timings.recall(verification.dist, cell.id):
            yield Timing(cell=cell.id, steps=steps)


def _titles(report: ReportModel) -> Iterator[tuple[str, str]]:
    wanted = {code for column in report.columns for code in column.codes}
    findings: tuple[Finding, ...] = tuple(report.findings)
    wanted |= {finding.rule for finding in findings}
    known = {item.code: item.title for item in codes.every()}
    yield from ((code, known.get(code, "")) for code in sorted(wanted))
