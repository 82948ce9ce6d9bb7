"""Where and when a line was written, out of the line itself or out of the fields around it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from buildmatrix.converge.symptom import Context

_ISO = re.compile(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:[.,](\d{1,9}))?\s?(Z|[+-]\d\d:?\d\d)?")
_CTIME = re.compile(r"\[?(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun) ([A-Z][a-z]{2}) +(\d+) (\d\d:\d\d:\d\d) (\d{4})\]?")
_SYSLOG = re.compile(r"^(?:<\d+>)?(?:[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d|\d{4}-\d\d-\d\dT\S+) (?P<host>[\w.-]+) "
                     r"(?P<unit>[\w@./-]+)(?:\[(?P<pid>\d+)\])?: ")  # fmt: skip
_PAIR = re.compile(r"""(?<![\w.])([A-Za-z_][\w.]*)=("(?:[^"\\]|\\.)*"|[^\s,"]+)""")
_CRI = re.compile(r"^\d{4}-\d\d-\d\dT[\d:.]+(?:Z|[+-]\d\d:\d\d) (?:stdout|stderr) [FP] ")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")

NAMES: dict[str, tuple[str, ...]] = {
    "host": ("host", "hostname", "host.name", "node", "nodename", "node_name", "k8s.node.name", "_hostname",
             "kubernetes.host", "instance", "machine", "kubernetes.node_name"),
    "image": ("image", "image_digest", "image.digest", "container.image.id", "container_image_id", "imageid",
              "container.image.name", "kubernetes.container_image", "container_image", "image_id", "digest",
              "kubernetes.container_hash", "container.image.repo_digests"),
    "trace": ("trace_id", "traceid", "trace", "otel.trace_id", "trace.id", "dd.trace_id", "x-trace-id"),
    "pod": ("pod", "pod_name", "k8s.pod.name", "kubernetes.pod_name", "kubernetes.pod.name", "container_id",
            "container.id", "container_name", "container"),
    "unit": ("unit", "_systemd_unit", "syslog_identifier", "service", "service.name", "service_name", "app", "job"),
    "pid": ("pid", "_pid", "process.pid", "process_id"),
    "exe": ("exe", "_exe", "process.executable.path", "program", "binary", "executable", "argv0"),
    "arch": ("arch", "host.arch", "goarch", "kubernetes.io/arch", "host_arch", "architecture"),
}  # fmt: skip
"""Names of fields, in lower case, that say where a line comes from (OpenTelemetry's, Kubernetes', journald's …)."""

_FIELD = {name: field for field, names in NAMES.items() for name in names}
_TIMES = ("time", "ts", "timestamp", "@timestamp", "t", "date", "datetime", "eventtime", "lasttimestamp")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def moment(value: object) -> float | None:
    """Seconds since the epoch, from what logs write: ISO 8601, or a number of s, ms, µs or ns since then."""
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int | float):
        return _scaled(float(value))
    text = str(value).strip()
    if re.fullmatch(r"\d{9,19}(?:\.\d+)?", text):
        return _scaled(float(text))
    return _written(text)


def _scaled(number: float) -> float | None:
    for scale in (1.0, 1e3, 1e6, 1e9):
        if 1e8 <= number / scale < 1e10:
            return number / scale
    return None


def _written(text: str) -> float | None:
    match = _ISO.search(text)
    try:
        if match:
            day, clock, fraction, zone = match.groups()
            zone = "+00:00" if zone in (None, "Z") else zone
            made = datetime.fromisoformat(f"{day}T{clock}{zone}")
            return made.timestamp() + (float(f"0.{fraction}") if fraction else 0.0)
        match = _CTIME.search(text)
        if match:
            month, day, clock, year = match.groups()
            made = datetime.fromisoformat(f"{year}-{_MONTHS.index(month) + 1:02d}-{int(day):02d}T{clock}")
            return made.replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None
    return None


def of_line(text: str, base: Context) -> Context:
    """What a plain line says about itself: time, syslog's host and process, and name=value pairs."""
    start = text[:64]
    changed: dict[str, Any] = {}
    syslog = _SYSLOG.match(text)
    if syslog:
        changed |= {name: value for name, value in syslog.groupdict().items() if value}
    if "=" in text:
        changed |= dict(_told((name, value.strip('"')) for name, value in _PAIR.findall(text)))
    time = _written(start)
    if time is not None:
        changed["time"] = time
    return replace(base, **changed) if changed else base


def _told(pairs: Iterator[tuple[str, str]] | Any) -> Iterator[tuple[str, str]]:
    for name, value in pairs:
        field = _FIELD.get(name.lower())
        if field is not None and value:
            yield field, _image(value) if field == "image" else value


def _image(value: str) -> str:
    """An image by its digest where it has one: that is what hosts and registries agree on."""
    found = _DIGEST.search(value)
    return found.group(0) if found else value


def image(value: str) -> str:
    """An image by its digest where its name has one, else the name."""
    return _image(value)


def of_fields(fields: Mapping[str, Any], base: Context) -> Context:
    """What the fields of a structured line say; nested ones count by their dotted names."""
    changed: dict[str, Any] = {}
    for name, value in flat(fields):
        lower = name.lower()
        field = _FIELD.get(lower) or _FIELD.get(lower.rpartition(".")[2] if lower.count(".") == 1 else "")
        if field is not None and isinstance(value, str | int) and str(value) and field not in changed:
            changed[field] = _image(str(value)) if field == "image" else str(value)
        elif lower in _TIMES and "time" not in changed:
            time = moment(value)
            if time is not None:
                changed["time"] = time
    return replace(base, **changed) if changed else base


def flat(fields: Mapping[str, Any], prefix: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Every scalar of nested objects with its dotted name; four levels deep, which no logger exceeds."""
    for name, value in fields.items():
        if isinstance(value, Mapping) and depth < 4:
            yield from flat(value, f"{prefix}{name}.", depth + 1)
        elif isinstance(value, list) and depth < 4:
            yield from ((f"{prefix}{name}", item) for item in value if isinstance(item, str))
        else:
            yield f"{prefix}{name}", value


def without_frame(text: str) -> str:
    """A line without what a container engine put before it (the CRI log format)."""
    match = _CRI.match(text)
    return text[match.end() :] if match else text


FRAME = "_execute_child"
"""The function of Python's subprocess whose traceback tells a failed exec from a failed open."""

_ERROR = re.compile(r"^(\w+Error: \[Errno )", re.MULTILINE)


def marked(text: str) -> str:
    """A traceback of Python's subprocess with its last line marked as such; any other text as it is."""
    return _ERROR.sub(r"subprocess \1", text) if FRAME in text else text
