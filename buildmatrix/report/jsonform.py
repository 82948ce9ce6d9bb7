"""The model as one JSON document with a schema version. Pure."""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass
from enum import StrEnum
from typing import Any

from buildmatrix.finding import Severity
from buildmatrix.report.model import SCHEMA, ReportModel
from buildmatrix.report.plain import safe


def render(report: ReportModel) -> str:
    """Keys sorted, one final newline; the same report gives the same bytes."""
    value = {
        "schema": SCHEMA,
        "failed": report.failed,
        "counts": {str(severity): report.count(severity) for severity in Severity},
        **_plain(report),
    }
    value["titles"] = dict(report.titles)
    value["locations"] = {cell: _plain(location) for cell, location in report.locations}
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=True) + "\n"


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, StrEnum):
        return str(value)
    return safe(value) if isinstance(value, str) else value
