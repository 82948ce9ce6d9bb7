"""The steps of one cell, from source to signature. `pipeline.CELL_STEPS` has their order.

A step takes the cell's run and leaves what it learnt in it; what it makes goes into dist/.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from buildmatrix import attest, checks, errors, gobuild, gocluster, signed, sources
from buildmatrix.artifact import Artifact, Document, Inputs, Record
from buildmatrix.checks.rule import Subject
from buildmatrix.dist import PROVENANCE, Dist, inputs_digest
from buildmatrix.finding import Finding, Severity
from buildmatrix.gobuild import Resolved
from buildmatrix.plan import Plan, PlannedCell
from buildmatrix.process import SubprocessRunner
from buildmatrix.signing.keyring import Keyring

if TYPE_CHECKING:
    from buildmatrix._scan import Scan


@dataclass(slots=True)
class CellRun:
    """One cell on its way through CELL_STEPS."""

    planned: PlannedCell
    plan: Plan
    resolved: Resolved
    dist: Dist
    runner: SubprocessRunner
    force: bool
    origin: attest.Origin
    keyring: Keyring | None
    scan: Scan | None = None
    built: bool = False
    documents: tuple[Document, ...] = ()
    kept: bool = False
    signed: bool = False
    settled: bool = False
    findings: tuple[Finding, ...] = ()
    record: Record | None = None

    @property
    def cell(self) -> str:
        """The cell's id."""
        return self.planned.cell.id

    @property
    def path(self) -> Path:
        """Where the artifact lies."""
        return self.dist.folder(self.cell) / self.planned.cell.file_name

    @property
    def inputs(self) -> Inputs:
        """Today's inputs."""
        return gobuild.inputs_of(self.planned, self.plan, self.resolved)

    @property
    def inputs_digest(self) -> str:
        """The digest of today's inputs."""
        return inputs_digest(self.inputs)

    def settle(self) -> bool:
        """Find out whether nothing of the cell has to be made: neither artifact nor document nor signature."""
        kept = self.record is not None and self.kept
        self.settled = kept and (self.keyring is None or signed.kept(self.dist, _files(self), self.keyring))
        return self.settled


def scan_file(path: Path) -> Scan:
    """Facts and digests of one artifact; raises ScanFailed where it could not be read in full."""
    from buildmatrix import elf

    return next(iter(elf.scan([path], hashes=("sha256", "sha512"), facts=True)))


def require(scan: Scan, cell: str) -> Scan:
    """The scan itself, if every byte was read; else ScanFailed."""
    if scan.digests.sha256 is None or scan.facts is None:
        raise errors.ScanFailed(
            f"{cell}: {scan.path} could not be read in full ({scan.status})",
            why="what was not read cannot be vouched for",
            fix="make the file readable, and let nothing write to dist/ meanwhile",
        )
    return scan


def build(run: CellRun) -> None:
    """Compile, unless what is there is unchanged."""
    if run.scan is not None:
        return
    if run.plan.matrix.go.engine == "buildkit":
        gocluster.build(
            gocluster.Job(
                planned=run.planned,
                plan=run.plan,
                dist=run.dist,
                runner=run.runner,
                environment=run.resolved.environment,
                timeout=run.resolved.timeout,
                cold=run.resolved.cold,
                root=run.resolved.root,
            )
        )
    else:
        gobuild.build(run.planned, run.dist, run.runner, run.resolved.timeout)
    run.built = True


def scan(run: CellRun) -> None:
    """Read what was built: facts and digests."""
    if run.built:
        run.scan = require(scan_file(run.path), run.cell)


def check(run: CellRun) -> None:
    """Hold the artifact against its target."""
    run.findings = checks.run(subject_of(run))


def sbom(run: CellRun) -> None:
    """Write the bills of materials."""
    if not run.kept:
        environment = dict(run.planned.command.environment)
        basis = _basis(run)
        _write(run, attest.sboms(basis, attest.learn(basis.facts, run.plan.matrix, environment)))


def provenance(run: CellRun) -> None:
    """Write the provenance statement."""
    if not run.kept:
        _write(run, {PROVENANCE: attest.provenance(_basis(run))})


def _write(run: CellRun, files: dict[str, bytes]) -> None:
    run.dist.write_all({run.dist.folder(run.cell) / name: data for name, data in files.items()})
    run.documents = (*run.documents, *(attest.document(name, data) for name, data in files.items()))


def _basis(run: CellRun) -> attest.Basis:
    return attest.Basis(
        planned=run.planned,
        matrix=run.plan.matrix,
        artifact=run.record.artifact if run.record else artifact_of(run.path.name, _scanned(run)),
        facts=subject_of(run).facts,
        inputs=run.inputs,
        origin=run.origin,
    )


def record(run: CellRun) -> None:
    """Write the record: beyond it the cell counts as built."""
    if run.record is not None:
        if not run.kept:
            attested = attest.digest(run.plan.matrix, run.origin)
            run.record = replace(run.record, attested=attested, documents=run.documents)
            run.dist.write_record(run.record)
        return
    scan, inputs = _scanned(run), run.inputs
    target = run.planned.cell.target
    environment = dict(run.planned.command.environment)
    settings = dict(run.planned.command.settings)
    run.record = Record(
        cell=run.cell,
        binary=run.planned.cell.binary.name,
        target=target.name,
        goos=target.goos,
        goarch=target.goarch,
        level_variable=target.architecture.level_variable,
        level=target.level,
        inputs=inputs,
        inputs_digest=inputs_digest(inputs),
        artifact=artifact_of(run.path.name, scan),
        passed=tuple(sorted(set(environment) - set(settings) - {"CC", "CXX"})),
        attested=attest.digest(run.plan.matrix, run.origin),
        documents=run.documents,
    )
    run.dist.write_record(run.record)


def sign(run: CellRun) -> None:
    """Sign everything of the cell, unless today's signer has."""
    if run.keyring is None or run.settled or any(item.severity is Severity.ERROR for item in run.findings):
        return  # what must not ship is not signed
    if not run.settle():
        run.signed = True
        signed.sign(run.dist, _files(run), run.keyring.signer())
        signed.remember(run.dist, _files(run), run.keyring)


def _files(run: CellRun) -> signed.Files:
    if run.record is None:
        raise AssertionError("a step ran before the record")
    return signed.Files(cell=run.cell, artifact=run.record.artifact, documents=attest.names(run.plan.matrix))


def artifact_of(name: str, scan: Scan) -> Artifact:
    """The artifact that a complete scan describes."""
    digests = scan.digests
    return Artifact(name=name, size=scan.size, sha256=digests.sha256 or "", sha512=digests.sha512 or "")


def _scanned(run: CellRun) -> Scan:
    if run.scan is None:
        raise AssertionError("a step ran before the scan")
    return run.scan


def subject_of(run: CellRun) -> Subject:
    """What the checks see of a scanned cell."""
    facts = _scanned(run).facts
    if facts is None:
        raise AssertionError("a step ran before the scan")
    return Subject(
        cell=run.planned.cell,
        facts=facts,
        go_version=run.plan.go.version,
        sums=sources.module_sums(run.plan.matrix),
    )
