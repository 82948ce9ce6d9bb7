"""Takes values out of parsed TOML by the tables of `schema`, and collects every problem on the way."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from typing import Any

from buildmatrix import schema
from buildmatrix.errors import Problem
from buildmatrix.schema import Key


@dataclass(slots=True)
class Reader:
    """Collects problems while values are taken out of parsed TOML."""

    problems: list[Problem] = field(default_factory=list)

    def add(self, key: str, got: object, expected: str, hint: str = "") -> None:
        """A problem: what was found at a key path, and what is allowed."""
        self.problems.append(Problem(key=key, got=_show(got), expected=expected, hint=hint))

    def table(self, value: object, path: str) -> dict[str, Any]:
        """The value as a table; an empty one, and a problem, where it is none."""
        if isinstance(value, dict):
            return value
        self.add(path, value, "a table")
        return {}

    def keys(self, table: dict[str, Any], keys: tuple[Key, ...], path: str) -> dict[str, Any]:
        """The valid values of `table` by key name; defaults are not filled in here."""
        known = {key.name: key for key in keys}
        values = {}
        for name, value in table.items():
            if name not in known:
                self.unknown(f"{path}.{name}", name, tuple(known))
            elif self.value(known[name], value, f"{path}.{name}"):
                values[name] = tuple(value) if isinstance(value, list) else value
        for key in keys:
            if key.required and key.name not in table:
                self.add(f"{path}.{key.name}", NOTHING, f"a {key.kind}: it is required")
        return values

    def unknown(self, path: str, name: str, known: tuple[str, ...]) -> None:
        """A key that does not exist, with the closest that does."""
        close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
        hint = f"did you mean {close[0]!r}?" if close else ""
        self.add(path, Words("an unknown key"), f"one of {', '.join(known)}", hint)

    def value(self, key: Key, value: object, path: str) -> bool:
        """Whether a value has its key's type and form; a problem for each thing that is wrong."""
        if key.kind == "environment":
            return self.environment(value, path)
        if key.kind == "table":
            return self.strings(key, value, path)
        if key.kind in ("strings", "integers"):
            if not isinstance(value, list):
                self.add(path, value, f"a list of {key.kind}")
                return False
            single = "string" if key.kind == "strings" else "integer"
            valid = [self.scalar(key, single, item, f"{path}[{i}]") for i, item in enumerate(value)]
            return all(valid)
        return self.scalar(key, key.kind, value, path)

    def scalar(self, key: Key, kind: str, value: object, path: str) -> bool:
        """The same for one string, boolean or integer."""
        types = {"string": str, "boolean": bool, "integer": int}
        if type(value) is not types[kind]:
            self.add(path, value, f"a {kind}" if kind != "integer" else "an integer")
        elif isinstance(value, str) and key.choices and value not in key.choices:
            close = difflib.get_close_matches(value, key.choices, n=1, cutoff=0.6)
            hint = f"did you mean {close[0]!r}?" if close else ""
            self.add(path, value, f"one of {', '.join(key.choices)}", hint)
        elif isinstance(value, str) and not key.pattern.fullmatch(value):
            self.add(path, value, key.shape or "a string without control characters")
        else:
            return True
        return False

    def strings(self, key: Key, value: object, path: str) -> bool:
        """A table of strings under names that match `key.names`."""
        if not isinstance(value, dict):
            self.add(path, value, "a table of strings")
            return False
        wrong = [name for name in value if not key.names.fullmatch(name)]
        for name in wrong:
            self.add(f"{path}.{name}", name, f"a name that matches {key.names.pattern}")
        valid = [self.scalar(key, "string", text, f"{path}.{name}") for name, text in value.items()]
        return not wrong and all(valid)

    def environment(self, value: object, path: str) -> bool:
        """The same for a table of variables."""
        if not isinstance(value, dict):
            self.add(path, value, "a table of strings")
            return False
        before = len(self.problems)
        for name, text in value.items():
            if not schema.VARIABLE.fullmatch(name):
                self.add(f"{path}.{name}", name, "a variable name: letters, digits and underscores")
            elif name in schema.CONTROLLED:
                self.add(f"{path}.{name}", Words("a variable that other keys decide"), "any other variable",
                         "use goos, goarch, level, cgo, cc, flags, cflags or extldflags")  # fmt: skip
            elif not isinstance(text, str) or not schema.PLAIN.fullmatch(text):
                self.add(f"{path}.{name}", text, "a string without control characters")
        return len(self.problems) == before


class Words(str):
    """Words of ours in the place of a value: shown without quotes."""

    __slots__ = ()


NOTHING = Words("nothing")


def _show(value: object) -> str:
    if isinstance(value, str):
        return str(value) if isinstance(value, Words) else repr(value)
    if isinstance(value, dict):
        return "a table"
    return "a list" if isinstance(value, list) else repr(value)
