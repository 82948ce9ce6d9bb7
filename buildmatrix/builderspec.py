"""BuildKit clusters as matrix.toml describes them: the tables [builders.NAME], checked.

The options are those of buildx's drivers (docs.docker.com/build/builders/drivers); one that a driver does
not know is an error here, and not a surprise when the builder is made.
"""

from __future__ import annotations

import difflib
import fnmatch
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from buildmatrix import schema
from buildmatrix.errors import Problem

FILES = ("cacert", "cert", "key")
"""Options that are files, relative to matrix.toml."""

_OPTIONS = {
    "remote": (*FILES, "servername"),
    "docker-container": (
        "image", "network", "cgroup-parent", "restart-policy", "memory", "memory-swap", "cpu-quota", "cpu-period",
        "cpu-shares", "cpuset-cpus", "cpuset-mems", "env.*",
    ),
    "kubernetes": (
        "image", "namespace", "replicas", "requests.cpu", "requests.memory", "requests.ephemeral-storage",
        "limits.cpu", "limits.memory", "limits.ephemeral-storage", "annotations", "labels", "tolerations",
        "serviceaccount", "schedulername", "rootless", "loadbalance", "qemu.install", "qemu.image", "timeout",
    ),
}  # fmt: skip

_ENDPOINT = re.compile(r"(tcp://(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.-]+):[0-9]{1,5}|unix:///[^\x00-\x20\x7f]+)")
_SELECTOR = re.compile(r"[A-Za-z0-9./_-]+=[A-Za-z0-9._-]*(,[A-Za-z0-9./_-]+=[A-Za-z0-9._-]*)*")
_NODES = {
    "remote": (_ENDPOINT, "tcp://HOST:PORT or unix:///PATH"),
    "kubernetes": (_SELECTOR, "a node selector such as kubernetes.io/arch=arm64"),
    "docker-container": (re.compile(r"[A-Za-z0-9][^\x00-\x20\x7f]*"), "a Docker context or host"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class BuilderSpec:
    """One table [builders.NAME]. `nodes` are pairs of platform and endpoint in file order, `options` sorted pairs."""

    name: str
    driver: str
    nodes: tuple[tuple[str, str], ...]
    options: tuple[tuple[str, str], ...]
    cache: str

    @property
    def platforms(self) -> tuple[str, ...]:
        """The platforms that have a node."""
        return tuple(platform for platform, _ in self.nodes)


def read(raw: dict[str, dict[str, Any]]) -> tuple[tuple[BuilderSpec, ...], list[Problem]]:
    """The builders in tables that are valid by type, and every problem in them."""
    found, problems = [], []
    for name, given in raw.items():
        values = {key.name: given.get(key.name, key.default) for key in schema.BUILDER}
        if values["driver"] is None or values["nodes"] is None:
            continue  # the reader has told
        wrong = list(_problems(f"builders.{name}", values))
        problems += wrong
        if not wrong:
            found.append(
                BuilderSpec(
                    name=name,
                    driver=values["driver"],
                    nodes=tuple(values["nodes"].items()),
                    options=tuple(sorted(values["options"].items())),
                    cache=values["cache"],
                )
            )
    return tuple(found), problems


def _problems(path: str, values: dict[str, Any]) -> Iterator[Problem]:
    driver = values["driver"]
    if not values["nodes"]:
        yield Problem(key=f"{path}.nodes", got="nothing", expected="a node for at least one platform")
    shape, words = _NODES[driver]
    for platform, endpoint in values["nodes"].items():
        if not shape.fullmatch(endpoint):
            yield Problem(key=f"{path}.nodes.{platform}", got=repr(endpoint), expected=words)
    known = _OPTIONS[driver]
    for name in values["options"]:
        if not any(fnmatch.fnmatchcase(name, option) for option in known):
            close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
            yield Problem(
                key=f"{path}.options.{name}",
                got="an option that the driver does not know",
                expected=f"one of {', '.join(known)}",
                hint=f"did you mean {close[0]!r}?" if close else "",
            )
    yield from _certificates(path, values["options"])
    yield from _cache(path, values["cache"])


def _certificates(path: str, options: dict[str, str]) -> Iterator[Problem]:
    """A certificate without its key, or the other way round, would be left out of the handshake in silence."""
    for one, other in (("cert", "key"), ("key", "cert")):
        if options.get(one) and not options.get(other):
            yield Problem(key=f"{path}.options.{other}", got="nothing", expected=f"a file, since {one} is given")


def _cache(path: str, cache: str) -> Iterator[Problem]:
    if not cache:
        return
    if "{cell}" not in cache or re.search(r"[{}]", cache.replace("{cell}", "")):
        yield Problem(
            key=f"{path}.cache",
            got=repr(cache),
            expected="the placeholder {cell}, and no other",
            hint="without it platforms overwrite each other's cache",
        )
    if cache.startswith("type=local") and ",path=/" not in cache:
        yield Problem(key=f"{path}.cache", got=repr(cache), expected="type=local,path=DIR with an absolute DIR")


def engine_problems(go_table: dict[str, Any], builders: tuple[BuilderSpec, ...]) -> Iterator[Problem]:
    """What is wrong with the engine of [go]: no cluster, or no flags without which it would give other bytes."""
    name = go_table.get("builder", "")
    if go_table.get("engine", "local") == "local":
        if name:
            yield Problem(key="go.builder", got=repr(name), expected='nothing: only engine = "buildkit" has one')
        return
    names = [builder.name for builder in builders]
    if name not in names:
        yield Problem(
            key="go.builder",
            got=repr(name) if name else "nothing",
            expected=f"the name of a table [builders.NAME] (there is {', '.join(names) or 'none that is valid'})",
        )
    defaults = next(key.default for key in schema.GO if key.name == "flags")
    for flag in defaults:
        if flag not in go_table.get("flags", defaults):
            yield Problem(
                key="go.flags", got=f"no {flag}", expected=f"{flag}: without it the cluster's artifacts differ"
            )  # fmt: skip


def cache_of(cache: str, cell: str) -> tuple[str, str]:
    """What buildx reads a cell's cache from, and what it writes it to; both empty where there is none."""
    if not cache:
        return "", ""
    text = cache.replace("{cell}", cell)
    if text.startswith("type=local"):
        return text.replace(",path=", ",src="), f"{text.replace(',path=', ',dest=')},mode=max"
    return text, f"{text},mode=max"
