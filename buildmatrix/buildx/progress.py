"""What buildx says while it works: BuildKit's status messages as lines of JSON (`--progress=rawjson`).

A message may name the same step often; the last word counts (moby/buildkit, client.SolveStatus).
"""

from __future__ import annotations

import base64
import datetime
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

_NAME = re.compile(r"\[(?P<target>[^\s\]]+)(?: (?P<rest>[^\]]*))?\] (?P<words>.*)", re.DOTALL)
_PLACE = re.compile(r"(?:(?P<stage>\S+) +)?\d+/\d+")
_LOG_BYTES = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of a target. `stage` is empty where a Dockerfile has but one, `seconds` None until it is done."""

    target: str
    stage: str
    words: str
    internal: bool
    started: str = ""
    completed: str = ""
    cached: bool = False
    error: str = ""

    @property
    def seconds(self) -> float | None:
        """How long it took."""
        first, last = _time(self.started), _time(self.completed)
        return last - first if first is not None and last is not None else None

    @property
    def runs(self) -> bool:
        """Whether it executes a program of the image."""
        return self.words.upper().startswith("RUN ") and not self.internal


def _time(text: str) -> float | None:
    try:
        # Nanoseconds are more than the standard library reads.
        return datetime.datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", text)).timestamp()
    except ValueError:
        return None


@dataclass(slots=True)
class Progress:
    """Takes lines; `told` hears of each step of a Dockerfile when it begins, and may raise to give up."""

    told: Callable[[Step], None]
    steps: dict[str, Step] = field(default_factory=dict)
    words: list[str] = field(default_factory=list)
    logs: dict[str, bytes] = field(default_factory=dict)
    """What a step printed, by its digest: the end of it."""

    def line(self, text: str) -> None:
        """Take one line of standard error."""
        try:
            value = json.loads(text)
        except ValueError:
            value = None
        if not isinstance(value, dict):
            if text.strip():
                self.words.append(text.strip())
            return
        for vertex in value.get("vertexes") or ():
            self._vertex(vertex)
        for log in value.get("logs") or ():
            self._log(log)

    def _vertex(self, vertex: dict[str, Any]) -> None:
        digest, old = str(vertex.get("digest")), self.steps.get(str(vertex.get("digest")))
        step = replace(
            old or _step(str(vertex.get("name", ""))),
            started=str(vertex.get("started") or (old.started if old else "")),
            completed=str(vertex.get("completed") or ""),
            cached=bool(vertex.get("cached")),
            error=str(vertex.get("error") or (old.error if old else "")),
        )
        self.steps[digest] = step
        if step.started and not (old and old.started) and not step.internal:
            self.told(step)

    def _log(self, log: dict[str, Any]) -> None:
        digest = str(log.get("vertex"))
        try:
            data = base64.b64decode(str(log.get("data", "")))
        except ValueError:
            return
        self.logs[digest] = (self.logs.get(digest, b"") + data)[-_LOG_BYTES:]

    def failures(self) -> list[tuple[Step, str]]:
        """The steps that failed, each with what it printed; those that others cancelled come last."""
        found = [
            (step, self.logs.get(digest, b"").decode(errors="replace")) for digest, step in self.steps.items()
            if step.error
        ]  # fmt: skip
        return sorted(found, key=lambda pair: "context canceled" in pair[0].error)


def _step(name: str) -> Step:
    found = _NAME.fullmatch(name)
    if found is None:
        return Step(target="", stage="", words=name, internal=True)
    place = _PLACE.fullmatch(found["rest"] or "")
    stage = (place["stage"] or "") if place is not None else ""
    return Step(target=found["target"], stage=stage, words=found["words"], internal=place is None)
