"""Reads a Dockerfile as BuildKit does: stages, instructions and their lines. Pure.

Parser directives count only at the very top; comment lines may stand inside a continued instruction, empty
ones too; a heredoc belongs to its RUN, COPY or ADD; instructions and stage names are of any case
(moby/buildkit, frontend/dockerfile/parser and instructions).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from buildmatrix import errors

AUTOMATIC = (
    "TARGETPLATFORM", "TARGETOS", "TARGETARCH", "TARGETVARIANT", "BUILDPLATFORM", "BUILDOS", "BUILDARCH",
    "BUILDVARIANT",
)  # fmt: skip
"""Arguments that BuildKit sets for each platform (docs.docker.com/reference/dockerfile)."""

_DIRECTIVE = re.compile(r"#\s*([a-zA-Z][a-zA-Z0-9]*)\s*=\s*(.+?)\s*")
_HEREDOC = re.compile(r"\d*<<(-?)([^<]+)")
_FLAG = re.compile(r"--([a-z-]+)(?:=(\S*))?(?:\s+|$)")
_VARIABLE = re.compile(r"(?<!\\)\$(?:(\w+)|\{(\w+)(?::?([-+?])([^}]*))?\})")
_WITH_HEREDOC = ("RUN", "COPY", "ADD")


@dataclass(frozen=True, slots=True, kw_only=True)
class Instruction:
    """One instruction: `words` in upper case, flags apart, `text` the rest with continuations joined."""

    line: int
    word: str
    flags: tuple[tuple[str, str], ...]
    text: str
    heredoc: str = ""

    def flag(self, name: str) -> str:
        """A flag's value, or nothing."""
        return next((value for flag, value in self.flags if flag == name), "")

    def arguments(self) -> tuple[tuple[str, str | None], ...]:
        """The names and defaults of an ARG; a name without a default has None."""
        return tuple(
            (name, value.strip("\"'") if equals else None)
            for name, equals, value in (word.partition("=") for word in _words(self.text))
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One stage. `name` is empty or in lower case, `base` what FROM names, `platform` its flag."""

    index: int
    line: int
    name: str
    base: str
    platform: str
    instructions: tuple[Instruction, ...] = ()

    @property
    def label(self) -> str:
        """What BuildKit calls it."""
        return self.name or f"stage-{self.index}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Dockerfile:
    """A Dockerfile: the ARG instructions before its first FROM, and its stages."""

    arguments: tuple[Instruction, ...]
    stages: tuple[Stage, ...]

    @property
    def final(self) -> Stage:
        """The stage that becomes the image."""
        return self.stages[-1]

    def stage(self, name: str, before: int) -> Stage | None:
        """The stage that FROM or COPY --from means in stage `before`: an earlier one, by name or number."""
        earlier = self.stages[:before]
        if name.isdigit():
            return earlier[int(name)] if int(name) < len(earlier) else None
        return next((stage for stage in reversed(earlier) if stage.name and stage.name == name.lower()), None)

    def reached(self) -> tuple[Stage, ...]:
        """The stages that the image needs, in file order: BuildKit runs no other."""
        wanted, todo = set[int](), [self.final]
        while todo:
            stage = todo.pop()
            if stage.index not in wanted:
                wanted.add(stage.index)
                todo += [found for name in _sources(stage) if (found := self.stage(name, stage.index)) is not None]
        return tuple(stage for stage in self.stages if stage.index in wanted)

    def bases(self) -> tuple[str, ...]:
        """What the stages that are needed take from outside: images and named contexts, each once."""
        found: dict[str, None] = {}
        values = dict(pair for argument in self.arguments for pair in argument.arguments())
        for stage in self.reached():
            for name in (expand(source, values) for source in _sources(stage)):
                if name != "scratch" and self.stage(name, stage.index) is None:
                    found[name] = None
        return tuple(found)

    def platform_of(self, stage: Stage) -> str:
        """The platform of a stage as it is written: its own flag, else that of the stage it stands on; or empty."""
        seen = stage
        while not seen.platform:
            below = self.stage(seen.base, seen.index)
            if below is None:
                return ""
            seen = below
        return expand(seen.platform, dict(pair for item in self.arguments for pair in item.arguments()))


def _sources(stage: Stage) -> Iterator[str]:
    yield stage.base
    for item in stage.instructions:
        if item.word in ("COPY", "ADD") and item.flag("from"):
            yield item.flag("from")
        for name, value in item.flags:
            if item.word == "RUN" and name == "mount":
                yield from (word.removeprefix("from=") for word in value.split(",") if word.startswith("from="))


def expand(text: str, values: dict[str, str | None]) -> str:
    """Replace variables that have a value; others stay as they are written."""

    def value(found: re.Match[str]) -> str:
        known = values.get(found[1] or found[2])
        if found[3] == "-" and known is None and (found[1] or found[2]) not in AUTOMATIC:
            return found[4]
        return found[0] if known is None else known

    return _VARIABLE.sub(value, text)


def variables(text: str) -> set[str]:
    """The names of the variables in a text."""
    return {found[1] or found[2] for found in _VARIABLE.finditer(text)}


def _words(text: str) -> list[str]:
    """Words as a shell splits them, quotes kept together."""
    return re.findall(r"""(?:[^\s"']|"(?:[^"\\]|\\.)*"|'[^']*')+""", text)


@dataclass(slots=True)
class _Lines:
    """Lines with their numbers, taken one by one."""

    rows: list[str]
    escape: str = "\\"
    at: int = 0
    found: list[Instruction] = field(default_factory=list)

    def directives(self) -> None:
        for row in self.rows:
            match = _DIRECTIVE.fullmatch(row.strip())
            if match is None:
                return
            if match[1].lower() == "escape":
                if match[2] not in ("\\", "`"):
                    raise _invalid(self.at + 1, f"got the escape character {match[2]!r}, expected \\ or `")
                self.escape = match[2]

    def logical(self) -> tuple[int, str] | None:
        """The next instruction's line number and its text, continuations joined."""
        parts: list[str] = []
        first = 0
        more = re.compile(re.escape(self.escape) + r"[ \t]*$")
        while self.at < len(self.rows):
            row = self.rows[self.at]
            self.at += 1
            if not row.strip() or row.lstrip().startswith("#"):
                continue  # inside a continuation too
            first = first or self.at
            parts.append(more.sub("", row))
            if not more.search(row):
                break
        return (first, "".join(parts).strip()) if parts else None

    def heredocs(self, line: int, text: str) -> str:
        """The bodies of the heredocs that an instruction opens."""
        bodies = []
        for match in filter(None, map(_HEREDOC.fullmatch, _words(text))):
            body: list[str] = []
            name = match[2].strip("\"'")
            while True:
                if self.at >= len(self.rows):
                    raise _invalid(line, f"heredoc without its end (expected a line {name})")
                row = self.rows[self.at]
                self.at += 1
                plain = row.lstrip("\t") if match[1] else row
                if plain == name:
                    break
                body.append(plain)
            bodies.append("\n".join(body))
        return "\n".join(bodies)


def _invalid(line: int, what: str) -> errors.ImageInputInvalid:
    return errors.ImageInputInvalid(f"line {line}: {what}", fix="correct the Dockerfile")


def parse(text: str) -> Dockerfile:
    """Read a Dockerfile. Raises ImageInputInvalid with the line where BuildKit would refuse it as well."""
    lines = _Lines(text.removeprefix("\ufeff").splitlines())
    lines.directives()
    while (row := lines.logical()) is not None:
        lines.found.append(_instruction(lines, *row))
    arguments: list[Instruction] = []
    stages: list[Stage] = []
    own: list[Instruction] = []
    for item in lines.found:
        if item.word == "FROM":
            _close(stages, own)
            stages.append(_stage(len(stages), item))
            own = []
        elif stages:
            own.append(item)
        elif item.word == "ARG":
            arguments.append(item)
        else:
            raise _invalid(item.line, f"got {item.word} before the first FROM, expected FROM or ARG")
    _close(stages, own)
    if not stages:
        raise _invalid(1, "got no FROM, expected at least one stage")
    return Dockerfile(arguments=tuple(arguments), stages=tuple(stages))


def _close(stages: list[Stage], own: list[Instruction]) -> None:
    if stages:
        last = stages[-1]
        stages[-1] = Stage(
            index=last.index, line=last.line, name=last.name, base=last.base, platform=last.platform,
            instructions=tuple(own),
        )  # fmt: skip


def _instruction(lines: _Lines, line: int, text: str) -> Instruction:
    word, *more = text.split(maxsplit=1)
    rest = more[0] if more else ""
    upper = word.upper()
    opens = upper in _WITH_HEREDOC and not rest.startswith("[")
    heredoc = lines.heredocs(line, rest) if opens else ""
    flags = []
    while upper != "ENV" and (match := _FLAG.match(rest)):
        flags.append((match[1], match[2] or ""))
        rest = rest[match.end() :]
    return Instruction(line=line, word=upper, flags=tuple(flags), text=rest, heredoc=heredoc)


def _stage(index: int, item: Instruction) -> Stage:
    words = item.text.split()
    if len(words) not in (1, 3) or (len(words) == 3 and words[1].upper() != "AS"):
        raise _invalid(item.line, f"got FROM {item.text}, expected FROM IMAGE or FROM IMAGE AS NAME")
    return Stage(
        index=index,
        line=item.line,
        name=words[2].lower() if len(words) == 3 else "",
        base=words[0],
        platform=item.flag("platform"),
    )
