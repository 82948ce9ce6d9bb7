"""Sets tags of a registry back to an earlier release: judged first, then one after the other, keeping what they were.

A tag that is moved leaves what it was under NAME.previous, so that there is a way forward again and the registry does
not collect it. Setting one tag is one request, which a registry carries out or does not; several are not, so that a
failure between two says exactly which were set, and a second run sets the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from buildmatrix import errors
from buildmatrix.oci import graph, reference
from buildmatrix.oci.content import Descriptor
from buildmatrix.oci.registry import Repository
from buildmatrix.release import terms as by
from buildmatrix.release.gate import Verdict
from buildmatrix.release.rules import tags as tag_rules
from buildmatrix.release.terms import Terms
from buildmatrix.releasespec import ReleaseSpec

PREVIOUS = ".previous"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One tag: what it was, and whether it was moved."""

    tag: str
    before: str
    moved: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RolledBack:
    """How it went; with a verdict that did not pass, nothing was touched."""

    digest: str
    verdict: Verdict
    steps: tuple[Step, ...] = ()


def rollback(
    repository: Repository, names: tuple[str, ...], to: str, terms: Terms, *, dry_run: bool, told: Callable[[str], None]
) -> RolledBack:
    """Set the tags `names` to what the tag or digest `to` leads to.

    Raises UsageError for tags that name a version, NotInRegistry for those that are not there, TagTaken where somebody
    moves one at the same time before any was set, and TagsPartlyMoved where only some were set.
    """
    for name in names:
        _may_move(name, terms.policy)
    before = {name: graph.resolve(repository, name) for name in dict.fromkeys(names)}
    top = graph.resolve(repository, to)
    told("judging the release to go back to")
    release, verdict = by.judge(repository, top.digest, terms, tags=tuple((name, top.digest) for name in before))
    wanted = [name for name, held in before.items() if held.digest != release.index]
    steps = tuple(Step(tag=name, before=held.digest, moved=name in wanted) for name, held in before.items())
    if not verdict.passed:
        return RolledBack(digest=release.index, verdict=verdict)
    if not dry_run:
        _move(repository, {name: before[name] for name in wanted}, release.index, told)
    return RolledBack(digest=release.index, verdict=verdict, steps=steps)


def _may_move(name: str, policy: ReleaseSpec) -> None:
    if tag_rules.names_release(policy, name) or name.endswith(PREVIOUS):
        raise errors.UsageError(
            f"{name}: got a tag that names one release, expected one that is meant to move, such as production",
            why="whoever deploys a version again must get what was tested",
            fix="set back the tag that deployments follow; or deploy the earlier version by its own tag",
        )
    reference.check_tag(f"{name}{PREVIOUS}")


def _move(repository: Repository, before: dict[str, Descriptor], digest: str, told: Callable[[str], None]) -> None:
    document = repository.manifest(digest)
    done: list[str] = []
    try:
        for name, held in before.items():
            _unmoved(repository, name, held)
            told(f"setting {name} back")
            repository.put_manifest(repository.manifest(held), f"{name}{PREVIOUS}")
            repository.put_manifest(document, name)
            _set(repository, name, digest)
            done.append(name)
    except (errors.BuildmatrixError, KeyboardInterrupt) as error:
        raise _partly(repository, before, digest, done, error) from error


def _unmoved(repository: Repository, name: str, held: Descriptor) -> None:
    now = repository.resolve(name)
    if now is None or now.digest != held.digest:
        raise errors.TagTaken(
            f"{repository.name}:{name} was moved meanwhile "
            f"(got {now.digest if now is not None else 'no such tag'}, expected {held.digest})",
            why="somebody else sets the same tag at the same time",
            fix="let one of the two end, look at what the tag is now, and run this again",
        )


def _set(repository: Repository, name: str, digest: str) -> None:
    now = repository.resolve(name)
    if now is None or now.digest != digest:
        raise errors.TagTaken(
            f"{repository.name}:{name} is not what it was just set to "
            f"(got {now.digest if now is not None else 'no such tag'}, expected {digest})",
            why="somebody else sets the same tag at the same time",
            fix="let one of the two end, look at what the tag is now, and run this again",
        )


def _partly(
    repository: Repository, before: dict[str, Descriptor], digest: str, done: list[str], error: BaseException
) -> BaseException:
    """The error that tells of every tag where it is; what failed itself where no tag was set."""
    where: dict[str, list[str]] = {"set": list(done), "not set": [], "not known": []}
    for name in before:
        if name not in done:
            where[_state(repository, name, digest)].append(name)
    if not where["set"] and not where["not known"]:
        return error
    told = "; ".join(f"{word}: {', '.join(names)}" for word, names in where.items() if names)
    cause = str(error).replace("\n", "; ") if isinstance(error, errors.BuildmatrixError) else "it was interrupted"
    return errors.TagsPartlyMoved(
        f"{repository.name}: got some of {len(before)} tags set to {digest}, expected all ({told})",
        why=cause,
        fix="run the same command again: tags that are set stay, and the rest is set",
    )


def _state(repository: Repository, name: str, digest: str) -> str:
    """Where a tag is after a failure: the answer may have been lost after the registry did what was asked."""
    try:
        now = repository.resolve(name)
    except errors.BuildmatrixError:
        return "not known"
    return "set" if now is not None and now.digest == digest else "not set"
