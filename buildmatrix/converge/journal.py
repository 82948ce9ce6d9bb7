"""The journal's export format (systemd, JOURNAL_EXPORT_FORMATS): fields as text, or as any bytes with a length."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO

from buildmatrix import errors
from buildmatrix.converge import structured
from buildmatrix.converge.sources import CHUNK
from buildmatrix.converge.symptom import Context, Item

MAX_FIELD = 16 << 20
"""Bytes of one field: the journal's own limit for a field is below that."""

KEPT = 1 << 16


class _Reader:
    def __init__(self, stream: IO[bytes], name: str) -> None:
        self._stream, self._name, self._data, self._at = stream, name, b"", 0

    def line(self) -> bytes | None:
        """The next line without its end; None at the end of the stream."""
        while (end := self._data.find(b"\n", self._at)) < 0:
            if len(self._data) - self._at > MAX_FIELD:
                raise self.broken(f"a field is longer than {MAX_FIELD >> 20} MiB")
            if not self._more():
                rest, self._at = self._data[self._at :], len(self._data)
                return rest or None
        line, self._at = self._data[self._at : end], end + 1
        return line

    def take(self, size: int) -> bytes:
        """`size` bytes. Raises ScanFailed where there are fewer."""
        while len(self._data) - self._at < size:
            if not self._more():
                raise self.broken("it ends within a field")
        part, self._at = self._data[self._at : self._at + size], self._at + size
        return part

    def _more(self) -> bool:
        part = self._stream.read(CHUNK)
        self._data, self._at = self._data[self._at :] + part, 0
        return bool(part)

    def broken(self, why: str) -> errors.ScanFailed:
        return errors.ScanFailed(f"{self._name}: the journal export is damaged", why=why, fix="export it again")


def entries(stream: IO[bytes], name: str, base: Context) -> Iterator[Item]:
    """What every entry tells."""
    reader = _Reader(stream, name)
    entry: dict[str, str] = {}
    while (line := reader.line()) is not None:
        if not line:
            yield from structured.journal(entry, base) if entry else ()
            entry = {}
        elif b"=" in line:
            field, _, value = line.partition(b"=")
            entry[field.decode(errors="replace")] = value[:KEPT].decode(errors="replace")
        else:
            size = int.from_bytes(reader.take(8), "little")
            if size > MAX_FIELD:
                raise reader.broken(f"a field claims {size} bytes")
            entry[line.decode(errors="replace")] = reader.take(size)[:KEPT].decode(errors="replace")
            reader.take(1)
    yield from structured.journal(entry, base) if entry else ()
