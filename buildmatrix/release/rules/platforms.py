"""Platforms: the pushed index has every planned platform once, and no other."""

from __future__ import annotations

from collections.abc import Iterator

from buildmatrix.oci import platform as platforms
from buildmatrix.release.model import Missing, Release
from buildmatrix.release.rules.rule import Broken, Rule, unknown

_WHY = "a node of a platform that is missing cannot pull the image, and nobody has checked an unplanned one"


def _run(release: Release) -> Iterator[Broken]:
    if isinstance(release.plan, Missing):
        yield unknown("the planned platforms are not known", release.plan.why, "name the matrix with --matrix")
        return
    wanted = [platforms.normalise(item.platform) for item in release.plan]
    have = [platforms.normalise(entry.platform) for entry in release.entries if entry.platform is not None]
    nameless = [entry for entry in release.entries if entry.platform is None]
    rows = [("missing from", item) for item in wanted if item not in have]
    rows += [("unplanned in", item) for item in dict.fromkeys(have) if item not in wanted]
    rows += [("twice in", item) for item in platforms.duplicates(have)]
    for what, item in rows:
        yield Broken(
            what=f"platform {item} {what} the index",
            evidence=f"index has {_names(have)}; planned are {_names(wanted)}",
            why=_WHY,
            fix="build and release the image again, or correct images.NAME.targets",
        )
    for entry in nameless:
        yield Broken(
            what=f"entry {entry.digest[:19]} of the index names no platform",
            why=_WHY,
            fix="build the image again; every entry of an index of images has a platform",
        )


def _names(items: list[platforms.Platform]) -> str:
    return ", ".join(map(str, items)) or "none"


PLATFORMS = Rule(
    code="BM902",
    title="every planned platform is in the index",
    broken="platforms of a pushed index are not the planned ones",
    run=_run,
)
