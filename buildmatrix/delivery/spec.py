"""What a delivery is made of. Types only."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from buildmatrix.arch import Architecture
from buildmatrix.bundle.spec import Contents, Member
from buildmatrix.detect.causes import Cause
from buildmatrix.detect.table import Program


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """One release as it is named in notes; `commit` is empty where nobody wrote it down."""

    name: str
    version: str
    commit: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fixed:
    """One program with the fix: where it is, what it replaces, and what is said about it.

    `record` is the repair's record for a program that was patched, None for one that was built again.
    """

    before: Program
    after: Program
    path: Path
    evidence: tuple[Member, ...]
    record: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What the preflight says of one program on one machine, before and after, in sentences."""

    host: str
    before: str
    after: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """The delivery for one machine."""

    row: Architecture
    cause: Cause
    affected: Release
    fix: Release
    programs: tuple[Fixed, ...]
    back: Contents
    script: str
    judged: tuple[tuple[str, tuple[Judged, ...]], ...]
    """By program; empty for one that could not be judged without a root."""
