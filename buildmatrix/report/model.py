"""What a report says, before any format: types only.

The JSON form of a ReportModel (`jsonform.py`) is the stable one; HTML, Markdown, SARIF and JUnit are made from the
same values. Everything here is text or numbers, so that a renderer needs no knowledge of ELF, SBOMs or images.
Strings may come out of artifacts: every renderer escapes them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

from buildmatrix.finding import Finding, Severity

SCHEMA = 1
"""Version of the JSON form."""


class State(StrEnum):
    """What a check says of an artifact. UNKNOWN: it could not look, which is no pass."""

    PASSED = "passed"
    NOTE = "note"
    WARNING = "warning"
    FAILED = "failed"
    NOT_APPLICABLE = "not applicable"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One check, or one group of findings, of the grid. `codes` are the finding codes that fall into it."""

    key: str
    title: str
    about: str
    codes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """One square of the grid: `seen` is what was looked at, for a pass as for a failure."""

    column: str
    state: State
    seen: str
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A named share of a file, in bytes."""

    name: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Where a file's bytes go. `sections` add up to `total`.

    `packages` share out `code`, the bytes of machine code that the Go function table accounts for, by import
    path; empty where the file has no such table. `modules` are the packages by module.
    """

    total: int
    sections: tuple[Part, ...]
    code: int = 0
    packages: tuple[Part, ...] = ()
    modules: tuple[Part, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """One library that is asked for: `path` is what answered, empty where nothing did; `rule` says how or why not."""

    by: str
    name: str
    path: str
    rule: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What happens to an artifact on one machine of the fleet in one root."""

    machine: str
    root: str
    state: State
    verdict: str
    declared: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What an artifact asks of a machine, from its bytes; `promised` are what its target promises."""

    loader: str
    libc: str
    libc_needed: str
    libc_promised: str
    cpu_needed: str
    cpu_promised: str
    page_sizes: tuple[int, ...]
    libraries: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One artifact: its cell, what was found about it, and where it runs."""

    cell: str
    binary: str
    target: str
    platform: str
    file: str
    size: int
    sha256: str
    state: State
    marks: tuple[Mark, ...]
    sizes: Sizes | None = None
    needs: Needs | None = None
    edges: tuple[Edge, ...] = ()
    places: tuple[Place, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A machine of [fleet], in the words of the matrix."""

    name: str
    words: str
    goarch: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What one architecture's bill has otherwise than the first's."""

    kind: str
    component: str
    old: str
    new: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Bills:
    """The bills of one binary: components of the first target, and each other target's differences from it."""

    binary: str
    first: str
    components: int
    others: tuple[tuple[str, int, tuple[Change, ...]], ...]
    unreadable: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """The signatures of one cell: who made them, and over which files."""

    cell: str
    signer: str
    files: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagePart:
    """One manifest of an image index. `size` is that of config and layers, compressed, in bytes."""

    kind: str
    platform: str
    digest: str
    size: int
    layers: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """One image of the matrix as it lies in dist/."""

    name: str
    state: State
    index: str
    engine: str
    base: str
    parts: tuple[ImagePart, ...]
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """How long the steps of a cell took when it was last built here, in seconds."""

    cell: str
    steps: tuple[tuple[str, float], ...]

    @property
    def seconds(self) -> float:
        """All steps together."""
        return sum(seconds for _, seconds in self.steps)


@dataclass(frozen=True, slots=True, kw_only=True)
class Location:
    """A file of the repository that a finding can be shown at, relative to its root, and a line."""

    path: str
    line: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportModel:
    """Everything that a report shows. `columns` name the grid's checks, in the order of every row's marks.

    `epoch` is the commit's time in seconds, None where no time is known. `whole`: every cell was verified.
    `locations` lead from a cell to where the matrix declares its target.
    """

    project: str
    version: str
    commit: str
    epoch: int | None
    tool: str
    go: str
    whole: bool
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    other: tuple[Finding, ...]
    machines: tuple[Machine, ...]
    bills: tuple[Bills, ...]
    signatures: tuple[Signed, ...]
    signing: str
    images: tuple[Image, ...]
    timings: tuple[Timing, ...]
    locations: tuple[tuple[str, Location], ...]
    titles: tuple[tuple[str, str], ...]
    """The title of every code that occurs or that a column has."""

    @property
    def findings(self) -> Iterator[Finding]:
        """Every finding: of the rows, of the images, and of dist/ as a whole."""
        for row in self.rows:
            for mark in row.marks:
                yield from mark.findings
        for image in self.images:
            yield from image.findings
        yield from self.other

    def count(self, severity: Severity) -> int:
        """How many findings have this severity."""
        return sum(finding.severity is severity for finding in self.findings)

    @property
    def failed(self) -> bool:
        """Whether something may not ship."""
        return self.count(Severity.ERROR) > 0 or any(row.state is State.FAILED for row in self.rows)


STATES = {Severity.ERROR: State.FAILED, Severity.WARNING: State.WARNING, Severity.NOTE: State.NOTE}
_ORDER = (State.FAILED, State.UNKNOWN, State.WARNING, State.NOTE, State.PASSED, State.NOT_APPLICABLE)


def worst(states: Iterator[State] | tuple[State, ...]) -> State:
    """The worst of several states; NOT_APPLICABLE where there are none."""
    return min(states, key=_ORDER.index, default=State.NOT_APPLICABLE)


_NAMED = 3


def grouped(findings: Iterable[Finding]) -> Iterator[Finding]:
    """Findings that differ in nothing but their cell as one, which names the first cells and counts the others."""
    cells: dict[Finding, list[str]] = {}
    for finding in findings:
        cells.setdefault(replace(finding, cell=""), []).append(finding.cell)
    for finding, names in cells.items():
        more = len(names) - _NAMED
        shown = ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")
        yield replace(finding, cell=shown)
