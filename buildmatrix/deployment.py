"""Where artifacts go: the machines of [fleet] and the root file systems of [roots].

Machines are described in the words of `explain --host`, and read by its parser, so that there is one
vocabulary.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from buildmatrix import host, schema
from buildmatrix.errors import Problem, UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetHost:
    """One table [fleet.NAME]: `words` describe it for the preflight, `targets` are globs."""

    name: str
    words: str
    goarch: str
    targets: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RootImage:
    """One table [roots.NAME]: `path` is relative to the project, `where` a folder in the root."""

    name: str
    path: str
    targets: tuple[str, ...]
    path_env: str
    uid: int
    gid: int
    where: str


def matches(targets: tuple[str, ...], name: str) -> bool:
    """Whether any glob of `targets` matches a target's name."""
    return any(fnmatch.fnmatchcase(name, glob) for glob in targets)


def read_fleet(raw: dict[str, dict[str, Any]], targets: tuple[str, ...]) -> tuple[tuple[FleetHost, ...], list[Problem]]:
    """The machines in tables that are valid by type, and every problem in them."""
    found, problems = [], []
    for name, values in raw.items():
        globs = values.get("targets", ("*",))
        wrong = [*_unmatched(f"fleet.{name}.targets", globs, targets), *_wrong_words(name, values)]
        problems += wrong
        if not wrong and "arch" in values:
            words = ",".join((values["arch"], *(word for _, word in _words(values))))
            found.append(FleetHost(name=name, words=words, goarch=_goarch(words), targets=globs))
    return tuple(found), problems


def _goarch(words: str) -> str:
    return host.parse(words).arch


def _words(values: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Each key of a machine with its word for `--host`."""
    for key in schema.FLEET:
        value = values.get(key.name)
        if value is None or key.name in ("arch", "targets"):
            continue
        if isinstance(value, bool):
            value = "yes" if value else "no"
        yield key.name, f"{key.name}={'+'.join(value) if isinstance(value, tuple) else value}"


def _wrong_words(name: str, values: dict[str, Any]) -> Iterator[Problem]:
    if "arch" not in values:
        return  # the reader has told
    pairs = [("arch", values["arch"])]
    pairs += [(key, f"{values['arch']},{word}") for key, word in _words(values)]
    for key, words in pairs:
        try:
            host.parse(words)
        except UsageError as error:
            expected = error.what.partition(", expected ")[2]
            yield Problem(key=f"fleet.{name}.{key}", got=repr(_plain(values[key])), expected=expected, hint=error.fix)
            if key == "arch":
                return


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


def read_roots(raw: dict[str, dict[str, Any]], targets: tuple[str, ...]) -> tuple[tuple[RootImage, ...], list[Problem]]:
    """The roots in tables that are valid by type, and every problem in them."""
    found, problems = [], []
    defaults = {key.name: key.default for key in schema.ROOT}
    for name, given in raw.items():
        values = {**defaults, **given}
        wrong = [*_unmatched(f"roots.{name}.targets", values["targets"], targets), *_wrong_path(name, values["path"])]
        problems += wrong
        if not wrong and values["path"] is not None:
            uid, _, gid = values["user"].partition(":")
            found.append(
                RootImage(
                    name=name,
                    path=values["path"],
                    targets=values["targets"],
                    path_env=values["path-env"],
                    uid=int(uid),
                    gid=int(gid or uid),
                    where=values["where"],
                )
            )
    return tuple(found), problems


def _wrong_path(name: str, path: str | None) -> Iterator[Problem]:
    if path is not None and (not path or PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts):
        expected = "a relative path that stays inside the project"
        yield Problem(key=f"roots.{name}.path", got=repr(path), expected=expected)


def _unmatched(key: str, globs: tuple[str, ...], targets: tuple[str, ...]) -> Iterator[Problem]:
    for index, glob in enumerate(globs):
        if targets and not any(fnmatch.fnmatchcase(target, glob) for target in targets):
            expected = f"a glob that matches one of {', '.join(targets)}"
            yield Problem(key=f"{key}[{index}]", got=repr(glob), expected=expected)
