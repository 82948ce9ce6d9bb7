"""From the matrix to images: what the commands `image`, `push` and `run` share.

The cells that images need are built first, as `build` would (what is unchanged is skipped); an image is
only assembled from artifacts that passed every check in this very run.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from buildmatrix import errors, pipeline, prepare, trust
from buildmatrix.artifact import Artifact, Outcome, Status
from buildmatrix.dist import Dist
from buildmatrix.images import build, proof, publish, record
from buildmatrix.images.build import Job
from buildmatrix.images.record import layout_path
from buildmatrix.imagespec import ImageSpec
from buildmatrix.matrix import Cell, Matrix
from buildmatrix.oci import credentials, platform, reference
from buildmatrix.oci.http import Access
from buildmatrix.oci.layout import Layout
from buildmatrix.oci.reference import Reference
from buildmatrix.oci.registry import Registry, Repository
from buildmatrix.plan import Plan
from buildmatrix.prepare import Commit, Host
from buildmatrix.process import SubprocessRunner
from buildmatrix.signing.check import Context
from buildmatrix.signing.imagecheck import verify_image
from buildmatrix.signing.imagesign import forms_of, sign_image
from buildmatrix.signing.keyring import Keyring
from buildmatrix.signing.registry import Subject
from buildmatrix.signing.remote import Remote


@dataclass(frozen=True, slots=True, kw_only=True)
class Shipment:
    """Images on their way: the plan of their cells, and what building those gave."""

    matrix: Matrix
    specs: tuple[ImageSpec, ...]
    dist: Dist
    plan: Plan
    commit: Commit | None
    created: int
    access: Access
    runner: SubprocessRunner
    keyring: Keyring
    outcomes: tuple[Outcome, ...]

    @property
    def ok(self) -> bool:
        """Whether every cell may ship."""
        return not any(outcome.failed for outcome in self.outcomes)


def select(matrix: Matrix, names: list[str]) -> tuple[ImageSpec, ...]:
    """The images of these names, or all. Raises NothingSelected."""
    known = {spec.name: spec for spec in matrix.images}
    if not known:
        raise errors.NothingSelected(
            f"{matrix.path}: got no [images.NAME], expected at least one",
            fix="declare an image: [images.NAME] with targets = [...]",
        )
    for name in names:
        if name not in known:
            raise errors.NothingSelected(
                f"no image {name!r}: expected one of {', '.join(known)}", fix=f"add [images.{name}] to matrix.toml"
            )
    return tuple(known[name] for name in dict.fromkeys(names)) if names else tuple(known.values())


def cells_of(matrix: Matrix, specs: tuple[ImageSpec, ...]) -> tuple[Cell, ...]:
    """Every cell that the images hold, in the matrix's order."""
    wanted = {f"{binary}_{target}" for spec in specs for binary in spec.binaries for target in spec.targets}
    return tuple(cell for cell in matrix.cells if cell.id in wanted)


def build_cells(
    matrix: Matrix,
    specs: tuple[ImageSpec, ...],
    dist: Path,
    access: Access,
    listener: pipeline.Listener,
    *,
    cells: tuple[Cell, ...] | None = None,
) -> Shipment:
    """Build and check the cells of the images, or `cells`, which hold those."""
    host, runner = Host.current(), SubprocessRunner()
    with ThreadPoolExecutor(1) as aside:
        commit = aside.submit(prepare.commit, matrix, host, runner)
        keyring = prepare.keyring(matrix, host, runner)
        plan = prepare.make_plan(matrix, cells or cells_of(matrix, specs), dist, host, runner)
        outcomes = pipeline.run(
            pipeline.Build(
                plan=plan,
                resolved=prepare.resolve(plan, host, runner),
                dist=Dist(dist),
                runner=runner,
                listener=listener,
                keyring=keyring if keyring.enabled else None,
                commit=commit.result(),
                epoch=prepare.epoch(host, commit.result()),
            )
        )
    return Shipment(
        matrix=matrix,
        specs=specs,
        dist=Dist(dist),
        plan=plan,
        commit=commit.result(),
        created=prepare.epoch(host, commit.result()) or 0,
        access=access,
        runner=runner,
        keyring=keyring,
        outcomes=outcomes,
    )


def build_images(shipment: Shipment, listener: pipeline.Listener, *, force: bool = False) -> tuple[Outcome, ...]:
    """Assemble and prove every image of a shipment whose cells are all fit to ship."""
    digests = {outcome.cell: outcome.artifact.sha256 for outcome in shipment.outcomes if outcome.artifact is not None}
    found = []
    for spec in shipment.specs:
        outcome = build.run(_job(shipment, spec, digests, force), stage_of(listener, spec))
        listener.finished(outcome)
        found.append(outcome)
    return tuple(found)


def stage_of(listener: pipeline.Listener, spec: ImageSpec) -> Callable[[str], None]:
    """Tells a listener what an image is going through."""
    return lambda step: listener.started(f"image {spec.name}", step)


def _job(shipment: Shipment, spec: ImageSpec, digests: Mapping[str, str], force: bool) -> Job:
    cells = cells_of(shipment.matrix, (spec,))
    program = shipment.plan.go.program.resolve()
    return Job(
        spec=spec,
        matrix=shipment.matrix,
        dist=shipment.dist,
        artifacts={cell.id: shipment.dist.folder(cell.id) / cell.file_name for cell in cells},
        digests={cell.id: digests[cell.id] for cell in cells},
        version=shipment.plan.version,
        revision=shipment.commit.hash if shipment.commit is not None else "",
        created=shipment.created,
        goroot=program.parent.parent,
        access=shipment.access,
        credentials=credentials.from_environment(shipment.runner),
        workers=shipment.plan.workers,
        check=shipment.runner.check,
        force=force,
        runner=shipment.runner,
        environment=dict(os.environ),
    )


def repositories(specs: tuple[ImageSpec, ...], override: str | None) -> dict[str, Reference]:
    """Where each image is pushed to, by name. Raises UsageError where nobody said, or one name is for several."""
    if override and len(specs) > 1:
        raise errors.UsageError(
            f"--repository: got one repository for {len(specs)} images, expected one image", fix="name the image"
        )
    found = {}
    for spec in specs:
        text = override or spec.repository
        if not text:
            raise errors.UsageError(
                f"image {spec.name}: nobody said where to push it",
                fix=f"set images.{spec.name}.repository in matrix.toml, or give --repository",
            )
        where = reference.parse(text)
        if where.tag or where.digest:
            raise errors.UsageError(
                f"{text}: got a tag or digest, expected a repository alone", fix="tags come from images.NAME.tags"
            )
        found[spec.name] = where
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagePush:
    """How publishing one image went: the tags that were set, each with its digest."""

    repository: Reference
    outcome: Outcome
    tags: tuple[tuple[str, str], ...] = ()


def push_images(
    shipment: Shipment, targets: Mapping[str, Reference], listener: pipeline.Listener
) -> tuple[ImagePush, ...]:
    """Publish the images of a shipment, one after the other; the first failure leaves the rest unpublished."""
    found: list[ImagePush] = []
    for spec in shipment.specs:
        if found and found[-1].outcome.failed:
            break
        made = _push(shipment, spec, targets[spec.name], stage_of(listener, spec))
        listener.finished(made.outcome)
        found.append(made)
    return tuple(found)


def publication(
    shipment: Shipment, spec: ImageSpec, repository: Repository, told: Callable[[str], None]
) -> publish.Push:
    """What publishing an image of a shipment to a repository takes. Raises ImageMissing where it was not built."""
    digests = {outcome.cell: outcome.artifact.sha256 for outcome in shipment.outcomes if outcome.artifact is not None}
    kept = _record(shipment, spec)
    return publish.Push(
        spec=spec,
        plan=proof.Plan(spec=spec, matrix=shipment.matrix, digests=digests),
        dist=shipment.dist,
        base_digest=kept.base_digest,
        recipe=kept.recipe,
        repository=repository,
        version=shipment.plan.version,
        revision=shipment.commit.hash if shipment.commit is not None else "",
        created=shipment.created,
        threads=shipment.access.threads,
        sign=_sign(shipment),
        told=told,
    )


def _push(shipment: Shipment, spec: ImageSpec, where: Reference, stage: Callable[[str], None]) -> ImagePush:
    name = f"image {spec.name}"
    source = credentials.from_environment(shipment.runner)
    try:
        with Registry(where.registry, access=shipment.access, credentials=source) as registry:
            pushed = publish.push(publication(shipment, spec, registry.repository(where.repository), stage))
    except errors.BuildmatrixError as error:
        outcome = Outcome(cell=name, status=Status.FAILED, reason=str(error), exit_status=error.exit_status)
        return ImagePush(repository=where, outcome=outcome)
    return ImagePush(repository=where, outcome=outcome_of(name, spec.name, pushed), tags=pushed.tags)


def outcome_of(cell: str, name: str, pushed: publish.Pushed) -> Outcome:
    """How publishing an image went, as an outcome."""
    return Outcome(
        cell=cell,
        status=Status.FAILED if pushed.failed else Status.DONE,
        reason="no tag was moved" if pushed.failed else "",
        findings=pushed.findings,
        artifact=Artifact(
            name=name, size=pushed.index.size, sha256=pushed.index.digest.removeprefix("sha256:"), sha512=""
        ),
        exit_status=errors.EXIT_FINDINGS if pushed.failed else errors.EXIT_OK,
    )


def _record(shipment: Shipment, spec: ImageSpec) -> record.ImageRecord:
    found = record.read(shipment.dist, spec.name)
    if found is None:
        raise errors.ImageMissing(
            f"image {spec.name}: got no record, expected one", fix=f"build it: buildmatrix image {spec.name}"
        )
    return found


def run_images(
    shipment: Shipment, platforms: tuple[str, ...], seconds: float, listener: pipeline.Listener
) -> tuple[Outcome, ...]:
    """Start every image of a shipment on the local engine, one outcome for each platform."""
    from buildmatrix.images import smoke

    wanted = tuple(str(platform.parse(name)) for name in platforms)
    found: list[Outcome] = []
    for spec in shipment.specs:
        found += smoke.run(
            smoke.Smoke(
                spec=spec,
                layout=Layout(layout_path(shipment.dist, spec.name)),
                platforms=wanted,
                seconds=seconds,
                check=shipment.runner.check,
                told=stage_of(listener, spec),
            )
        )
    return tuple(found)


def _sign(shipment: Shipment) -> publish.Sign | None:
    """Signs an index and every child, attests their documents, and verifies what then lies in the registry.

    A development key is good for this machine only: with it, or without a backend, images go unsigned.
    """
    keyring = shipment.keyring
    if keyring.signing.backend in (trust.NONE, trust.DEVELOPMENT):
        return None

    def sign(repository: Repository, subjects: tuple[Subject, ...]) -> None:
        remote = Remote(repository)
        created = datetime.fromtimestamp(shipment.created, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        sign_image(remote, subjects, keyring.signer(), created=created)
        context = Context(policy=keyring.policy(), now=datetime.now(UTC))
        if findings := verify_image(remote, subjects, context, forms=forms_of(keyring.signer())):
            raise errors.SigningFailed(
                f"{remote.name}: got signatures in the registry that are not good, expected none",
                why="\n".join(line for finding in findings for line in finding.lines()),
                fix="remove what others pushed there, and push again",
            )

    return sign
