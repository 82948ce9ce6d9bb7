"""Root causes with their four levels of evidence: pure, from clusters to what reports show."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from buildmatrix.converge.causes import CATALOGUE, Cause
from buildmatrix.converge.gather import Gathered, Sighting
from buildmatrix.converge.join import Cluster
from buildmatrix.converge.symptom import Role

LEVELS = ("symptom", "call", "field", "property")
"""Symptom; call or loader stage; instruction or header field; hardware or ABI property."""

LEAST = 0.25
"""The weight that the likeliest cause must have: an exit status that dozens of causes share names none of them."""

MOST_NAMES = 32
MOST_UNKNOWN = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """One piece of evidence at one level; `seen` where an input shows it, else it follows from the cause."""

    level: str
    text: str
    seen: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One kind of message: how often, where first, and what it looked like. Times in seconds since the epoch."""

    pattern: str
    role: str
    text: str
    count: int
    places: tuple[str, ...]
    first: float | None
    last: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RootCause:
    """One root cause, or one failure whose cause is open: then `cause` is the likeliest of `candidates`."""

    cause: str
    title: str
    sure: str
    candidates: tuple[tuple[str, float], ...]
    evidence: tuple[Evidence, ...]
    against: tuple[str, ...]
    settle: str
    fix: str
    programs: tuple[str, ...]
    objects: tuple[str, ...]
    versions: tuple[str, ...]
    hosts: tuple[str, ...]
    images: tuple[str, ...]
    pods: tuple[str, ...]
    architectures: tuple[str, ...]
    symptoms: tuple[Seen, ...]
    count: int
    first: float | None
    last: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Conclusion:
    """What all inputs come to."""

    causes: tuple[RootCause, ...]
    unknown: tuple[Seen, ...]
    warnings: tuple[Seen, ...]
    lost: int
    more_unknown: int


def conclude(clusters: list[Cluster], gathered: Gathered) -> Conclusion:
    """Roots, and what is left."""
    roots = [item for item in clusters if item.weights and item.ranked[0][1] >= LEAST]
    claimed = {id(member) for item in roots for member in item.members}
    rest = [item for item in gathered.sightings.values() if id(item) not in claimed]
    unknown = sorted((item for item in rest if item.symptom.role is not Role.WARNING), key=lambda item: -item.count)
    return Conclusion(
        causes=tuple(map(_root, roots)),
        unknown=tuple(map(_seen, unknown[:MOST_UNKNOWN])),
        warnings=tuple(_seen(item) for item in rest if item.symptom.role is Role.WARNING)[:MOST_UNKNOWN],
        lost=gathered.lost,
        more_unknown=max(0, len(unknown) - MOST_UNKNOWN),
    )


def _seen(item: Sighting) -> Seen:
    return Seen(
        pattern=item.symptom.pattern, role=item.symptom.role.value, text=item.symptom.text, count=item.count,
        places=tuple(item.places), first=item.first, last=item.last,
    )  # fmt: skip


def _root(cluster: Cluster) -> RootCause:
    row = CATALOGUE[cluster.cause]
    firsts = [item.first for item in cluster.members if item.first is not None]
    lasts = [item.last for item in cluster.members if item.last is not None]
    return RootCause(
        cause=row.slug,
        title=row.title,
        sure=cluster.sure,
        candidates=tuple(cluster.ranked),
        evidence=tuple(_evidence(cluster, row)),
        against=tuple(fact.text for fact in cluster.against),
        settle="" if cluster.sure == "certain" else _settle(cluster),
        fix=row.fix,
        programs=_sorted(cluster.names("executed")),
        objects=_sorted(cluster.names("object")),
        versions=_sorted(cluster.names("version")),
        hosts=_sorted(cluster.names("host")),
        images=_sorted(cluster.names("image")),
        pods=_sorted(cluster.names("pod")),
        architectures=_sorted(cluster.names("arch")),
        symptoms=tuple(map(_seen, sorted(cluster.members, key=lambda item: -item.count))),
        count=sum(item.count for item in cluster.members),
        first=min(firsts, default=None),
        last=max(lasts, default=None),
    )


def _sorted(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(names)[:MOST_NAMES])


def _settle(cluster: Cluster) -> str:
    """What would tell the likeliest causes apart."""
    ways = dict.fromkeys(CATALOGUE[name].settle for name, _ in cluster.ranked[:3])
    program = next((name for name in sorted(cluster.names("executed")) if name.startswith("/")), "")
    text = "; or ".join(ways)
    return text.replace("PROGRAM", program) if program else text


def _evidence(cluster: Cluster, row: Cause) -> Iterable[Evidence]:
    for item in sorted(cluster.members, key=lambda each: -each.count)[:3]:
        place = f" ({item.places[0]})" if item.places else ""
        yield Evidence(level="symptom", text=f"{item.count} × {item.symptom.text}{place}", seen=True)
    stages = dict.fromkeys(item.symptom.stage for item in cluster.members)
    details = dict.fromkeys(item.symptom.detail for item in cluster.members if item.symptom.detail)
    yield Evidence(level="call", text=", ".join((*stages, *list(details)[:4])), seen=True)
    yield Evidence(level="call", text=row.call, seen=False)
    yield from (Evidence(level=LEVELS[fact.level - 1], text=fact.text, seen=True) for fact in cluster.facts[:8])
    named = [f"{what} {', '.join(_sorted(cluster.names(what))[:6])}" for what in ("object", "version", "symbol")
             if cluster.names(what)]  # fmt: skip
    if named:
        yield Evidence(level="field", text="; ".join(named), seen=True)
    yield Evidence(level="field", text=row.field, seen=False)
    machines = _sorted(cluster.names("arch"))
    if machines:
        yield Evidence(level="property", text=f"hosts are {', '.join(machines)}", seen=True)
    yield Evidence(level="property", text=row.ability, seen=False)
