"""What a release rule is: a code, a title and a pure function from a Release to findings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from buildmatrix.finding import Finding
from buildmatrix.release.model import Release


@dataclass(frozen=True, slots=True, kw_only=True)
class Broken:
    """One way in which a rule is broken: `what` with got and expected, evidence, cause and remedy."""

    what: str
    evidence: str = ""
    why: str = ""
    fix: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One release rule; `title` is what holds where it is kept, `broken` the meaning of its code.

    `applies` says whether the policy asks for it at all.
    """

    code: str
    title: str
    broken: str
    run: Callable[[Release], Iterator[Broken]]
    applies: Callable[[Release], bool] = lambda _: True

    def findings(self, release: Release) -> tuple[Finding, ...]:
        """What breaks the rule. A rule that cannot be evaluated is broken: silence is never a pass."""
        try:
            return tuple(self._finding(release, item) for item in self.run(release))
        except Exception as error:  # fail closed, whatever it is
            broken = Broken(
                what=f"cannot be evaluated ({type(error).__name__}: {error})",
                why="a rule that was not looked at was not kept",
                fix="report this with the command; it is a defect of buildmatrix",
            )
            return (self._finding(release, broken),)

    def _finding(self, release: Release, item: Broken) -> Finding:
        return Finding(
            rule=self.code, cell=release.name, what=item.what, evidence=item.evidence, why=item.why, fix=item.fix
        )


def unknown(what: str, why: str, fix: str) -> Broken:
    """The finding of a rule that lacks what it judges by."""
    return Broken(what=f"cannot be evaluated: {what}", why=why, fix=fix)
