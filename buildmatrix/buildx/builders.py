"""Builders of our own: made on demand from [builders.NAME], used again while their definition stays.

Each project keeps them in a folder of its own (BUILDX_CONFIG), so that the user's builders are neither seen
nor touched. A builder's name carries the digest of its definition: another definition is another builder, and
the one before it is removed, with the containers or pods that it had.
"""

from __future__ import annotations

import contextlib
import csv
import fcntl
import hashlib
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from buildmatrix import errors
from buildmatrix.builderspec import FILES, BuilderSpec
from buildmatrix.buildx import probe
from buildmatrix.buildx.program import Buildx
from buildmatrix.process import Completed

_SECONDS = 120.0
_RUNNING = "running"


@dataclass(frozen=True, slots=True, kw_only=True)
class Builder:
    """A builder that buildx knows. Without a `spec` it is the one that the user has chosen for buildx."""

    name: str = ""
    config: Path | None = None
    spec: BuilderSpec | None = None
    root: Path = Path()
    """The folder that its certificates are relative to."""

    @property
    def arguments(self) -> tuple[str, ...]:
        """What a command of buildx needs to use it."""
        return ("--builder", self.name) if self.name else ()

    @property
    def variables(self) -> dict[str, str]:
        """The variables that lead to it."""
        return {"BUILDX_CONFIG": str(self.config)} if self.config is not None else {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A node as buildx sees it; `error` is empty where it runs. `refused`: it was there, certificates were not good."""

    platform: str
    endpoint: str
    status: str
    error: str = ""
    refused: bool = False

    @property
    def ok(self) -> bool:
        """Whether it can be used."""
        return self.status == _RUNNING and not self.error


def digest(spec: BuilderSpec) -> str:
    """SHA-256 in hexadecimal over what makes a builder; where its cache lies is no part of it."""
    value = [spec.name, spec.driver, list(spec.nodes), list(spec.options)]
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


def creation(spec: BuilderSpec, name: str, root: Path) -> tuple[tuple[str, ...], ...]:
    """The arguments of each `buildx create`: one a node, the first makes the builder. Pure."""
    calls = []
    for number, (platform, endpoint) in enumerate(spec.nodes):
        options = _options(spec, root)
        if spec.driver == "kubernetes":
            options.append(("nodeselector", endpoint))
        calls.append(
            (
                "create",
                *(("--append",) if number else ()),
                "--name", name,
                "--driver", spec.driver,
                "--node", node_name(name, platform),
                "--platform", platform,
                *(word for pair in options for word in ("--driver-opt", _option(*pair))),
                *(() if spec.driver == "kubernetes" else (endpoint,)),
            )
        )  # fmt: skip
    return tuple(calls)


def node_name(name: str, platform: str) -> str:
    """A node's name: the builder's and its platform."""
    return f"{name}-{platform.replace('/', '-')}"


def _options(spec: BuilderSpec, root: Path) -> list[tuple[str, str]]:
    return [
        (name, str((root / value).absolute()) if spec.driver == "remote" and name in FILES else value)
        for name, value in spec.options
    ]


def _option(name: str, value: str) -> str:
    """One option as buildx splits it (encoding/csv)."""
    sink = io.StringIO()
    csv.writer(sink, lineterminator="").writerow([f"{name}={value}"])
    return sink.getvalue()


def ensure(buildx: Buildx, spec: BuilderSpec, root: Path) -> Builder:
    """The builder of a table: there already, or made now. Raises EngineFailed and what the runner raises."""
    _files(spec, root)
    place = hashlib.sha256(f"{root.absolute()}\0{spec.name}".encode()).hexdigest()[:16]
    config = buildx.state / place
    builder = Builder(name=f"{_plain(spec.name)}-{digest(spec)[:12]}", config=config, spec=spec, root=root)
    config.mkdir(parents=True, exist_ok=True)
    with _locked(config.with_suffix(".lock")):
        have = _instances(config)
        if builder.name not in have:
            _create(buildx, builder, spec, root)
        for old in have:
            if old != builder.name:
                _call(buildx, builder, ("rm", "--force", old), config)
    return builder


def _plain(name: str) -> str:
    """A name that buildx takes: it starts with a letter, and Kubernetes gives it to a deployment."""
    return "bm-" + "".join(char if char.isalnum() else "-" for char in name.lower())


def _files(spec: BuilderSpec, root: Path) -> None:
    for name, value in spec.options:
        if spec.driver == "remote" and name in FILES and not (root / value).is_file():
            raise errors.EngineFailed(
                f"builder {spec.name}: got no file {value}, expected the {name} of its nodes",
                fix=f"put it there, or correct builders.{spec.name}.options.{name}",
            )


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _instances(config: Path) -> tuple[str, ...]:
    folder = config / "instances"
    return tuple(sorted(path.name for path in folder.iterdir())) if folder.is_dir() else ()


def _create(buildx: Buildx, builder: Builder, spec: BuilderSpec, root: Path) -> None:
    """All nodes or none: a builder that lacks one would emulate that platform elsewhere in silence."""
    for arguments in creation(spec, builder.name, root):
        done = _call(buildx, builder, arguments, root)
        if not done.ok:
            _call(buildx, builder, ("rm", "--force", builder.name), root)
            raise errors.EngineFailed(
                f"builder {spec.name}: buildx cannot make it",
                why=done.stderr.strip(),
                fix=f"correct [builders.{spec.name}] in matrix.toml",
            )


def _call(buildx: Buildx, builder: Builder, arguments: tuple[str, ...], cwd: Path) -> Completed:
    argv = (str(buildx.program), *arguments)
    return buildx.runner.run(argv, env=buildx.variables(builder.variables), cwd=cwd, timeout=_SECONDS)


def nodes(buildx: Buildx, builder: Builder, cwd: Path) -> tuple[Node, ...]:
    """The nodes of a builder of ours, with their state now; of the user's own builder nothing is known."""
    spec = builder.spec
    if spec is None:
        return ()
    done = _call(buildx, builder, ("ls", "--no-trunc", "--format", "{{json .}}"), cwd)
    states = _states(done.stdout, builder.name)
    found = []
    for platform, endpoint in spec.nodes:
        state = states.get(node_name(builder.name, platform), {})
        found.append(
            Node(
                platform=platform,
                endpoint=endpoint,
                status=str(state.get("Status") or "unknown"),
                error=str(state.get("Err") or state.get("Error") or ""),
            )
        )
    return tuple(found)


def _states(text: str, name: str) -> dict[str, dict[str, object]]:
    for line in text.splitlines():
        try:
            value = json.loads(line)
        except ValueError:
            continue
        if isinstance(value, dict) and value.get("Name") == name:
            return {str(node.get("Name")): node for node in value.get("Nodes") or () if isinstance(node, dict)}
    return {}


def reached(buildx: Buildx, builder: Builder, cwd: Path) -> None:
    """Raise EngineFailed where a remote node does not answer; pods and containers start with the first build."""
    spec = builder.spec
    if spec is None or spec.driver != "remote":
        return
    silent = [_asked(builder, node) for node in nodes(buildx, builder, cwd) if not node.ok]
    if silent:
        raise unreachable(spec, silent)


def _asked(builder: Builder, node: Node) -> Node:
    """A silent node with what it answers when it is asked by hand."""
    options = dict(builder.spec.options) if builder.spec is not None else {}
    files = {name: builder.root / options[name] for name in FILES if name in options}
    answer = probe.ask(node.endpoint, files, options.get("servername", ""))
    return replace(node, error=node.error or answer.words, refused=answer.refused)


def unreachable(spec: BuilderSpec, silent: list[Node], why: str = "") -> errors.EngineFailed:
    """The error for nodes that do not answer, or that answer and whose certificates, or ours, are refused."""
    named = {refused: [node for node in silent if node.refused == refused] for refused in (True, False)}
    said = [
        f"{words} {', '.join(f'{node.endpoint} for {node.platform} ({node.error or node.status})' for node in rows)}"
        for words, rows in (("certificate refused at", named[True]), ("no answer from", named[False]))
        if rows
    ]
    options = f"correct cacert, cert and key in builders.{spec.name}.options: one authority for both sides"
    start = f"start BuildKit there, or correct builders.{spec.name}.nodes"
    return errors.EngineFailed(
        f"builder {spec.name}: {'; '.join(said)}",
        why=why or "nothing was built: an image without one of its platforms would be half a release",
        fix="; ".join(words for words, rows in ((options, named[True]), (start, named[False])) if rows),
    )
