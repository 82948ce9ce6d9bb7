"""Builds an image and proves it: the step between artifacts and tags.

    resolve the base → assemble (or reuse what unchanged inputs gave) → prove from bytes → describe → record

Nothing outside dist/images/ is written here, and no registry is written to at all.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from buildmatrix import errors, toolchain
from buildmatrix.artifact import Artifact, Document, Outcome, Status
from buildmatrix.dist import Dist
from buildmatrix.finding import Finding, Severity
from buildmatrix.images import attested, direct, proof, record
from buildmatrix.images.base import SCRATCH, Base, resolve
from buildmatrix.images.inputs import Inputs
from buildmatrix.images.record import ImageRecord, layout_path
from buildmatrix.imagespec import ImageSpec, platform_of
from buildmatrix.matrix import Matrix
from buildmatrix.oci import graph, reference
from buildmatrix.oci import platform as platforms
from buildmatrix.oci.content import Descriptor
from buildmatrix.oci.credentials import CredentialSource
from buildmatrix.oci.http import Access
from buildmatrix.oci.layout import Layout, is_layout
from buildmatrix.oci.registry import Registry
from buildmatrix.process import Watcher

if TYPE_CHECKING:
    from buildmatrix.images.buildx import Recipe

Stage = Callable[[str], None]
"""Is told what is happening to the image."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One image to build. `artifacts` and `digests` (SHA-256) are by cell id."""

    spec: ImageSpec
    matrix: Matrix
    dist: Dist
    artifacts: Mapping[str, Path]
    digests: Mapping[str, str]
    version: str
    revision: str
    created: int
    goroot: Path | None
    access: Access
    credentials: CredentialSource | None
    workers: int
    check: Callable[[], None]
    force: bool = False
    runner: Watcher | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    """Runner and environment are for programs: only an image with a Dockerfile needs one."""


def run(job: Job, stage: Stage) -> Outcome:
    """Build and prove one image; errors of its own become a failed outcome."""
    started = time.monotonic()
    name = f"image {job.spec.name}"
    try:
        with job.dist.lock(f"image-{job.spec.name}", job.check):
            outcome = _through(job, stage)
    except errors.BuildmatrixError as error:
        outcome = Outcome(cell=name, status=Status.FAILED, reason=str(error), exit_status=error.exit_status)
    return replace(outcome, seconds=time.monotonic() - started)


def _through(job: Job, stage: Stage) -> Outcome:
    stage("resolving its base")
    with _Base(job) as base:
        recipe = _recipe(job)
        if recipe is not None and recipe.refused:
            return _outcome(job, None, (), recipe.findings, built=True)
        inputs = _inputs(job, base, recipe)
        digest = inputs.digest()
        layout = Layout(layout_path(job.dist, job.spec.name))
        whole = proof.Plan(
            spec=job.spec, matrix=job.matrix, digests=job.digests, hashes=attested.hashes(job.matrix)
        )  # fmt: skip
        top = None if job.force or (recipe is not None and not recipe.pinned) else _unchanged(job, layout, digest)
        said = recipe.findings if recipe is not None else ()
        built, described = top is None, top is not None and _described(job)
        if top is not None:
            stage("proving")
            proven, findings = proof.prove(replace(whole, hashes=()) if described else whole, layout, top)
            built = _damaged(findings)  # since it was made: it is made again
        if built or top is None:
            assembly = direct.Assembly(
                inputs=inputs,
                base=base,
                layout=layout,
                workers=job.workers,
                check=job.check,
                anew=job.force or top is not None,  # one that was damaged takes nothing from where it lies
                memory=job.dist.state(f"image-{job.spec.name}", "layers"),
            )
            top, proven, findings = _proven(job, assembly, recipe, whole, stage)
            if top is None:
                return _outcome(job, None, (), (*said, *findings), built=True)
    # Beyond here the image's manifests, its bytes and the plan agree, or it is not published.
    if described and not built:
        return _outcome(job, top, proven, (*said, *findings), built=False)
    basis = _basis(job, base, recipe)
    made, unsaid = attested.make(basis, top, proven)
    outcome = _outcome(job, top, proven, (*said, *findings, *unsaid), built=built)
    if not outcome.failed:
        direct.publish(layout, top)
        documents = attested.write(job.dist, job.spec, made)
        record.write(job.dist, _record(basis, digest, top, proven, documents, complete=not unsaid))
    return outcome


def _damaged(findings: tuple[Finding, ...]) -> bool:
    return any(item.rule == "BM853" for item in findings)


def _proven(
    job: Job, assembly: direct.Assembly, recipe: Recipe | None, plan: proof.Plan, stage: Stage
) -> tuple[Descriptor | None, tuple[proof.Proven, ...], tuple[Finding, ...]]:
    """The image, assembled and proven; no descriptor where the findings say why there is none.

    A layer that was remembered wrongly fails the proof: then everything is written again.
    """
    stage("assembling")
    top, said = _assemble(job, assembly, recipe, stage)
    if top is None:
        return None, (), said
    # Beyond here no byte of the image changes.
    stage("proving")
    proven, findings = proof.prove(plan, assembly.layout, top)
    if _damaged(findings) and recipe is None and not assembly.anew:
        return _proven(job, replace(assembly, anew=True), recipe, plan, stage)
    return top, proven, (*said, *findings)


def _described(job: Job) -> bool:
    """Whether everything that is said about the image lies beside it, as it was written."""
    kept = record.read(job.dist, job.spec.name)
    expected = attested.names(job.matrix, tuple(name for name, _ in kept.platforms)) if kept is not None else ()
    return kept is not None and attested.intact(job.dist, job.spec, kept, expected)


def _basis(job: Job, base: Base, recipe: Recipe | None) -> attested.Basis:
    return attested.Basis(
        spec=job.spec,
        matrix=job.matrix,
        digests=job.digests,
        version=job.version,
        revision=job.revision,
        created=job.created,
        base_digest=base.digest,
        recipe=tuple(sorted(recipe.digests)) if recipe is not None else (),
    )


def _recipe(job: Job) -> Recipe | None:
    """The Dockerfile of an image that has one."""
    if job.spec.engine != "buildx":
        return None
    from buildmatrix.images import buildx

    by_id = {cell.id: cell for cell in job.matrix.cells}
    cells = (by_id[f"{job.spec.binaries[0]}_{target}"] for target in job.spec.targets)
    return buildx.recipe(job.spec, job.matrix, job.dist, tuple(platform_of(cell.target) for cell in cells))


def _assemble(
    job: Job, assembly: direct.Assembly, recipe: Recipe | None, stage: Stage
) -> tuple[Descriptor | None, tuple[Finding, ...]]:
    """The image by its engine; None with the findings that say why there is none."""
    if recipe is None:
        return direct.assemble(assembly), ()
    from buildmatrix.buildx import program
    from buildmatrix.images import buildx

    if job.runner is None:
        raise AssertionError("an image with a Dockerfile was to be built without a runner")
    tool = program.Buildx(
        program=program.find(job.environment),
        runner=job.runner,
        environment=job.environment,
        state=toolchain.cache_dir(job.environment) / "buildx",
    )
    name = f"image-{job.spec.name}"
    try:
        folder = job.dist.partial(name).resolve()
        return buildx.assemble(
            buildx.Build(job=assembly, recipe=recipe, buildx=tool, folder=folder, stage=stage)
        )  # fmt: skip
    finally:
        job.dist.discard_partial(name)


def _outcome(
    job: Job, top: Descriptor | None, proven: tuple[proof.Proven, ...], findings: tuple[Finding, ...], *, built: bool
) -> Outcome:
    failed = any(item.severity is Severity.ERROR for item in findings)
    made = Artifact(
        name=job.spec.name,
        size=sum(layer.size for one in proven for layer in one.contents.layers),
        sha256=top.digest.removeprefix("sha256:") if top is not None else "",
        sha512="",
    )
    return Outcome(
        cell=f"image {job.spec.name}",
        status=Status.FAILED if failed else Status.DONE if built else Status.SKIPPED,
        reason="" if built else "unchanged",
        findings=findings,
        artifact=made if top is not None else None,
        exit_status=errors.EXIT_FINDINGS if failed else errors.EXIT_OK,
    )


def _inputs(job: Job, base: Base, recipe: Recipe | None) -> Inputs:
    from buildmatrix.images.document import Identity

    named = base.name if base.digest else ""
    identity = Identity(
        version=job.version,
        revision=job.revision,
        created=job.created,
        supplier=job.matrix.project.supplier,
        base_name=named.removeprefix("oci:"),
        base_digest=base.digest,
    )
    return Inputs(
        spec=job.spec,
        matrix=job.matrix,
        identity=identity,
        artifacts=job.artifacts,
        digests=job.digests,
        goroot=job.goroot,
        recipe=recipe.digests if recipe is not None else (),
    )


def _unchanged(job: Job, layout: Layout, digest: str) -> Descriptor | None:
    """The image in the layout where it was made from the same inputs; whether it is intact, the proof will tell."""
    try:
        old = record.read(job.dist, job.spec.name)
        if old is None or old.inputs_digest != digest or not is_layout(layout.path):
            return None
        (top,) = layout.index().manifests
        intact = top.digest == old.index and all(_intact(layout, node) for node in graph.walk(layout, top))
        return top if intact else None
    except (errors.BuildmatrixError, ValueError):
        return None


def _intact(layout: Layout, node: graph.Node) -> bool:
    return all(layout.blob_size(blob.digest) == blob.size for blob in node.manifest.blobs)


def _record(
    basis: attested.Basis,
    digest: str,
    top: Descriptor,
    proven: tuple[proof.Proven, ...],
    documents: tuple[Document, ...],
    *,
    complete: bool,
) -> ImageRecord:
    return ImageRecord(
        name=basis.spec.name,
        engine=basis.spec.engine,
        inputs_digest=digest,
        base=basis.spec.base,
        base_digest=basis.base_digest,
        version=basis.version,
        created=basis.created,
        index=top.digest,
        platforms=tuple(sorted((str(one.platform), one.manifest.digest) for one in proven)),
        recipe=basis.recipe,
        documents=documents,
        complete=complete,
    )


class _Base:
    """The base of an image as a context: a registry's connections are closed at its end."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._registry: Registry | None = None

    def __enter__(self) -> Base:
        spec = self._job.spec
        by_id = {cell.id: cell for cell in self._job.matrix.cells}
        cells = [by_id[f"{spec.binaries[0]}_{target}"] for target in spec.targets]
        wanted = tuple(platforms.parse(platform_of(cell.target)) for cell in cells)
        if spec.base == "scratch":
            return SCRATCH
        if spec.base.startswith("oci:"):
            return self._layout(spec.base.removeprefix("oci:"), wanted)
        where = reference.parse(spec.base)
        self._registry = Registry(where.registry, access=self._job.access, credentials=self._job.credentials)
        repository = self._registry.repository(where.repository)
        return resolve(spec.base, repository, graph.resolve(repository, where.target), wanted)

    def _layout(self, text: str, wanted: tuple[platforms.Platform, ...]) -> Base:
        folder, at, digest = text.partition("@")
        folder, colon, tag = folder.partition(":")
        path = self._job.matrix.root / folder
        if not path.resolve().is_relative_to(self._job.matrix.root.resolve()) or not is_layout(path):
            raise errors.ImageInputInvalid(
                f"base oci:{text}: got no OCI layout inside the project, expected one",
                fix="write one there with skopeo, crane or buildx (type=oci,tar=false), or correct the base",
            )
        layout = Layout(path)
        top = graph.resolve(layout, digest or tag) if at or colon else self._only(layout, text)
        return resolve(f"oci:{text}", layout, top, wanted)

    def _only(self, layout: Layout, text: str) -> Descriptor:
        entries = layout.index().manifests
        if len(entries) == 1:
            return entries[0]
        if entries and all(entry.is_manifest and entry.platform for entry in entries):
            return layout.root().descriptor
        raise errors.ImageInputInvalid(
            f"base oci:{text}: got {len(entries)} images in the layout, expected one",
            why=f"it has the tags {', '.join(layout.tags()) or '(none)'}",
            fix="name one: oci:DIR:TAG or oci:DIR@DIGEST",
        )

    def __exit__(self, *_: object) -> None:
        if self._registry is not None:
            self._registry.close()
