"""What in a Dockerfile puts the wrong binary into an image, or builds the right one slowly: before it is built.

The bytes decide in the end (proof.py); this says the cause, with its line, minutes earlier.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from buildmatrix import arch, errors
from buildmatrix.finding import Finding, Severity
from buildmatrix.images import dockerfile
from buildmatrix.images.dockerfile import AUTOMATIC, Dockerfile, Instruction, Stage
from buildmatrix.oci import platform as platforms

CODES = {
    "BM870": "Dockerfile that BuildKit would refuse",
    "BM871": "stage that cross-compiles, but runs on the target's platform: emulated, and slow",
    "BM872": "default value on an argument that BuildKit sets for each platform, which it overrides",
    "BM873": "COPY --from of the stage itself, of a later one, or of one that there is not",
    "BM874": "platform argument that is used in a stage without ARG, where it is empty",
    "BM875": "GOARCH written down in the Dockerfile of an image for other platforms as well",
    "BM876": "last stage fixed to one platform in an image for others",
    "BM877": "build step that would run under emulation, which images.NAME.emulation forbids",
    "BM878": "build step that ran under emulation",
}
"""Findings of this step, with their meaning."""

WARNINGS = frozenset({"BM871", "BM875", "BM878"})
"""Those that do not fail a run."""

_COMPILES = re.compile(r"\bgo\s+(build|install|test)\b|\b(gcc|g\+\+|cc|clang|zig|cargo|make|cmake)\b")
_FOR_TARGET = re.compile(r"\bTARGET(ARCH|PLATFORM|OS|VARIANT)\b|\bGO(ARCH|OS|ARM|AMD64|ARM64)=")
_GOARCH = re.compile(r"\bGOARCH[= ][\"']?([a-z0-9]+)\b")
_LOOKS_LIKE_A_STAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A Dockerfile with what it is for: the image's name, its platforms, and the named contexts that it is given."""

    image: str
    path: str
    parsed: Dockerfile
    platforms: tuple[str, ...]
    contexts: tuple[str, ...]


def read(text: str, path: str, image: str) -> tuple[Dockerfile | None, tuple[Finding, ...]]:
    """Parse; what cannot be parsed is a finding."""
    try:
        return dockerfile.parse(text), ()
    except errors.ImageInputInvalid as error:
        finding = Finding(rule="BM870", cell=f"image {image}", what=f"{path}: {error.what}", fix=error.fix)
        return None, (finding,)


def lint(subject: Subject) -> tuple[Finding, ...]:
    """Every finding, by line."""
    found: list[tuple[int, Finding]] = []
    for item in subject.parsed.arguments:
        found += _defaults(subject, item)
    for stage in subject.parsed.stages:
        found += _emulated_compiler(subject, stage)
        found += _undeclared(subject, stage)
        for item in stage.instructions:
            found += [*_defaults(subject, item), *_from(subject, stage, item), *_goarch(subject, item)]
    found += _fixed(subject)
    return tuple(finding for _, finding in sorted(found, key=lambda pair: pair[0]))


def _finding(subject: Subject, line: int, rule: str, what: str, why: str, fix: str) -> tuple[int, Finding]:
    severity = Severity.WARNING if rule in WARNINGS else Severity.ERROR
    return line, Finding(
        rule=rule, cell=f"image {subject.image}", what=f"{subject.path}:{line}: {what}", why=why, fix=fix,
        severity=severity,
    )  # fmt: skip


def _defaults(subject: Subject, item: Instruction) -> Iterator[tuple[int, Finding]]:
    if item.word != "ARG":
        return
    for name, value in item.arguments():
        if name in AUTOMATIC and value is not None:
            yield _finding(
                subject, item.line, "BM872", f"ARG {name}={value} (expected ARG {name})",
                why=f"a default takes the place of what BuildKit sets: every platform is built as {value}",
                fix=f"write ARG {name} without a value",
            )  # fmt: skip


def _from(subject: Subject, stage: Stage, item: Instruction) -> Iterator[tuple[int, Finding]]:
    name = item.flag("from")
    if item.word not in ("COPY", "ADD") or not name or subject.parsed.stage(name, stage.index) is not None:
        return
    later = next((other for other in subject.parsed.stages[stage.index :] if _is(other, name)), None)
    if later is None and (name in subject.contexts or not (_LOOKS_LIKE_A_STAGE.fullmatch(name))):
        return  # a named context, an image, or a variable that BuildKit itself refuses
    earlier = [other.label for other in subject.parsed.stages[: stage.index]]
    which = "this stage itself" if later is stage else "a later stage" if later is not None else "no stage"
    yield _finding(
        subject, item.line, "BM873", f"{item.word} --from={name} is {which}",
        why="BuildKit takes the name of no earlier stage for an image, and pulls whatever a registry has under it",
        fix=f"name one of {', '.join([*earlier, *subject.contexts])}",
    )  # fmt: skip


def _is(stage: Stage, name: str) -> bool:
    return stage.name == name.lower() if not name.isdigit() else stage.index == int(name)


def _goarch(subject: Subject, item: Instruction) -> Iterator[tuple[int, Finding]]:
    if item.word not in ("RUN", "ENV", "ARG"):
        return
    have = {platforms.parse(text).architecture for text in subject.platforms}
    for match in _GOARCH.finditer(f"{item.text}\n{item.heredoc}"):
        row = arch.BY_GOARCH.get(match[1])
        if row is not None and have - {row.oci}:
            yield _finding(
                subject, item.line, "BM875", f"GOARCH={match[1]} in an image for {', '.join(subject.platforms)}",
                why="every platform gets the same program",
                fix="write GOARCH=$TARGETARCH, with ARG TARGETARCH in the stage; better, COPY --from=dist",
            )  # fmt: skip


def _emulated_compiler(subject: Subject, stage: Stage) -> Iterator[tuple[int, Finding]]:
    if subject.parsed.platform_of(stage):
        return
    declared = {name for item in stage.instructions if item.word == "ARG" for name, _ in item.arguments()}
    aware = bool(declared & set(AUTOMATIC)) or any(
        _FOR_TARGET.search(f"{item.text}\n{item.heredoc}") for item in stage.instructions
    )
    for item in stage.instructions:
        compiles = item.word == "RUN" and _COMPILES.search(f"{item.text}\n{item.heredoc}")
        if compiles and aware:
            yield _finding(
                subject, stage.line, "BM871",
                f"{stage.label} compiles for the target without --platform=$BUILDPLATFORM",
                why=f"the compiler of line {item.line} runs on the target's platform: emulated where no node is of it",
                fix=f"write FROM --platform=$BUILDPLATFORM {stage.base}",
            )  # fmt: skip
            return


def _undeclared(subject: Subject, stage: Stage) -> Iterator[tuple[int, Finding]]:
    known = _inherited(subject.parsed, stage)
    told: set[str] = set()
    for item in stage.instructions:
        if item.word == "ARG":
            known |= {name for name, _ in item.arguments()}
        flags = " ".join(value for _, value in item.flags)
        used = dockerfile.variables(f"{flags} {item.text}\n{item.heredoc}") & set(AUTOMATIC)
        assigned = {name for name in used if re.search(rf"(?<![$\w{{]){name}=", f"{item.text}\n{item.heredoc}")}
        for name in sorted(used - known - told - assigned):
            told.add(name)
            yield _finding(
                subject, item.line, "BM874", f"${name} in {item.word} of {stage.label}, which has no ARG {name}",
                why="without ARG it is empty there: a compiler builds for its own platform, a path loses a part",
                fix=f"add ARG {name} after the stage's FROM",
            )  # fmt: skip
        if item.word == "ENV":
            known |= _env_names(item)


def _env_names(item: Instruction) -> set[str]:
    if "=" in item.text.split(" ")[0]:
        return {name for name, _ in item.arguments()}
    return {item.text.split(" ")[0]}


def _inherited(parsed: Dockerfile, stage: Stage) -> set[str]:
    """The variables that the stages below have set: ENV is inherited, and so is ARG."""
    found: set[str] = set()
    below = parsed.stage(stage.base, stage.index)
    while below is not None:
        for item in below.instructions:
            found |= _env_names(item) if item.word == "ENV" else set()
            found |= {name for name, _ in item.arguments()} if item.word == "ARG" else set()
        below = parsed.stage(below.base, below.index)
    return found


def _fixed(subject: Subject) -> Iterator[tuple[int, Finding]]:
    stage = subject.parsed.final
    written = subject.parsed.platform_of(stage)
    if not written or written.lstrip("$").strip("{}") == "TARGETPLATFORM":
        return
    if "$" in written and "BUILD" not in written:
        return  # put together from variables: the config's platform will tell
    try:
        fixed = None if "$" in written else platforms.parse(written)
    except errors.ReferenceInvalid:
        fixed = None
    others = [text for text in subject.platforms if fixed is None or not platforms.same(platforms.parse(text), fixed)]
    if others:
        yield _finding(
            subject, stage.line, "BM876", f"the last stage is for {written}, the image also for {', '.join(others)}",
            why="every entry of the index gets this platform's files",
            fix="leave --platform out of the last stage",
        )  # fmt: skip
