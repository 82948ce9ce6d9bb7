"""Takes a release to another registry or repository: judged, copied by digest with all that belongs to it, and judged.

    judge at the source → tags free at the destination? → copy index, images, signatures, attestations by digest
    → everything there? → judge at the destination → tags, all or none

Until the last step nobody sees anything; a second run goes on where the first one ended.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from buildmatrix import errors
from buildmatrix.images import tags
from buildmatrix.images.tags import Tag
from buildmatrix.oci import content, copy, media
from buildmatrix.oci.registry import Repository
from buildmatrix.oci.store import Source
from buildmatrix.release import terms as by
from buildmatrix.release.gate import Verdict
from buildmatrix.release.model import Release
from buildmatrix.release.rules import tags as tag_rules
from buildmatrix.release.terms import Terms


@dataclass(frozen=True, slots=True, kw_only=True)
class Promoted:
    """How it went: the gate at the source, then at the destination; `tags` with their digests where both let it pass.

    `moved` counts the blobs whose bytes were sent.
    """

    digest: str
    verdicts: tuple[Verdict, ...]
    tags: tuple[tuple[str, str], ...] = ()
    moved: int = 0

    @property
    def passed(self) -> bool:
        """Whether the release is at its destination, with its tags."""
        return bool(self.tags)


def promote(
    source: Repository, target: str, destination: Repository, terms: Terms, *, threads: int, told: Callable[[str], None]
) -> Promoted:
    """Promote what `target` leads to. Raises TagTaken, PromotionFailed and what the registries answer.

    Whatever is raised, no tag at the destination was moved.
    """
    told("judging the release at its source")
    release, here = by.judge(source, target, terms)
    if not here.passed:
        return Promoted(digest=release.index, verdicts=(here,))
    moves = tags.plan(destination, _pairs(source, release))
    nothing_lost(source, destination, release.digests)
    told("copying by digest")
    copied = copy.copy(source, destination, release.index, threads=threads)
    # Beyond here the destination has every byte, under digests and signature tags alone.
    arrived(source, destination, release.digests)
    told("judging the release at its destination")
    wanted = tuple((move.tag.name, move.document.digest) for move in moves)
    same = terms.promoted_from(source.name)
    _, there = by.judge(destination, release.index, same, tags=wanted)
    if not there.passed:
        return Promoted(digest=release.index, verdicts=(here, there), moved=copied.moved)
    # Beyond here the destination holds the same release.
    tags.apply(destination, moves, told)
    return Promoted(digest=release.index, verdicts=(here, there), tags=wanted, moved=copied.moved)


def _pairs(source: Repository, release: Release) -> tuple[tuple[Tag, content.Document], ...]:
    """The tags that the rules ask for, platforms first: none else goes along."""
    return tuple(
        (Tag(name=name, platform=platform, moving=False), source.manifest(digest))
        for name, (platform, digest) in tag_rules.wanted(release).items()
    )


def nothing_lost(source: Source, destination: Source, digests: tuple[str, ...]) -> None:
    """Refuse to replace a signature tag at the destination that holds what the source's does not.

    Raises PromotionFailed.
    """
    for tag in _signature_tags(digests):
        there, here = destination.resolve(tag), source.resolve(tag)
        if there is None or here is None or there.digest == here.digest:
            continue
        kept = {item.digest for item in source.manifest(here).manifest().layers}
        lost = [item.digest for item in destination.manifest(there).manifest().layers if item.digest not in kept]
        if lost:
            raise errors.PromotionFailed(
                f"{destination.name}:{tag} holds signatures that {source.name} does not have "
                f"(got {len(lost)} more, expected none)",
                why="copying the source's tag would lose them",
                fix="copy them to the source first, or remove the tag at the destination if they are not needed",
            )


def arrived(source: Source, destination: Source, digests: tuple[str, ...]) -> None:
    """Hold what belongs to each digest at the destination to the source. Raises PromotionFailed."""
    lacking: list[str] = []
    for digest in digests:
        here = {item.digest for item in source.referrers(digest)}
        there = {item.digest for item in destination.referrers(digest)}
        lacking += sorted(here - there)
    for tag in _signature_tags(digests):
        wanted, got = source.resolve(tag), destination.resolve(tag)
        if wanted is not None and (got is None or got.digest != wanted.digest):
            lacking.append(tag)
    if lacking:
        raise errors.PromotionFailed(
            f"{destination.name}: got a release without {', '.join(lacking)}, expected all that belongs to it",
            why="the destination took them and does not have them, or somebody changes them at the same time",
            fix="promote it again; what is there already is not sent twice",
        )


def _signature_tags(digests: tuple[str, ...]) -> Iterator[str]:
    return (media.legacy_tag(digest, suffix) for digest in digests for suffix in media.LEGACY_SUFFIXES)
