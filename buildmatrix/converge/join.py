"""Puts symptoms together that one cause explains.

Symptoms that share a process, trace, container, program or image join where at least one cause allows all of their
words; what stays is the intersection. Messages about one failure repeat each other, so their weights are averaged
and not multiplied: only what a message rules out makes anything surer. What merely tells how
something ended goes to the nearest failure that it fits; what fits none stands for itself.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from buildmatrix.converge import weights
from buildmatrix.converge.causes import CATALOGUE
from buildmatrix.converge.gather import Gathered, Sighting
from buildmatrix.converge.symptom import Fact, Role

WINDOW = 60.0
"""Seconds between a failure and what it leads to, on one host, where nothing closer joins them."""

NEAR_LINES = 5
"""Lines between the two in one log, where there are no times."""

COMM = 15
"""Characters of a program's name that the kernel keeps (TASK_COMM_LEN - 1)."""

LIKELY = 0.75
_EXPECTED = 9.0
"""The weight, beside 1 for all others together, of a cause that the preflight expected before the failure was seen."""

_OPEN = "open of a library"
_OF_THE_MACHINE = frozenset({"isa-level", "page-size"})
"""Causes that different images on one machine may share."""

_EXPLAINS = {
    ("libstdcxx-too-old", "glibc-too-old"), ("missing-library", "missing-symbol"), ("wrong-libc", "missing-symbol"),
    ("wrong-libc", "missing-library"), ("glibc-too-old", "missing-symbol"),
    ("disk-full", "truncated"), ("wrong-machine", "image-platform-missing"),
}  # fmt: skip
"""Pairs of which the first, in the same program, is behind the second too."""


@dataclass(slots=True, eq=False)
class Cluster:
    """Symptoms of one cause. `weights` are what all of them allow; empty where nothing is known."""

    members: list[Sighting] = field(default_factory=list)
    weights: dict[str, float] = field(default_factory=dict)
    facts: list[Fact] = field(default_factory=list)
    against: list[Fact] = field(default_factory=list)
    """Facts that contradict the symptoms: told, and not believed over them."""

    def allows(self, other: dict[str, float]) -> bool:
        """Whether some cause explains both."""
        return not self.weights or not other or bool(self.weights.keys() & other.keys())

    def narrow(self, other: dict[str, float], *, rank: bool = True) -> None:
        """Keep what both allow, ranked by both (their geometric mean), or as it was where only one may `rank`."""
        if not other:
            return
        if not self.weights:
            self.weights = dict(other)
            return
        both = self.weights.keys() & other.keys()
        self.weights = weights.normal(
            {name: (self.weights[name] * other[name]) ** 0.5 if rank else self.weights[name] for name in both}
        )

    @property
    def ranked(self) -> list[tuple[str, float]]:
        """Causes, the likeliest first."""
        return sorted(self.weights.items(), key=lambda row: (-row[1], row[0]))

    @property
    def cause(self) -> str:
        """The likeliest cause; empty where nothing is known."""
        return self.ranked[0][0] if self.weights else ""

    @property
    def sure(self) -> str:
        """``certain`` where all else is ruled out, ``likely``, or ``open``."""
        if len(self.weights) == 1:
            return "certain"
        return "likely" if self.weights and self.ranked[0][1] >= LIKELY else "open"

    def names(self, what: str) -> set[str]:
        """All values of one property of the members."""
        found = (getattr(item.symptom, what, "") or getattr(item.symptom.context, what, "") for item in self.members)
        return {value for value in found if value}


def base(program: str) -> str:
    """A program as the kernel names its process."""
    return program.rpartition("/")[2][:COMM]


def join(gathered: Gathered, window: float = WINDOW) -> list[Cluster]:
    """One cluster for each root cause, those with most symptoms first."""
    primary: list[Cluster] = []
    endings: list[Cluster] = []
    for item in gathered.sightings.values():
        if item.symptom.role in (Role.PRIMARY, Role.CONSEQUENCE, Role.WARNING):
            (primary if item.symptom.role is Role.PRIMARY else endings).append(_alone(item, gathered))
    clusters = _nameless(_roots(_united(primary)), window)
    left = _attached(clusters, [item for item in endings if not _is_warning(item)], window)
    clusters = _explained(_roots(clusters + _united(left)))
    _attached(clusters, [item for item in endings if _is_warning(item)], window)
    return sorted(clusters, key=lambda item: (-sum(each.count for each in item.members), item.cause))


def _is_warning(cluster: Cluster) -> bool:
    return cluster.members[0].symptom.role is Role.WARNING


def _alone(item: Sighting, gathered: Gathered) -> Cluster:
    cluster = Cluster(members=[item], weights=dict(item.symptom.candidates))
    for fact in gathered.facts.values():
        if not _concerns(fact, item):
            continue
        kept = {name: value for name, value in cluster.weights.items() if _lets(fact, name)}
        if kept and (not fact.likely or fact.likely in kept):
            cluster.weights = weights.normal({**kept, fact.likely: _EXPECTED} if fact.likely else kept)
            cluster.facts.append(fact)
        elif cluster.weights:
            cluster.against.append(fact)
    return cluster


def _lets(fact: Fact, cause: str) -> bool:
    return cause not in fact.excludes and (not fact.only or cause in fact.only)


def _concerns(fact: Fact, item: Sighting) -> bool:
    symptom, at = item.symptom, item.symptom.context
    if fact.host and at.host and fact.host != at.host:
        return False
    if fact.image and at.image and fact.image != at.image:
        return False
    if fact.pid and item.pids and fact.pid not in item.pids:
        return False
    names = [name for name in (symptom.executed, symptom.program, symptom.object, at.exe) if name]
    return any(_same(fact.program, name) for name in names)


def _same(one: str, other: str) -> bool:
    """Whether two names may be one program: a name without folders may be any of that name."""
    if one == other:
        return True
    absolute = one.startswith("/") and other.startswith("/")
    return not absolute and one.rpartition("/")[2] == other.rpartition("/")[2]


def _keys(item: Sighting) -> Iterator[tuple[str, ...]]:
    """What another symptom of the same failure shares, the closest first."""
    symptom, at = item.symptom, item.symptom.context
    yield from (("trace", trace) for trace in sorted(item.traces))
    yield from (("pid", at.host or at.source, pid) for pid in sorted(item.pids))
    if at.pod:
        yield "pod", at.pod
    if at.unit and at.host:
        yield "unit", at.host, at.unit
    if (symptom.executed and "/" not in symptom.executed) or symptom.executed.startswith("/") or symptom.executed:
        yield "program", base(symptom.executed)


def _united(clusters: list[Cluster]) -> list[Cluster]:
    by: dict[tuple[str, ...], list[Cluster]] = defaultdict(list)
    merged: dict[int, Cluster] = {}
    for rank in ("trace", "pid", "pod", "unit", "program"):
        by.clear()
        for cluster in clusters:
            for key in _keys(cluster.members[0]):
                if key[0] == rank:
                    by[key].append(cluster)
        for group in by.values():
            _unite(group, merged)
    return list({id(found): found for item in clusters for found in (_find(item, merged),)}.values())


def _find(cluster: Cluster, merged: dict[int, Cluster]) -> Cluster:
    while id(cluster) in merged:
        cluster = merged[id(cluster)]
    return cluster


def _unite(group: list[Cluster], merged: dict[int, Cluster]) -> None:
    heads: list[Cluster] = []
    for item in group:
        found = _find(item, merged)
        if any(found is head for head in heads):
            continue
        head = next((head for head in heads if _may_join(head, found)), None)
        if head is None:
            heads.append(found)
        else:
            _absorb(head, found)
            merged[id(found)] = head


def _absorb(head: Cluster, other: Cluster) -> None:
    head.members += other.members
    head.facts += [fact for fact in other.facts if fact not in head.facts]
    head.against += [fact for fact in other.against if fact not in head.against]
    head.narrow(other.weights)


def _may_join(one: Cluster, other: Cluster) -> bool:
    return one.allows(other.weights) and not _apart(one, other)


def _apart(one: Cluster, other: Cluster) -> bool:
    """Whether two clusters speak of different things: other images, other programs, other libraries."""
    if _differ(one.names("image"), other.names("image")):
        return True
    opened = [
        {item.symptom.object for item in side.members if item.symptom.stage == _OPEN and item.symptom.object}
        for side in (one, other)
    ]
    if _differ({name.rpartition("/")[2] for name in opened[0]}, {name.rpartition("/")[2] for name in opened[1]}):
        return True
    paths = [{name for name in side.names("executed") if name.startswith("/")} for side in (one, other)]
    return _differ(paths[0], paths[1])


def _differ(one: set[str], other: set[str]) -> bool:
    return bool(one) and bool(other) and not one & other


def _roots(clusters: list[Cluster]) -> list[Cluster]:
    """Clusters with the same cause that share what the cause is a property of."""
    kept: list[Cluster] = []
    for cluster in clusters:
        twin = next((item for item in kept if _one_root(item, cluster)), None)
        if twin is None:
            kept.append(cluster)
        else:
            _absorb(twin, cluster)
    return kept


def _one_root(one: Cluster, other: Cluster) -> bool:
    row = CATALOGUE.get(one.cause)
    if row is None or one.cause != other.cause or "open" in (one.sure, other.sure):
        return False
    if row.by_object and _differ(_objects(one), _objects(other)):
        return False
    if _shares(one, other, "pod") or _traces(one) & _traces(other):
        return True
    if _differ(one.names("image"), other.names("image")) and row.slug not in _OF_THE_MACHINE:
        return False
    if _shares(one, other, "executed"):
        return True
    return (row.scope != "program" and _shares(one, other, "image")) or (row.scope == "host" and _same_host(one, other))


def _same_host(one: Cluster, other: Cluster) -> bool:
    return _shares(one, other, "host") or _hostless(one, other)


def _objects(cluster: Cluster) -> set[str]:
    return {name.rpartition("/")[2] for name in cluster.names("object")}


def _hostless(one: Cluster, other: Cluster) -> bool:
    """Two clusters out of one log that names no hosts: the log is one host's."""
    return not one.names("host") and not other.names("host") and _shares(one, other, "source")


def _shares(one: Cluster, other: Cluster, what: str) -> bool:
    return bool(one.names(what) & other.names(what))


def _traces(cluster: Cluster) -> set[str]:
    return {trace for item in cluster.members for trace in item.traces}


def _nameless(clusters: list[Cluster], window: float) -> list[Cluster]:
    """Give what names a cause but no program to the failure beside it that it explains, and the other way round."""
    gone: set[int] = set()
    for teller in clusters:
        if teller.sure != "certain":
            continue
        for other in clusters:
            if other is teller or id(other) in gone or id(teller) in gone:
                continue
            if teller.cause in other.weights and not _apart(teller, other) and _beside(teller, other, window):
                _absorb(teller, other)
                gone.add(id(other))
    return [item for item in clusters if id(item) not in gone]


def _beside(one: Cluster, other: Cluster, window: float) -> bool:
    if CATALOGUE[one.cause].scope != "program" and _shares(one, other, "image"):
        return True
    if one.names("executed") and other.names("executed"):
        return False
    return any(_nearness(item, each, window) > 0 for item in one.members for each in other.members)


def _explained(clusters: list[Cluster]) -> list[Cluster]:
    """Clusters whose cause another one's explains, in the same program."""
    gone: set[int] = set()
    for cluster in clusters:
        for other in clusters:
            if cluster is other or id(other) in gone or (cluster.cause, other.cause) not in _EXPLAINS:
                continue
            if _shares(cluster, other, "executed") and not _differ(cluster.names("image"), other.names("image")):
                cluster.members += other.members
                gone.add(id(other))
    return [item for item in clusters if id(item) not in gone]


def _attached(clusters: list[Cluster], endings: Iterable[Cluster], window: float) -> list[Cluster]:
    """Give every ending to the closest cluster that it fits; returns those that fit none."""
    left = []
    for ending in endings:
        scored = [(_closeness(cluster, ending.members[0], window), cluster) for cluster in clusters]
        fitting = [row for row in scored if row[0] > 0 and row[1].allows(ending.weights)]
        if not fitting:
            left.append(ending)
            continue
        score, best = max(fitting, key=lambda row: row[0])
        best.members += ending.members
        best.facts += [fact for fact in ending.facts if fact not in best.facts]
        if score >= _SHARED and not _is_warning(ending):
            best.narrow(ending.weights, rank=False)
    return left


_SHARED = 3.0
"""From this closeness on, two symptoms are of one process, container or program."""


def _closeness(cluster: Cluster, ending: Sighting, window: float) -> float:
    keys = set(_keys(ending))
    best = 0.0
    images = {ending.symptom.context.image} - {""}
    if _differ(cluster.names("image"), images):
        return 0.0
    for item in cluster.members:
        shared = keys & set(_keys(item))
        if shared:
            ranks = {"trace": 7.0, "pid": 6.0, "pod": 5.0, "unit": 4.0, "program": 3.0}
            best = max(best, *(ranks[key[0]] for key in shared))
        else:
            best = max(best, _nearness(item, ending, window))
    return best


def _nearness(item: Sighting, ending: Sighting, window: float) -> float:
    """Between 0 and 2: the same host or log, and how close in time or lines."""
    one, other = item.symptom.context, ending.symptom.context
    if one.host and other.host and one.host != other.host:
        return 0.0
    same_host = bool(one.host) and one.host == other.host
    if item.first is not None and ending.first is not None:
        apart = max(0.0, ending.first - (item.last or item.first), item.first - (ending.last or ending.first))
        near = (same_host or one.source == other.source) and apart <= window
        return 1.0 + 1.0 / (1.0 + apart) if near else 0.0
    lines = abs(one.line - other.line)
    return 1.0 / (1.0 + lines) if one.source == other.source and one.line and lines <= NEAR_LINES else 0.0
