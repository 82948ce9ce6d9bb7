"""Counts equal symptoms, in memory that does not grow with the input."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from buildmatrix.converge.symptom import Built, Context, Fact, Role, Symptom

MAX_KEYS = 20_000
"""Symptoms that are told apart. What comes beyond that is counted, and said."""

MAX_NAMES = 64
"""Traces and processes that one symptom remembers."""

MAX_PLACES = 3
_NUMBERS = re.compile(r"0x[0-9a-fA-F]+|\d+")


@dataclass(slots=True)
class Sighting:
    """One symptom with all its repetitions. `first` and `last` in seconds since the epoch."""

    symptom: Symptom
    count: int = 0
    first: float | None = None
    last: float | None = None
    traces: set[str] = field(default_factory=set)
    pids: set[str] = field(default_factory=set)
    places: list[str] = field(default_factory=list)

    def add(self, at: Context) -> None:
        """One more."""
        self.count += 1
        if at.time is not None:
            self.first = at.time if self.first is None else min(self.first, at.time)
            self.last = at.time if self.last is None else max(self.last, at.time)
        if at.trace and len(self.traces) < MAX_NAMES:
            self.traces.add(at.trace)
        if at.pid and len(self.pids) < MAX_NAMES:
            self.pids.add(at.pid)
        if len(self.places) < MAX_PLACES:
            self.places.append(f"{at.source}:{at.line}" if at.line else at.source)


@dataclass(slots=True)
class Gathered:
    """All that was read. `lost` counts symptoms that came after MAX_KEYS different ones."""

    sightings: dict[tuple[str, ...], Sighting] = field(default_factory=dict)
    facts: dict[tuple[str, str], Fact] = field(default_factory=dict)
    built: dict[tuple[str, str], Built] = field(default_factory=dict)
    lost: int = 0

    def add(self, item: Symptom | Fact | Built) -> None:
        """Take one item."""
        if isinstance(item, Symptom):
            self._symptom(item)
        elif isinstance(item, Fact):
            if len(self.facts) < MAX_KEYS:
                self.facts.setdefault((item.text, item.program), item)
        elif len(self.built) < MAX_KEYS:
            self.built.setdefault((item.cell, item.sha256), item)

    def _symptom(self, item: Symptom) -> None:
        key = item.key
        if item.role is Role.UNKNOWN:
            key = ("unknown", item.pattern, _NUMBERS.sub("N", item.text), item.context.source)
        found = self.sightings.get(key)
        if found is None:
            if len(self.sightings) >= MAX_KEYS:
                self.lost += 1
                return
            kept = replace(item, context=replace(item.context, trace="", time=None))
            found = self.sightings[key] = Sighting(symptom=kept)
        found.add(item.context)


def gather(items: Iterable[Symptom | Fact | Built]) -> Gathered:
    """Everything that readers gave."""
    gathered = Gathered()
    for item in items:
        gathered.add(item)
    return gathered
