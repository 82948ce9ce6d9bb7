"""Tags: a release is found by version, by architecture and by time, and under no name that means another tomorrow."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator

from buildmatrix.images import tags
from buildmatrix.oci.platform import Platform
from buildmatrix.release.model import Missing, Release
from buildmatrix.release.rules.rule import Broken, Rule, unknown
from buildmatrix.releasespec import ReleaseSpec

_VERSION = r"v?\d+\.\d+\.\d+.*"
_COMMON = rf"{_VERSION}|.*-\d{{8}}T\d{{4}}Z"
_PLACEHOLDER = re.compile(r"\\{([a-z]+)\\}")
_FIX = "release with images.NAME.tags that hold release.version-tag and release.platform-tag"


def expected(
    policy: ReleaseSpec, platforms: tuple[Platform, ...], *, version: str, created: int, commit: str
) -> dict[str, Platform | None]:
    """The tags that a release must have, each with the platform that it is for; None is the index."""
    words = {"version": version.replace("+", "-"), "timestamp": tags.timestamp(created), "commit": commit[:12]}
    found: dict[str, Platform | None] = {}
    for platform in platforms:
        found[_filled(policy.platform_tag, words | {"machine": tags.machine(platform)})] = platform
    return found | {_filled(policy.version_tag, words): None}


def _filled(text: str, words: dict[str, str]) -> str:
    for word, value in words.items():
        text = text.replace(f"{{{word}}}", value)
    return text


def wanted(release: Release) -> dict[str, tuple[Platform | None, str]]:
    """The tags that a release must have, each with its platform and digest; none where its version is not known."""
    if isinstance(release.said, Missing):
        return {}
    said, have = release.said, {entry.platform: entry.digest for entry in release.entries if entry.platform is not None}
    names = expected(release.policy, tuple(have), version=said.version, created=said.created, commit=said.git.commit)
    return {
        name: (platform, have[platform] if platform is not None else release.index) for name, platform in names.items()
    }


def names_release(policy: ReleaseSpec, name: str) -> bool:
    """Whether a tag names one release for good, in this policy's form or a common one."""
    own = (_PLACEHOLDER.sub(_any, re.escape(text)) for text in (policy.version_tag, policy.platform_tag))
    return any(re.fullmatch(pattern, name) for pattern in (*own, _COMMON))


def _any(placeholder: re.Match[str]) -> str:
    return _VERSION if placeholder[1] == "version" else ".+"


def forbidden(policy: ReleaseSpec, name: str) -> bool:
    """Whether no release may have a tag."""
    globbed = any(fnmatch.fnmatchcase(name, glob) for glob in policy.forbidden_tags)
    return globbed or (policy.floating_tags == "forbid" and tags.floats(name))


def _complete(release: Release) -> Iterator[Broken]:
    if isinstance(release.said, Missing):
        yield unknown("version and time of the release are not known", release.said.why, _FIX)
        return
    if isinstance(release.tags, Missing):
        yield unknown("the tags are not known", release.tags.why, "let the registry list its tags")
        return
    if names_release(release.policy, release.asked) and release.asked not in wanted(release):
        yield Broken(
            what=f"tag {release.asked} leads to another release (got {release.said.version})",
            why="somebody moved a tag that names a version: it may hide what that version mended",
            fix=f"find out who moved it; release {release.said.version} has tags of its own",
        )
    for name, (platform, digest) in wanted(release).items():
        got = release.tags.get(name)
        if got != digest:
            yield Broken(
                what=f"tag {name} for {platform or 'the index'} (got {got or 'no such tag'}, expected {digest})",
                why="without architecture and time in a tag nobody can pin, or go back to, one platform's build",
                fix=_FIX,
            )


def _none_forbidden(release: Release) -> Iterator[Broken]:
    if isinstance(release.tags, Missing):
        yield unknown("the tags are not known", release.tags.why, "let the registry list its tags")
        return
    for name, digest in sorted(release.tags.items()):
        if digest in release.digests and forbidden(release.policy, name):
            yield Broken(
                what=f"tag {name} leads to the {release.label(digest)} (got a forbidden tag, expected none)",
                why="it will lead to another image tomorrow: whoever deploys by it cannot say what runs, or go back",
                fix="take it out of images.NAME.tags and off the registry; or allow it with release.forbidden-tags "
                "and release.floating-tags",
            )


COMPLETE = Rule(
    code="BM900",
    title="tags carry version, architecture and time",
    broken="release without a tag for its version, or for a platform's architecture and time",
    run=_complete,
)
FORBIDDEN = Rule(
    code="BM901",
    title="no forbidden tag",
    broken="release under a forbidden tag, such as latest or v2.3",
    run=_none_forbidden,
)
