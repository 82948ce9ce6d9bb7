"""How an identity policy names issuers and subjects: exactly, by glob, or by regular expression. Pure."""

from __future__ import annotations

import fnmatch
import re


def problem(pattern: str) -> str:
    """What is wrong with a pattern, in words; empty where nothing is."""
    kind, _, rest = pattern.partition(":")
    if kind == "regex":
        try:
            re.compile(rest)
        except re.error as error:
            return f"a regular expression ({error})"
    if kind in ("regex", "glob") and not rest:
        return f"something after {kind}:"
    return "" if pattern else "a value"


def matches(pattern: str, value: str) -> bool:
    """Whether a whole value matches ``glob:…``, ``regex:…``, or is the pattern itself."""
    kind, _, rest = pattern.partition(":")
    if kind == "regex":
        return re.fullmatch(rest, value) is not None
    if kind == "glob":
        return fnmatch.fnmatchcase(value, rest)
    return value == pattern
