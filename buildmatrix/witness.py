"""Remembers that a file's bytes were hashed, so that an unchanged build need not hash them again.

What is kept is the digest beside what lstat says: device, inode, size, mtime and ctime. A write cannot
leave ctime as it was, except within one tick of the clock: a file that changed less than two seconds
before it was hashed is hashed again next time (the "racy" rule of git's index). Only the decision to
skip a build rests on this; verify reads and hashes every byte, always.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

_TICK_NS = 2_000_000_000


def _identity(path: Path) -> list[int]:
    found = path.lstat()
    return [found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns]


def remember(state: Path, path: Path, sha256: str, *, began: int) -> None:
    """Note in `state` that `path` had this digest when reading it began (nanoseconds since the epoch)."""
    identity = _identity(path)
    if began - max(identity[3:]) < _TICK_NS:
        state.unlink(missing_ok=True)
        return
    scratch = state.with_name(f"{state.name}.{os.getpid()}")
    scratch.write_text(json.dumps({"identity": identity, "sha256": sha256}), encoding="ascii")
    scratch.replace(state)


def recall(state: Path, path: Path) -> str | None:
    """The digest that `path` has for certain, or None where only hashing it can tell."""
    try:
        known = json.loads(state.read_bytes())
        same = known["identity"] == _identity(path)
        return str(known["sha256"]) if same else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def now() -> int:
    """The time in nanoseconds, as file systems stamp it."""
    return time.time_ns()
