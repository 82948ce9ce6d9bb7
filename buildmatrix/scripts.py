"""POSIX-sh templates that are package data: read, filled, and nothing in them left open.

A template is a whole script, so that shellcheck and editors see it as one. ``@NAME@`` stands for a value; values
are held to characters that mean nothing to a shell in single quotes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import resources

from buildmatrix.errors import UsageError

_PLACE = re.compile(r"@([A-Z_]+)@")
_SAFE = re.compile(r"[A-Za-z0-9._+~:=/@%|, \n-]*")


def template(package: str, name: str) -> str:
    """The text of a template in a package."""
    return resources.files(package).joinpath(name).read_text(encoding="ascii")


def filled(text: str, values: Mapping[str, str]) -> bytes:
    """A template with every place filled.

    Raises UsageError for a value that would need quoting, KeyError for a place that has none.
    """
    for name, value in values.items():
        if not _SAFE.fullmatch(value):
            raise UsageError(
                f"got {value!r} as {name.lower()}, expected letters, digits and . _ + ~ : = / @ % , -",
                why="it is written into a shell script, where other characters could mean something",
                fix="rename it",
            )
    return _PLACE.sub(lambda match: values[match[1]], text).encode("ascii")
