"""Values as YAML that every reader takes for the same: block style, and whatever looks like something else quoted."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from buildmatrix.kube import yamlread

_PLAIN = re.compile(r"[A-Za-z0-9/_.$(][A-Za-z0-9 /_.$()@+=:-]*(?<![ :])")


def scalar(value: object) -> str:
    """One scalar in a line: text plain where goyaml and YAML 1.1 and 1.2 all read the same text, else quoted."""
    if isinstance(value, str):
        plain = _PLAIN.fullmatch(value) and ": " not in value and not _ambiguous(value)
        return value if plain else quoted(value)
    return json.dumps(value)


def quoted(text: str) -> str:
    """Text in double quotes; what no stream may hold as it is, and what could steer a terminal, as escapes."""
    body = json.dumps(text, ensure_ascii=False)
    return "".join(char if char.isprintable() else _escape(ord(char)) for char in body)


def _escape(code: int) -> str:
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _ambiguous(text: str) -> bool:
    """Whether some reader of YAML takes a plain word for a number, a truth, a date or nothing."""
    if not isinstance(yamlread.scalar(text), str):
        return True
    if text[0] in "+-.0123456789":
        # 1:30 is a number of base 60 and 2024-05-22 a date for YAML 1.1; 1.2.3 and 64Mi are text for all.
        return not re.fullmatch(r"[0-9]+(\.[0-9]+){2,}[A-Za-z0-9._+-]*|[1-9][0-9]*(m|[KMGTPE]i)", text)
    return text.lower() in ("null", "true", "false", "yes", "no", "on", "off", "y", "n")


def block(value: Any, indent: int = 0) -> list[str]:
    """The lines of a value in block style, each with `indent` spaces before it."""
    pad = " " * indent
    if isinstance(value, dict) and value:
        return [line for key, inner in value.items() for line in _entry(pad, f"{scalar(key)}:", inner, indent)]
    if isinstance(value, list) and value:
        lines = []
        for inner in value:
            own = block(inner, indent + 2)
            lines += [f"{pad}- {own[0][indent + 2 :]}", *own[1:]]
        return lines
    return [f"{pad}{_empty_or_scalar(value)}"]


def _entry(pad: str, head: str, inner: Any, indent: int) -> list[str]:
    if isinstance(inner, (dict, list)) and inner:
        return [f"{pad}{head}", *block(inner, indent + 2)]
    if isinstance(inner, str) and "\n" in inner and _literal(inner):
        sign = "|" if inner.endswith("\n") else "|-"
        return [f"{pad}{head} {sign}", *(f"{pad}  {line}" if line else "" for line in inner.rstrip("\n").split("\n"))]
    return [f"{pad}{head} {_empty_or_scalar(inner)}"]


def _literal(text: str) -> bool:
    """Whether a literal block gives back the same text: no odd spaces, no end of several lines."""
    body = text.removesuffix("\n")
    return bool(body) and not body.startswith((" ", "\n", "\t")) and not body.endswith("\n") and text.isascii() and (
        all(char.isprintable() or char == "\n" for char in text)
    )  # fmt: skip


def _empty_or_scalar(value: Any) -> str:
    return json.dumps(value) if isinstance(value, (dict, list)) else scalar(value)


def stream(values: Sequence[Any], head: Sequence[str] = ()) -> str:
    """Documents in one stream, with comments before the first; the same values are the same bytes."""
    lines = [f"# {line}".rstrip() for line in head]
    for number, value in enumerate(values):
        if number or head:
            lines.append("---")
        lines += block(value)
    return "\n".join(lines) + "\n" if lines else ""
