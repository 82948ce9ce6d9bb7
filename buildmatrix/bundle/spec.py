"""What a bundle is made of. Types only."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from buildmatrix.arch import Architecture

SCHEMA = 1
"""Version of bundle.json."""

PAYLOAD = "files"
"""The folder of a bundle with what is installed."""

EVIDENCE = "evidence"
"""The folder of a bundle with records, SBOMs, provenance and signatures."""


class Unit(StrEnum):
    """What is swapped at once: one program by its name, or a folder by the link that names it."""

    FILE = "file"
    TREE = "tree"


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One file of a bundle: its path there, where its bytes are, their SHA-256 in hexadecimal and their number."""

    path: str
    source: Path
    sha256: str
    size: int
    program: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What one bundle holds: one version for one machine.

    `level` is the CPU level of its programs, `loaders` are the PT_INTERP paths that they ask for, `time` the
    modification time of every member of the archive in seconds.
    """

    name: str
    version: str
    row: Architecture
    level: str
    unit: Unit
    to: str
    members: tuple[Member, ...]
    loaders: tuple[str, ...]
    cells: tuple[str, ...]
    time: int

    @property
    def machine(self) -> str:
        """What uname says there."""
        return self.row.uname

    @property
    def stem(self) -> str:
        """The name of the archive without its ending, and of the one folder in it."""
        return f"{self.name}-{self.version}-{self.machine}-rollback"

    @property
    def script(self) -> str:
        """The name of the script."""
        return f"rollback-to-{self.version}-{self.machine}.sh"

    @property
    def payload(self) -> tuple[Member, ...]:
        """What is installed."""
        return tuple(member for member in self.members if member.path.startswith(f"{PAYLOAD}/"))
