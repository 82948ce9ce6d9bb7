"""One run of a workload under a fault: what it is told, and what came of it. Types, and their JSON.

The campaign hands a Trial to the guard, which runs in namespaces of its own, and gets a Result back.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from typing import Any, TypeVar

from buildmatrix.faultspec import FaultSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a run may take: `memory` and `scratch` in MiB, `seconds` in all.

    `cgroup` is the folder of the memory cgroup that the guard makes, empty where there can be none; then `data`, a
    limit in MiB for each process, stands in its place. `version` is the cgroup's, 1 or 2.
    """

    memory: int
    scratch: int
    seconds: int
    cgroup: str = ""
    version: int = 0
    data: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """The image that a workload runs in: its layers' blobs in order, and its user, as UID:GID.

    `interpreter` is the emulator's path, empty where the image's programs run by themselves.
    """

    layers: tuple[str, ...]
    user: str
    interpreter: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What one run does. `health` is empty for a job; `outage` in milliseconds; `fault` is None for the baseline."""

    argv: tuple[str, ...]
    env: tuple[tuple[str, str], ...]
    health: str
    port: int
    probes: tuple[str, ...]
    outage: int
    limits: Limits
    fault: FaultSpec | None
    seed: int
    container: Container | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What came of one run. Times are in milliseconds.

    `ready` is from the start to the first good answer (for a job, to its end). `recovery` is the longest outage, from
    the first sign of it to the first good answer (for a job, from the failure to the end of a run that succeeds);
    None where nothing was lost. `struck` counts how often the fault was really felt. `unavailable` says why the
    fault cannot be injected on this machine: then nothing was measured.
    """

    good: bool
    reason: str = ""
    ready: float | None = None
    recovery: float | None = None
    struck: int = 0
    starts: int = 0
    unavailable: str = ""


_T = TypeVar("_T")


def encode(value: Trial | Result) -> str:
    """One line of JSON."""
    return json.dumps(asdict(value), separators=(",", ":"))


def decode_trial(line: str) -> Trial:
    """The Trial in a line that `encode` wrote."""
    value = json.loads(line)
    fault, container = value.pop("fault"), value.pop("container")
    return _made(
        Trial,
        {
            **value,
            "env": [tuple(pair) for pair in value["env"]],
            "limits": Limits(**value["limits"]),
            "fault": None if fault is None else _made(FaultSpec, fault),
            "container": None if container is None else _made(Container, container),
        },
    )


def decode_result(line: str) -> Result:
    """The Result in a line that `encode` wrote. Raises ValueError for anything else."""
    value = json.loads(line)
    names = {item.name for item in fields(Result)}
    if not isinstance(value, dict) or set(value) != names:
        raise ValueError(f"got {line[:200]!r}, expected the result of a run")
    return Result(**value)


def _made(kind: type[_T], value: dict[str, Any]) -> _T:
    return kind(**{name: tuple(item) if isinstance(item, list) else item for name, item in value.items()})
