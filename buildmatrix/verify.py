"""Proves dist/ from its bytes: scans, hashes and checks everything again and trusts no record.

A record is compared with what was just computed; it decides nothing. Needs no Go and no C compiler.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from buildmatrix import attest, checks, errors, gobuild, index, prepare, proof, signed, sources
from buildmatrix.artifact import Artifact, Outcome, Record, Status
from buildmatrix.checks import across
from buildmatrix.checks.rule import Subject
from buildmatrix.children import undeclared
from buildmatrix.command import PASSED_THROUGH
from buildmatrix.dist import INDEX_FILES, RECORD, REPORTS, Dist, inputs_digest
from buildmatrix.finding import Finding, Severity
from buildmatrix.fleet import Fleet, elsewhere
from buildmatrix.gobuild import Resolved
from buildmatrix.matrix import Cell, Matrix
from buildmatrix.plan import Plan, PlannedCell
from buildmatrix.prepare import Commit, Host
from buildmatrix.process import SubprocessRunner
from buildmatrix.signing.keyring import Keyring

if TYPE_CHECKING:
    from buildmatrix._scan import Scan

CODES = {
    "BM702": "artifact missing, or not a regular file",
    "BM703": "file in dist/ that nothing accounts for",
    "BM704": "artifact changed after it was built",
    "BM705": "record missing",
    "BM706": "built from another plan than today's",
    "BM707": "built from other sources than today's",
    "BM708": "index file missing, or not what the records say",
    "BM709": "artifact unreadable",
    "BM710": "another toolchain would be used now",
}
"""Findings of this step, with their meaning."""

WARNINGS = frozenset({"BM710"})
"""Those that do not fail a run."""

_COMPILER_SETTINGS = frozenset({"CC", "CXX", "CGO_CFLAGS", "CGO_CXXFLAGS", "CGO_LDFLAGS"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What is verified: today's plan against dist/.

    `whole` looks for extra files and index files too; `release` refuses what is signed for development only.
    """

    plan: Plan
    dist: Dist
    sources: str
    commit: Commit | None
    whole: bool
    host: Host
    runner: SubprocessRunner
    keyring: Keyring
    release: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """What verification found, and what it saw on the way: scans by cell, and what the checks were asked about."""

    outcomes: tuple[Outcome, ...]
    scans: dict[str, Scan]
    subjects: dict[str, Subject]
    fleet: Fleet


def run(verification: Verification) -> tuple[Outcome, ...]:
    """One outcome per planned cell, and one named ``dist`` for what concerns no single cell."""
    return examine(verification).outcomes


def examine(verification: Verification) -> Examination:
    """`run`, with what reports are made of."""
    plan, dist = verification.plan, verification.dist
    paths = {str(_path(dist, item)): item for item in plan.cells}
    scans = _scan_all([path for path in paths if Path(path).is_file() and not Path(path).is_symlink()])
    sums = sources.module_sums(plan.matrix)
    outcomes: dict[str, Outcome] = {}
    subjects: list[tuple[Subject, str]] = []
    known = _recorded_digests(dist)
    proofs = proof.Context(
        dist=dist, environment=verification.host.environment, owners={**known, **_found_digests(scans, paths)}
    )
    fleet = Fleet(plan.matrix, lambda cell: dist.folder(cell.id) / cell.file_name)
    started = _started(verification, paths, scans)
    for path, item in paths.items():
        cell = item.cell.id
        scan = scans.get(path)
        findings = list(_cell_findings(verification, item, scan, known))
        if scan is not None and scan.facts is not None:
            subject = Subject(cell=item.cell, facts=scan.facts, go_version=_recorded_go(dist, cell), sums=sums)
            subjects.append((subject, scan.digests.sha256 or ""))
            findings += checks.run(subject)
            findings += _document_findings(verification, item, scan, proofs)
            if _runs_on_linux(item, scan):
                findings += fleet.findings(
                    item.cell, dynamic=subject.elf is not None and subject.elf.interp is not None
                )
                findings += started.get(cell, ())
            elif item.cell.target.goos != "linux":
                findings += elsewhere(item.cell)
        artifact = _artifact(item.cell, scan)
        if artifact is not None:
            files = signed.Files(cell=cell, artifact=artifact, documents=attest.names(plan.matrix))
            now, release = datetime.now(UTC), verification.release
            findings += signed.findings(dist, files, verification.keyring, now=now, release=release)
        outcomes[cell] = _outcome(cell, findings, artifact)
    for finding in across.run(subjects):
        old = outcomes[finding.cell]
        outcomes[finding.cell] = _outcome(finding.cell, [*old.findings, finding], old.artifact)
    if verification.whole:
        for made in _images(verification, subjects):
            outcomes[made.cell] = made
        outcomes["dist"] = _outcome("dist", list(_dist_findings(verification)), None)
    return Examination(
        outcomes=tuple(outcomes.values()),
        scans={item.cell.id: scans[path] for path, item in paths.items() if path in scans},
        subjects={subject.cell.id: subject for subject, _ in subjects},
        fleet=fleet,
    )


def _images(verification: Verification, subjects: list[tuple[Subject, str]]) -> Iterator[Outcome]:
    """The images of the matrix, held to the artifacts as they lie in dist/ now."""
    if verification.plan.matrix.images:
        from buildmatrix.images import verification as images

        head = verification.commit
        yield from images.outcomes(
            images.Today(
                matrix=verification.plan.matrix,
                dist=verification.dist,
                digests={subject.cell.id: digest for subject, digest in subjects},
                version=verification.plan.version,
                revision=head.hash if head is not None else "",
                created=prepare.epoch(verification.host, head) or 0,
            )
        )


def _outcome(cell: str, findings: list[Finding], artifact: Artifact | None) -> Outcome:
    failed = any(item.severity is Severity.ERROR for item in findings)
    return Outcome(
        cell=cell,
        status=Status.FAILED if failed else Status.DONE,
        findings=tuple(findings),
        artifact=artifact,
        exit_status=errors.EXIT_FINDINGS if failed else errors.EXIT_OK,
    )


def _runs_on_linux(item: PlannedCell, scan: Scan) -> bool:
    return item.cell.target.goos == "linux" and scan.facts is not None and scan.facts.elf is not None


def _started(
    verification: Verification, paths: dict[str, PlannedCell], scans: dict[str, Scan]
) -> dict[str, tuple[Finding, ...]]:
    """What the Go programs for linux start beyond `exec`, by cell."""
    programs = [
        (item, Path(path))
        for path, item in paths.items()
        if (scan := scans.get(path)) is not None
        and _runs_on_linux(item, scan)
        and scan.facts is not None
        and scan.facts.go is not None
    ]
    plan, host = verification.plan, verification.host
    return undeclared.several(
        programs, plan, verification.sources, verification.runner, host.environment, workers=host.cores
    )


def _path(dist: Dist, item: PlannedCell) -> Path:
    return dist.folder(item.cell.id) / item.cell.file_name


def _artifact(cell: Cell, scan: Scan | None) -> Artifact | None:
    if scan is None or scan.digests.sha256 is None:
        return None
    return Artifact(name=cell.file_name, size=scan.size, sha256=scan.digests.sha256, sha512=scan.digests.sha512 or "")


def _scan_all(paths: list[str]) -> dict[str, Scan]:
    from buildmatrix import elf

    if not paths:
        return {}
    return {scan.path: scan for scan in elf.scan(paths, hashes=("sha256", "sha512"), facts=True)}


def _read(dist: Dist, cell: str) -> Record | errors.RecordInvalid | None:
    try:
        return dist.read_record(cell)
    except errors.RecordInvalid as error:
        return error


def _recorded_go(dist: Dist, cell: str) -> str:
    record = _read(dist, cell)
    return record.inputs.go if isinstance(record, Record) else ""


def _recorded_digests(dist: Dist) -> dict[str, str]:
    """Cell by recorded SHA-256, to name the cell whose file lies in another's place."""
    if not dist.root.is_dir():
        return {}
    found = {}
    for path in sorted(dist.root.glob(f"*/{RECORD}")):
        record = _read(dist, path.parent.name)
        if isinstance(record, Record):
            found[record.artifact.sha256] = record.cell
    return found


def _found_digests(scans: dict[str, Scan], paths: dict[str, PlannedCell]) -> dict[str, str]:
    return {scan.digests.sha256: paths[path].cell.id for path, scan in scans.items() if scan.digests.sha256}


def _document_findings(
    verification: Verification, item: PlannedCell, scan: Scan, context: proof.Context
) -> Iterator[Finding]:
    """What is wrong with a cell's SBOMs and provenance; toolchain names come from the record, as in BM710."""
    artifact, facts = _artifact(item.cell, scan), scan.facts
    if artifact is None or facts is None:
        return
    plan, head = verification.plan, verification.commit
    found = _read(verification.dist, item.cell.id)
    record = found if isinstance(found, Record) else None
    compiler = record.inputs.compiler if record is not None else item.compiler.label if item.compiler else ""
    resolved = Resolved(sources=verification.sources, compilers={item.cell.id: compiler})
    inputs = gobuild.inputs_of(item, plan, resolved)
    if record is not None:
        inputs = replace(inputs, go=record.inputs.go, settings=record.inputs.settings)
    epoch = prepare.epoch(verification.host, head)
    basis = attest.Basis(
        planned=item,
        matrix=plan.matrix,
        artifact=artifact,
        facts=facts,
        inputs=inputs,
        origin=attest.Origin(commit=head.hash if head is not None else "", epoch=epoch),
    )
    yield from proof.findings(basis, record, context)


def _cell_findings(
    verification: Verification, item: PlannedCell, scan: Scan | None, known: dict[str, str]
) -> Iterator[Finding]:
    cell, dist = item.cell, verification.dist
    path = _path(dist, item)
    again = f"buildmatrix build --target {cell.target.name}"
    record = _read(dist, cell.id)
    if scan is None:
        what = "artifact is not a regular file" if path.is_symlink() or path.exists() else "artifact missing"
        yield Finding(rule="BM702", cell=cell.id, what=what, evidence=str(path), fix=again)
    elif scan.digests.sha256 is None or scan.facts is None:
        yield Finding(
            rule="BM709",
            cell=cell.id,
            what=f"artifact unreadable ({scan.status})",
            evidence=str(path),
            why="what was not read cannot be vouched for",
            fix="make it readable, and let nothing write to dist/ meanwhile",
        )
    if record is None:
        yield Finding(
            rule="BM705",
            cell=cell.id,
            what="record missing",
            evidence=str(dist.folder(cell.id) / RECORD),
            why="without its record nobody knows what the artifact was built from",
            fix=again,
        )
    elif isinstance(record, errors.RecordInvalid):
        yield Finding(rule=record.code, cell=cell.id, what=record.what, why=record.why, fix=again)
    else:
        if scan is not None and scan.digests.sha256 is not None:
            yield from _changed(item.cell, scan, record, known)
        yield from _record_findings(verification, item, record)


def _changed(cell: Cell, scan: Scan, record: Record, known: dict[str, str]) -> Iterator[Finding]:
    got = _artifact(cell, scan)
    if got == record.artifact or got is None:
        return
    other = known.get(got.sha256)
    swapped = other is not None and other != cell.id
    yield Finding(
        rule="BM704",
        cell=cell.id,
        what=f"artifact changed (got sha256:{got.sha256}, expected sha256:{record.artifact.sha256})",
        evidence=f"{got.size} bytes, recorded {record.artifact.size}",
        why=f"it is the file of {other}: the two were swapped or copied"
        if swapped
        else "its bytes or its record were altered after the build",
        fix=f"build the cell again: buildmatrix build --target {cell.target.name} --force",
    )


def _record_findings(verification: Verification, item: PlannedCell, record: Record) -> Iterator[Finding]:
    cell, target = item.cell.id, item.cell.target
    again = f"buildmatrix build --target {target.name}"
    resolved = Resolved(sources=record.inputs.sources, compilers={cell: record.inputs.compiler})
    today = gobuild.inputs_of(item, verification.plan, resolved)
    plain = (
        ("binary", record.binary, item.cell.binary.name),
        ("target", record.target, target.name),
        ("cell", record.cell, cell),
        ("goos", record.goos, target.goos),
        ("goarch", record.goarch, target.goarch),
        ("level", f"{record.level_variable}={record.level}", f"{target.architecture.level_variable}={target.level}"),
        ("command", " ".join(record.inputs.command), " ".join(today.command)),
        ("version", record.inputs.version, today.version),
        ("inputs digest", record.inputs_digest, inputs_digest(record.inputs)),
        ("variables", *_unknown_variables(record)),
    )
    differing = [(name, got, expected) for name, got, expected in plain if got != expected]
    differing += _settings_differ(record, today.settings)
    for name, got, expected in differing:
        yield Finding(
            rule="BM706",
            cell=cell,
            what=f"built from another plan: {name} (got {got or 'nothing'}, expected {expected or 'nothing'})",
            why="matrix.toml or the version changed after the build, or the record was altered",
            fix=again,
        )
    if record.inputs.sources != verification.sources:
        yield Finding(
            rule="BM707",
            cell=cell,
            what=f"built from other sources (got {record.inputs.sources[:16]}…, expected {verification.sources[:16]}…)",
            why="a file of the module changed after the build",
            fix=again,
        )
    yield from _toolchain_findings(item, record, today.go)


def _unknown_variables(record: Record) -> tuple[str, str]:
    known = [name for name in record.passed if name in PASSED_THROUGH]
    return ", ".join(record.passed), ", ".join(sorted(set(known)))


def _settings_differ(record: Record, today: tuple[tuple[str, str], ...]) -> list[tuple[str, str, str]]:
    got, expected = dict(record.inputs.settings), dict(today)
    names = sorted((set(got) | set(expected)) - _COMPILER_SETTINGS)
    return [(name, got.get(name, ""), expected.get(name, "")) for name in names if got.get(name) != expected.get(name)]


def _toolchain_findings(item: PlannedCell, record: Record, go: str) -> Iterator[Finding]:
    pairs = [("Go", record.inputs.go, go)]
    compiler = dict(record.inputs.settings).get("CC", "")
    if item.compiler is not None:
        pairs.append(("C compiler", compiler, item.compiler.label))
    elif compiler:
        pairs.append(("C compiler", compiler, ""))
    for name, got, expected in pairs:
        if got != expected:
            yield Finding(
                rule="BM710",
                cell=item.cell.id,
                what=f"{name} differs from this machine's (got {got or 'none'}, expected {expected or 'none'})",
                why="a build here would not give the same bytes",
                fix="pin go.toolchain and cc in matrix.toml",
                severity=Severity.WARNING,
            )


def _of_an_image(matrix: Matrix, path: Path) -> bool:
    if not matrix.images:
        return False
    from buildmatrix.images import verification as images

    return images.accounts_for(matrix, path)


def _dist_findings(verification: Verification) -> Iterator[Finding]:
    dist, matrix = verification.dist, verification.plan.matrix
    expected = {Path(name) for name in (*INDEX_FILES, *REPORTS.values())}
    for cell in matrix.cells:
        documents = attest.names(matrix)
        written = [cell.file_name, RECORD, *documents]
        written += signed.names(cell.file_name, documents) if verification.keyring.enabled else ()
        expected |= {Path(cell.id) / name for name in written}
    for path in dist.entries():
        if path not in expected and not _of_an_image(matrix, path):
            yield Finding(
                rule="BM703",
                cell="dist",
                what=f"file that nothing accounts for: {path}",
                why="it would ship unchecked; it may belong to a cell that matrix.toml no longer has",
                fix="remove it, or run `buildmatrix clean`",
            )
    try:
        records = dist.records()
    except errors.RecordInvalid:
        return  # its cell has said so
    bundles = index.signatures(dist, records)
    derived = index.files(matrix, verification.plan.version, verification.commit, records, bundles)
    for name, data in derived.items():
        path = dist.root / name
        got = path.read_bytes() if path.is_file() else None
        if got != data:
            yield Finding(
                rule="BM708",
                cell="dist",
                what=f"{name} {'missing' if got is None else 'does not say what the records say'}",
                why="it was altered or is of another build",
                fix="buildmatrix build",
            )
