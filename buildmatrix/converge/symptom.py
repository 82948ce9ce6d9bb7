"""Symptoms and where they were seen: types only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Role(StrEnum):
    """What a symptom says about its cause."""

    PRIMARY = "primary"
    """It names a call or a loader's stage that failed."""
    CONSEQUENCE = "consequence"
    """It says how something ended; the cause was told elsewhere, or nowhere."""
    WARNING = "warning"
    """Nothing failed yet."""
    UNKNOWN = "unknown"
    """It looks like a failure to start, and no pattern knows it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """Where and when a line was written; what is not known is empty. `time` in seconds since the epoch."""

    source: str = ""
    line: int = 0
    host: str = ""
    image: str = ""
    trace: str = ""
    pod: str = ""
    unit: str = ""
    pid: str = ""
    exe: str = ""
    arch: str = ""
    time: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Symptom:
    """One recognised message.

    `pattern` names the row of the tables that recognised it, `stage` the call or loader stage. `candidates` are
    the causes that produce these words, with weights that add up to 1; empty means that it tells nothing about
    the cause. `program` is what was executed, `object` the library, interpreter or file that the message names.
    """

    pattern: str
    stage: str
    role: Role
    candidates: Mapping[str, float]
    text: str
    program: str = ""
    object: str = ""
    version: str = ""
    symbol: str = ""
    detail: str = ""
    context: Context = field(default_factory=Context)

    @property
    def key(self) -> tuple[str, ...]:
        """What makes two symptoms the same, but for time, trace and process."""
        at = self.context
        told = (self.pattern, self.program, self.object, self.version, self.symbol, self.detail)
        return (*told, at.host, at.image, at.pod, at.unit, at.exe, at.arch, at.source)

    @property
    def executed(self) -> str:
        """What was executed: as the message names it where that is a path, else as the fields around it do."""
        if self.context.exe and "/" not in self.program:
            return self.context.exe
        return self.program


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """Something that is no symptom but decides between causes: a verdict of the preflight, a record of a build.

    `excludes`, `only` and `likely` are causes; `only` empty means that it does not name one, and `likely` is one that
    was expected where the symptom now shows a failure.
    """

    text: str
    program: str = ""
    host: str = ""
    image: str = ""
    pid: str = ""
    only: frozenset[str] = frozenset()
    likely: str = ""
    excludes: frozenset[str] = frozenset()
    level: int = 3
    """Which of the four levels of evidence it belongs to: 1 symptom, 2 call, 3 header or instruction, 4 property."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """One artifact of dist/ as its record and, where it is there, its header tell."""

    name: str
    cell: str
    arch: str
    sha256: str
    header: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """Text that a reader found, for the matcher to look at."""

    text: str
    context: Context


Item = Line | Symptom | Fact | Built
"""What readers give."""
