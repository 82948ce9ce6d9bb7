"""The release statement: it is there, fits the index that it is about, and the images hold what it names."""

from __future__ import annotations

from collections.abc import Iterator

from buildmatrix.release.model import Missing, Release, Said
from buildmatrix.release.rules.rule import Broken, Rule

_FIX = "release it with `buildmatrix release`, which states what it released"


def _run(release: Release) -> Iterator[Broken]:
    said = release.said
    if isinstance(said, Missing):
        yield Broken(
            what=f"got no release statement by the expected identity, expected one ({said.why})",
            why="version, commit and promises of a release stand in no image: somebody must have signed for them",
            fix=_FIX,
        )
        return
    if release.image and said.image != release.image:
        yield Broken(
            what=f"the release statement is about another image (got {said.image}, expected {release.image})",
            why="one image was published in the place of another",
            fix="release the right one there, or name it with --image",
        )
    have = {str(entry.platform): entry.digest for entry in release.entries}
    for platform, digest in said.platforms:
        if have.get(platform) != digest:
            yield Broken(
                what=f"the release statement is about another image for {platform} "
                f"(got {digest}, expected {have.get(platform, 'no such platform')})",
                why="it was made for another release",
                fix=_FIX,
            )
    yield from _binaries(release, said)


def _binaries(release: Release, said: Said) -> Iterator[Broken]:
    by_platform = {str(image.platform): image for image in release.images}
    for planned in said.plan:
        image = by_platform.get(str(planned.platform))
        if image is None:
            continue
        if isinstance(image.programs, Missing):
            yield Broken(
                what=f"the image for {image.platform} cannot be read", why=image.programs.why, fix="push it again"
            )
            continue
        held = {program.sha256 for program in image.programs}
        for binary in planned.binaries:
            if binary.sha256 and binary.sha256 not in held:
                yield Broken(
                    what=f"{image.platform} {binary.path}: not in the image (expected sha256:{binary.sha256})",
                    evidence=image.digest,
                    why="what was checked and stated is another file than what would run",
                    fix=_FIX,
                )


STATEMENT = Rule(
    code="BM912",
    title="the release statement fits",
    broken="release statement missing, or about other bytes",
    run=_run,
)
