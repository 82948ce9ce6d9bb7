"""A conclusion as text, as JSON, and as a section of HTML."""

from __future__ import annotations

import html
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from buildmatrix.converge.conclusion import LEVELS, Conclusion, RootCause, Seen
from buildmatrix.converge.reader import Count

SCHEMA = 1
_WIDTH = 160


def plain(text: str) -> str:
    """Text out of logs as terminals and reports can take it: what controls something is escaped."""
    text = text.encode(errors="surrogateescape").decode(errors="backslashreplace")
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def _short(text: str) -> str:
    text = plain(text)
    return text if len(text) <= _WIDTH else text[: _WIDTH - 1] + "…"


def _when(seconds: float | None) -> str:
    return "" if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def document(found: Conclusion, count: Count, problems: list[str], reproducers: dict[int, str]) -> dict[str, Any]:
    """The JSON document. `reproducers` holds folders by the index of their cause."""
    causes = []
    for index, item in enumerate(found.causes):
        row = asdict(item)
        row["candidates"] = [{"cause": name, "weight": round(weight, 3)} for name, weight in item.candidates]
        row["evidence"] = {
            level: [{"text": each.text, "seen": each.seen} for each in item.evidence if each.level == level]
            for level in LEVELS
        }
        row["first"], row["last"] = _when(item.first), _when(item.last)
        row["symptoms"] = [_seen(each) for each in item.symptoms]
        row["reproducer"] = reproducers.get(index, "")
        causes.append(row)
    return {
        "schema": SCHEMA,
        "read": {"inputs": count.inputs, "lines": count.lines, "problems": problems},
        "causes": causes,
        "unknown": [_seen(each) for each in found.unknown],
        "warnings": [_seen(each) for each in found.warnings],
        "not_listed": {"symptoms": found.lost, "unknown": found.more_unknown},
    }


def _seen(item: Seen) -> dict[str, Any]:
    return {**asdict(item), "first": _when(item.first), "last": _when(item.last)}


def lines(found: Conclusion, count: Count, reproducers: dict[int, str]) -> Iterator[str]:
    """The conclusion for a person."""
    total = sum(item.count for item in found.causes)
    yield f"{total} symptoms in {count.inputs} inputs come from {len(found.causes)} root causes"
    rows = [(str(index), item.cause if item.sure != "open" else f"{item.cause}?", item.sure, str(item.count),
             _where(item)) for index, item in enumerate(found.causes, 1)]  # fmt: skip
    if rows:
        head = ("#", "cause", "sure", "symptoms", "where")
        widths = [max(len(row[column]) for row in (head, *rows)) for column in range(4)]
        for row in (head, *rows):
            yield "  ".join((*(cell.ljust(width) for cell, width in zip(row[:4], widths, strict=True)), row[4]))
    for index, item in enumerate(found.causes):
        yield ""
        yield from _detail(index, item, reproducers.get(index, ""))
    yield from _left("unknown, and not forced into a cause", found.unknown)
    yield from _left("warnings", found.warnings)
    if found.lost or found.more_unknown:
        yield f"not listed: {found.lost} symptoms beyond those that are told apart, {found.more_unknown} unknown kinds"


def _where(item: RootCause) -> str:
    names = (*item.objects[:2], *item.programs[:2], *item.pods[:1], *item.hosts[:3], *item.architectures[:2])
    return _short(" ".join(dict.fromkeys(names)))


def _detail(index: int, item: RootCause, reproducer: str) -> Iterator[str]:
    yield f"{index + 1}. {item.cause}: {item.title} ({item.sure})"
    if item.sure != "certain":
        yield "   could be: " + ", ".join(f"{name} {weight:.0%}" for name, weight in item.candidates[:6])
    for level in LEVELS:
        for each in item.evidence:
            if each.level == level:
                yield _short(f"   {level}{'' if each.seen else ' (by the cause)'}: {each.text}")
    for text in item.against:
        yield _short(f"   against: {text}")
    for label, names in (("programs", item.programs), ("images", item.images), ("hosts", item.hosts),
                         ("architectures", item.architectures)):  # fmt: skip
        if names:
            yield _short(f"   {label}: {', '.join(names)}")
    if item.settle:
        yield plain(f"   would settle it: {item.settle}")
    yield plain(f"   fix: {item.fix}")
    if reproducer:
        yield plain(f"   reproducer: {reproducer}")


def _left(title: str, items: tuple[Seen, ...]) -> Iterator[str]:
    if items:
        yield ""
        yield f"{title}:"
        yield from (_short(f"   {item.count} × {item.text} ({', '.join(item.places[:1])})") for item in items)


def section(found: Conclusion, count: Count) -> str:
    """A section of HTML without styles of its own: everything out of logs is escaped."""
    parts = ['<section class="converge">', "<h2>Root causes</h2>",
             f"<p>{sum(item.count for item in found.causes)} symptoms in {count.inputs} inputs, "
             f"{len(found.causes)} root causes.</p>", "<table>",
             "<tr><th>cause</th><th>sure</th><th>symptoms</th><th>where</th><th>fix</th></tr>"]  # fmt: skip
    for item in found.causes:
        cells = (item.cause, item.sure, str(item.count), _where(item), item.fix)
        parts.append("<tr>" + "".join(f"<td>{_escaped(cell)}</td>" for cell in cells) + "</tr>")
    parts.append("</table>")
    for item in found.causes:
        parts.append(f"<h3>{_escaped(item.cause)}: {_escaped(item.title)}</h3><dl>")
        parts += [f"<dt>{each.level}</dt><dd>{_escaped(each.text)}</dd>" for each in item.evidence]
        if item.settle:
            parts.append(f"<dt>would settle it</dt><dd>{_escaped(item.settle)}</dd>")
        parts.append("</dl>")
    if found.unknown:
        parts.append("<h3>Unknown</h3><ul>")
        parts += [f"<li>{item.count} × {_escaped(item.text)}</li>" for item in found.unknown]
        parts.append("</ul>")
    return "\n".join((*parts, "</section>", ""))


def _escaped(text: str) -> str:
    return html.escape(plain(text))
