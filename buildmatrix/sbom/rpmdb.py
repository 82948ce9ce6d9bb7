"""The packages of an rpm database in SQLite (rpm 4.16 and later). Pure: bytes in, packages out.

Each row of the table Packages is a header (rpm, docs/manual/format_header.md) without its magic: two
counts in network order, index entries of 16 bytes, then the data that they point into.
"""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Iterator

from buildmatrix.sbom.packages import Damaged, Package

_NAME, _VERSION, _RELEASE, _EPOCH, _VENDOR, _LICENSE, _ARCH, _SOURCE = 1000, 1001, 1002, 1003, 1011, 1014, 1022, 1044
_DIR_INDEXES, _BASE_NAMES, _DIR_NAMES = 1116, 1117, 1118
_INT32, _STRING, _STRINGS, _TRANSLATED = 4, 6, 8, 9
_MOST_ENTRIES, _MOST_BYTES = 1 << 16, 256 << 20
_MAGIC = b"SQLite format 3\0"


def packages(database: bytes) -> Iterator[Package]:
    """Every package but imported keys. Raises Damaged where the database or a header is not what it should be."""
    for number, blob in _rows(database):
        try:
            package = package_of(bytes(blob))
        except (struct.error, IndexError, ValueError, TypeError) as error:
            raise Damaged(f"header {number}: {error}") from error
        if package.name != "gpg-pubkey":
            yield package


def _rows(database: bytes) -> list[tuple[int, bytes]]:
    if not database.startswith(_MAGIC):
        raise Damaged("got another file, expected an SQLite database")
    # A database in WAL mode cannot be opened in memory; without a log, the file itself is all there is.
    plain = database[:18] + b"\x01\x01" + database[20:]
    try:
        with sqlite3.connect(":memory:") as connection:
            connection.deserialize(plain)
            return connection.execute("SELECT hnum, blob FROM Packages ORDER BY hnum").fetchall()
    except sqlite3.Error as error:
        raise Damaged(f"SQLite says: {error}") from error


def package_of(header: bytes) -> Package:
    """The package that one header describes."""
    tags = _tags(header)
    text = {tag: str(values[0]) for tag, values in tags.items() if values and isinstance(values[0], str)}
    if not {_NAME, _VERSION, _RELEASE} <= set(text):
        raise Damaged("got a header without name, version or release")
    epoch = tags.get(_EPOCH, [])
    return Package(
        kind="rpm",
        name=text[_NAME],
        version=(f"{epoch[0]}:" if epoch else "") + f"{text[_VERSION]}-{text[_RELEASE]}",
        arch=text.get(_ARCH, ""),
        source=text.get(_SOURCE, ""),
        licence=text.get(_LICENSE, ""),
        supplier=text.get(_VENDOR, ""),
        files=tuple(_files(tags)),
    )


def _files(tags: dict[int, list[str | int]]) -> Iterator[str]:
    folders = [str(item) for item in tags.get(_DIR_NAMES, [])]
    names, indexes = tags.get(_BASE_NAMES, []), tags.get(_DIR_INDEXES, [])
    for name, index in zip(names, indexes, strict=True):
        if not isinstance(index, int) or index >= len(folders):
            raise Damaged(f"file {name!r} is in folder {index}, expected less than {len(folders)}")
        yield (folders[index] + str(name)).lstrip("/")


def _tags(header: bytes) -> dict[int, list[str | int]]:
    entries, size = struct.unpack_from(">II", header)
    start = 8 + 16 * entries
    if entries > _MOST_ENTRIES or size > _MOST_BYTES or start + size > len(header):
        raise Damaged(f"got {entries} entries and {size} bytes, expected what fits into {len(header)} bytes")
    store = header[start : start + size]
    found: dict[int, list[str | int]] = {}
    for index in range(entries):
        tag, kind, offset, count = struct.unpack_from(">IIiI", header, 8 + 16 * index)
        if offset < 0 or offset > size or count > size:
            raise Damaged(f"tag {tag}: got offset {offset} and count {count}, expected less than {size}")
        if kind == _INT32:
            found[tag] = list(struct.unpack_from(f">{count}I", store, offset))
        elif kind in (_STRING, _STRINGS, _TRANSLATED):
            found[tag] = list(_strings(store, offset, 1 if kind == _STRING else count))
    return found


def _strings(store: bytes, offset: int, count: int) -> Iterator[str]:
    for _ in range(count):
        end = store.index(b"\0", offset)
        yield store[offset:end].decode("utf-8", "surrogateescape")
        offset = end + 1
