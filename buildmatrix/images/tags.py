"""Tags of an image: what they expand to, which may move, and setting them all or none.

A tag that names a version must keep naming the same image: whoever deploys it again must get what was
tested. So a tag that exists with another digest is refused, unless images.NAME.moving-tags says that it
may move. Two-part versions and `latest` always move, so they must be declared there.
"""

from __future__ import annotations

import datetime
import fnmatch
import re
from collections.abc import Callable
from dataclasses import dataclass

from buildmatrix import arch, errors
from buildmatrix.imagespec import ImageSpec
from buildmatrix.oci import reference
from buildmatrix.oci.content import Descriptor, Document
from buildmatrix.oci.platform import Platform
from buildmatrix.oci.registry import Repository

_FLOATING = re.compile(r"v?\d+(\.\d+)?|latest|stable|edge|main|master|nightly|dev")
"""Names that stand for «the newest of a kind»."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tag:
    """One tag and what it is set on: a platform's manifest, or the index where `platform` is None."""

    name: str
    platform: Platform | None
    moving: bool


def timestamp(seconds: int) -> str:
    """A time as tags carry it: ``20240522T1430Z``."""
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y%m%dT%H%MZ")


def expand(
    spec: ImageSpec, platforms: tuple[Platform, ...], *, version: str, revision: str, created: int
) -> tuple[Tag, ...]:
    """Every tag of an image, those of its platforms first.

    Raises TagTaken for a name that may not be used, with the rule; two tags of one name are one mistake.
    """
    words = {"version": version.replace("+", "-"), "timestamp": timestamp(created), "commit": revision[:12]}
    found: list[Tag] = []
    for text in spec.tags:
        if "{machine}" in text:
            found += [_tag(spec, text, {**words, "machine": machine(item)}, item) for item in platforms]
        else:
            found.append(_tag(spec, text, words, None))
    names = [tag.name for tag in found]
    for name in names:
        if names.count(name) > 1:
            raise errors.TagTaken(
                f"images.{spec.name}.tags: {name} twice, on different images",
                fix="put {machine} into tags of platforms, and give each tag another form",
            )
    return tuple(sorted(found, key=lambda tag: tag.platform is None))


def floats(name: str) -> bool:
    """Whether a tag stands for the newest of a kind: a version of one or two parts, or a name such as `stable`."""
    return _FLOATING.fullmatch(name) is not None


def machine(platform: Platform) -> str:
    """The uname name of a platform, with the variant where two of them share it: ``aarch64``, ``armv7l``."""
    row = arch.BY_GOARCH[arch.normalise(platform.architecture) or platform.architecture]
    if row.goarch == "arm":
        return f"arm{platform.variant or 'v7'}l"
    return row.uname


def _tag(spec: ImageSpec, text: str, words: dict[str, str], platform: Platform | None) -> Tag:
    name = text
    for word, value in words.items():
        if f"{{{word}}}" in name and not value:
            raise errors.TagTaken(
                f"images.{spec.name}.tags: {{{word}}} in {text!r} stands for nothing",
                why="there is no git checkout here",
                fix="build in a checkout, or use another placeholder",
            )
        name = name.replace(f"{{{word}}}", value)
    if not reference.TAG.fullmatch(name):
        raise errors.TagTaken(
            f"images.{spec.name}.tags: {name!r} is no tag",
            why="a tag has up to 128 letters, digits, dots, dashes and underscores, and begins with neither of the two",
            fix="correct the tag, or the version that it is made of",
        )
    moving = any(fnmatch.fnmatchcase(name, glob) for glob in spec.moving_tags)
    if floats(name) and not moving:
        raise errors.TagTaken(
            f"images.{spec.name}.tags: got {name}, expected a tag that keeps naming one image",
            why="whoever deploys it twice may get two different images, and cannot go back",
            fix=f'use a full version, or declare it: images.{spec.name}.moving-tags = ["{name}"]',
        )
    return Tag(name=name, platform=platform, moving=moving)


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """A tag with the document that it shall point to, and what it pointed to when the push began."""

    tag: Tag
    document: Document
    before: Descriptor | None


def plan(repository: Repository, tags: tuple[tuple[Tag, Document], ...]) -> tuple[Move, ...]:
    """What setting the tags means. Raises TagTaken for one that another image has and that may not move."""
    moves = []
    for tag, document in tags:
        before = repository.resolve(tag.name)
        if before is not None and before.digest != document.digest and not tag.moving:
            raise errors.TagTaken(
                f"{repository.name}:{tag.name} is taken (got {before.digest}, expected {document.digest} or none)",
                why="a tag that names a version must keep naming the same image",
                fix="release under a new version; or declare it in moving-tags if it is meant to move",
            )
        moves.append(Move(tag=tag, document=document, before=before))
    return tuple(moves)


def apply(repository: Repository, moves: tuple[Move, ...], told: Callable[[str], None]) -> None:
    """Set every tag, or none: where one cannot be set, those that were set before go back.

    Raises TagTaken where somebody else moved a tag since `plan`, and what the registry answers.
    """
    done: list[Move] = []
    try:
        for move in moves:
            _unmoved(repository, move)
            told(f"tagging {move.tag.name}")
            done.append(move)  # before the request: a lost answer may hide a tag that was set
            repository.put_manifest(move.document, move.tag.name)
        for move in moves:
            _ours(repository, move)
    except BaseException as error:
        left = undo(repository, tuple(done))
        if left and isinstance(error, errors.BuildmatrixError):
            error.why += f"{'; ' if error.why else ''}these tags could not be set back: {', '.join(left)}"
        raise


def _unmoved(repository: Repository, move: Move) -> None:
    now = repository.resolve(move.tag.name)
    was = move.before.digest if move.before is not None else "no such tag"
    if (now.digest if now is not None else "no such tag") != was:
        raise _raced(repository, move, now, was)


def _ours(repository: Repository, move: Move) -> None:
    now = repository.resolve(move.tag.name)
    if now is None or now.digest != move.document.digest:
        raise _raced(repository, move, now, move.document.digest)


def _raced(repository: Repository, move: Move, now: Descriptor | None, expected: str) -> errors.TagTaken:
    return errors.TagTaken(
        f"{repository.name}:{move.tag.name} was moved meanwhile "
        f"(got {now.digest if now is not None else 'no such tag'}, expected {expected})",
        why="another push sets the same tag at the same time",
        fix="let one of the two end, look at what the tag is now, and push again",
    )


def undo(repository: Repository, done: tuple[Move, ...]) -> list[str]:
    """Set back what still points to what we set; returns the tags that could not be."""
    left = []
    for move in reversed(done):
        try:
            now = repository.resolve(move.tag.name)
            if now is None or now.digest != move.document.digest:
                continue  # never set, or somebody else's now
            if move.before is None:
                if not _delete_tag(repository, move):
                    left.append(move.tag.name)
            elif move.before.digest != move.document.digest:
                repository.put_manifest(repository.manifest(move.before), move.tag.name)
        except errors.BuildmatrixError:
            left.append(move.tag.name)
    return left


def _delete_tag(repository: Repository, move: Move) -> bool:
    """Delete a tag that did not exist before; registries without tag deletion keep it."""
    try:
        return repository.delete(move.tag.name) and repository.resolve(move.tag.name) is None
    except errors.BuildmatrixError:
        return False
