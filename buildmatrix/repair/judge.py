"""What the preflight says of the file before and after, in a root where one is given."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from buildmatrix.errors import RepairRefused, UsageError
from buildmatrix.fleet.installed import Installed
from buildmatrix.host import Host
from buildmatrix.preflight import tarfs
from buildmatrix.preflight.explain import Judge
from buildmatrix.preflight.openexec import Command
from buildmatrix.preflight.rootfs import DirectoryRoot, Root, Unreadable
from buildmatrix.preflight.verdict import Verdict
from buildmatrix.preflight.walk import View

FOLDER = "/usr/local/bin"
"""Where in the root the file is judged; a run path with $ORIGIN counts from there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The root to judge in (None: an empty one, in which no loader is), the folder in it, and the machines."""

    root: Path | None
    folder: str
    hosts: tuple[Host, ...]


def verdicts(place: Place, file: Path) -> tuple[Verdict, ...]:
    """The verdict on the file for each machine. Raises UsageError where the root cannot be read."""
    name = file.name
    path = f"{place.folder.rstrip('/')}/{name}"
    command = Command(path=path, argv=(path,))
    try:
        root = Installed(_base(place.root), place.folder, {name: file})
        return tuple(Judge(View(root=root), host).judge(command) for host in place.hosts)
    except (Unreadable, OSError) as error:
        raise UsageError(f"{place.root}: cannot be read", why=str(error), fix="correct --root") from error


def _base(root: Path | None) -> Root:
    if root is None:
        return tarfs.TreeBuilder("empty").root()
    if not root.is_dir():
        return tarfs.tar_root(root)
    return DirectoryRoot(root)


def compare(name: str, place: Place, before: tuple[Verdict, ...], after: tuple[Verdict, ...]) -> None:
    """Refuse a repair after which the file fare worse, or does not execute in the root that was given."""
    for host, old, new in zip(place.hosts, before, after, strict=True):
        worse = old.runs and not new.runs
        if worse or (place.root is not None and not new.runs):
            raise RepairRefused(
                f"{name}: it would not execute on {host.name}: {new.cause}"
                + (f" ({new.message})" if new.message else ""),
                why="; ".join(f"{item.place}: {item.text}" for item in new.evidence),
                fix=new.fix or "correct the edit, or build the program again",
            )
        if place.root is None and (old.cause, old.stage) != (new.cause, new.stage):
            raise RepairRefused(
                f"{name}: the preflight says {new.cause} on {host.name}, and said {old.cause} before the edit",
                fix="name the root that it is for with --root",
            )
