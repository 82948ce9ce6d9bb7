"""Proves the images in dist/ again, trusting no record: layout, record, bytes and today's plan must agree."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from buildmatrix import errors
from buildmatrix.artifact import Artifact, Outcome, Status
from buildmatrix.dist import Dist
from buildmatrix.finding import Finding, Severity
from buildmatrix.images import proof, record
from buildmatrix.images.record import FOLDER, ImageRecord, layout_path, record_path
from buildmatrix.imagespec import ImageSpec
from buildmatrix.matrix import Matrix
from buildmatrix.oci import graph
from buildmatrix.oci.content import Descriptor
from buildmatrix.oci.layout import Layout, is_layout
from buildmatrix.oci.platform import normalise

CODES = {
    "BM859": "image not built, so that there is nothing to verify",
    "BM860": "image in dist/ is not the one that its record names",
    "BM861": "file in an image's layout that its index does not lead to",
}
"""Findings of this step, with their meaning."""

WARNINGS = frozenset({"BM859"})
"""Those that do not fail a run."""


def outcomes(matrix: Matrix, dist: Dist, digests: Mapping[str, str], version: str) -> Iterator[Outcome]:
    """One outcome for each image of the matrix; `digests` are the SHA-256 of the artifacts as they lie there now."""
    for spec in matrix.images:
        yield _outcome(spec, matrix, dist, digests, version)


def accounts_for(matrix: Matrix, path: Path) -> bool:
    """Whether a path relative to dist/ belongs to an image of the matrix: its record, or its layout."""
    if len(path.parts) < 2 or path.parts[0] != FOLDER:
        return False
    names = {spec.name for spec in matrix.images}
    return path.parts[1] in names if len(path.parts) > 2 else path.name.removesuffix(".json") in names


def _outcome(spec: ImageSpec, matrix: Matrix, dist: Dist, digests: Mapping[str, str], version: str) -> Outcome:
    layout, artifact = Layout(layout_path(dist, spec.name)), None
    findings: list[Finding] = []
    try:
        kept = record.read(dist, spec.name)
        if kept is None or not is_layout(layout.path):
            findings.append(_missing(spec, dist, kept, layout))
        else:
            top = graph.resolve(layout, kept.index)
            artifact = Artifact(name=spec.name, size=top.size, sha256=top.digest.removeprefix("sha256:"), sha512="")
            _, found = proof.prove(proof.Plan(spec=spec, matrix=matrix, digests=digests), layout, top)
            findings += [*found, *_record(spec, kept, layout, top, version), *_strays(spec, layout, top)]
    except errors.BuildmatrixError as error:
        findings.append(
            Finding(rule=error.code, cell=f"image {spec.name}", what=error.what, why=error.why, fix=_again(spec))
        )
    failed = any(item.severity is Severity.ERROR for item in findings)
    return Outcome(
        cell=f"image {spec.name}",
        status=Status.FAILED if failed else Status.DONE,
        findings=tuple(findings),
        artifact=artifact,
        exit_status=errors.EXIT_FINDINGS if failed else errors.EXIT_OK,
    )


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
