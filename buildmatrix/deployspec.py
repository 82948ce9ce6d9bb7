"""Where images are deployed to, as matrix.toml describes it: [deploy] and the node pools [pools.NAME], checked."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from buildmatrix import arch, schema
from buildmatrix.errors import Problem

ARCH_LABEL = "kubernetes.io/arch"
"""The label that every kubelet sets: GOARCH."""

OS_LABEL = "kubernetes.io/os"
EFFECTS = ("NoSchedule", "NoExecute", "PreferNoSchedule")
_OBJECT = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")
_TAINT = re.compile(r"(?P<key>[A-Za-z0-9./_-]+)(=(?P<value>[A-Za-z0-9._-]*))?:(?P<effect>[A-Za-z]+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Taint:
    """One taint of a node (k8s.io/api core/v1 Taint)."""

    key: str
    value: str
    effect: str

    def __str__(self) -> str:
        """As kubectl writes it."""
        return f"{self.key}{f'={self.value}' if self.value else ''}:{self.effect}"

    @property
    def repels(self) -> bool:
        """Whether pods that do not tolerate it stay away."""
        return self.effect != "PreferNoSchedule"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """Nodes that are alike: GOARCH, further labels as sorted pairs, taints, and the weight among the pools."""

    name: str
    arch: str
    labels: tuple[tuple[str, str], ...] = ()
    taints: tuple[Taint, ...] = ()
    weight: int = 1

    @property
    def known(self) -> Mapping[str, str]:
        """Every label that is known of its nodes."""
        return {ARCH_LABEL: self.arch, OS_LABEL: "linux", **dict(self.labels)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Deploy:
    """Table [deploy]. Paths are relative to matrix.toml; `canary` is in percent, `soak` in seconds."""

    charts: tuple[str, ...] = ()
    values: tuple[str, ...] = ()
    crds: tuple[str, ...] = ()
    kubernetes: str = ""
    canary: int = 10
    soak: int = 300


def read(
    table: Mapping[str, Any], pools: Mapping[str, Mapping[str, Any]]
) -> tuple[Deploy, tuple[Pool, ...], list[Problem]]:
    """Both tables, valid by type already, and every problem in them; pools keep the order of the file."""
    values = {key.name: table.get(key.name, key.default) for key in schema.DEPLOY}
    problems = list(_deploy(values))
    found = []
    for name, given in pools.items():
        if given.get("arch") is None:
            continue  # the reader has told
        wrong = list(_pool(f"pools.{name}", given))
        problems += wrong
        if not wrong:
            found.append(
                Pool(
                    name=name,
                    arch=arch.normalise(given["arch"]) or "",
                    labels=tuple(sorted(given.get("labels", {}).items())),
                    taints=tuple(filter(None, map(taint, given.get("taints", ())))),
                    weight=given.get("weight", 1),
                )
            )
    return Deploy(**values), tuple(found), problems


def taint(text: str) -> Taint | None:
    """``key=value:Effect`` or ``key:Effect``; None for anything else."""
    found = _TAINT.fullmatch(text)
    if found is None or found["effect"] not in EFFECTS:
        return None
    return Taint(key=found["key"], value=found["value"] or "", effect=found["effect"])


def _deploy(values: Mapping[str, Any]) -> Iterator[Problem]:
    for key in ("charts", "values", "crds"):
        for index, place in enumerate(values[key]):
            if not place or PurePosixPath(place).is_absolute() or ".." in PurePosixPath(place).parts:
                yield Problem(
                    key=f"deploy.{key}[{index}]",
                    got=repr(place),
                    expected="a relative path that stays inside the project",
                )
    if not 1 <= values["canary"] <= 99:
        yield Problem(key="deploy.canary", got=repr(values["canary"]), expected="a share of 1 to 99 percent")
    if values["soak"] < 0:
        yield Problem(key="deploy.soak", got=repr(values["soak"]), expected="seconds, 0 or more")


def _pool(path: str, given: Mapping[str, Any]) -> Iterator[Problem]:
    name = path.removeprefix("pools.")
    if not _OBJECT.fullmatch(name):
        yield Problem(
            key=path,
            got=repr(name),
            expected="up to 40 lower-case letters, digits and dashes: objects are named after it",
        )
    if arch.normalise(given["arch"]) is None:
        known = ", ".join(row.goarch for row in arch.ARCHITECTURES)
        yield Problem(key=f"{path}.arch", got=repr(given["arch"]), expected=f"one of {known}")
    for label in (ARCH_LABEL, OS_LABEL):
        if label in given.get("labels", {}):
            yield Problem(key=f"{path}.labels.{label}", got="a label", expected="none: `arch` says it")
    for index, text in enumerate(given.get("taints", ())):
        if taint(text) is None:
            yield Problem(
                key=f"{path}.taints[{index}]",
                got=repr(text),
                expected=f"key=value:EFFECT or key:EFFECT, with one of {', '.join(EFFECTS)}",
            )
    if given.get("weight", 1) < 1:
        yield Problem(key=f"{path}.weight", got=repr(given["weight"]), expected="a whole number, 1 or more")
