"""The model as one HTML file: no other file, no network, no script but its own, by a strict content policy.

Every text is escaped by the template engine, after `safe` has taken from it what could reorder or hide the text
beside it. Style and script are data files of this package, and the policy names them by their digests.
"""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from buildmatrix.finding import Finding, Severity
from buildmatrix.report import treemap
from buildmatrix.report.model import Edge, Part, ReportModel, Row, Sizes, State, Timing, grouped
from buildmatrix.report.plain import bytes_in_words, safe, seconds_in_words

if TYPE_CHECKING:
    from jinja2 import Template

SECTIONS = (
    ("findings", "Findings"), ("grid", "Artifacts and checks"), ("sizes", "Sizes"), ("fleet", "Machines"),
    ("libraries", "Loaders and libraries"), ("bills", "Bills of materials"), ("signatures", "Signatures"),
    ("images", "Images"), ("timings", "Timings"), ("rules", "Codes"),
)  # fmt: skip
_GLYPHS = {
    State.PASSED: "✓", State.NOTE: "i", State.WARNING: "!", State.FAILED: "✗", State.UNKNOWN: "?",
    State.NOT_APPLICABLE: "·",
}  # fmt: skip
_GROUPS = ((Severity.ERROR, "Errors"), (Severity.WARNING, "Warnings"), (Severity.NOTE, "Notes"))
_HEIGHT = 220
_ASPECT = 3.2
_COLOURS = 8
_MOST_NODES = 2000
_WIDTHS = ((0, 300), (480, 470), (720, 710), (1000, 990))
"""Class and pixels that a drawing has at least when texts of that class are shown."""
_LETTER, _MARGIN, _LINE = 7.2, 12, 20


@dataclass(frozen=True, slots=True, kw_only=True)
class _Box:
    name: str
    words: str
    size: int
    share: str
    colour: int
    x: float
    y: float
    width: float
    height: float
    fits: str
    fits_size: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Drawing:
    label: str
    height: int
    boxes: tuple[_Box, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Node:
    name: str
    path: str
    rule: str
    below: tuple[_Node, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sized:
    row: Row
    percent: int
    drawings: tuple[tuple[str, _Drawing], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Timed:
    timing: Timing
    percent: int


def render(report: ReportModel) -> str:
    """The page; the same report gives the same text."""
    style, script = _data("report.css"), _data("report.js")
    return _template().render(
        report=report,
        style=_markup(style),
        script=_markup(script),
        style_hash=_digest(style),
        script_hash=_digest(script),
        summary=_summary(report),
        time=time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(report.epoch)) if report.epoch is not None else "",
        sections=SECTIONS,
        states=tuple(State),
        groups=tuple(_groups(report)),
        sized=tuple(_sized(report)),
        placed=tuple(row for row in report.rows if row.places),
        linked=tuple(_linked(report)),
        timed=tuple(_timed(report)),
    )


def _data(name: str) -> str:
    return resources.files(__package__).joinpath("page", name).read_text(encoding="utf-8")


def _markup(text: str) -> str:
    from markupsafe import Markup

    return Markup(text)  # noqa: S704  (a data file of this package)


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


@cache
def _template() -> Template:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, finalize=_final, trim_blocks=True)
    environment.filters |= {
        "bytes": bytes_in_words,
        "seconds": seconds_in_words,
        "glyph": lambda state: _GLYPHS[state],
        "kind": lambda state: "na" if state is State.NOT_APPLICABLE else str(state),
        "pages": lambda sizes: ", ".join(f"{size // 1024}K" for size in sizes) or "not checked",
    }
    return environment.from_string(_data("report.html.j2"))


def _final(value: Any) -> Any:
    """What a template prints: plain text is made safe, markup and numbers are left alone."""
    if isinstance(value, str) and not hasattr(value, "__html__"):
        return safe(value)
    return value


def _summary(report: ReportModel) -> str:
    parts = [f"{len(report.rows)} artifact{'' if len(report.rows) == 1 else 's'}"]
    for severity, word in _GROUPS:
        count = report.count(severity)
        parts.append(f"{count} {word.lower().removesuffix('s') if count == 1 else word.lower()}")
    return ", ".join(parts)


def _groups(report: ReportModel) -> Iterator[tuple[str, list[Finding]]]:
    for severity, word in _GROUPS:
        items = list(grouped(item for item in report.findings if item.severity is severity))
        if items:
            yield word, items


def _sized(report: ReportModel) -> Iterator[_Sized]:
    largest = max((row.size for row in report.rows if row.sizes is not None), default=0)
    for row in report.rows:
        if row.sizes is not None:
            percent = round(100 * row.sizes.total / largest) if largest else 0
            yield _Sized(row=row, percent=percent, drawings=tuple(_drawings(row.sizes)))


def _drawings(sizes: Sizes) -> Iterator[tuple[str, _Drawing]]:
    for caption, parts in (
        ("Sections of the file", sizes.sections),
        ("Go code by package", sizes.packages),
        ("Go code by module", sizes.modules if len(sizes.modules) > 1 else ()),
    ):
        if parts:
            yield caption, _drawing(caption, parts)


def _drawing(caption: str, parts: Sequence[Part]) -> _Drawing:
    kept = treemap.shown(parts)
    total = sum(part.size for part in kept)
    boxes = treemap.layout(kept, aspect=_ASPECT)
    largest = ", ".join(f"{safe(part.name)} {bytes_in_words(part.size)}" for part in kept[:3])
    return _Drawing(
        label=f"{caption}, {bytes_in_words(total)}; the largest: {largest}",
        height=_HEIGHT,
        boxes=tuple(_box(box, index, total) for index, box in enumerate(boxes)),
    )


def _box(box: treemap.Box, index: int, total: int) -> _Box:
    words, part = bytes_in_words(box.part.size), box.part
    lines = int((box.height / 100 * _HEIGHT - 4) // _LINE)
    fits = _fits(safe(part.name), box.width) if lines >= 1 else ""
    return _Box(
        name=part.name,
        words=words,
        size=part.size,
        share=f"{100 * part.size / total:.1f} %",
        colour=index % _COLOURS,
        x=box.x,
        y=box.y,
        width=box.width,
        height=box.height,
        fits=fits,
        fits_size=_fits(max(safe(part.name), words, key=len), box.width) if lines >= 2 else "",
    )


def _fits(text: str, width: float) -> str:
    """The class of drawings in which a text has room in a box of this width in percent; empty where none has."""
    needed = len(text) * _LETTER + _MARGIN
    return next((f"w{name}" for name, pixels in _WIDTHS if needed <= pixels * width / 100), "")


def _linked(report: ReportModel) -> Iterator[tuple[Row, tuple[_Node, ...]]]:
    for row in report.rows:
        if row.needs is not None and (row.needs.loader or row.edges):
            yield row, _tree(row.edges)


def _tree(edges: Sequence[Edge]) -> tuple[_Node, ...]:
    """Edges as a tree in which every file's own needs stand where it comes first."""
    by: dict[str, list[Edge]] = {}
    for edge in edges:
        by.setdefault(edge.by, []).append(edge)
    seen: set[str] = set()
    found = {edge.path for edge in edges if edge.path}

    def below(name: str, depth: int) -> tuple[_Node, ...]:
        if name in seen or depth > 64 or len(seen) > _MOST_NODES:
            return ()
        seen.add(name)
        return tuple(
            _Node(
                name=edge.name,
                path=edge.path,
                rule=edge.rule,
                below=below(edge.path, depth + 1) if edge.path else (),
            )
            for edge in by.get(name, ())
        )

    return tuple(node for name in by if name not in found for node in below(name, 0))


def _timed(report: ReportModel) -> Iterator[_Timed]:
    longest = max((timing.seconds for timing in report.timings), default=0.0)
    for timing in sorted(report.timings, key=lambda item: (-item.seconds, item.cell)):
        yield _Timed(timing=timing, percent=round(100 * timing.seconds / longest) if longest else 0)
