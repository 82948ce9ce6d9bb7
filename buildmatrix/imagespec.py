"""Multi-arch images as matrix.toml describes them: the tables [images.NAME], checked against the cells.

Each target of an image is one platform of its index (OCI image specification, image-index.md). Two
targets that any container engine would take for the same platform cannot share an index, so that is an
error here and not a surprise at the registry.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from buildmatrix import schema
from buildmatrix.builderspec import BuilderSpec
from buildmatrix.errors import Problem
from buildmatrix.target import Target

PLACEHOLDERS = ("version", "machine", "timestamp", "commit")
"""What may stand in braces in a tag."""


_DOCKERFILE = {
    "entrypoint": "ENTRYPOINT",
    "cmd": "CMD",
    "env": "ENV",
    "ports": "EXPOSE",
    "files": "COPY",
    "ca-certificates": "COPY",
    "zoneinfo": "COPY",
    "health-check": "HEALTHCHECK",
    "health-interval": "HEALTHCHECK --interval",
}
"""Settings that the direct engine carries out, and the instruction that says the same in a Dockerfile."""

_BUILDX = ("context", "build-args", "emulation")
"""Settings that only a Dockerfile's build has a use for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSpec:
    """One table [images.NAME]: `targets` are the names of the targets that become platforms, in file order.

    `base` is ``scratch``, ``oci:DIR`` with a folder of the project, or a registry reference. Tables are
    sorted pairs. `entrypoint` is complete; `user` and `workdir` are empty where the base decides.
    """

    name: str
    binaries: tuple[str, ...]
    targets: tuple[str, ...]
    base: str
    engine: str
    dockerfile: str
    context: str
    build_args: tuple[tuple[str, str], ...]
    repository: str
    tags: tuple[str, ...]
    moving_tags: tuple[str, ...]
    labels: tuple[tuple[str, str], ...]
    annotations: tuple[tuple[str, str], ...]
    user: str
    where: str
    entrypoint: tuple[str, ...]
    cmd: tuple[str, ...]
    env: tuple[tuple[str, str], ...]
    workdir: str
    ports: tuple[str, ...]
    files: tuple[tuple[str, str], ...]
    ca_certificates: str
    zoneinfo: bool
    health_check: tuple[str, ...]
    health_interval: int
    smoke: tuple[str, ...]
    stop_signal: str
    foreign: tuple[str, ...]
    attestations: str
    builder: str
    emulation: bool


def read(
    raw: dict[str, dict[str, Any]], cells: tuple[tuple[str, Target], ...], builders: tuple[BuilderSpec, ...] = ()
) -> tuple[tuple[ImageSpec, ...], list[Problem]]:
    """The images in tables that are valid by type, and every problem in them.

    `cells` are pairs of binary and target.
    """
    found, problems = [], []
    for name, given in raw.items():
        values = {key.name: given.get(key.name, key.default) for key in schema.IMAGE}
        values["binaries"] = values["binaries"] or (name,)
        if values["targets"] is None:
            continue  # the reader has told
        targets = _selected(values, cells)
        wrong = list(_problems(f"images.{name}", values, targets, cells))
        wrong += _unheeded(f"images.{name}", given, _engine(values))
        wrong += _collisions(name, raw)
        wrong += _builder(f"images.{name}", values, targets, builders)
        problems += wrong
        if not wrong:
            found.append(_spec(name, values, tuple(targets)))
    return tuple(found), problems


def _selected(values: dict[str, Any], cells: tuple[tuple[str, Target], ...]) -> dict[str, Target]:
    globs = values["targets"]
    return {target.name: target for _, target in cells if any(fnmatch.fnmatchcase(target.name, glob) for glob in globs)}


def _spec(name: str, values: dict[str, Any], targets: tuple[str, ...]) -> ImageSpec:
    tables = [key.name for key in schema.IMAGE if key.kind == "table"]
    plain: dict[str, Any] = {
        key: tuple(sorted(value.items())) if key in tables else value for key, value in values.items()
    }
    plain["targets"] = targets
    plain["engine"] = _engine(values)
    first = f"{values['where'].rstrip('/')}/{values['binaries'][0]}"
    plain["entrypoint"] = values["entrypoint"] if values["entrypoint"] is not None else (first,)
    return ImageSpec(name=name, **{key.replace("-", "_"): value for key, value in plain.items()})


def _engine(values: dict[str, Any]) -> str:
    if values["engine"] != "auto":
        return str(values["engine"])
    return "buildx" if values["dockerfile"] else "direct"


def _problems(
    path: str, values: dict[str, Any], targets: dict[str, Target], cells: tuple[tuple[str, Target], ...]
) -> Iterator[Problem]:
    yield from _unmatched(f"{path}.targets", values["targets"], cells)
    yield from _missing_cells(path, values["binaries"], targets, cells)
    yield from _platforms(path, targets)
    yield from _wrong_paths(path, values)
    yield from _wrong_tags(path, values)
    if values["engine"] == "buildx" and not values["dockerfile"]:
        yield Problem(key=f"{path}.dockerfile", got="nothing", expected="a Dockerfile in the project: buildx runs one")
    if values["engine"] == "direct" and values["dockerfile"]:
        yield Problem(
            key=f"{path}.engine", got="'direct'", expected="'buildx' or 'auto': only buildx runs a Dockerfile"
        )


def _unheeded(path: str, given: dict[str, Any], engine: str) -> Iterator[Problem]:
    """A setting that the engine would pass over in silence is a mistake."""
    defaults = {key.name: key.default for key in schema.IMAGE}
    for key in (*_DOCKERFILE, *_BUILDX):
        heeded = (key in _BUILDX) == (engine == "buildx")
        if heeded or given.get(key, defaults[key]) == defaults[key]:
            continue
        yield Problem(
            key=f"{path}.{key}",
            got=f"{given[key]!r}, which the {engine} engine has no use for",
            expected="nothing: the Dockerfile decides it" if key in _DOCKERFILE else "nothing: no Dockerfile is run",
            hint=f"write {_DOCKERFILE[key]} in the Dockerfile"
            if key in _DOCKERFILE
            else f"remove it, or name a {path}.dockerfile",
        )


def _collisions(name: str, raw: dict[str, Any]) -> Iterator[Problem]:
    """dist/images/ has NAME, NAME.json and NAME.documents of each image: no image may be called like one of them."""
    for suffix in (".json", ".documents"):
        if name.endswith(suffix) and name.removesuffix(suffix) in raw:
            yield Problem(
                key=f"images.{name}",
                got=f"the name of what images.{name.removesuffix(suffix)} writes",
                expected="another name",
            )


def _builder(
    path: str, values: dict[str, Any], targets: dict[str, Target], builders: tuple[BuilderSpec, ...]
) -> Iterator[Problem]:
    """The builder must be there, with a node for every platform, unless steps may run emulated on another one."""
    name = values["builder"]
    if not name:
        return
    if _engine(values) != "buildx":
        yield Problem(key=f"{path}.builder", got=repr(name), expected="nothing: only buildx has builders")
        return
    found = next((builder for builder in builders if builder.name == name), None)
    if found is None:
        names = ", ".join(builder.name for builder in builders) or "none that is valid"
        yield Problem(key=f"{path}.builder", got=repr(name), expected=f"a table [builders.{name}] (there is {names})")
        return
    wanted = [platform_of(target) for target in targets.values() if target.goos == "linux"]
    lacking = [platform for platform in wanted if platform not in found.platforms]
    if lacking and not values["emulation"]:
        yield Problem(
            key=f"{path}.builder",
            got=f"{name!r}, which has no node for {', '.join(lacking)}",
            expected="a node for every platform of the image",
            hint=f"add it to builders.{name}.nodes, or set emulation = true",
        )


def _unmatched(path: str, globs: tuple[str, ...], cells: tuple[tuple[str, Target], ...]) -> Iterator[Problem]:
    names = list(dict.fromkeys(target.name for _, target in cells))
    if not globs:
        yield Problem(key=path, got="an empty list", expected="at least one glob over target names")
    for index, glob in enumerate(globs):
        if names and not any(fnmatch.fnmatchcase(name, glob) for name in names):
            yield Problem(
                key=f"{path}[{index}]", got=repr(glob), expected=f"a glob that matches one of {', '.join(names)}"
            )


def _missing_cells(
    path: str, binaries: tuple[str, ...], targets: dict[str, Target], cells: tuple[tuple[str, Target], ...]
) -> Iterator[Problem]:
    """Every binary of the image must be built for every one of its platforms."""
    have = {(binary, target.name) for binary, target in cells}
    known = list(dict.fromkeys(binary for binary, _ in cells))
    for index, binary in enumerate(binaries):
        key = f"{path}.binaries[{index}]"
        if binary not in known:
            yield Problem(key=key, got=repr(binary), expected=f"one of {', '.join(known)}")
            continue
        lacking = [name for name in targets if (binary, name) not in have]
        if lacking:
            yield Problem(
                key=key,
                got=f"{binary!r}, which is not built for {', '.join(lacking)}",
                expected="a binary that is built for every target of the image",
                hint="a platform is never left out in silence",
            )


def _platforms(path: str, targets: dict[str, Target]) -> Iterator[Problem]:
    """Linux only, and no two targets that are one platform."""
    seen: dict[str, str] = {}
    for name, target in targets.items():
        if target.goos != "linux":
            yield Problem(key=f"{path}.targets", got=f"{name}, for {target.goos}", expected="targets for linux")
            continue
        platform = platform_of(target)
        if platform in seen:
            yield Problem(
                key=f"{path}.targets",
                got=f"{seen[platform]} and {name}, which are both {platform}",
                expected="one target for each platform",
                hint="container engines cannot choose between them; make two images, or narrow the globs",
            )
        seen.setdefault(platform, name)


def platform_of(target: Target) -> str:
    """The OCI platform of a target, such as ``linux/arm64`` or ``linux/arm/v7`` (containerd's normal form)."""
    variant = f"/v{target.level.partition(',')[0]}" if target.goarch == "arm" else ""
    return f"{target.goos}/{target.architecture.oci}{variant}"


def _wrong_paths(path: str, values: dict[str, Any]) -> Iterator[Problem]:
    inside = {f"files.{name}": source for name, source in values["files"].items()}
    inside |= {key: values[key] for key in ("dockerfile", "context") if values[key]}
    if values["base"].startswith("oci:"):
        inside["base"] = values["base"].removeprefix("oci:")
    if values["ca-certificates"] not in ("", "system"):
        inside["ca-certificates"] = values["ca-certificates"]
    for key, source in inside.items():
        if not source or PurePosixPath(source).is_absolute() or ".." in PurePosixPath(source).parts:
            yield Problem(
                key=f"{path}.{key}", got=repr(source), expected="a relative path that stays inside the project"
            )
    for name in values["files"]:
        if any(part in (".", "..") for part in name.split("/")):
            yield Problem(key=f"{path}.files.{name}", got=repr(name), expected="an absolute path without . and ..")


def _wrong_tags(path: str, values: dict[str, Any]) -> Iterator[Problem]:
    for index, tag in enumerate(values["tags"]):
        unknown = [word for word in re.findall(r"\{([^{}]*)\}", tag) if word not in PLACEHOLDERS]
        rest = re.sub(r"\{[a-z]+\}", "", tag)
        if unknown or "{" in rest or "}" in rest:
            yield Problem(
                key=f"{path}.tags[{index}]",
                got=repr(tag),
                expected="no other placeholder than " + ", ".join(f"{{{name}}}" for name in PLACEHOLDERS),
            )
