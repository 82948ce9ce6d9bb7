"""What runs under which faults, as matrix.toml says: the tables [workloads.NAME] and [faults.NAME].

Values that cannot work are problems here, with their key path, rather than failures in the middle of a campaign.
"""

from __future__ import annotations

import errno
import fnmatch
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from buildmatrix import schema
from buildmatrix.errors import Problem

BASELINE = "baseline"
"""The name under which runs without a fault are kept."""

_BOUNDS = {
    "workloads": {
        "port": (1, 65535), "memory": (16, 65536), "scratch": (1, 4096), "seconds": (2, 3600), "outage": (1, 600_000),
    },
    "faults": {
        "runs": (1, 10_000), "milliseconds": (10, 600_000), "seed": (0, (1 << 32) - 1), "workers": (1, 256),
        "size": (8, 65536), "delay": (1, 60_000), "loss": (0, 100), "step": (1, 10 * 365 * 86400),
    },
}  # fmt: skip
"""The integers' least and greatest values."""

ONLY_WITH = {
    "workers": ("memory", "cpu", "atomics"), "size": ("memory",), "calls": ("syscall", "slow"), "error": ("syscall",),
    "when": ("syscall", "slow"), "from-start": ("syscall", "slow"), "delay": ("slow", "network"), "loss": ("network",),
    "programs": ("missing-child",), "step": ("clock",),
}  # fmt: skip
"""Keys that only some kinds have."""

NEEDED_BY = {"syscall": ("calls", "error"), "slow": ("calls",), "missing-child": ("programs",)}


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadSpec:
    """One table [workloads.NAME]. `cells` are the ids of the cells that it is, tables sorted pairs.

    `memory` and `scratch` are in MiB, `seconds` in seconds, `outage` in milliseconds. `image` is empty where it
    does not run in a container, `health` where it is a job rather than a service.
    """

    name: str
    binary: str
    cells: tuple[str, ...]
    args: tuple[str, ...]
    env: tuple[tuple[str, str], ...]
    health: str
    port: int
    probes: tuple[str, ...]
    image: str
    memory: int
    scratch: int
    seconds: int
    outage: int
    namespace: str
    labels: tuple[tuple[str, str], ...]
    volume: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultSpec:
    """One table [faults.NAME]. `workloads` are names; `milliseconds` and `delay` in ms, `size` in MiB, `step` in s."""

    name: str
    kind: str
    workloads: tuple[str, ...] = ()
    runs: int = 20
    milliseconds: int = 1000
    seed: int = 1
    workers: int = 2
    size: int = 128
    calls: tuple[str, ...] = ()
    error: str = ""
    when: str = ""
    from_start: bool = False
    delay: int = 100
    loss: int = 0
    programs: tuple[str, ...] = ()
    step: int = 3600


def read(
    workloads: dict[str, dict[str, Any]],
    faults: dict[str, dict[str, Any]],
    cells: tuple[tuple[str, str, str], ...],
    images: Iterable[str],
) -> tuple[tuple[WorkloadSpec, ...], tuple[FaultSpec, ...], list[Problem]]:
    """The specs in tables that are valid by type, and every problem; `cells` are (binary, target, goos)."""
    problems: list[Problem] = []
    found = tuple(_workload(name, given, cells, tuple(images), problems) for name, given in workloads.items())
    if faults and not workloads:
        problems.append(Problem(key="workloads", got="nothing", expected="a table [workloads.NAME] for [faults]"))
    names = tuple(workloads)
    return found, tuple(_fault(name, given, names, problems) for name, given in faults.items()), problems


def _filled(given: dict[str, Any], keys: tuple[schema.Key, ...]) -> dict[str, Any]:
    values = {key.name.replace("-", "_"): given.get(key.name, key.default) for key in keys}
    return {name: tuple(sorted(value.items())) if isinstance(value, dict) else value for name, value in values.items()}


def _bounds(table: str, path: str, given: dict[str, Any]) -> Iterator[Problem]:
    for name, (least, most) in _BOUNDS[table].items():
        value = given.get(name)
        if value is not None and not least <= value <= most:
            yield Problem(key=f"{path}.{name}", got=str(value), expected=f"a number from {least} to {most}")


def _workload(
    name: str,
    given: dict[str, Any],
    cells: tuple[tuple[str, str, str], ...],
    images: tuple[str, ...],
    problems: list[Problem],
) -> WorkloadSpec:
    path = f"workloads.{name}"
    problems += _bounds("workloads", path, given)
    values = _filled(given, schema.WORKLOAD)
    binary = values.pop("binary") or name
    globs = values.pop("targets")
    matching = tuple(
        f"{owner}_{target}"
        for owner, target, goos in cells
        if owner == binary and goos == "linux" and any(fnmatch.fnmatchcase(target, glob) for glob in globs)
    )
    if not any(owner == binary for owner, _, _ in cells):
        known = ", ".join(dict.fromkeys(owner for owner, _, _ in cells)) or "none"
        problems.append(Problem(key=f"{path}.binary", got=repr(binary), expected=f"the name of a binary ({known})"))
    elif not matching:
        problems.append(
            Problem(key=f"{path}.targets", got=", ".join(globs), expected=f"globs over targets for Linux of {binary}")
        )
    problems += _service(path, values, images)
    values["labels"] = values["labels"] or (("app.kubernetes.io/name", name),)
    return WorkloadSpec(name=name, binary=binary, cells=matching, **values)


def _service(path: str, values: dict[str, Any], images: tuple[str, ...]) -> Iterator[Problem]:
    if values["probes"] and not values["health"]:
        yield Problem(key=f"{path}.health", got="nothing", expected="a path, since probes are given")
    if values["image"] and values["image"] not in images:
        known = ", ".join(images) or "there is none"
        yield Problem(key=f"{path}.image", got=repr(values["image"]), expected=f"the name of an image ({known})")
    for index, word in enumerate(values["args"]):
        rest = word.replace("{scratch}", "")
        if "{scratch" in rest:
            yield Problem(key=f"{path}.args[{index}]", got=repr(word), expected="no other placeholder than {scratch}")


def _fault(name: str, given: dict[str, Any], workloads: tuple[str, ...], problems: list[Problem]) -> FaultSpec:
    path = f"faults.{name}"
    problems += _bounds("faults", path, given)
    values = _filled(given, schema.FAULT)
    kind = values["kind"] or ""
    if name == BASELINE:
        problems.append(Problem(key=path, got=repr(name), expected="another name: runs without a fault have this one"))
    globs = values.pop("workloads")
    chosen = tuple(item for item in workloads if any(fnmatch.fnmatchcase(item, glob) for glob in globs))
    if workloads and not chosen:
        problems.append(
            Problem(key=f"{path}.workloads", got=", ".join(globs), expected=f"a glob over {', '.join(workloads)}")
        )
    problems += _kind(path, kind, given, values)
    return FaultSpec(name=name, workloads=chosen, **values)


def _kind(path: str, kind: str, given: dict[str, Any], values: dict[str, Any]) -> Iterator[Problem]:
    """What only some kinds have, must have, or cannot have together."""
    for key, kinds in ONLY_WITH.items():
        if kind and key in given and kind not in kinds:
            yield Problem(key=f"{path}.{key}", got=f"kind {kind!r}", expected=f"kind {' or '.join(kinds)} with it")
    for key in NEEDED_BY.get(kind, ()):
        if not values[key]:
            yield Problem(key=f"{path}.{key}", got="nothing", expected=f"a value: kind {kind!r} needs it")
    if values["error"] and values["error"] not in errno.errorcode.values():
        yield Problem(key=f"{path}.error", got=repr(values["error"]), expected="an errno of Linux, such as ENOMEM")
