"""The gate: every rule over one release. What passes it may get a tag; nothing else does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from buildmatrix.finding import Finding, Severity
from buildmatrix.release.model import Git, Missing, Release, Said
from buildmatrix.release.rules import EARLY, RULES
from buildmatrix.release.rules.rule import Rule
from buildmatrix.releasespec import ReleaseSpec
from buildmatrix.report import terminal

SCHEMA = 1
"""Version of the JSON document; docs/release.md describes it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """One rule and what breaks it. Where the policy does not ask for the rule, `applies` is False."""

    rule: Rule
    applies: bool
    findings: tuple[Finding, ...]

    @property
    def kept(self) -> bool:
        """Whether the rule holds."""
        return not any(item.severity is Severity.ERROR for item in self.findings)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the gate says of a release."""

    name: str
    judged: tuple[Judged, ...]

    @property
    def passed(self) -> bool:
        """Whether every rule that applies is kept."""
        return all(item.kept for item in self.judged)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Everything that breaks a rule, in the order of the rules."""
        return tuple(finding for item in self.judged for finding in item.findings)


def judge(release: Release, rules: tuple[Rule, ...] = RULES) -> Verdict:
    """Every rule over a release."""
    return Verdict(name=release.name, judged=tuple(_judged(release, rule) for rule in rules))


def early(policy: ReleaseSpec, git: Git | Missing, version: str, backend: str) -> Verdict:
    """What can be said before anything is built: of the checkout, its tag, and the key."""
    unbuilt = Missing(why="nothing is built yet")
    release = Release(
        name=version,
        policy=policy,
        index="",
        entries=(),
        trust=(),
        images=(),
        plan=unbuilt,
        said=Said(
            image="",
            version=version,
            created=0,
            git=git if isinstance(git, Git) else Git(commit="", changed=(), tags=()),
            reproduced=None,
            plan=(),
            platforms=(),
        ),
        git=git,
        tags=unbuilt,
        backend=backend,
    )
    return judge(release, EARLY)


def _judged(release: Release, rule: Rule) -> Judged:
    applies = rule.applies(release)
    return Judged(rule=rule, applies=applies, findings=rule.findings(release) if applies else ())


def as_json(verdict: Verdict) -> dict[str, Any]:
    """The document of --json."""
    return {
        "schema": SCHEMA,
        "release": verdict.name,
        "passed": verdict.passed,
        "rules": [
            {
                "code": item.rule.code,
                "title": item.rule.title,
                "status": "not asked for" if not item.applies else "kept" if item.kept else "broken",
                "findings": [asdict(finding) for finding in item.findings],
            }
            for item in verdict.judged
        ],
    }


def lines(verdicts: tuple[Verdict, ...], colour: bool) -> Iterator[str]:
    """Verdicts as a person reads them: one row for each rule, then every finding with cause and fix."""
    for verdict in verdicts:
        yield terminal.printable(verdict.name)
        for item in verdict.judged:
            mark = "-" if not item.applies else "ok" if item.kept else "FAIL"
            yield f"{mark:<4}  {item.rule.code}  {item.rule.title}" + ("" if item.applies else " (not asked for)")
        for finding in verdict.findings:
            yield ""
            yield from terminal.finding_lines(finding, colour)
        broken = sum(not item.kept for item in verdict.judged)
        yield f"{broken} rule{'s' if broken > 1 else ''} broken" if broken else "every rule is kept"
