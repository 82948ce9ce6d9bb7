"""Changes to a YAML file that leave every other byte as it is: comments, order, quotes and white space.

A parsed tree that is written anew would lose alignment and style. Here the parser says where a value stands, only
that is replaced, and the result is read again: where it is not exactly what was meant, the change is refused.
"""

from __future__ import annotations

import copy
import json
from typing import Any

from buildmatrix.errors import FixRefused, ManifestInvalid
from buildmatrix.kube import yamlread, yamlwrite
from buildmatrix.kube.objects import Path, at


class Editor:
    """The text of one stream. A place is the number of a document, and a path in it."""

    def __init__(self, text: str, name: str) -> None:
        self.text, self._name = text, name
        self._newline = "\r\n" if "\r\n" in text else "\n"

    def value(self, number: int = 0) -> Any:
        """The value of a document as it stands now."""
        found = self._documents()
        return found[number].value if number < len(found) else None

    def set(self, path: Path, value: Any, number: int = 0) -> None:
        """Give a place a value; mappings on the way that are missing are made. Raises FixRefused."""
        before = self.value(number)
        if at(before, path) == value and (value is not None or self._has(before, path)):
            return
        try:
            meant = _with(before if before is not None else {}, path, value)
        except (IndexError, TypeError, KeyError) as error:
            raise self._refused(f"no place for {'.'.join(map(str, path))}") from error
        if before is None:
            self._append_line("\n".join(yamlwrite.block(meant)))
        else:
            self._set(path, value, number)
        self._confirm(meant, number)

    def add(self, path: Path, item: Any, number: int = 0) -> None:
        """Append to a list; one that is missing is made."""
        have = at(self.value(number), path)
        if not isinstance(have, list) or not have:
            self.set(path, [item], number)
            return
        meant = _with(self.value(number), path, [*have, item])
        node = self._node(path, number)
        if node.flow_style:
            self._replace(_inner_end(node), _inner_end(node), f", {json.dumps(item)}")
        else:
            lines = yamlwrite.block([item], node.start_mark.column)
            self._insert_after(_end(node), lines)
        self._confirm(meant, number)

    def remove(self, path: Path, number: int = 0) -> None:
        """Take an item of a list away, with its line."""
        meant = copy.deepcopy(self.value(number))
        del at(meant, path[:-1])[path[-1]]
        parent, node = self._node(path[:-1], number), self._node(path, number)
        if parent.flow_style:
            raise self._refused("an item inside brackets")
        start = self.text.rfind("\n", 0, node.start_mark.index) + 1
        end = self.text.find("\n", _end(node))
        self._replace(start, len(self.text) if end < 0 else end + 1, "")
        self._confirm(meant, number)

    def set_names(self, path: Path, names: tuple[str, ...], number: int = 0) -> None:
        """Make a list hold these texts and no others; those that are there stay where they are."""
        have = at(self.value(number), path)
        node = self._node(path, number) if isinstance(have, list) and have else None
        if node is None or node.flow_style or not isinstance(have, list) or not set(have) & set(names):
            if not isinstance(have, list) or set(have) != set(names):
                self.set(path, list(names), number)
            return
        for index in range(len(have) - 1, -1, -1):
            if have[index] not in names:
                self.remove((*path, index), number)
        for name in names:
            if name not in have:
                self.add(path, name, number)

    def _documents(self) -> tuple[yamlread.Document, ...]:
        return yamlread.documents(self.text, self._name)

    def _has(self, value: Any, path: Path) -> bool:
        above = at(value, path[:-1])
        return isinstance(above, dict) and path[-1] in above

    def _node(self, path: Path, number: int) -> Any:
        node = self._documents()[number].node
        for step in path:
            node = node.value[step] if isinstance(step, int) else _entry(node, step)[1]
        return node

    def _set(self, path: Path, value: Any, number: int) -> None:
        node = self._documents()[number].node
        for depth, step in enumerate(path):
            if isinstance(step, int):
                if node.id != "sequence" or step >= len(node.value):
                    raise self._refused("a place that is not there")
                node = node.value[step]
                continue
            if node.id != "mapping":
                raise self._refused(f"{node.id} where a mapping belongs")
            entry = _entry(node, step)
            rest = _nested(path[depth + 1 :], value)
            if entry is None:
                self._insert(node, str(step), rest)
                return
            inner = entry[1]
            if depth + 1 == len(path) or (inner.id == "scalar" and not inner.value and not inner.style):
                self._exchange(node, entry, rest)
                return
            if inner.id == "mapping" and not inner.value and not node.flow_style:  # {} in a block: open it
                self._exchange(node, entry, rest)
                return
            node = inner
        self._replace(node.start_mark.index, _end(node), _in_place(value))

    def _exchange(self, parent: Any, entry: tuple[Any, Any], value: Any) -> None:
        key, old = entry
        if self.text[old.start_mark.index : old.start_mark.index + 1] in ("&", "*") or old.start_mark.index < (
            key.start_mark.index
        ):
            raise self._refused("an anchor or alias, which other places share")
        start = self.text.index(":", key.end_mark.index) + 1
        end = _end(old) if old.id != "scalar" or old.value or old.style else start
        if parent.flow_style or not isinstance(value, (dict, list)) or not value:
            text = _flow(value, json_style=bool(key.style)) if parent.flow_style else yamlwrite.block(value)[0]
            self._replace(start, end, f" {text}")
            return
        if old.id == "sequence" and old.flow_style and _plain_list(value) and old.value:
            self._replace(start, end, " [" + ", ".join(map(yamlwrite.scalar, value)) + "]")
            return
        rest = self.text[end : _line_end(self.text, end)]
        lines = yamlwrite.block(value, key.start_mark.column + 2)
        self._replace(start, end + len(rest), rest.rstrip() + self._newline + self._newline.join(lines))

    def _insert(self, node: Any, key: str, value: Any) -> None:
        if node.flow_style:
            glue = ", " if node.value else ""
            quoted = not node.value or bool(node.value[0][0].style)
            head = json.dumps(key) if quoted else yamlwrite.scalar(key)
            self._replace(_inner_end(node), _inner_end(node), f"{glue}{head}: {_flow(value, json_style=quoted)}")
            return
        self._insert_after(_end(node), yamlwrite.block({key: value}, node.start_mark.column))

    def _insert_after(self, place: int, lines: list[str]) -> None:
        """New lines after the one that a place is in; a place at the start of a line belongs to the one before."""
        inside = not place or self.text[place - 1] != "\n"
        end = (self.text.find("\n", place) + 1 or len(self.text)) if inside else place
        text = self._newline.join(lines) + self._newline
        if end == len(self.text) and self.text and not self.text.endswith("\n"):
            text = self._newline + text
        self._replace(end, end, text)

    def _append_line(self, text: str) -> None:
        glue = "" if not self.text or self.text.endswith("\n") else self._newline
        self.text += glue + text + self._newline

    def _replace(self, start: int, end: int, text: str) -> None:
        self.text = self.text[:start] + text + self.text[end:]

    def _confirm(self, meant: Any, number: int) -> None:
        try:
            good = self.value(number) == meant
        except ManifestInvalid:
            good = False
        if not good:
            raise self._refused("a form that cannot be changed without touching more")

    def _refused(self, what: str) -> FixRefused:
        return FixRefused(
            f"{self._name}: got {what}, expected plain YAML", fix="write constraint and digest into it by hand"
        )


def _flow(value: Any, *, json_style: bool) -> str:
    """A value inside brackets: plain where its neighbours are, JSON where they are JSON."""
    return json.dumps(value, ensure_ascii=False) if json_style or isinstance(value, (dict, list)) else (
        yamlwrite.scalar(value)
    )  # fmt: skip


def _in_place(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, (dict, list)) else yamlwrite.scalar(value)


def _entry(node: Any, key: str | int) -> Any:
    return next(((name, value) for name, value in node.value if name.value == key), None)


def _nested(path: Path, value: Any) -> Any:
    for step in reversed(path):
        value = {step: value}
    return value


def _with(value: Any, path: Path, new: Any) -> Any:
    made = copy.deepcopy(value)
    if not path:
        return new
    inner = made
    for step in path[:-1]:
        if isinstance(inner, dict) and inner.get(step) is None:
            inner[step] = {}
        inner = inner[step]
    inner[path[-1]] = new
    return made


def _end(node: Any) -> int:
    """Where a node's text really ends: block collections are told to end at the next token."""
    if node.id == "scalar" or node.flow_style or not node.value:
        return int(node.end_mark.index)
    last = node.value[-1]
    return _end(last[1] if isinstance(last, tuple) else last)


def _inner_end(node: Any) -> int:
    return int(node.end_mark.index) - 1


def _line_end(text: str, place: int) -> int:
    found = text.find("\n", place)
    found = len(text) if found < 0 else found
    return found - 1 if text[found - 1 : found] == "\r" and found > place else found


def _plain_list(value: Any) -> bool:
    return isinstance(value, list) and not any(isinstance(item, (dict, list)) for item in value)
