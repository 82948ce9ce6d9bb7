"""Publishes a proven image: by digest, pulled back and proven again, signed, and only then tagged.

    check the tags → push blobs, images, index by digest → read all of it back → prove, and hold what is said
    about it to those bytes → sign and attest → tags

Until the last step nobody sees anything: what has no tag is found only by who knows the digest. Where any
step fails, no tag is moved.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from buildmatrix import errors
from buildmatrix.dist import Dist
from buildmatrix.finding import Finding, Severity
from buildmatrix.images import attested, proof, tags
from buildmatrix.images.record import layout_path
from buildmatrix.imagespec import ImageSpec
from buildmatrix.oci import copy
from buildmatrix.oci import platform as platforms
from buildmatrix.oci.content import Descriptor, Document
from buildmatrix.oci.layout import Layout
from buildmatrix.oci.platform import Platform
from buildmatrix.oci.registry import Repository
from buildmatrix.signing.registry import Subject

Sign = Callable[[Repository, tuple[Subject, ...]], None]
"""Signs an index and each of its children in a repository, attests what is said of them, and verifies all of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Push:
    """One image to publish.

    `version`, `revision` and `created` fill the placeholders of its tags. `base_digest` and `recipe` are those of
    the image's record.
    """

    spec: ImageSpec
    plan: proof.Plan
    dist: Dist
    base_digest: str
    recipe: tuple[tuple[str, str], ...]
    repository: Repository
    version: str
    revision: str
    created: int
    threads: int
    sign: Sign | None
    told: Callable[[str], None]

    @property
    def layout(self) -> Layout:
        """Where it was built."""
        return Layout(layout_path(self.dist, self.spec.name))

    @property
    def basis(self) -> attested.Basis:
        """What its documents must follow from."""
        return attested.Basis(
            spec=self.spec,
            matrix=self.plan.matrix,
            digests=self.plan.digests,
            version=self.version,
            revision=self.revision,
            created=self.created,
            base_digest=self.base_digest,
            recipe=self.recipe,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Pushed:
    """What a push did, or why it did not: with an error among the findings, no tag was moved."""

    index: Descriptor
    moved: int
    tags: tuple[tuple[str, str], ...]
    """Each tag with the digest that it was set to."""
    findings: tuple[Finding, ...]

    @property
    def failed(self) -> bool:
        """Whether no tag was moved."""
        return _failed(self.findings)


def _failed(findings: tuple[Finding, ...]) -> bool:
    return any(item.severity is Severity.ERROR for item in findings)


@dataclass(frozen=True, slots=True, kw_only=True)
class Staged:
    """An image that lies in a registry under its digest, proven, signed and attested, with the tags it would get."""

    index: Descriptor
    children: tuple[tuple[Platform, Descriptor], ...]
    moved: int
    moves: tuple[tags.Move, ...]
    findings: tuple[Finding, ...]

    @property
    def failed(self) -> bool:
        """Whether it may have no tag."""
        return _failed(self.findings)


def push(job: Push) -> Pushed:
    """Publish. Raises TagTaken, and what the registry answers; whatever is raised, no tag was moved."""
    staged = stage(job)
    if not staged.failed:
        tags.apply(job.repository, staged.moves, job.told)
    return pushed(staged)


def pushed(staged: Staged) -> Pushed:
    """What a push comes to whose tags are set, unless it failed."""
    return Pushed(
        index=staged.index,
        moved=staged.moved,
        tags=() if staged.failed else tuple((move.tag.name, move.document.digest) for move in staged.moves),
        findings=staged.findings,
    )


def stage(job: Push) -> Staged:
    """Everything but the tags. Raises TagTaken, and what the registry answers."""
    top = _only(job.layout)
    documents = _documents(job.layout, top)
    wanted = tags.expand(job.spec, tuple(documents), version=job.version, revision=job.revision, created=job.created)
    index = job.layout.manifest(top)
    pairs = tuple((tag, documents[tag.platform] if tag.platform is not None else index) for tag in wanted)
    moves = tags.plan(job.repository, pairs)  # before anything is sent
    job.told("pushing by digest")
    copied = copy.copy(job.layout, job.repository, top.digest, threads=job.threads)
    # Beyond here the registry has every byte, under digests alone.
    job.told("reading it back")
    whole = replace(job.plan, hashes=attested.hashes(job.plan.matrix))
    proven, findings = proof.prove(whole, job.repository, index.descriptor)
    said = attested.read(job.dist, job.spec, attested.names(job.plan.matrix, _platforms(job)))
    if not _failed(findings):
        findings += tuple(attested.differing(job.basis, index.descriptor, proven, said))
    # Beyond here what the registry gives out is what was proven, and what is said about it is true.
    if job.sign is not None and not _failed(findings):
        job.told("signing")
        job.sign(job.repository, attested.subjects(job.basis, index.descriptor, proven, said))
    # Beyond here every signature and attestation is in the registry and was verified there.
    return Staged(
        index=index.descriptor,
        children=tuple((platform, document.descriptor) for platform, document in documents.items()),
        moved=copied.moved,
        moves=moves,
        findings=findings,
    )


def _platforms(job: Push) -> tuple[str, ...]:
    return attested.platforms(job.plan.matrix, job.spec)


def _only(layout: Layout) -> Descriptor:
    entries = layout.index().manifests
    if len(entries) != 1:
        raise errors.ImageMissing(
            f"{layout.path}: got {len(entries)} images in the layout, expected one", fix="build the image again"
        )
    return entries[0]


def _documents(layout: Layout, top: Descriptor) -> dict[Platform, Document]:
    """The manifest of each runnable platform, in the order of the index."""
    return {
        platforms.normalise(entry.platform): layout.manifest(entry)
        for entry in layout.manifest(top).manifest().manifests
        if entry.platform is not None and not entry.platform.unknown
    }
