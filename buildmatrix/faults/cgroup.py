"""A memory cgroup for one run: found, made, and removed whatever happened.

Both versions are known: version 2 where the memory controller is delegated below our own cgroup or its parent, version
1 below our own. The name says which campaign it belongs to, in which process id namespace, so that the next campaign
can tell what a dead one left from what another still uses.

Source: Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/memory.rst of Linux.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PREFIX = "buildmatrix-faults"
_NAME = re.compile(rf"{PREFIX}-(\d+)-(\d+)-(\d+)-\d+")
_MIB = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where memory cgroups can be made; `version` 1 or 2."""

    folder: Path
    version: int


def find(mounts: str, own: str) -> Iterator[Place]:
    """Where they might be made, best first, from /proc/self/mountinfo and /proc/self/cgroup. Pure."""
    paths = {}
    for line in own.splitlines():
        _, controllers, path = line.split(":", 2)
        paths[controllers] = path.lstrip("/")
    for line in mounts.splitlines():
        words = line.split(" ")
        kind, options = words[words.index("-") + 1], words[-1].split(",")
        root = Path(words[4])
        if kind == "cgroup2" and "" in paths:
            here = root / paths[""]
            yield from (Place(folder=folder, version=2) for folder in dict.fromkeys((here, here.parent, root)))
        elif kind == "cgroup" and "memory" in options:
            path = next((text for names, text in paths.items() if "memory" in names.split(",")), "")
            yield from (Place(folder=folder, version=1) for folder in dict.fromkeys((root / path, root)))


def usable(place: Place) -> bool:
    """Whether a cgroup made there limits memory and can be written to by us."""
    if place.version == 1:
        return (place.folder / "memory.limit_in_bytes").is_file() and os.access(place.folder, os.W_OK)
    control = place.folder / "cgroup.subtree_control"
    with contextlib.suppress(OSError):
        return "memory" in control.read_text().split() and os.access(place.folder, os.W_OK)
    return False


def here() -> Place | None:
    """Where this process can make memory cgroups, or None."""
    with contextlib.suppress(OSError, ValueError):
        mounts, own = Path("/proc/self/mountinfo").read_text(), Path("/proc/self/cgroup").read_text()
        return next((place for place in find(mounts, own) if usable(place)), None)
    return None


def name(serial: int) -> str:
    """The name of this campaign's cgroup number `serial`."""
    return f"{PREFIX}-{_namespace()}-{os.getpid()}-{_started(os.getpid())}-{serial}"


def _namespace() -> int:
    return Path("/proc/self/ns/pid").stat().st_ino


def _started(pid: int) -> int | None:
    """When a process started, in ticks since boot: with its id, it is told from a later one of the same id."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return None


def sweep(place: Place) -> tuple[str, ...]:
    """Remove what campaigns of this namespace left that live no more; returns the names."""
    removed = []
    for folder in sorted(place.folder.glob(f"{PREFIX}-*")):
        match = _NAME.fullmatch(folder.name)
        if match is None or int(match[1]) != _namespace() or _started(int(match[2])) == int(match[3]):
            continue
        end(folder)
        removed.append(folder.name)
    return tuple(removed)


def make(folder: Path, version: int, mebibytes: int) -> None:
    """Make the cgroup with its limit, swap included. Raises OSError where it cannot be."""
    folder.mkdir(exist_ok=True)
    (folder / ("memory.max" if version == 2 else "memory.limit_in_bytes")).write_text(str(mebibytes * _MIB))
    # Version 1 counts swap in, and does not count (memory.failcnt) who meets that limit rather than the other.
    swap = folder / ("memory.swap.max" if version == 2 else "memory.memsw.limit_in_bytes")
    with contextlib.suppress(OSError):  # a kernel without swap accounting has no such file, or refuses it
        swap.write_text("0" if version == 2 else str((mebibytes + 1) * _MIB))


def felt(folder: Path, version: int) -> int:
    """How often the limit was met."""
    with contextlib.suppress(OSError, ValueError):
        if version == 1:
            return int((folder / "memory.failcnt").read_text())
        pairs = dict(line.split() for line in (folder / "memory.events").read_text().splitlines())
        return int(pairs.get("max", "0"))
    return 0


def end(folder: Path, seconds: float = 5.0) -> bool:
    """Kill what is in the cgroup and remove it; whether it is gone."""
    until = time.monotonic() + seconds
    while folder.exists():
        try:
            folder.rmdir()
        except FileNotFoundError:
            break
        except OSError:
            if time.monotonic() > until:
                return False
            _kill(folder)
            time.sleep(0.01)
    return True


def _kill(folder: Path) -> None:
    with contextlib.suppress(OSError):
        (folder / "cgroup.kill").write_text("1")  # version 2
        return
    with contextlib.suppress(OSError, ValueError):
        for word in (folder / "cgroup.procs").read_text().split():
            if int(word) not in (0, os.getpid()):  # 0: a process outside of our namespace
                with contextlib.suppress(OSError):
                    os.kill(int(word), signal.SIGKILL)
