"""Spans as OTLP in JSON (opentelemetry-proto, trace/v1 and logs/v1) and as Jaeger's query service exports them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from buildmatrix.converge import context, matcher
from buildmatrix.converge.symptom import Context, Item, Line, Role, Symptom

_STARTS = re.compile(r"\bexec|spawn|\bfork\b|shared librar|\bELF\b|\bloader\b|illegal instruction", re.IGNORECASE)
"""An error of a span is about a start where it speaks like that; all others are the application's own affair."""


def _value(value: object) -> Any:
    """An AnyValue of OTLP as a plain value."""
    if isinstance(value, Mapping):
        return next((item for name, item in value.items() if name.endswith("Value")), None)
    return value


def _attributes(items: object) -> dict[str, Any]:
    if not isinstance(items, list):
        return {}
    return {str(item.get("key", "")): _value(item.get("value")) for item in items if isinstance(item, Mapping)}


def _list(item: object, *names: str) -> Iterator[Mapping[str, Any]]:
    if isinstance(item, Mapping):
        for name in names:
            for below in item.get(name) or ():
                if isinstance(below, Mapping):
                    yield below


def otlp(document: Mapping[str, Any], base: Context) -> Iterator[Item]:
    """Symptoms in the spans, span events and log records of one export request."""
    for group in _list(document, "resourceSpans", "resourceLogs"):
        resource = group.get("resource")
        at = context.of_fields(_attributes(resource.get("attributes") if isinstance(resource, Mapping) else None), base)
        for scope in _list(group, "scopeSpans", "instrumentationLibrarySpans"):
            for span in _list(scope, "spans"):
                yield from _span(span, at)
        for scope in _list(group, "scopeLogs"):
            for record in _list(scope, "logRecords"):
                yield from _record(record, at)


def _record(record: Mapping[str, Any], at: Context) -> Iterator[Item]:
    here = context.of_fields(_attributes(record.get("attributes")), at)
    here = replace(here, trace=str(record.get("traceId") or here.trace),
                   time=context.moment(record.get("timeUnixNano")) or here.time)  # fmt: skip
    body = _value(record.get("body"))
    if isinstance(body, str):
        yield from (Line(text=line, context=here) for line in body.splitlines())


def _span(span: Mapping[str, Any], at: Context) -> Iterator[Item]:
    attributes = _attributes(span.get("attributes"))
    here = context.of_fields(attributes, at)
    here = replace(here, trace=str(span.get("traceId", "")), time=context.moment(span.get("startTimeUnixNano")))
    status = span.get("status")
    status = status if isinstance(status, Mapping) else {}
    texts = [str(value) for name, value in attributes.items() if isinstance(value, str) and "error" in name]
    for event in _list(span, "events"):
        texts += [str(item) for item in _attributes(event.get("attributes")).values() if isinstance(item, str)]
    failed = status.get("code") in (2, "STATUS_CODE_ERROR")
    yield from told(str(status.get("message", "")), texts, failed, here)


def told(message: str, texts: list[str], failed: bool, at: Context) -> Iterator[Item]:
    """The symptoms in a span's message and in the texts of its events; each once."""
    lines = dict.fromkeys(line for text in (message, *texts) for line in text.splitlines())
    found = [item for line in lines if (item := matcher.recognise(line, at)) is not None]
    seen: set[tuple[str, ...]] = set()
    for item in found:
        if item.key not in seen:
            seen.add(item.key)
            yield item
    if failed and not found and _STARTS.search(message):
        yield Symptom(pattern="span-error", stage="span", role=Role.UNKNOWN, candidates={}, text=message, context=at)


def jaeger(trace: Mapping[str, Any], base: Context) -> Iterator[Item]:
    """Symptoms in one trace of Jaeger's export."""
    processes = trace.get("processes")
    processes = processes if isinstance(processes, Mapping) else {}
    for span in _list(trace, "spans"):
        process = processes.get(str(span.get("processID", "")))
        process = process if isinstance(process, Mapping) else {}
        tags = _attributes(span.get("tags"))
        at = context.of_fields({"service": process.get("serviceName"), **_attributes(process.get("tags"))}, base)
        at = context.of_fields(tags, at)
        at = replace(at, trace=str(span.get("traceID", "")), time=context.moment(span.get("startTime")))
        texts = [str(item) for log in _list(span, "logs") for item in _attributes(log.get("fields")).values()]
        message = str(tags.get("otel.status_description") or tags.get("error.message") or "")
        failed = tags.get("error") in (True, "true") or tags.get("otel.status_code") == "ERROR"
        yield from told(message, texts, failed, at)
