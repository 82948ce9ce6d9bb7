"""Whether artifacts, and the programs that they start, execute where they are shipped.

Every linux executable is judged in each root of [roots] that its target is installed into, on each
machine of [fleet] of its architecture; so is every program in `exec`, after it was looked up in that
root as Go's LookPath does. Without [fleet] there is one sensible machine for each of the target's page
sizes. Without a root, a static artifact is judged in an empty one, and what cannot be judged is told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from buildmatrix.deployment import matches
from buildmatrix.finding import Finding, Severity
from buildmatrix.matrix import Cell, Matrix

if TYPE_CHECKING:
    from buildmatrix.fleet.site import Roots, Site
    from buildmatrix.host import Host
    from buildmatrix.preflight.verdict import Verdict

CODES = {
    "BM601": "artifact will not execute on a machine that it is shipped to",
    "BM602": "execution depends on what the bytes do not tell",
    "BM603": "program in exec is missing from a root, or will not execute there",
    "BM604": "root file system cannot be read",
    "BM605": "loader, libraries or started programs not judged, for want of a root or of a model",
    "BM609": "no machine in [fleet] for the architecture",
}
"""Findings of this step, with their meaning."""

WARNINGS = frozenset({"BM602", "BM605", "BM609"})
"""Those that do not fail a run."""


def declared(matrix: Matrix) -> bool:
    """Whether the matrix says anything of machines, roots or started programs."""
    return bool(matrix.fleet or matrix.roots or any(binary.exec for binary in matrix.binaries))


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What happens to an artifact on one machine in one root.

    `root` is the name of one of [roots], or empty; `verdict` is None where nobody could look. `declared` says that
    the machine is one of [fleet], and not a sensible one.
    """

    machine: Host
    root: str
    declared: bool
    verdict: Verdict | None


class Fleet:
    """Judges cells one after the other; roots and their libraries are read once.

    `locate` gives the path of a cell's artifact, which may be missing.
    """

    def __init__(self, matrix: Matrix, locate: Callable[[Cell], Path]) -> None:
        self._matrix = matrix
        self._locate = locate
        self._sites: dict[tuple[str, str], Site | Finding] = {}
        self._roots: Roots | None = None

    def findings(self, cell: Cell, *, dynamic: bool) -> Iterator[Finding]:
        """What is found about a linux ELF artifact that lies where `locate` says; `dynamic`: it has a loader."""
        from buildmatrix.fleet import hosts

        machines = hosts.declared(self._matrix, cell.target)
        if not machines:
            machines = hosts.sensible(cell.target)
            if self._matrix.fleet:
                yield _no_machine(cell)
        roots = tuple(root.name for root in self._matrix.roots if matches(root.targets, cell.target.name))
        for name in roots:
            yield from self._in_root(cell, name, machines)
        if not roots:
            yield from self._without_root(cell, machines, dynamic)

    def judged(self, cell: Cell, *, dynamic: bool) -> Iterator[Judged]:
        """The verdicts behind `findings`, good ones too."""
        from buildmatrix.fleet import hosts
        from buildmatrix.fleet.site import Site

        known = hosts.declared(self._matrix, cell.target)
        roots = tuple(root.name for root in self._matrix.roots if matches(root.targets, cell.target.name))
        for name in roots or ("",):
            site = None if dynamic and not roots else self._site(cell, name)
            for machine in known or hosts.sensible(cell.target):
                verdict = site.verdict(cell, machine) if isinstance(site, Site) else None
                yield Judged(machine=machine, root=name, declared=bool(known), verdict=verdict)

    def _in_root(self, cell: Cell, name: str, machines: tuple[Host, ...]) -> Iterator[Finding]:
        site = self._site(cell, name)
        if isinstance(site, Finding):
            yield Finding(rule=site.rule, cell=cell.id, what=site.what, why=site.why, fix=site.fix)
            return
        yield from site.artifact(cell, machines)
        for program in cell.binary.exec:
            yield from site.program(cell, program, machines)

    def _without_root(self, cell: Cell, machines: tuple[Host, ...], dynamic: bool) -> Iterator[Finding]:
        if dynamic or cell.binary.exec:
            yield _no_root(cell, dynamic)
        site = None if dynamic else self._site(cell, "")
        if isinstance(site, Finding):
            yield Finding(rule=site.rule, cell=cell.id, what=site.what, why=site.why, fix=site.fix)
        elif site is not None:
            yield from site.artifact(cell, machines)

    def _site(self, cell: Cell, name: str) -> Site | Finding:
        """The root `name` (empty: the sensible empty one) with every artifact of the cell's target in it."""
        from buildmatrix.fleet.site import Roots

        self._roots = self._roots or Roots(self._matrix)
        key = (name, cell.target.name)
        if key not in self._sites:
            same = [other for other in self._matrix.cells if other.target.name == cell.target.name]
            files = {other.file_name: self._locate(other) for other in same}
            present = {each: path for each, path in files.items() if path.is_file() and not path.is_symlink()}
            root = next((root for root in self._matrix.roots if root.name == name), None)
            self._sites[key] = self._roots.site(root, cell, present)
        return self._sites[key]


def elsewhere(cell: Cell) -> Iterator[Finding]:
    """What there is to say about an artifact for another system than linux, whose kernel is not modelled."""
    if cell.binary.exec:
        yield Finding(
            rule="BM605",
            cell=cell.id,
            what=f"programs in exec are not judged on {cell.target.goos}",
            severity=Severity.NOTE,
        )


def _no_machine(cell: Cell) -> Finding:
    goarch = cell.target.goarch
    return Finding(
        rule="BM609",
        cell=cell.id,
        what=f"[fleet] has no {goarch} machine for this target: sensible ones are taken",
        fix=f'declare one: [fleet.NAME] with arch = "{goarch}"',
        severity=Severity.NOTE,
    )


def _no_root(cell: Cell, dynamic: bool) -> Finding:
    parts = ["loader and libraries"] if dynamic else []
    parts += ["programs in exec"] if cell.binary.exec else []
    return Finding(
        rule="BM605",
        cell=cell.id,
        what=f"no root declared: {' and '.join(parts)} not judged",
        fix="declare the root file system that it is installed into: [roots.NAME] with path = …",
        severity=Severity.NOTE,
    )
