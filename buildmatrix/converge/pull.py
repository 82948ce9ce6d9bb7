"""A pull parser for large JSON documents: containers are walked, values below them decoded one by one.

So a query's export of a million lines never stands in memory as a whole. A single value may be as large as LIMIT.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from typing import IO, Any

from buildmatrix import errors

LIMIT = 16 << 20
"""Characters that one decoded value may have."""

_READ = 1 << 18
_SPACE = re.compile(r"[ \t\r\n]*")


class Pull:
    """Walks one document. `name` stands in errors."""

    def __init__(self, stream: IO[bytes], name: str) -> None:
        self._stream, self._name = stream, name
        self._decode = codecs.getincrementaldecoder("utf-8-sig")("replace")
        self._json = json.JSONDecoder()
        self._text, self._at, self._ended = "", 0, False

    def _more(self) -> bool:
        if self._ended:
            return False
        part = self._stream.read(_READ)
        self._ended = not part
        self._text = self._text[self._at :] + self._decode.decode(part, final=not part)
        self._at = 0
        return True

    def peek(self) -> str:
        """The next character that is no space; empty at the end."""
        while True:
            match = _SPACE.match(self._text, self._at)
            self._at = match.end() if match else self._at
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more():
                return ""

    def _expect(self, character: str) -> None:
        got = self.peek()
        if got != character:
            raise self._broken(f"got {got or 'the end'!r}, expected {character!r}")
        self._at += 1

    def value(self) -> Any:
        """Decode the whole next value."""
        self.peek()
        while True:
            try:
                value, end = self._json.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                problem = error.msg
            except RecursionError:
                raise self._broken("values are nested too deeply") from None
            else:
                # a number at the end of what was read may go on
                if end < len(self._text) or self._ended or self._text[end - 1] in '"]}':
                    self._at = end
                    return value
                problem = ""
            if len(self._text) - self._at > LIMIT:
                raise self._broken(f"one value is larger than {LIMIT >> 20} MiB")
            grown = len(self._text) - self._at
            while len(self._text) - self._at < 2 * grown + 1:
                if not self._more():
                    break
            if self._ended and problem and grown == len(self._text) - self._at:
                raise self._broken(problem)

    def members(self) -> Iterator[str]:
        """The keys of the object that is next; the caller takes each one's value by `value`, `members` or `items`."""
        self._expect("{")
        if self.peek() == "}":
            self._at += 1
            return
        while True:
            key = self.value()
            self._expect(":")
            yield str(key)
            if self.peek() != ",":
                self._expect("}")
                return
            self._at += 1

    def items(self) -> Iterator[None]:
        """Once for each item of the array that is next; the caller takes the item."""
        self._expect("[")
        if self.peek() == "]":
            self._at += 1
            return
        while True:
            yield None
            if self.peek() != ",":
                self._expect("]")
                return
            self._at += 1

    def _broken(self, why: str) -> errors.ScanFailed:
        return errors.ScanFailed(
            f"{self._name}: the JSON document cannot be read to its end", why=why, fix="export it again"
        )
