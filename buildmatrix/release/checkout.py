"""The git checkout of a release: its commit, what differs from it, and the commit's tags."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from buildmatrix import errors
from buildmatrix.process import Completed, Runner
from buildmatrix.release.model import Git, Missing

_SECONDS = 60.0


def look(root: Path, dist: Path, runner: Runner, environment: Mapping[str, str]) -> Git | Missing:
    """What git says of the checkout at `root`; the output folder `dist` is not part of it."""

    def git(*arguments: str) -> Completed:
        argv = ("git", "-C", str(root), *arguments)
        return runner.run(argv, env=environment, cwd=root, timeout=_SECONDS)

    try:
        head = git("rev-parse", "--verify", "HEAD^{commit}")
        if not head.ok:
            return Missing(why=f"{root} is no git checkout with a commit: {head.stderr.strip()[:300]}")
        inside = [f":(exclude){dist.relative_to(root)}"] if dist.is_relative_to(root) and dist != root else []
        top = ("status", "--porcelain=v1", "-z", "--untracked-files=all", "--", ":(top)", *inside)
        status = git(*top)
        tags = git("for-each-ref", "--points-at=HEAD", "--format=%(objecttype) %(refname:short)", "refs/tags")
    except errors.BuildmatrixError as error:
        return Missing(why=f"git cannot be asked: {error.what}")
    for done in (status, tags):
        if not done.ok:
            return Missing(why=f"git gives no answer: {done.stderr.strip()[:300]}")
    return Git(commit=head.stdout.strip(), changed=_changed(status.stdout), tags=_tags(tags.stdout))


def _changed(text: str) -> tuple[str, ...]:
    """Paths of `status --porcelain=v1 -z`: two letters, a space, the path; renames have the old path after it."""
    found, words = [], iter(text.split("\0"))
    for word in words:
        if not word:
            continue
        found.append(word[3:])
        if "R" in word[:2] or "C" in word[:2]:
            next(words, None)
    return tuple(sorted(found))


def _tags(text: str) -> tuple[tuple[str, bool], ...]:
    pairs = (line.partition(" ") for line in text.splitlines() if line)
    return tuple(sorted((name, kind == "tag") for kind, _, name in pairs))
