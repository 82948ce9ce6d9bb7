"""The grid of artifacts and checks: one mark for each, with what was seen and what was found. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from buildmatrix import checks
from buildmatrix.artifact import Outcome
from buildmatrix.checks import across
from buildmatrix.checks.rule import Subject
from buildmatrix.finding import Finding
from buildmatrix.gather.seen import SEEN
from buildmatrix.report.model import STATES, Column, Mark, Place, State, worst

_TITLES = {
    "BM501": "machine", "BM502": "file format", "BM503": "structure", "BM504": "executable", "BM505": "loader",
    "BM506": "libraries", "BM507": "C library", "BM508": "libc floor", "BM509": "run path", "BM510": "CPU of Go",
    "BM511": "CPU of C", "BM512": "page size", "BM513": "stack", "BM514": "relocations", "BM515": "PIE",
    "BM516": "build info", "BM517": "modules", "BM518": "distinct", "BM519": "ABI flags",
}  # fmt: skip
_GROUPS = (
    ("files", "bytes and record", "BM40.|BM70.|BM710", "The artifact and its record are those of today's plan."),
    ("documents", "SBOM, provenance", "BM71[1-9]|BM72[0-3]", "Bills and provenance made again are the same bytes."),
    ("signatures", "signatures", "BM7[345].", "Every file is signed by whom the policy believes."),
    ("execution", "executes", "BM60[12459]", "Kernel and loader of every declared machine and root start it."),
    ("started", "what it starts", "BM60[3678]", "The programs that it starts are declared, and execute too."),
)
OTHER = "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """What a cell's marks are made from. `subject` is None where the artifact could not be read."""

    outcome: Outcome
    subject: Subject | None
    places: tuple[Place, ...] = ()
    documents: tuple[str, ...] = ()
    signer: str = ""
    signing: bool = False
    starts: tuple[str, ...] = ()


def columns(outcomes: Sequence[Outcome]) -> tuple[Column, ...]:
    """The grid's columns: every check, the groups of what whole steps find, and a last one for anything else."""
    made = [
        Column(key=check.code, title=_TITLES.get(check.code, check.title), about=check.title, codes=(check.code,))
        for check in checks.CHECKS
    ]
    made.append(Column(key=across.CODE, title=_TITLES[across.CODE], about=across.TITLE, codes=(across.CODE,)))
    found = sorted({finding.rule for outcome in outcomes for finding in outcome.findings})
    for key, title, pattern, about in _GROUPS:
        codes = tuple(code for code in found if re.fullmatch(pattern, code))
        made.append(Column(key=key, title=title, about=about, codes=codes))
    rest = tuple(code for code in found if not any(code in column.codes for column in made))
    if rest:
        made.append(Column(key=OTHER, title="other", about="Findings of other steps.", codes=rest))
    return tuple(made)


def marks(columns_: Sequence[Column], looked: Looked) -> Iterator[Mark]:
    """One mark a column, in their order."""
    for column in columns_:
        findings = tuple(item for item in looked.outcome.findings if item.rule in column.codes)
        state, seen = _state(column, looked, findings)
        yield Mark(column=column.key, state=state, seen=seen, findings=findings)


def _state(column: Column, looked: Looked, findings: tuple[Finding, ...]) -> tuple[State, str]:
    state, seen = _unhindered(column.key, looked)
    if findings:
        unknown = (state,) if state is State.UNKNOWN else ()
        state = worst((*(STATES[item.severity] for item in findings), *unknown))
    return state, seen


def _unhindered(key: str, looked: Looked) -> tuple[State, str]:
    """What there is to say where nothing was found."""
    if key == "files":
        artifact = looked.outcome.artifact
        return (State.PASSED, f"{artifact.size} bytes, sha256:{artifact.sha256}") if artifact else _unread()
    if looked.subject is None:
        return _unread()
    if key in SEEN:
        seen = SEEN[key](looked.subject)
        return (State.PASSED, seen) if seen else (State.NOT_APPLICABLE, "does not concern this kind of artifact")
    return _group(key, looked, looked.subject)


def _unread() -> tuple[State, str]:
    return State.UNKNOWN, "the artifact could not be read, so nothing is known"


def _group(key: str, looked: Looked, subject: Subject) -> tuple[State, str]:
    linux = subject.target.goos == "linux"
    if key == across.CODE:
        return State.PASSED, "no other architecture has its bytes or build ids"
    if key == "documents":
        return State.PASSED, ", ".join(looked.documents)
    if key == "signatures":
        return (State.PASSED, looked.signer) if looked.signing else (State.NOT_APPLICABLE, "signing is not configured")
    if key == "execution" and linux and looked.places:
        return worst(tuple(place.state for place in looked.places)), _places(looked.places)
    if key == "started" and linux and subject.facts.go is not None:
        return State.PASSED, f"declared: {', '.join(looked.starts) or 'nothing'}"
    return State.NOT_APPLICABLE, f"not judged on {subject.target.goos}"


def _places(places: Sequence[Place]) -> str:
    good = sum(place.state is State.PASSED for place in places)
    return f"{good} of {len(places)} machines and roots start it"
