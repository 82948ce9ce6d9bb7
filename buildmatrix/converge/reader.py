"""From inputs to items: the format is told by the content, and every line is looked at once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from buildmatrix import errors
from buildmatrix.converge import context, journal, lddebug, matcher, sources, strace, structured
from buildmatrix.converge.pull import Pull
from buildmatrix.converge.symptom import Built, Context, Fact, Item, Line, Symptom

Told = Symptom | Fact | Built

_STRUCTURED = (b'"resourceSpans"', b'"resourceLogs"', b'"certain"', b'"inputs_digest"', b'"involvedObject"',
               b'"containerStatuses"', b'"processes"', b'"MESSAGE":[', b'"MESSAGE": [')  # fmt: skip
"""What lines of JSON hold that are not about messages."""


_TRACEBACK = 5
"""Lines between a frame of Python's subprocess and the error that ends the traceback."""


@dataclass(slots=True)
class Count:
    """How much was read: `bytes` after decompression, `lines` of text."""

    inputs: int = 0
    bytes: int = 0
    lines: int = 0


def read(name: str, path: Path | None, count: Count) -> Iterator[Told]:
    """Everything that one input tells. Raises ScanFailed where it cannot be read to its end."""
    count.inputs += 1
    base = Context(source=name)
    with sources.explained(name), sources.raw(path) as raw:
        stream, head = sources.opened(raw)
        if head.startswith(b"\x7fELF"):
            return
        yield from _recognised(_items(stream, head, name, base, count))


def _items(stream: IO[bytes], head: bytes, name: str, base: Context, count: Count) -> Iterator[Item]:
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if start[:1] in (b"{", b"[") and not isinstance(whole := _first(start), bool):
        if whole is None or structured.kind(whole) not in structured.LINE_KINDS:
            yield from _documents(stream, name, base)
            return
        yield from _json_lines(stream, base, count)
    elif start.startswith((b"__CURSOR=", b"__REALTIME_TIMESTAMP=")):
        yield from journal.entries(stream, name, base)
    else:
        yield from _plain(stream, base, count)


def _first(start: bytes) -> dict[str, object] | bool | None:
    """The object on the first line; None where the document goes on, True where it is no JSON."""
    line, end, _ = start.partition(b"\n")
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None if _begins_json(start) else True
    if isinstance(found, dict):
        return found if end or len(start) < sources.HEAD else None
    return None


def _begins_json(start: bytes) -> bool:
    """Whether text that begins with a bracket is JSON, and no log line such as "[  12.3] …" or "[pid 7] …"."""
    body = start[1:].lstrip()
    return body[:1] in (b'"', b"}", b"") if start[:1] == b"{" else body[:1] in (b"{", b"[", b"]")


def _documents(stream: IO[bytes], name: str, base: Context) -> Iterator[Item]:
    pull = Pull(stream, name)
    while pull.peek():
        yield from structured.document(pull, base)


def _json_lines(stream: IO[bytes], base: Context, count: Count) -> Iterator[Item]:
    for number, text in _hits(stream, _STRUCTURED, count):
        at = replace(base, line=number)
        try:
            item = json.loads(text)
        except (ValueError, RecursionError):
            yield from _texts(text, at)
            continue
        yield from structured.items(item, at)


def _texts(text: str, at: Context) -> Iterator[Item]:
    plain = context.without_frame(text)
    yield Line(text=plain, context=context.of_line(text, at))


def _plain(stream: IO[bytes], base: Context, count: Count) -> Iterator[Item]:
    traced, debugged, framed = strace.Strace(), lddebug.LdDebug(), -_TRACEBACK
    for number, text in _hits(stream, (*strace.LITERALS, *lddebug.LITERALS, context.FRAME.encode()), count):
        at = replace(base, line=number)
        if context.FRAME in text:
            framed = number
        elif number - framed <= _TRACEBACK and "[Errno " in text:
            text = context.marked(f"{text}\n{context.FRAME}").partition("\n")[0]  # noqa: PLW2901
        found = traced.feed(text, at)
        found = debugged.feed(text, at) if found is None else found
        if found is not None:
            yield from found
            continue
        plain = context.without_frame(text)
        if plain.startswith("{") and (inner := _object(plain)) is not None:
            yield from structured.items(inner, context.of_line(text[: len(text) - len(plain)], at))
            continue
        symptom = matcher.recognise(plain, at)
        if symptom is None:
            continue
        here = context.of_line(text, at)
        yield replace(symptom, context=replace(here, pid=symptom.context.pid or here.pid,
                                               unit=symptom.context.unit or here.unit))  # fmt: skip
        if symptom.pattern.startswith("glibc-open"):
            yield from debugged.ended(symptom.object, at)
    yield from traced.finish()


def _object(text: str) -> object | None:
    try:
        found: object = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found


def _hits(stream: IO[bytes], extra: tuple[bytes, ...], count: Count) -> Iterator[tuple[int, str]]:
    """The lines worth a look with their numbers."""
    done = 0
    for chunk in sources.chunks(stream):
        spans = matcher.lines_with_anchors(chunk, extra)
        at, number = 0, done + 1
        for start, end in spans:
            number += chunk.count(b"\n", at, start)
            at = start
            yield number, chunk[start:end].decode(errors="replace").rstrip("\r")
        done += chunk.count(b"\n") + (not chunk.endswith(b"\n"))
        count.bytes += len(chunk)
    count.lines += done


def _recognised(items: Iterator[Item]) -> Iterator[Told]:
    for item in items:
        if isinstance(item, Line):
            symptom = matcher.recognise(item.text, item.context)
            if symptom is not None:
                yield symptom
        else:
            yield item


def everything(names: tuple[str, ...], count: Count, problems: list[errors.BuildmatrixError]) -> Iterator[Told]:
    """What all inputs tell; one that cannot be read is added to `problems`, and the others go on."""
    for name, path in sources.found(names):
        try:
            yield from read(name, path, count)
        except errors.ScanFailed as error:
            problems.append(error)
