"""JSON of any of the known kinds: told apart by what stands in it, one object or one large document at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from buildmatrix.converge import context, kubernetes, traces
from buildmatrix.converge.pull import Pull
from buildmatrix.converge.symptom import Built, Context, Fact, Item, Line

LINE_KINDS = ("journal", "container", "logcli", "log")
"""Kinds of objects that come a million a file, one a line."""


def kind(item: Mapping[str, Any]) -> str:
    """What an object is, by the keys that only its kind has."""
    for name, test in _KINDS:
        if test(item):
            return name
    return "log"


_KINDS: tuple[tuple[str, Callable[[Mapping[str, Any]], bool]], ...] = (
    ("journal", lambda item: "__REALTIME_TIMESTAMP" in item or "__CURSOR" in item),
    ("otlp", lambda item: "resourceSpans" in item or "resourceLogs" in item),
    ("trace", lambda item: "spans" in item and "processes" in item),
    ("event", lambda item: item.get("kind") == "Event" or "involvedObject" in item),
    ("pod", lambda item: item.get("kind") == "Pod"),
    ("list", lambda item: isinstance(item.get("items"), list) and "kind" in item),
    ("verdict", lambda item: {"path", "stage", "cause", "certain", "depends"} <= item.keys()),
    ("record", lambda item: {"cell", "artifact", "inputs_digest", "goarch"} <= item.keys()),
    ("logcli", lambda item: {"labels", "line", "timestamp"} <= item.keys()),
    ("loki", lambda item: "streams" in item or (isinstance(item.get("data"), Mapping) and "result" in item["data"])),
    ("jaeger", lambda item: isinstance(item.get("data"), list)),
    ("container", lambda item: {"log", "stream", "time"} <= item.keys()),
)


def items(item: object, base: Context) -> Iterator[Item]:
    """What one decoded value tells."""
    if isinstance(item, list):
        for below in item:
            yield from items(below, base)
    elif isinstance(item, Mapping):
        yield from _READERS[kind(item)](item, base)


def _each(name: str) -> Callable[[Mapping[str, Any], Context], Iterator[Item]]:
    def read(item: Mapping[str, Any], base: Context) -> Iterator[Item]:
        for below in item.get(name) or ():
            yield from items(below, base)

    return read


def _log(item: Mapping[str, Any], base: Context) -> Iterator[Item]:
    """An application's own line: every text in it may be the message."""
    at = context.of_fields(item, base)
    for name, value in context.flat(item):
        if isinstance(value, str) and name.lower() not in context.NAMES["trace"]:
            yield from (Line(text=line, context=at) for line in context.marked(value).splitlines())


def _container(item: Mapping[str, Any], base: Context) -> Iterator[Item]:
    """Docker's json-file log driver."""
    at = replace(base, time=context.moment(item.get("time")))
    yield from _texts(str(item.get("log", "")), at)


def _texts(text: str, at: Context) -> Iterator[Item]:
    for line in context.marked(text).splitlines():
        plain = context.without_frame(line)
        if plain.startswith("{"):
            yield from _inner(plain, at)
        else:
            here = context.of_line(plain, at)
            yield Line(text=plain, context=here if here.time is not None else replace(here, time=at.time))


def _inner(text: str, at: Context) -> Iterator[Item]:
    import json

    try:
        item = json.loads(text)
    except (ValueError, RecursionError):
        item = None
    if isinstance(item, Mapping):
        yield from _log(item, at)
    else:
        yield Line(text=text, context=at)


def journal(item: Mapping[str, Any], base: Context) -> Iterator[Item]:
    """One entry of the journal; a message of bytes that are no UTF-8 is a list of numbers."""
    message = item.get("MESSAGE")
    if isinstance(message, list):
        numbers = [number & 255 for number in message if isinstance(number, int)]
        message = bytes(numbers).decode(errors="replace")
    at = context.of_fields({name: value for name, value in item.items() if name != "MESSAGE"}, base)
    time = item.get("_SOURCE_REALTIME_TIMESTAMP") or item.get("__REALTIME_TIMESTAMP")
    at = replace(at, time=context.moment(time), unit=str(item.get("UNIT") or at.unit))
    yield from (Line(text=line, context=at) for line in context.marked(str(message or "")).splitlines())


def _logcli(item: Mapping[str, Any], base: Context) -> Iterator[Item]:
    labels = item.get("labels")
    at = context.of_fields(labels if isinstance(labels, Mapping) else {}, base)
    yield from _texts(str(item.get("line", "")), replace(at, time=context.moment(item.get("timestamp"))))


def _loki(item: Mapping[str, Any], base: Context) -> Iterator[Item]:
    data = item.get("data")
    for stream in item.get("streams") or (data or {}).get("result") or ():
        labels = stream.get("stream") or stream.get("labels")
        at = context.of_fields(labels if isinstance(labels, Mapping) else {}, base)
        for value in stream.get("values") or ():
            yield from loki_value(value, at)


def loki_value(value: object, at: Context) -> Iterator[Item]:
    """One pair of a nanosecond time and a line, as Loki's query API gives them."""
    if isinstance(value, list) and len(value) >= 2 and isinstance(value[1], str):
        yield from _texts(value[1], replace(at, time=context.moment(value[0])))


_EXPECTED = (("the CPU has n", "isa-level"), ("time zone data", "missing-data"), ("name resolution", "missing-data"))
"""What an open verdict says that it depends on, and which cause a failure then has."""


def _verdict(item: Mapping[str, Any], base: Context) -> Iterator[Item]:
    """A verdict of `buildmatrix explain --json`: it names the cause outright, or what to expect."""
    cause, path, certain = str(item["cause"]), str(item["path"]), bool(item.get("certain"))
    at = context.of_fields({name: item[name] for name in ("host", "image") if name in item}, base)
    depends = [str(text) for text in item.get("depends") or ()]
    yield from _expected(path, depends, at)
    # of a library that dlopen does not find, the preflight knows no more than the message says
    if cause == "none" or (cause == "missing-library" and not certain):
        return
    evidence = [entry for entry in item.get("evidence") or () if isinstance(entry, Mapping)]
    told = "; ".join(f"{entry.get('place')}: {entry.get('text')}" for entry in evidence)
    yield Fact(
        text=f"the preflight {'says' if certain else 'finds likely'} {cause}" + (f" ({told})" if told else ""),
        program=path, host=at.host, image=at.image, only=frozenset({cause}) if certain else frozenset(),
        likely="" if certain else cause,
    )  # fmt: skip


def _expected(path: str, depends: list[str], at: Context) -> Iterator[Fact]:
    for text in depends:
        for words, cause in _EXPECTED:
            if words in text:
                yield Fact(
                    text=f"the preflight could not tell {text}", program=path, host=at.host, image=at.image,
                    likely=cause,
                )  # fmt: skip


def _record(item: Mapping[str, Any], base: Context) -> Iterator[Item]:  # noqa: ARG001  (readers share a signature)
    artifact = item.get("artifact")
    if isinstance(artifact, Mapping):
        yield Built(
            name=str(artifact.get("name", "")), cell=str(item["cell"]), arch=str(item["goarch"]),
            sha256=str(artifact.get("sha256", "")),
        )  # fmt: skip


_READERS: dict[str, Callable[[Mapping[str, Any], Context], Iterator[Item]]] = {
    "journal": journal, "otlp": traces.otlp, "trace": traces.jaeger, "event": kubernetes.event,
    "pod": kubernetes.pod, "list": _each("items"), "verdict": _verdict, "record": _record, "logcli": _logcli,
    "loki": _loki, "jaeger": _each("data"), "container": _container, "log": _log,
}  # fmt: skip


def document(pull: Pull, base: Context) -> Iterator[Item]:
    """A document that may be large: what stands in its long arrays is taken one by one."""
    start = pull.peek()
    if start == "[":
        yield from _array(pull, base, items)
    elif start == "{":
        rest: dict[str, Any] = {}
        for key in pull.members():
            read = _LONG.get((key, pull.peek()))
            if read is None:
                rest[key] = pull.value()
            else:
                yield from read(pull, base)
        yield from items(rest, base)
    else:
        yield from items(pull.value(), base)


def _array(pull: Pull, base: Context, read: Callable[[Any, Context], Iterator[Item]]) -> Iterator[Item]:
    for _ in pull.items():
        yield from read(pull.value(), base)


def _requests(name: str) -> Callable[[Pull, Context], Iterator[Item]]:
    return lambda pull, base: _array(pull, base, lambda item, at: traces.otlp({name: [item]}, at))


def _loki_data(pull: Pull, base: Context) -> Iterator[Item]:
    for key in pull.members():
        if key == "result" and pull.peek() == "[":
            yield from _loki_streams(pull, base)
        else:
            pull.value()


def _loki_streams(pull: Pull, base: Context) -> Iterator[Item]:
    """Loki writes a stream's labels before its values; where they come later, the values have no labels."""
    for _ in pull.items():
        at = base
        for key in pull.members():
            if key == "values" and pull.peek() == "[":
                for _ in pull.items():
                    yield from loki_value(pull.value(), at)
            else:
                value = pull.value()
                if key in ("stream", "labels") and isinstance(value, Mapping):
                    at = context.of_fields(value, base)


_LONG: dict[tuple[str, str], Callable[[Pull, Context], Iterator[Item]]] = {
    ("resourceSpans", "["): _requests("resourceSpans"),
    ("resourceLogs", "["): _requests("resourceLogs"),
    ("items", "["): lambda pull, base: _array(pull, base, items),
    ("data", "["): lambda pull, base: _array(pull, base, items),
    ("data", "{"): _loki_data,
    ("streams", "["): _loki_streams,
}
"""Members of documents that may be long, by their name and first character."""
