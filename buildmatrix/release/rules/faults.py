"""Faults: the version was measured under them, and nothing is worse than in the release before it."""

from __future__ import annotations

from collections.abc import Iterator

from buildmatrix.release.model import Missing, Release
from buildmatrix.release.rules.rule import Broken, Rule, unknown

_MEASURE = "run `nox -s faults-TARGET` with BUILDMATRIX_STORE set to release.validation, and release again"


def _run(release: Release) -> Iterator[Broken]:
    found = release.campaigns
    if isinstance(found, Missing):
        yield unknown("what fault campaigns measured is not known", found.why, "let release.validation name a store")
    elif not found.measured:
        yield Broken(
            what=f"no fault campaign measured this version (got no row of {found.version}, expected some)",
            evidence="release.validation",
            why="what was not tried under faults is not known to bear them",
            fix=_MEASURE,
        )
    else:
        for name in found.worse:
            yield Broken(
                what=f"{name}: worse than the release before it, or not measured",
                evidence="`buildmatrix faults report` shows rates, intervals and times",
                why="the 95 % intervals of both releases do not overlap, or there is no row to compare",
                fix=_MEASURE,
            )


REGRESSION = Rule(
    code="BM916",
    title="no fault is borne worse than in the release before",
    broken="fault campaigns did not measure this version, or it fails more often than the release before it",
    run=_run,
    applies=lambda release: bool(release.policy.validation),
)
