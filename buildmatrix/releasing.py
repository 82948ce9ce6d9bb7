"""The whole way of a release: build, prove, push by digest, sign, attest, judge, and only then tag.

    early rules → build every cell → images → verify dist/ → push, prove and sign by digest → the gate
    → the release statement → tags

Several images are one release: all pass the gate before the first tag is set, and where a tag cannot be set, those of
the other images go back as well.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from buildmatrix import errors, pipeline, prepare, repro, shipping, sources, verify
from buildmatrix.artifact import Outcome
from buildmatrix.dist import Dist
from buildmatrix.images import publish, tags
from buildmatrix.imagespec import ImageSpec
from buildmatrix.matrix import Matrix
from buildmatrix.oci import credentials
from buildmatrix.oci.http import Access
from buildmatrix.oci.reference import Reference
from buildmatrix.oci.registry import Registry
from buildmatrix.prepare import Host
from buildmatrix.process import SubprocessRunner
from buildmatrix.release import checkout, gate, gather, statement
from buildmatrix.release.gate import Verdict
from buildmatrix.release.model import Git, Missing, Said
from buildmatrix.shipping import Shipment
from buildmatrix.signing.check import Context
from buildmatrix.signing.imagecheck import examine
from buildmatrix.signing.imagesign import attest_image
from buildmatrix.signing.keyring import Keyring
from buildmatrix.signing.registry import Attestation, Subject
from buildmatrix.signing.remote import Remote


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What is released, from where to where."""

    matrix: Matrix
    specs: tuple[ImageSpec, ...]
    dist: Path
    targets: Mapping[str, Reference]
    access: Access
    listener: pipeline.Listener


@dataclass(frozen=True, slots=True, kw_only=True)
class Released:
    """How it went. `tags` are those that were set, each REPOSITORY:TAG with its digest; none where anything failed."""

    outcomes: tuple[Outcome, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    tags: tuple[tuple[str, str], ...] = ()

    @property
    def exit_status(self) -> int:
        """The worst of all."""
        if failed := pipeline.exit_status(self.outcomes):
            return failed
        return errors.EXIT_OK if all(item.passed for item in self.verdicts) else errors.EXIT_FINDINGS


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One image on its way: staged under its digest, with what will be stated about it."""

    job: publish.Push
    staged: publish.Staged
    said: Said


def run(work: Work) -> Released:
    """Release. Raises what a registry or a signer answers; whatever is raised, no tag is left that was set here."""
    early = gate.early(work.matrix.release, _git(work), _version(work), work.matrix.signing.backend)
    if not early.passed:
        return Released(verdicts=(early,))
    shipment = shipping.build_cells(
        work.matrix, work.specs, work.dist, work.access, work.listener, cells=work.matrix.cells
    )
    outcomes = shipment.outcomes
    if shipment.ok:
        outcomes += shipping.build_images(shipment, work.listener)
    if _failed(outcomes):
        return Released(outcomes=outcomes)
    # Beyond here dist/ holds everything that ships, and nothing is built any more.
    outcomes = _verified(work, shipment)
    if work.matrix.release.reproducible and not _failed(outcomes):
        outcomes += _built_twice(work, shipment)
    if _failed(outcomes):
        return Released(outcomes=outcomes)
    # Beyond here everything was proven that is here; what follows is about the registry.
    git = _git(work)
    with contextlib.ExitStack() as stack:
        candidates = _staged(work, shipment, git, stack)
        return _through_the_gate(work, shipment, candidates, git, outcomes)


def _failed(outcomes: tuple[Outcome, ...]) -> bool:
    return any(outcome.failed for outcome in outcomes)


def _git(work: Work) -> Git | Missing:
    host = Host.current()
    return checkout.look(work.matrix.root, work.dist, SubprocessRunner(), host.environment)


def _version(work: Work) -> str:
    return prepare.project_version(work.matrix, Host.current(), SubprocessRunner())


def _verified(work: Work, shipment: Shipment) -> tuple[Outcome, ...]:
    return verify.run(
        verify.Verification(
            plan=shipment.plan,
            dist=Dist(work.dist),
            sources=sources.digest(sources.find(work.matrix, work.dist)),
            commit=shipment.commit,
            whole=True,
            host=Host.current(),
            runner=shipment.runner,
            keyring=shipment.keyring,
            release=True,
        )
    )


def _built_twice(work: Work, shipment: Shipment) -> tuple[Outcome, ...]:
    host = Host.current()
    with tempfile.TemporaryDirectory(prefix="buildmatrix-repro-") as scratch:
        return repro.run(
            repro.Repro(
                plan=shipment.plan,
                resolved=prepare.resolve(shipment.plan, host, shipment.runner),
                host=host,
                runner=shipment.runner,
                listener=work.listener,
                scratch=Path(scratch),
            )
        )


def _staged(work: Work, shipment: Shipment, git: Git | Missing, stack: contextlib.ExitStack) -> tuple[Candidate, ...]:
    """Every image in its registry, under digests alone."""
    reproduced, found = work.matrix.release.reproducible or None, []
    for spec in work.specs:
        where = work.targets[spec.name]
        source = credentials.from_environment(shipment.runner)
        registry = stack.enter_context(Registry(where.registry, access=work.access, credentials=source))
        told = shipping.stage_of(work.listener, spec)
        job = shipping.publication(shipment, spec, registry.repository(where.repository), told)
        staged = publish.stage(job)
        found.append(Candidate(job=job, staged=staged, said=said_of(job, staged, git, reproduced)))
    return tuple(found)


def said_of(job: publish.Push, staged: publish.Staged, git: Git | Missing, reproduced: bool | None) -> Said:
    """The release statement of an image that was staged."""
    return Said(
        image=job.spec.name,
        version=job.version,
        created=job.created,
        git=git if isinstance(git, Git) else Git(commit="", changed=(), tags=()),
        reproduced=reproduced,
        plan=gather.planned_of(job.spec, job.plan),
        platforms=tuple(sorted((str(platform), entry.digest) for platform, entry in staged.children)),
    )


def _through_the_gate(
    work: Work,
    shipment: Shipment,
    candidates: tuple[Candidate, ...],
    git: Git | Missing,
    outcomes: tuple[Outcome, ...],
) -> Released:
    outcomes += tuple(_proof_outcome(item) for item in candidates if item.staged.failed)
    if _failed(outcomes):
        return Released(outcomes=outcomes)
    context = context_of(work.matrix, shipment.keyring)
    verdicts = tuple(judge(item, work.matrix, context, git) for item in candidates)
    if not all(verdict.passed for verdict in verdicts):
        return Released(outcomes=outcomes, verdicts=verdicts)
    # Beyond here every image may be released.
    for item in candidates:
        item.job.told("stating the release")
        state(item, shipment.keyring, context)
    # Beyond here whoever looks at a digest finds everything that a release needs.
    set_tags(candidates)
    done = tuple((f"{item.job.repository.name}:{move.tag.name}", move.document.digest)
                 for item in candidates for move in item.staged.moves)  # fmt: skip
    return Released(outcomes=outcomes, verdicts=verdicts, tags=done)


def _proof_outcome(item: Candidate) -> Outcome:
    return shipping.outcome_of(f"image {item.job.spec.name}", item.job.spec.name, publish.pushed(item.staged))


def context_of(matrix: Matrix, keyring: Keyring) -> Context:
    """Whom a release's signatures may be by, now."""
    return Context(policy=keyring.policy(), now=datetime.now(UTC), repositories=matrix.release.promoted_from)


def judge(item: Candidate, matrix: Matrix, context: Context, git: Git | Missing) -> Verdict:
    """The gate over an image that was staged, as it lies in the registry, with the tags that it would get."""
    item.job.told("judging the release")
    known = gather.Known(
        plan=item.said.plan,
        said=item.said,
        git=git,
        tags={move.tag.name: move.document.digest for move in item.staged.moves},
        backend=matrix.signing.backend,
    )
    repository = item.job.repository
    release = gather.gather(repository, Remote(repository), item.staged.index, matrix.release, context, known)
    return gate.judge(release)


def state(item: Candidate, keyring: Keyring, context: Context) -> None:
    """Attest the release statement about the index, and find it in the registry. Raises SigningFailed."""
    remote, digest = Remote(item.job.repository), item.staged.index.digest
    attestation = Attestation(predicate_type=statement.TYPE, predicate=statement.encode(item.said))
    created = datetime.fromtimestamp(item.said.created, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    subject = Subject(digest=digest, attestations=(attestation,))
    attest_image(remote, (subject,), keyring.signer(), created=created)
    found = examine(remote, digest, context)
    said = statement.find(item for _, item in found.statements)
    if found.findings or said not in (item.said, replace(item.said, reproduced=True)):
        why = [line for finding in found.findings for line in finding.lines()]
        why.append(said.why if isinstance(said, Missing) else "it tells of another release")
        raise errors.SigningFailed(
            f"{remote.name}@{digest}: got no good release statement in the registry, expected the one just made",
            why="\n".join(why),
            fix="remove what others attested there, and release again",
        )


def set_tags(candidates: tuple[Candidate, ...]) -> None:
    """The tags of all images, or none: where one image's cannot be set, those of the images before it go back."""
    done: list[Candidate] = []
    try:
        for item in candidates:
            tags.apply(item.job.repository, item.staged.moves, item.job.told)
            done.append(item)
    except BaseException as error:
        left = [
            f"{item.job.repository.name}:{name}"
            for item in reversed(done)
            for name in tags.undo(item.job.repository, item.staged.moves)
        ]
        if left and isinstance(error, errors.BuildmatrixError):
            error.why += f"{'; ' if error.why else ''}these tags could not be set back: {', '.join(left)}"
        raise
