"""The one compiled matcher: literals find the lines, expressions read them.

Every pattern has an anchor, a literal. The native core's automaton looks at each byte of the input once for all
anchors together; only lines that hold one are looked at by expressions, and only by those with that anchor. So a
log without symptoms costs one pass over its bytes, however many patterns there are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from buildmatrix import elf
from buildmatrix.converge import weights
from buildmatrix.converge.pattern import Pattern
from buildmatrix.converge.patterns_end import END
from buildmatrix.converge.patterns_exec import EXEC
from buildmatrix.converge.patterns_loader import LOADER
from buildmatrix.converge.symptom import Context, Role, Symptom

PATTERNS: tuple[Pattern, ...] = (*LOADER, *EXEC, *END)
"""Every row; where several match a line the first counts, unless it only notices."""

MAX_TEXT = 4096
"""Characters of a line that expressions see, around its anchor: none of the messages is longer."""

KEEP_TEXT = 400


@dataclass(frozen=True, slots=True)
class _Row:
    pattern: Pattern
    regex: re.Pattern[str]


@cache
def rows() -> dict[str, tuple[_Row, ...]]:
    """The compiled rows by anchor, in the order of the tables."""
    found: dict[str, list[_Row]] = {}
    for pattern in _ordered():
        found.setdefault(pattern.anchor, []).append(_Row(pattern, re.compile(pattern.regex)))
    return {anchor: tuple(items) for anchor, items in found.items()}


def _ordered() -> list[Pattern]:
    return sorted(PATTERNS, key=lambda pattern: pattern.role is Role.UNKNOWN)


@cache
def anchors() -> tuple[str, ...]:
    """Every anchor once, in the order in which lines are read for them."""
    return tuple(dict.fromkeys(pattern.anchor for pattern in _ordered()))


@cache
def _finder(extra: tuple[bytes, ...]) -> elf.Literals:
    return elf.Literals((*(anchor.encode() for anchor in anchors()), *extra))


@cache
def _order() -> dict[Pattern, int]:
    return {pattern: rank for rank, pattern in enumerate(_ordered())}


def lines_with_anchors(chunk: bytes, extra: tuple[bytes, ...] = ()) -> list[tuple[int, int]]:
    """The spans of the lines of `chunk` that hold an anchor, or one of `extra`, in order."""
    return _finder(extra).lines(chunk)


def recognise(text: str, context: Context) -> Symptom | None:
    """The symptom that one line tells of, or nothing."""
    best: tuple[int, _Row, re.Match[str]] | None = None
    for anchor, candidates in _present(text):
        window = _window(text, anchor)
        for row in candidates:
            rank = _order()[row.pattern]
            if best is not None and rank >= best[0]:
                break
            match = row.regex.search(window)
            if match is not None:
                best = (rank, row, match)
                break
    return None if best is None else _symptom(best[1].pattern, best[2], text, context)


def _present(text: str) -> Iterator[tuple[str, tuple[_Row, ...]]]:
    table = rows()
    for anchor in anchors():
        if anchor in text:
            yield anchor, table[anchor]


def _window(text: str, anchor: str) -> str:
    if len(text) <= MAX_TEXT:
        return text
    at = text.find(anchor)
    return text[max(0, at - MAX_TEXT // 2) : at + MAX_TEXT // 2]


def _symptom(pattern: Pattern, match: re.Match[str], text: str, context: Context) -> Symptom:
    groups = {name: value for name, value in match.groupdict().items() if value}
    causes = pattern.weigh(groups)
    found = Symptom(
        pattern=pattern.name,
        stage=pattern.stage,
        role=Role.UNKNOWN if causes is None else pattern.role,
        candidates=weights.normal(causes or {}),
        text=_kept(text, match),
        program=groups.get("program", "").strip(),
        object=groups.get("object", ""),
        version=groups.get("version", ""),
        symbol=groups.get("symbol", ""),
        detail=groups.get("detail") or pattern.detail or _said(groups),
        context=context,
    )
    return found if not ({"pid", "unit"} & groups.keys()) else _placed(found, groups)


def _said(groups: dict[str, str]) -> str:
    return weights.errno_name(groups.get("errno", "")) or groups.get("signal", "") or groups.get("exit", "")


def _placed(found: Symptom, groups: dict[str, str]) -> Symptom:
    from dataclasses import replace

    at = found.context
    return replace(found, context=replace(at, pid=groups.get("pid") or at.pid, unit=groups.get("unit") or at.unit))


def _kept(text: str, match: re.Match[str]) -> str:
    return text if len(text) <= KEEP_TEXT else match.group(0)[:KEEP_TEXT]
