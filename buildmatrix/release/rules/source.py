"""Sources: a release is built from a clean checkout of an annotated tag, and can be built again."""

from __future__ import annotations

from collections.abc import Iterator

from buildmatrix.release.model import Missing, Release
from buildmatrix.release.rules.rule import Broken, Rule, unknown

_SHOWN = 5
_ASK = "release from a git checkout"


def _clean(release: Release) -> Iterator[Broken]:
    if isinstance(release.git, Missing):
        yield unknown("the checkout is not known", release.git.why, _ASK)
        return
    changed = release.git.changed
    if changed:
        more = f" and {len(changed) - _SHOWN} more" if len(changed) > _SHOWN else ""
        yield Broken(
            what=f"got {len(changed)} changed or untracked files in the checkout, expected none",
            evidence=", ".join(changed[:_SHOWN]) + more,
            why="what was built is in no commit: nobody can review it, or build it again",
            fix="commit or remove them; let .gitignore name what builds leave behind",
        )


def _annotated(release: Release) -> Iterator[Broken]:
    if isinstance(release.git, Missing):
        yield unknown("the checkout is not known", release.git.why, _ASK)
        return
    if isinstance(release.said, Missing):
        yield unknown("the version is not known", release.said.why, _ASK)
        return
    version = release.said.version.removesuffix("-dirty")  # which is CLEAN's to tell
    wanted = (version, version if version.startswith("v") else f"v{version}")
    fitting = dict(item for item in release.git.tags if item[0] in wanted)
    if any(fitting.values()):
        return
    got = "a lightweight tag" if fitting else "no such tag"
    yield Broken(
        what=f"tag {' or '.join(dict.fromkeys(wanted))} of commit {release.git.commit[:12]} "
        f"(got {got}, expected an annotated one)",
        evidence=", ".join(name for name, _ in release.git.tags) or "the commit has no tag",
        why="only an annotated tag says who released what, when, and can be signed",
        fix=f'git tag -a {wanted[-1]} -m "…", then release again',
    )


def _reproduced(release: Release) -> Iterator[Broken]:
    if isinstance(release.said, Missing):
        yield unknown("nobody said whether it was built twice", release.said.why, "release with reproducible = true")
    elif release.said.reproduced is not True:
        got = "different bytes" if release.said.reproduced is False else "one build"
        yield Broken(
            what=f"got {got}, expected two builds with equal bytes",
            why="a build that cannot be repeated cannot be checked by anybody else",
            fix="run `buildmatrix repro`, correct what differs, and release with release.reproducible = true",
        )


CLEAN = Rule(
    code="BM907",
    title="built from a clean checkout",
    broken="release built from a checkout with changes",
    run=_clean,
    applies=lambda release: release.policy.clean_tree,
)
ANNOTATED = Rule(
    code="BM908",
    title="the commit has an annotated tag of the version",
    broken="commit of a release without an annotated tag of its version",
    run=_annotated,
    applies=lambda release: release.policy.annotated_tag,
)
REPRODUCED = Rule(
    code="BM909",
    title="built twice, with equal bytes",
    broken="release that was not built twice with equal bytes",
    run=_reproduced,
    applies=lambda release: release.policy.reproducible,
)
