"""Holds the documents of a cell against its bytes and its plan: what verify says of SBOMs and provenance.

Every document is made again from the artifact as it lies in dist/ and compared byte by byte. What module
sources add, licences and requirements, is taken from the document where this machine has no such sources,
held to what it can be, and held to the record's digest.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from buildmatrix import attest
from buildmatrix.artifact import Record
from buildmatrix.attest import Basis
from buildmatrix.dist import PROVENANCE, SBOMS, Dist
from buildmatrix.facts import GoInfo
from buildmatrix.finding import Finding
from buildmatrix.sbom import compare, reading, recall
from buildmatrix.sbom.model import Learnt

CODES = {
    "BM711": "SBOM or provenance missing, or not a regular file",
    "BM712": "SBOM or provenance empty",
    "BM713": "SBOM or provenance truncated, or not JSON",
    "BM714": "SBOM or provenance with a key twice",
    "BM715": "SBOM or provenance of another cell",
    "BM716": "SBOM or provenance about other bytes than the artifact's",
    "BM717": "SBOM lacks a component of the artifact, or lists one that it does not have",
    "BM718": "SBOM gives a component another version than the bytes do",
    "BM719": "SBOM says something else than bytes and plan do",
    "BM720": "SBOM or provenance not in the form in which it is written",
    "BM721": "SBOM gives a licence that cannot have been detected",
    "BM722": "SBOM or provenance changed after it was recorded",
    "BM723": "provenance says something else than bytes and plan do",
}
"""Findings of this step, with their meaning."""

_KINDS = {
    "empty": ("BM712", "empty", "a document that says nothing passes for one that finds nothing"),
    "truncated": ("BM713", "truncated", "its end was lost, and with it what it says of the last components"),
    "not-json": ("BM713", "not JSON", "it was damaged, or written by something else"),
    "shape": ("BM713", "not a document of its format", "it was damaged, or written by something else"),
    "duplicate": ("BM714", "ambiguous", "readers disagree about which of the two values counts"),
    "swapped": ("BM715", "another cell's", "the documents of two cells were swapped or copied"),
    "digest": ("BM716", "about other bytes", "it describes another build, or its digests were altered"),
    "components": ("BM717", "not about what is in the artifact", "the bytes say otherwise"),
    "version": ("BM718", "wrong about a version", "the Go build info in the bytes and the plan say otherwise"),
    "content": ("BM719", "altered or outdated", "it was altered, or the commit, the time or matrix.toml changed since"),
    "form": ("BM720", "rewritten", "it was formatted anew, so that its digest and signatures no longer fit"),
}
_MOST_BYTES = 64 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What one run of verify knows: `environment` leads to module sources, `owners` maps SHA-256 to cell."""

    dist: Dist
    environment: Mapping[str, str]
    owners: Mapping[str, str]


def findings(basis: Basis, record: Record | None, context: Context) -> Iterator[Finding]:
    """Everything that is wrong with a cell's documents."""
    cell, target = basis.planned.cell.id, basis.planned.cell.target.name
    fix = f"buildmatrix build --target {target}"
    seen = attest.learn(basis.facts, basis.matrix, context.environment)
    recorded = {item.name: item for item in record.documents} if record is not None else None
    for name in attest.names(basis.matrix):
        data = _read(context.dist.folder(cell) / name)
        if data is None:
            yield Finding(
                rule="BM711",
                cell=cell,
                what=f"{name} missing, or not a regular file",
                why="nobody downstream could tell what the artifact is made of and where it comes from",
                fix=fix,
            )
            continue
        found = tuple(_judge(name, data, basis, seen, context))
        for rule, what, why in found:
            yield Finding(rule=rule, cell=cell, what=f"{name} is {what}", why=why, fix=fix)
        if not found and recorded is not None and recorded.get(name) != attest.document(name, data):
            yield Finding(
                rule="BM722",
                cell=cell,
                what=f"{name} is not the document that was recorded",
                evidence=f"got sha256:{attest.document(name, data).sha256}",
                why="the document or its record was altered after the build",
                fix=fix,
            )


def _read(path: Path) -> bytes | None:
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            return None
        with path.open("rb") as stream:
            return stream.read(_MOST_BYTES)
    except OSError:
        return None


def _judge(name: str, data: bytes, basis: Basis, seen: Learnt, context: Context) -> Iterator[tuple[str, str, str]]:
    if name == PROVENANCE:
        expected, told = attest.provenance(basis), Learnt()
    else:
        told = _told(data, basis)
        form = next(form for form, file in SBOMS.items() if file == name)
        expected = attest.write(attest.bill(basis, recall.merged(told, seen)), form)
    yield from held(name, data, expected, context.owners, basis.planned.cell.id)
    for doubt in recall.doubts(told):
        yield "BM721", f"wrong about a licence: {doubt}", "no licence file gives that, so the document was altered"


def held(
    name: str, data: bytes, expected: bytes, owners: Mapping[str, str], cell: str
) -> Iterator[tuple[str, str, str]]:
    """Code, what and why of each difference between a document and the one that bytes and plan call for.

    `owners` maps the SHA-256 of what else there is a document about to the name of that.
    """
    for item in compare.differences(data, expected, owners, cell):
        rule, label, why = _KINDS[item.kind]
        yield "BM723" if name.endswith(PROVENANCE) and rule == "BM719" else rule, f"{label}: {item.what}", why


def _told(data: bytes, basis: Basis) -> Learnt:
    """What an SBOM claims about licences and requirements; nothing where it cannot be read, which is told apart."""
    try:
        return recall.learnt(reading.bill(reading.parse(data)), basis.facts.go or GoInfo(version=""))
    except reading.Unreadable:
        return Learnt()
