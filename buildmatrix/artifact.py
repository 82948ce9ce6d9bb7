"""Artifacts, outcomes and records: types only."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from buildmatrix.finding import Finding, Severity

RECORD_SCHEMA = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """One built file: its name, size in bytes and digests in hexadecimal."""

    name: str
    size: int
    sha256: str
    sha512: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One document about an artifact, beside it: an SBOM or a provenance statement. SHA-256 in hexadecimal."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """Everything that decides an artifact's bytes, free of machine paths.

    `sources` is the SHA-256 over the module's files; `compiler` is empty without cgo.
    """

    command: tuple[str, ...]
    settings: tuple[tuple[str, str], ...]
    go: str
    compiler: str
    version: str
    sources: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What building one cell left behind. `passed` names the variables that came from the caller.

    `attested` is the digest of what decided the documents beside the inputs: commit, time, supplier and so on.
    """

    cell: str
    binary: str
    target: str
    goos: str
    goarch: str
    level_variable: str
    level: str
    inputs: Inputs
    inputs_digest: str
    artifact: Artifact
    passed: tuple[str, ...]
    attested: str
    documents: tuple[Document, ...]

    @property
    def files(self) -> tuple[Artifact | Document, ...]:
        """Everything of this cell that ships: the artifact, then what is said about it."""
        return (self.artifact, *self.documents)


class Status(StrEnum):
    """How a step ended."""

    DONE = "done"
    SKIPPED = "skipped"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How one cell fared: `reason` says why it was skipped or failed, `seconds` how long it took."""

    cell: str
    status: Status
    reason: str = ""
    findings: tuple[Finding, ...] = ()
    artifact: Artifact | None = None
    seconds: float = 0.0
    exit_status: int = 0

    @property
    def failed(self) -> bool:
        """Whether the cell may not ship."""
        return self.status is Status.FAILED or any(item.severity is Severity.ERROR for item in self.findings)
