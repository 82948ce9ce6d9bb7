"""matrix.toml for editors (JSON Schema) and for readers (the reference page), out of the tables."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from buildmatrix.schema import TABLES
from buildmatrix.schema.building import APPENDABLE, CONTROLLED, OVERRIDE
from buildmatrix.schema.key import BINARY_NAME, NAME, PLAIN, SCHEMA_VERSION, VARIABLE, Key


def _whole(pattern: re.Pattern[str]) -> str:
    return f"^(?:{pattern.pattern})$"


def _type_schema(key: Key) -> dict[str, Any]:
    single: dict[str, Any] = {"type": "string"}
    if key.choices:
        single["enum"] = list(key.choices)
    else:
        single["pattern"] = _whole(key.pattern)
    shapes: dict[str, dict[str, Any]] = {
        "string": single,
        "boolean": {"type": "boolean"},
        "integer": {"type": "integer"},
        "strings": {"type": "array", "items": single},
        "integers": {"type": "array", "items": {"type": "integer", "minimum": 1}},
        "environment": {
            "type": "object",
            "propertyNames": {"pattern": _whole(VARIABLE), "not": {"enum": sorted(CONTROLLED)}},
            "additionalProperties": {"type": "string", "pattern": _whole(PLAIN)},
        },
        "table": {
            "type": "object",
            "propertyNames": {"pattern": _whole(key.names)},
            "additionalProperties": single,
        },
    }
    return shapes[key.kind]


def _table_schema(keys: tuple[Key, ...]) -> dict[str, Any]:
    properties = {}
    for key in keys:
        entry = {**_type_schema(key), "description": key.doc}
        if key.default is not None:
            entry["default"] = list(key.default) if isinstance(key.default, tuple) else key.default
        properties[key.name] = entry
    required = [key.name for key in keys if key.required]
    return {"type": "object", "additionalProperties": False, "properties": properties, "required": required}


def _sections() -> Iterator[tuple[str, str, tuple[Key, ...]]]:
    for title, keys, _ in TABLES:
        yield title.partition(".")[0].strip("[]"), title, keys


def _section(title: str, keys: tuple[Key, ...]) -> dict[str, Any]:
    if title.startswith("[["):
        return {"type": "array", "items": _table_schema(keys)}
    if not title.endswith(".NAME"):
        return _table_schema(keys)
    return _named(keys, BINARY_NAME if title == "binaries.NAME" else NAME)


def _named(keys: tuple[Key, ...], name: re.Pattern[str]) -> dict[str, Any]:
    return {
        "type": "object",
        "minProperties": 1,
        "propertyNames": {"pattern": _whole(name)},
        "additionalProperties": _table_schema(keys),
    }


def json_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of matrix.toml, for editors."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "matrix.toml",
        "type": "object",
        "additionalProperties": False,
        "required": ["schema", "project", "binaries", "targets"],
        "properties": {
            "schema": {"const": SCHEMA_VERSION, "description": "The version of this format."},
            **{name: _section(title, keys) for name, title, keys in _sections()},
        },
    }


def reference() -> str:
    """The reference page of matrix.toml, in Markdown."""
    lines = ["# matrix.toml", "", "Generated from `buildmatrix/schema/` by `buildmatrix schema --markdown`.", ""]
    lines += [f"The first line is `schema = {SCHEMA_VERSION}`. Unknown keys are errors.", ""]
    for title, keys, doc in TABLES:
        heading = title if title.startswith("[") else f"[{title}]"
        lines += [f"## {heading}", "", doc, ""]
        if keys is OVERRIDE:
            appended = ", ".join(f"`{name}-append`" for name in APPENDABLE)
            lines += [f"`select` is required; every key of `[targets.NAME]` may follow, and {appended}.", ""]
            continue
        lines += ["| key | type | default | meaning |", "| --- | --- | --- | --- |"]
        lines += [_row(key) for key in keys] + [""]
    return "\n".join(lines).rstrip() + "\n"


def _row(key: Key) -> str:
    kind = " or ".join(f"`{choice}`" for choice in key.choices) or key.kind
    default = "required" if key.required else "derived" if key.default is None else f"`{_toml(key.default)}`"
    return f"| `{key.name}` | {kind} | {default} | {key.doc} |"


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{}"
    return f'"{value}"' if isinstance(value, str) else str(value)
