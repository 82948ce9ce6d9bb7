"""Text that came out of artifacts, as documents can take it. Pure."""

from __future__ import annotations

import unicodedata

from buildmatrix.finding import Severity

_UNITS = ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))
WORDS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.NOTE: "note"}


def safe(text: str) -> str:
    r"""Text without what could reorder, hide or break it: controls, surrogates and bidi marks become ``\u202e``.

    Spaces stay one space each; other whitespace does not, since a line break in a path would start a new row.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else _escape(letter) for letter in _decoded(text))


def _decoded(text: str) -> str:
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace") if _lone(text) else text


def _lone(text: str) -> bool:
    return any(unicodedata.category(letter) == "Cs" and 0xDC80 <= ord(letter) <= 0xDCFF for letter in text)


def _escape(letter: str) -> str:
    return ascii(letter)[1:-1]


def bytes_in_words(size: int) -> str:
    """A size as people read it: 1.4 MiB."""
    for unit, name in _UNITS:
        if size >= unit:
            return f"{size / unit:.1f} {name}"
    return f"{size} B"


def seconds_in_words(seconds: float) -> str:
    """A duration as people read it: 8.3 s, 2 min 05 s."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s"
