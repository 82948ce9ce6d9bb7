"""Writes what `check` asks for: constraint, tolerations and digest, into charts, kustomizations and manifests.

Everything happens on a copy. The user's files change only when the check of the copy passes, and a second run finds
nothing to do.
"""

from __future__ import annotations

from dataclasses import dataclass

from buildmatrix.finding import Finding, Severity
from buildmatrix.kube import check, draft, mend, mendchart
from buildmatrix.kube.check import Job
from buildmatrix.kube.draft import MENDABLE, Change
from buildmatrix.kube.render import Source


@dataclass(frozen=True, slots=True, kw_only=True)
class Mended:
    """What is to be written; `warnings` are findings that no such change could end."""

    changes: tuple[Change, ...]
    warnings: tuple[Finding, ...]


def plan(job: Job, sources: tuple[Source, ...]) -> Mended:
    """The changes after which the check finds nothing that a change can end. Raises FixRefused."""
    changes: list[Change] = []
    left: list[Finding] = []
    for source, checked in zip(sources, check.check(job, sources), strict=True):
        if not checked.items:
            raise draft.refused(source, checked.findings)
        if not draft.count(checked, MENDABLE):
            left += checked.findings
            continue
        with draft.drafted(job, source) as copy:
            _MENDERS[source.kind](copy)
            after = copy.check()
            if remaining := tuple(item for item in after.findings if item.rule in MENDABLE):
                raise draft.refused(source, remaining)
            changes += copy.changes()
            left += after.findings
    return Mended(changes=tuple(changes), warnings=tuple(left))


_MENDERS = {"chart": mendchart.mend, "kustomization": mend.kustomization, "manifests": mend.manifests}


def write(mended: Mended) -> None:
    """Put the changes into the user's files."""
    draft.write(mended.changes)


def complete(mended: Mended) -> bool:
    """Whether the check passes afterwards."""
    return not any(item.severity is Severity.ERROR for item in mended.warnings)
