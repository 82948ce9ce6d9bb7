"""The files that a survey leads to: matrix.toml with comments, a noxfile. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

from buildmatrix.starter.survey import Module, Program, Survey

NOXFILE = """\
# /// script
# dependencies = ["nox", "buildmatrix"]
# ///
import buildmatrix.sessions
buildmatrix.sessions.register()
"""
FLOOR = "2.28"
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
_LONGEST = 60
_MAJOR = re.compile(r"v[0-9]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The module that the matrix is for, and its programs by binary name."""

    module: Module
    names: tuple[tuple[str, Program], ...]

    @property
    def pure(self) -> tuple[str, ...]:
        """Binaries without C code."""
        return tuple(name for name, program in self.names if not program.cgo)

    @property
    def cgo(self) -> tuple[str, ...]:
        """Binaries with C code."""
        return tuple(name for name, program in self.names if program.cgo)


def choose(survey: Survey) -> Choice | None:
    """The root module where it has programs, else the one with the most; None where there is no program."""
    candidates = [module for module in survey.modules if module.programs]
    if not candidates:
        return None
    best = min(candidates, key=lambda module: (module.folder != ".", -len(module.programs), module.folder))
    return Choice(module=best, names=tuple(_names(best)))


def _names(module: Module) -> Iterator[tuple[str, Program]]:
    """Each program with a name of its own: its folder's, the module's at the root, longer where two are the same."""
    used: set[str] = set()
    for program in module.programs:
        parts = (
            program.package.removeprefix(".").strip("/").split("/") if program.package != "." else _last(module.path)
        )
        name = next(
            (
                candidate
                for count in range(1, len(parts) + 1)
                if (candidate := _clean("-".join(parts[-count:]))) not in used
            ),
            "",
        )
        number = 2
        while not name or name in used:
            name, number = f"{_clean(parts[-1])}-{number}", number + 1
        used.add(name)
        yield name, program


def _last(path: str) -> list[str]:
    parts = [part for part in path.split("/") if part and not _MAJOR.fullmatch(part)]
    return parts[-1:] or ["app"]


def _clean(name: str) -> str:
    return _UNSAFE.sub("-", name).strip("-._")[:_LONGEST] or "app"


def matrix(survey: Survey, choice: Choice) -> str:
    """The text of matrix.toml."""
    sections = (_head(survey, choice), _go(choice), _binaries(choice), _targets(choice), _hints(survey))
    return "\n".join("\n".join(lines) + "\n" for lines in map(list, sections) if lines)


def _quoted(text: str) -> str:
    """A TOML basic string; JSON's escapes are among TOML's."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _head(survey: Survey, choice: Choice) -> Iterator[str]:
    yield "# What is built, for which platforms. `buildmatrix plan` shows the exact commands;"
    yield "# docs/matrix.md of buildmatrix explains every key."
    yield "schema = 1"
    yield ""
    yield "[project]"
    yield f"name = {_quoted(_clean(_last(choice.module.path)[0]))}"
    if survey.versioned:
        yield 'version = "git"                # what `git describe --tags --always --dirty` says'
    else:
        yield 'version = "0.0.0"              # not a git repository with a commit; "git" takes it from tags'
    yield '# supplier = "Your organisation"   # as SBOMs name it'


def _go(choice: Choice) -> Iterator[str]:
    variables = {program.variable for _, program in choice.names if program.variable}
    yield "[go]"
    if choice.module.folder != ".":
        yield f"module = {_quoted(choice.module.folder)}"
    if choice.module.vendored:
        yield "# vendor/ is there, and go build uses it"
    flags = ["-s", "-w", "-buildid="]
    if len(variables) == 1:
        flags.append(f"-X main.{variables.pop()}={{version}}")
    yield f"ldflags = [{', '.join(map(_quoted, flags))}]"


def _binaries(choice: Choice) -> Iterator[str]:
    mixed = bool(choice.pure and choice.cgo)
    for number, (name, program) in enumerate(choice.names):
        if number:
            yield ""
        yield f"[binaries.{_key(name)}]"
        yield f"package = {_quoted(program.package)}"
        if program.cgo:
            yield f"# C code: {_comment(', '.join(program.cgo))}"
        if program.incomplete:
            yield f"# could not be looked at in full: {_comment(program.incomplete)}"
        if mixed:
            yield f"targets = {_list(_CGO_TARGETS if program.cgo else _PURE_TARGETS)}"


_PURE_TARGETS = ("amd64", "arm64")
_CGO_TARGETS = ("amd64-glibc", "arm64-glibc")


def _list(items: tuple[str, ...]) -> str:
    return f"[{', '.join(map(_quoted, items))}]"


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _quoted(name)


def _comment(text: str) -> str:
    """Text of others in a comment: one line of it, and nothing that ends a line."""
    plain = "".join(letter if letter.isprintable() else " " for letter in text)
    return plain if len(plain) <= 160 else f"{plain[:159]}…"


def _targets(choice: Choice) -> Iterator[str]:
    first = True
    for goarch in ("amd64", "arm64") if choice.pure else ():
        yield from () if first else ("",)
        yield f"[targets.{goarch}]"
        yield f'goarch = "{goarch}"'
        first = False
    for goarch in ("amd64", "arm64") if choice.cgo else ():
        yield from () if first else ("",)
        yield f"[targets.{goarch}-glibc]"
        yield f'goarch = "{goarch}"'
        yield "cgo = true"
        yield f'libc-floor = "{FLOOR}"          # runs on every glibc from this one on; zig links against it'
        first = False


def _hints(survey: Survey) -> Iterator[str]:
    yield "# Where it runs: `verify` then predicts from bytes whether it executes there."
    yield "# [fleet.production]"
    yield '# arch = "arm64"'
    yield '# kernel = "6.1"'
    for path in survey.dockerfiles[:3]:
        yield ""
        yield f"# {_comment(path)} can be built for both platforms, by BuildKit:"
        yield "# [images.app]"
        yield f"# dockerfile = {_comment(_quoted(path))}"
    for path in survey.charts[:3]:
        yield ""
        yield f"# A Helm chart lies in {_comment(path)}."
