"""Bake files as JSON, and the command that runs one. Pure.

Every string of a bake file is a template of HCL, so that what it would take for one is escaped
(https://github.com/hashicorp/hcl/blob/main/hclsyntax/spec.md, templates).
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_TEMPLATE = re.compile(r"(?=[$%]\{)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One target: one platform and one output, so that builders with several nodes can export it.

    Exactly one of `dockerfile` (absolute) and `inline` is set. Tables are pairs. `attest` empty: none at all.
    """

    name: str
    platform: str
    context: str
    output: str
    dockerfile: str = ""
    inline: str = ""
    contexts: tuple[tuple[str, str], ...] = ()
    args: tuple[tuple[str, str], ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    annotations: tuple[str, ...] = ()
    attest: tuple[str, ...] = ()
    cache_from: str = ""
    cache_to: str = ""
    no_cache: bool = False


_NO_ATTESTATIONS = ("type=provenance,disabled=true", "type=sbom,disabled=true")


def _escaped(value: Any) -> Any:
    if isinstance(value, str):
        return _TEMPLATE.sub(lambda found: found.string[found.start()], value)
    if isinstance(value, list):
        return [_escaped(item) for item in value]
    if isinstance(value, dict):
        return {name: _escaped(item) for name, item in value.items()}
    return value


def _target(target: Target) -> dict[str, Any]:
    members = {
        "context": target.context,
        "dockerfile": target.dockerfile,
        "dockerfile-inline": target.inline,
        "contexts": dict(target.contexts),
        "args": dict(target.args),
        "labels": dict(target.labels),
        "annotations": list(target.annotations),
        "platforms": [target.platform],
        "output": [target.output],
        "attest": list(target.attest or _NO_ATTESTATIONS),
        "cache-from": [target.cache_from] if target.cache_from else [],
        "cache-to": [target.cache_to] if target.cache_to else [],
        "no-cache": target.no_cache,
    }
    return {name: _escaped(value) for name, value in members.items() if value}


def document(targets: tuple[Target, ...]) -> bytes:
    """The bake file of some targets, as JSON."""
    value = {
        "group": {"default": {"targets": [target.name for target in targets]}},
        "target": {target.name: _target(target) for target in targets},
    }
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()


def target_name(platform: str) -> str:
    """The target of a platform: bake allows no slashes."""
    return re.sub(r"[^a-zA-Z0-9_-]", "-", platform)


def command(
    program: Path,
    builder: tuple[str, ...],
    file: Path,
    metadata: Path,
    readable: tuple[Path, ...],
    writable: tuple[Path, ...],
) -> tuple[str, ...]:
    """The arguments that bake all targets of `file`; it may read and write nothing but what is named."""
    return (
        str(program), "bake", *builder, "-f", str(file), "--progress=rawjson", "--metadata-file", str(metadata),
        *(f"--allow=fs.read={path}" for path in readable), *(f"--allow=fs.write={path}" for path in writable),
        "default",
    )  # fmt: skip
