"""What decides an open question beside the symptoms: the preflight's verdict on the root, the records of a build."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from buildmatrix import arch as architectures
from buildmatrix.converge.gather import Gathered
from buildmatrix.converge.symptom import Built, Context, Fact, Role
from buildmatrix.kinds import Kind

if TYPE_CHECKING:
    from buildmatrix.host import Host
    from buildmatrix.preflight.walk import View

MOST = 200
"""Programs that the preflight is asked about."""

_FOREIGN = frozenset({"wrong-machine"})


def programs(gathered: Gathered) -> list[str]:
    """The programs that the symptoms name by absolute paths."""
    names = dict.fromkeys(
        item.symptom.executed for item in gathered.sightings.values() if item.symptom.role is not Role.UNKNOWN
    )
    return [name for name in names if name.startswith("/")][:MOST]


def asked(gathered: Gathered, root: Path, host: Host) -> Iterator[Fact]:
    """The preflight's verdict on every program, and the machine of every library that is named by its path."""
    from buildmatrix.converge.structured import items
    from buildmatrix.preflight.explain import Judge
    from buildmatrix.preflight.lab import as_json
    from buildmatrix.preflight.openexec import Command
    from buildmatrix.preflight.rootfs import DirectoryRoot
    from buildmatrix.preflight.walk import Credentials, View

    view = View(root=DirectoryRoot(str(root)), who=Credentials(uid=0, gid=0), cwd="/", proc=True, noexec=())
    judge = Judge(view, host)
    for path in programs(gathered):
        verdict = judge.judge(Command(path=path, argv=(path,), env={}))
        yield from (item for item in items(as_json(verdict), Context()) if isinstance(item, Fact))
    objects = dict.fromkeys(item.symptom.object for item in gathered.sightings.values())
    for path in [name for name in objects if name.startswith("/")][:MOST]:
        yield from _machine(view, path, host)


def _machine(view: View, path: str, host: Host) -> Iterator[Fact]:
    from buildmatrix.preflight.walk import Found, resolve

    found = resolve(view, path)
    if not isinstance(found, Found) or found.inode.kind is not Kind.REGULAR:
        return
    start = view.root.data(found.inode).read(0, 20)
    machine = int.from_bytes(start[18:20], "little")
    if start[:4] == b"\x7fELF" and machine != host.row.machine:
        yield Fact(
            text=f"{path} is there, and its e_machine is {architectures.machine_name(machine)}", program=path,
            only=frozenset({"wrong-library-arch"}),
        )  # fmt: skip


def built(gathered: Gathered) -> Iterator[Fact]:
    """What the records of dist/ tell about programs on hosts whose architecture is known."""
    by_name: dict[str, list[Built]] = {}
    for item in gathered.built.values():
        by_name.setdefault(item.name, []).append(item)
    for sighting in list(gathered.sightings.values()):
        symptom, at = sighting.symptom, sighting.symptom.context
        records = by_name.get(symptom.executed.rpartition("/")[2], [])
        if not records or not at.arch or "wrong-machine" not in symptom.candidates:
            continue
        made = sorted({record.arch for record in records})
        if _name(at.arch) not in made:
            cells = ", ".join(record.cell for record in records)
            yield Fact(
                text=f"dist/ holds {symptom.executed} for {', '.join(made)} only ({cells}); the host is {at.arch}",
                program=symptom.executed, host=at.host, image=at.image, only=_FOREIGN,
            )  # fmt: skip


def _name(arch: str) -> str:
    return architectures.normalise(arch) or arch


def settle(gathered: Gathered, facts: Iterable[Fact]) -> None:
    """Add facts to what was gathered."""
    for fact in facts:
        gathered.add(fact)
