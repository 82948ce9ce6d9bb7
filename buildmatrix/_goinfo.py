"""Parses Go module information: the text that cmd/go embeds and ``go version -m`` prints.

Source: runtime/debug.ParseBuildInfo and strconv.Unquote of the Go standard library.
"""

from __future__ import annotations

import re
import sys

from buildmatrix.facts import GoInfo, GoModule

QUOTED = re.compile(rb'"(?:[^"\\\n]|\\.)*"|`[^`]*`', re.DOTALL)
ESCAPE = re.compile(rb"\\(x[0-9a-fA-F]{2}|[0-7]{3}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|.)", re.DOTALL)
SIMPLE = {
    b"a": b"\a", b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v",
    b"\\": b"\\", b'"': b'"',
}  # fmt: skip


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def _replace_escape(match: re.Match[bytes]) -> bytes:
    body = match[1]
    if body in SIMPLE:
        return SIMPLE[body]
    if body[:1] in b"uU" and len(body) > 1:
        code = int(body[1:], 16)
        if code <= sys.maxunicode:
            return chr(code).encode()
    elif len(body) == 3:
        value = int(body[1:], 16) if body[:1] == b"x" else int(body, 8)
        if value < 256:
            return bytes([value])
    message = f"unknown escape {match[0]!r} in a quoted build setting"
    raise ValueError(message)


def _unquote(quoted: bytes) -> bytes:
    if quoted.startswith(b"`"):
        return quoted[1:-1].replace(b"\r", b"")
    return ESCAPE.sub(_replace_escape, quoted[1:-1])


def _quoted_prefix(raw: bytes) -> tuple[bytes, bytes]:
    """The unquoted value at the start of `raw`, and what follows it."""
    match = QUOTED.match(raw)
    if match is None:
        message = f"unterminated quoted build setting {raw[:80]!r}"
        raise ValueError(message)
    return _unquote(match[0]), raw[match.end() :]


def _setting(raw: bytes) -> tuple[str, str]:
    """``KEY=VALUE``, either of which may be quoted as Go quotes strings."""
    if raw[:1] in (b'"', b"`"):
        key, rest = _quoted_prefix(raw)
    else:
        key, equals, value = raw.partition(b"=")
        rest = equals + value
    if not key or rest[:1] != b"=":
        message = f"build setting without a key or a value: {raw[:80]!r}"
        raise ValueError(message)
    value = rest[1:]
    if value[:1] in (b'"', b"`"):
        value, _ = _quoted_prefix(value)
    return _text(key), _text(value)


def _module(columns: list[bytes]) -> GoModule:
    if len(columns) not in (2, 3):
        message = f"module line with {len(columns)} columns, expected 2 or 3"
        raise ValueError(message)
    return GoModule(path=_text(columns[0]), version=_text(columns[1]), sum=_text(columns[2]) if columns[2:] else "")


def _replaced(module: GoModule | None, columns: list[bytes]) -> GoModule:
    if module is None:
        message = "replacement with no module before it"
        raise ValueError(message)
    return GoModule(path=module.path, version=module.version, sum=module.sum, replace=_module(columns))


class _Parser:
    """Takes one line after another; a replacement belongs to the module line before it."""

    def __init__(self, version: str) -> None:
        self.version = version
        self.path = ""
        self.main: GoModule | None = None
        self.modules: list[GoModule] = []
        self.settings: list[tuple[str, str]] = []
        self.last_is_main = False

    def line(self, raw: bytes) -> None:
        """Take one line, without its newline; unknown kinds are passed over, as Go does."""
        kind, _, rest = raw.partition(b"\t")
        if kind == b"path":
            self.path = _text(rest)
        elif kind == b"mod":
            self.main, self.last_is_main = _module(rest.split(b"\t")), True
        elif kind == b"dep":
            self.modules.append(_module(rest.split(b"\t")))
            self.last_is_main = False
        elif kind == b"=>":
            self.replacement(rest.split(b"\t"))
        elif kind == b"build":
            self.settings.append(_setting(rest))

    def replacement(self, columns: list[bytes]) -> None:
        """Attach a ``=>`` line to the module that came last."""
        if self.last_is_main or not self.modules:
            self.main = _replaced(self.main, columns)
        else:
            self.modules[-1] = _replaced(self.modules[-1], columns)

    def result(self) -> GoInfo:
        """What the lines said."""
        return GoInfo(
            version=self.version,
            path=self.path,
            main=self.main,
            modules=tuple(self.modules),
            settings=tuple(self.settings),
        )


def parse(version: str, modinfo: bytes) -> GoInfo:
    """Go build info from its version and its module text (without the 16-byte sentinels).

    Raises ValueError where a line is not as Go writes it.
    """
    parser = _Parser(version)
    for raw in modinfo.split(b"\n"):
        parser.line(raw)
    return parser.result()
