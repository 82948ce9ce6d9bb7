"""Proves the images in dist/ again, trusting no record: layout, record, bytes and today's plan must agree."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from buildmatrix import attest, errors
from buildmatrix.artifact import Artifact, Outcome, Status
from buildmatrix.dist import Dist
from buildmatrix.finding import Finding, Severity
from buildmatrix.images import attested, proof, record
from buildmatrix.images.proof import Proven
from buildmatrix.images.record import DOCUMENTS, FOLDER, ImageRecord, layout_path, record_path
from buildmatrix.imagespec import ImageSpec
from buildmatrix.matrix import Matrix
from buildmatrix.oci import graph
from buildmatrix.oci.content import Descriptor
from buildmatrix.oci.layout import Layout, is_layout
from buildmatrix.oci.platform import normalise

_BASE_DIGEST = "org.opencontainers.image.base.digest"

CODES = {
    "BM859": "image not built, so that there is nothing to verify",
    "BM860": "image in dist/ is not the one that its record names",
    "BM861": "file in an image's layout that its index does not lead to",
}
"""Findings of this step, with their meaning."""

WARNINGS = frozenset({"BM859"})
"""Those that do not fail a run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Today:
    """What images are held to: `digests` are the SHA-256 of the artifacts as they lie in dist/ now.

    `revision` is the commit, `created` the documents' time in seconds.
    """

    matrix: Matrix
    dist: Dist
    digests: Mapping[str, str]
    version: str
    revision: str
    created: int


def outcomes(today: Today) -> Iterator[Outcome]:
    """One outcome for each image of the matrix."""
    for spec in today.matrix.images:
        yield _outcome(spec, today)


def accounts_for(matrix: Matrix, path: Path) -> bool:
    """Whether a path relative to dist/ belongs to an image of the matrix: record, layout, or a document of today's."""
    if len(path.parts) < 2 or path.parts[0] != FOLDER:
        return False
    names = {spec.name: spec for spec in matrix.images}
    if len(path.parts) == 2:
        return path.name.removesuffix(".json") in names
    spec = names.get(path.parts[1].removesuffix(DOCUMENTS))
    if path.parts[1] in names or spec is None:
        return path.parts[1] in names
    return len(path.parts) == 3 and path.name in attested.names(matrix, attested.platforms(matrix, spec))


def _outcome(spec: ImageSpec, today: Today) -> Outcome:
    matrix, dist = today.matrix, today.dist
    layout, artifact = Layout(layout_path(dist, spec.name)), None
    findings: list[Finding] = []
    try:
        kept = record.read(dist, spec.name)
        if kept is None or not is_layout(layout.path):
            findings.append(_missing(spec, dist, kept, layout))
        else:
            top = graph.resolve(layout, kept.index)
            artifact = Artifact(name=spec.name, size=top.size, sha256=top.digest.removeprefix("sha256:"), sha512="")
            plan = proof.Plan(
                spec=spec, matrix=matrix, digests=today.digests, hashes=attested.hashes(matrix)
            )  # fmt: skip
            proven, found = proof.prove(plan, layout, top)
            findings += [*found, *_record(spec, kept, layout, top, today.version)]
            if not _failed(findings):  # of other bytes, or another plan, other things would have to be said
                findings += _documents(today, kept, top, proven)
            findings += _strays(spec, layout, top)
    except errors.BuildmatrixError as error:
        findings.append(
            Finding(rule=error.code, cell=f"image {spec.name}", what=error.what, why=error.why, fix=_again(spec))
        )
    failed = _failed(findings)
    return Outcome(
        cell=f"image {spec.name}",
        status=Status.FAILED if failed else Status.DONE,
        findings=tuple(findings),
        artifact=artifact,
        exit_status=errors.EXIT_FINDINGS if failed else errors.EXIT_OK,
    )


def _failed(findings: Iterable[Finding]) -> bool:
    return any(item.severity is Severity.ERROR for item in findings)


def _again(spec: ImageSpec) -> str:
    return f"build the image again: buildmatrix image {spec.name}"


def _missing(spec: ImageSpec, dist: Dist, kept: ImageRecord | None, layout: Layout) -> Finding:
    """Neither record nor layout is an image that was not built yet; one without the other is a broken one."""
    if kept is None and not layout.path.exists():
        return Finding(
            rule="BM859",
            cell=f"image {spec.name}",
            what="not built: nothing to verify",
            fix=_again(spec).removesuffix(" again"),
            severity=Severity.WARNING,
        )
    have, lacks = ("a layout", record_path(dist, spec.name)) if kept is None else ("a record", layout.path)
    return Finding(
        rule="BM860",
        cell=f"image {spec.name}",
        what=f"got {have} without {lacks.name}, expected both",
        fix=_again(spec),
    )


def _record(spec: ImageSpec, kept: ImageRecord, layout: Layout, top: Descriptor, version: str) -> Iterator[Finding]:
    listed = [entry.digest for entry in layout.index().manifests]
    entries = layout.manifest(top).manifest().manifests
    platforms = {str(normalise(entry.platform)): entry.digest for entry in entries if entry.platform is not None}
    pairs = (
        ("index", ", ".join(listed), kept.index),
        ("platforms", str(dict(sorted(platforms.items()))), str(dict(kept.platforms))),
        ("name", kept.name, spec.name),
        ("engine", kept.engine, spec.engine),
        ("base", kept.base, spec.base),
        ("base digest", kept.base_digest, layout.manifest(top).manifest().annotations.get(_BASE_DIGEST, "")),
        ("version", kept.version, version),
    )
    for what, got, expected in pairs:
        if got != expected:
            yield Finding(
                rule="BM860",
                cell=f"image {spec.name}",
                what=f"{what} differs (got {got or 'nothing'}, expected {expected or 'nothing'})",
                why="matrix.toml or the version changed after it was built, or layout or record were altered",
                fix=_again(spec),
            )


def _documents(today: Today, kept: ImageRecord, top: Descriptor, proven: tuple[Proven, ...]) -> Iterator[Finding]:
    """SBOMs and provenance against bytes and plan, then against the record."""
    spec = next(spec for spec in today.matrix.images if spec.name == kept.name)
    basis = attested.Basis(
        spec=spec,
        matrix=today.matrix,
        digests=today.digests,
        version=today.version,
        revision=today.revision,
        created=today.created,
        base_digest=kept.base_digest,
        recipe=_recipe(spec, today),
    )
    names = attested.names(today.matrix, attested.platforms(today.matrix, spec))
    lying = attested.read(today.dist, spec, names)
    findings = tuple(attested.differing(basis, top, proven, lying))
    yield from findings
    if not _failed(findings) and not _recorded(kept, lying):
        yield Finding(
            rule="BM722",
            cell=f"image {spec.name}",
            what="its documents are not those that were recorded",
            why="the record was altered after the build",
            fix=_again(spec),
        )


def _recorded(kept: ImageRecord, lying: Mapping[str, bytes]) -> bool:
    return kept.documents == tuple(attest.document(name, lying[name]) for name in sorted(lying))


def _recipe(spec: ImageSpec, today: Today) -> tuple[tuple[str, str], ...]:
    """The digests of what a Dockerfile would be built from today."""
    if spec.engine != "buildx":
        return ()
    from buildmatrix.images import buildx

    names = attested.platforms(today.matrix, spec)
    return tuple(sorted(buildx.recipe(spec, today.matrix, today.dist, names).digests))


def _strays(spec: ImageSpec, layout: Layout, top: Descriptor) -> Iterator[Finding]:
    """Files that no descriptor leads to would be shipped with the folder, unseen by every check."""
    known = {layout.path / "oci-layout", layout.path / "index.json"}
    for node in graph.walk(layout, top):
        known |= {layout.blob_path(item.digest) for item in (node.descriptor, *node.manifest.blobs)}
    for path in sorted(layout.path.rglob("*")):
        if path not in known and (path.is_symlink() or not path.is_dir()):
            yield Finding(
                rule="BM861",
                cell=f"image {spec.name}",
                what=f"file that the index does not lead to: {path.relative_to(layout.path)}",
                fix=f"remove it, or {_again(spec)}",
            )
