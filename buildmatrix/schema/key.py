"""What a key of matrix.toml is, and the patterns that several keys share."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["string", "boolean", "integer", "strings", "integers", "environment", "table"]
"""``environment`` is a table of variables, ``table`` one of strings under names that `names` limits."""

SCHEMA_VERSION = 1

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,62}")
BINARY_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
DOCUMENT_NAME = re.compile(r"(?i).*\.(json|sigstore)|sha(256|512)sums(\..*)?|checksums\.txt|effective\.toml")
"""What the files beside an artifact are called: record, SBOMs, provenance, signatures, lists of digests."""
VERSION = re.compile(r"[0-9A-Za-z][0-9A-Za-z.+_~-]{0,127}")
FLOOR = re.compile(r"2\.[0-9]{1,2}")
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
PACKAGE = re.compile(r"\.(/[^/\s]+)*")
TOOLCHAIN = re.compile(r"auto|path|[0-9]+\.[0-9]+(\.[0-9]+)?")
LICENSE = re.compile(r"([A-Za-z0-9.+-]+( (AND|OR|WITH) [A-Za-z0-9.+-]+)*)?")
ADDRESS = re.compile(r"([a-z][a-z0-9+.-]*://[^\s@\x00-\x1f\x7f]+)?")
FORMATS = ("cyclonedx", "spdx")
DOCUMENTS = (*FORMATS, "provenance")
URL = re.compile(r"(https?://[^\s@\x00-\x1f\x7f]+)?")
REPOSITORY = re.compile(r"[a-z0-9][a-zA-Z0-9.-]*(:[0-9]{1,5})?(/[a-z0-9]+([._-]+[a-z0-9]+)*)+")
PLAIN = re.compile(r"[^\x00-\x1f\x7f]*")
LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One key: `choices` or `pattern` (matched in full; for lists, by each item) limit its value."""

    name: str
    kind: Kind
    doc: str
    default: Any = None
    required: bool = False
    choices: tuple[str, ...] = ()
    pattern: re.Pattern[str] = PLAIN
    shape: str = ""
    """What `pattern` asks for, in words."""
    names: re.Pattern[str] = PLAIN
    """What the names in a ``table`` must match in full."""
