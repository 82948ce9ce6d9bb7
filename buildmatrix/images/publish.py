"""Publishes a proven image: by digest, pulled back and proven again, signed, and only then tagged.

    check the tags → push blobs, images, index by digest → read all of it back → prove → sign → tags

Until the last step nobody sees anything: what has no tag is found only by who knows the digest. Where any
step fails, no tag is moved.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from buildmatrix import errors
from buildmatrix.finding import Finding, Severity
from buildmatrix.images import proof, tags
from buildmatrix.imagespec import ImageSpec
from buildmatrix.oci import copy
from buildmatrix.oci import platform as platforms
from buildmatrix.oci.content import Descriptor, Document
from buildmatrix.oci.layout import Layout
from buildmatrix.oci.platform import Platform
from buildmatrix.oci.registry import Repository

Sign = Callable[[Repository, Descriptor, tuple[Descriptor, ...]], None]
"""Signs an index and each of its children in a repository, and verifies the signatures there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Push:
    """One image to publish. `version`, `revision` and `created` fill the placeholders of its tags."""

    spec: ImageSpec
    plan: proof.Plan
    layout: Layout
    repository: Repository
    version: str
    revision: str
    created: int
    threads: int
    sign: Sign | None
    told: Callable[[str], None]


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
        return any(item.severity is Severity.ERROR for item in self.findings)


def push(job: Push) -> Pushed:
    """Publish. Raises TagTaken, and what the registry answers; whatever is raised, no tag was moved."""
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
    _, findings = proof.prove(job.plan, job.repository, index.descriptor)
    if any(item.severity is Severity.ERROR for item in findings):
        return Pushed(index=index.descriptor, moved=copied.moved, tags=(), findings=findings)
    # Beyond here what the registry gives out is what was proven.
    if job.sign is not None:
        job.told("signing")
        job.sign(job.repository, index.descriptor, tuple(document.descriptor for document in documents.values()))
    # Beyond here every signature is in the registry and was verified there.
    tags.apply(job.repository, moves, job.told)
    set_to = tuple((tag.name, document.digest) for tag, document in pairs)
    return Pushed(index=index.descriptor, moved=copied.moved, tags=set_to, findings=findings)


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
