"""One scanned entry, decoded as far as it is looked at.

A block of the native core is copied once and unpacked in one go; a `Scan` is a view of one record of it.
Paths, digests and facts become Python values when they are asked for, so that a hundred thousand entries
of which a few are executables cost little. Nothing here imports the native module.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any

from buildmatrix import _records
from buildmatrix._layouts import NONE, RECORD
from buildmatrix._records import Arena
from buildmatrix.facts import Digests, Facts, Kind, Status

_AT = {name: index for index, name in enumerate(RECORD.names)}
_PATH, _TARGET, _ROOT, _KIND, _STATUS = (_AT[name] for name in ("path.0", "target.0", "root", "kind", "status"))
_ERRNO, _OFFSET, _SIZE, _MODE, _UID = (_AT[name] for name in ("error", "offset", "size", "mode", "uid"))
_GID, _MTIME, _HAVE, _FACTS, _ISSUE = (_AT[name] for name in ("gid", "mtime_ns", "have", "facts", "issue"))
_DEVICE, _INODE = _AT["device"], _AT["inode"]
_DIGESTS = tuple((name, bit, _AT[name]) for name, bit in (("sha256", 4), ("sha512", 8), ("sha1", 16)))
_SIGN_BIT = 1 << 63


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a scan has come. `errors` counts entries whose status is not OK."""

    files: int
    directories: int
    bytes: int
    errors: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Roots:
    """The paths as they were given; `trees` says that entries lie below them."""

    paths: Sequence[str]
    trees: bool


class Scan:
    """What one look at one file or directory entry found. Sizes in bytes, times in ns since the epoch."""

    __slots__ = ("_arena", "_facts", "_roots", "_values")

    def __init__(self, values: tuple[Any, ...], arena: bytes, roots: Roots) -> None:
        self._values = values
        self._arena = arena
        self._roots = roots
        self._facts: Facts | None = None

    @property
    def path(self) -> str:
        """As given; in a tree: relative to its root, and empty for the root itself."""
        return self._text(_PATH) or ""

    @property
    def location(self) -> str:
        """The path that leads to the entry from the working directory."""
        root = self._roots.paths[self._values[_ROOT]]
        return os.path.join(root, self.path) if self._roots.trees and self.path else root  # noqa: PTH118

    @property
    def root(self) -> int:
        """The place of its root in the order of the paths given."""
        return int(self._values[_ROOT])

    @property
    def kind(self) -> Kind:
        """What the entry is."""
        kind: Kind = _records.KINDS[self._values[_KIND]]
        return kind

    @property
    def status(self) -> Status:
        """How reading it went; only OK and MALFORMED mean that every byte asked for was seen."""
        status: Status = _records.STATUSES[self._values[_STATUS]]
        return status

    @property
    def ok(self) -> bool:
        """Whether status is OK, without decoding it."""
        return bool(self._values[_STATUS] == 0)

    @property
    def errno(self) -> int:
        """The errno behind `status`, or 0."""
        return int(self._values[_ERRNO])

    @property
    def issue(self) -> str | None:
        """The slug of the first structural defect, where status is MALFORMED."""
        code = self._values[_ISSUE]
        return _records.ISSUES[code] if code else None

    @property
    def offset(self) -> int:
        """Where a read failed, or where the first issue lies: a byte offset in the file."""
        return int(self._values[_OFFSET])

    @property
    def size(self) -> int:
        """st_size when it was opened."""
        return int(self._values[_SIZE])

    @property
    def mode(self) -> int:
        """st_mode: file type and permissions."""
        return int(self._values[_MODE])

    @property
    def uid(self) -> int:
        """The owner."""
        return int(self._values[_UID])

    @property
    def gid(self) -> int:
        """The group."""
        return int(self._values[_GID])

    @property
    def mtime_ns(self) -> int:
        """st_mtim; negative before 1970."""
        value = int(self._values[_MTIME])
        return value - 2 * _SIGN_BIT if value & _SIGN_BIT else value

    @property
    def device(self) -> int:
        """st_dev: with `inode`, what tells hard links of one file."""
        return int(self._values[_DEVICE])

    @property
    def inode(self) -> int:
        """st_ino."""
        return int(self._values[_INODE])

    @property
    def target(self) -> str | None:
        """Where a symbolic link points, as it stands in the link."""
        return self._text(_TARGET)

    @property
    def digests(self) -> Digests:
        """The digests that were asked for; all None unless every byte was read."""
        have = self._values[_HAVE]
        return Digests(**{name: self._values[at].hex() for name, bit, at in _DIGESTS if have & bit})

    def digest(self, algorithm: str) -> str | None:
        """One digest in hexadecimal, or None."""
        found = getattr(self.digests, algorithm)
        return None if found is None else str(found)

    @property
    def facts(self) -> Facts | None:
        """What the bytes say; None where that was not asked for, or they could not be read."""
        if self._facts is None and self._values[_FACTS] != NONE:
            self._facts = _records.decode_facts(self._arena, self._values[_FACTS])
        return self._facts

    def _text(self, at: int) -> str | None:
        return Arena(self._arena).text(self._values[at], self._values[at + 1])

    def __repr__(self) -> str:
        return f"Scan({self.location!r}, {self.kind.value}, {self.status.value})"


def unpack(records: bytes, arena: bytes, roots: Roots) -> Iterator[Scan]:
    """The entries of one block: `records` and `arena` are its bytes."""
    return map(Scan, RECORD.struct.iter_unpack(records), repeat(arena), repeat(roots))
