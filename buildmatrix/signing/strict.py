"""JSON and base64 with one spelling a value: what two readers could understand differently is refused.

`json` keeps the last of two equal keys, other readers the first; base64 has spare bits in its last
character. Whoever can choose what a reader sees can show one thing to the verifier and another to the
user (CVE-2017-12635 and its like).
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable
from typing import Any

from buildmatrix.signing.refused import Refused

MAX_BYTES = 256 << 20
"""The largest document that is read, in bytes: an attestation carries a whole SBOM."""


def encode(value: object) -> bytes:
    """The one form in which signed things are written: sorted keys, no spaces, ASCII."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode("ascii")


def decode(data: bytes, what: str) -> Any:
    """The value in JSON bytes (RFC 8259, as I-JSON of RFC 7493 narrows it).

    Refuses (BM731) what is cut short or no JSON, and (BM732) an object with two equal keys; `what` names the document.
    """
    if len(data) > MAX_BYTES:
        raise Refused("BM731", f"{what}: got {len(data)} bytes, expected at most {MAX_BYTES}", fix="sign it again")
    try:
        return json.loads(data.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_constant)
    except _DuplicateKeyError as error:
        raise Refused(
            "BM732",
            f"{what}: got the key {error.args[0]!r} twice in one object, expected once",
            why="readers differ in which of the two they believe, so each could be shown something else",
            fix="treat it as an attack: find out who wrote it, and sign again",
        ) from error
    except (ValueError, RecursionError) as error:
        raise Refused(
            "BM731",
            f"{what}: got {len(data)} bytes that are not JSON, expected a whole document",
            why=str(error),
            fix="it was cut short or overwritten: copy it again from where it was made, or sign again",
        ) from error


class _DuplicateKeyError(ValueError):
    pass


def _unique(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise _DuplicateKeyError(name)
        found[name] = value
    return found


def _constant(word: str) -> None:
    raise ValueError(f"{word} is no JSON number")


def to_base64(data: bytes) -> str:
    """Standard base64 with padding (RFC 4648, section 4)."""
    return base64.b64encode(data).decode("ascii")


def from_base64(text: object, what: str) -> bytes:
    """The bytes of base64 in its only canonical spelling; refuses (BM733) any other."""
    try:
        data = base64.b64decode(text, validate=True) if isinstance(text, str) else None
    except (binascii.Error, ValueError):
        data = None
    if data is None or to_base64(data) != text:
        shown = f"{text[:24]!r}" if isinstance(text, str) else type(text).__name__
        raise Refused(
            "BM733",
            f"{what}: got {shown}, expected base64 with padding and without spare bits",
            why="a second spelling of the same bytes would be a change that no signature notices",
            fix="sign again",
        )
    return data
