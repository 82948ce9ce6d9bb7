"""By what a release that lies in a registry is judged: whom to trust, which rules, and what was planned."""

from __future__ import annotations

from dataclasses import dataclass, replace

from buildmatrix.errors import UsageError
from buildmatrix.images import proof
from buildmatrix.imagespec import ImageSpec
from buildmatrix.matrix import Matrix
from buildmatrix.oci import graph
from buildmatrix.oci.registry import Repository
from buildmatrix.release import gate, gather
from buildmatrix.release.gate import Verdict
from buildmatrix.release.model import Planned, Release
from buildmatrix.releasespec import ReleaseSpec
from buildmatrix.signing.check import Context
from buildmatrix.signing.remote import Remote


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """Without a `matrix` the plan is what the signed release statement says. `image` names one of the matrix."""

    policy: ReleaseSpec
    context: Context
    matrix: Matrix | None = None
    image: str = ""

    def promoted_from(self, name: str) -> Terms:
        """The same for another repository, where the image is the one of `name`, and signatures for that are good."""
        more = tuple(dict.fromkeys((*self.context.repositories, name)))
        image = _spec(self.matrix, self.image, name).name if self.matrix is not None else ""
        return replace(self, context=replace(self.context, repositories=more), image=image)


def judge(
    repository: Repository, target: str, terms: Terms, *, tags: tuple[tuple[str, str], ...] = ()
) -> tuple[Release, Verdict]:
    """The release that a tag or digest leads to, and what the gate says of it.

    `tags` are those that are about to be set, with their digests. Raises NotInRegistry where there is no such release,
    and what the registry answers.
    """
    top = graph.resolve(repository, target)
    spec = spec_of(terms, repository.name)
    known = gather.Known(
        plan=planned(terms, spec),
        tags=dict(tags),
        asked=target if ":" not in target else "",
        image=spec.name if spec is not None else "",
    )
    release = gather.gather(repository, Remote(repository), top, terms.policy, terms.context, known)
    return release, gate.judge(release)


def planned(terms: Terms, spec: ImageSpec | None) -> tuple[Planned, ...] | None:
    """What the matrix plans for an image; None where there is no matrix to say so."""
    if terms.matrix is None or spec is None:
        return None
    return gather.planned_of(spec, proof.Plan(spec=spec, matrix=terms.matrix, digests={}))


def spec_of(terms: Terms, repository: str) -> ImageSpec | None:
    """The image of the matrix that lies in a repository. Raises UsageError where it may be several, or none."""
    return _spec(terms.matrix, terms.image, repository) if terms.matrix is not None else None


def _spec(matrix: Matrix, image: str, repository: str) -> ImageSpec:
    if image:
        found = [spec for spec in matrix.images if spec.name == image]
    else:
        found = [spec for spec in matrix.images if spec.repository == repository]
        found = found or list(matrix.images)
    if len(found) == 1:
        return found[0]
    names = ", ".join(spec.name for spec in matrix.images) or "none"
    raise UsageError(
        f"{repository}: got {len(found)} images in {matrix.path} that it may be, expected one",
        fix=f"name it with --image (there is {names})",
    )
