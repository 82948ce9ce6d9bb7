"""What an image stands on: nothing, a layout of the project, or an image in a registry.

A base must have every planned platform. One that lacks a platform is an error with the platforms that it
has: leaving one out in silence is how a release loses an architecture.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from buildmatrix import errors
from buildmatrix.oci import graph
from buildmatrix.oci import platform as platforms
from buildmatrix.oci.content import Descriptor, parse_json
from buildmatrix.oci.graph import Node
from buildmatrix.oci.platform import Platform
from buildmatrix.oci.store import Source


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformBase:
    """A base's image for one platform: its config as JSON, and its layers."""

    config: Mapping[str, Any] = field(default_factory=dict)
    layers: tuple[Descriptor, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """A base: `name` as matrix.toml has it, the digest that it was resolved to, and where its layers lie.

    Scratch has neither digest nor source.
    """

    name: str
    digest: str = ""
    source: Source | None = None
    platforms: Mapping[str, PlatformBase] = field(default_factory=dict)

    def on(self, platform: Platform) -> PlatformBase:
        """The base for a planned platform."""
        return self.platforms.get(str(platform), PlatformBase())


SCRATCH = Base(name="scratch")


def resolve(name: str, source: Source, top: Descriptor, wanted: tuple[Platform, ...]) -> Base:
    """The base `top` of a source, for every platform in `wanted`.

    Raises ImageInputInvalid where one is missing, and what the source raises where it cannot be read.
    """
    images = graph.images_of(source, top)
    found = {}
    for platform in wanted:
        node = platforms.select(images, platform)
        if node is None:
            raise _lacks(name, platform, [where for where, _ in images])
        found[str(platform)] = _read(source, node, name, platform)
    return Base(name=name, digest=top.digest, source=source, platforms=found)


def _read(source: Source, node: Node, name: str, platform: Platform) -> PlatformBase:
    config_of = node.manifest.config
    if config_of is None:
        raise errors.ImageInputInvalid(f"base {name}: got an index, expected an image for {platform}")
    config = parse_json(source.read(config_of), f"base {name}: config")
    said = platforms.from_json(config)
    if not platforms.runs_on(said, platform):
        raise errors.ImageInputInvalid(
            f"base {name}: its image for {platform} has a config for {said}",
            why="index and config disagree: what is inside is for one of them",
            fix="use another base, or have this one built again",
        )
    return PlatformBase(config=config, layers=node.manifest.layers)


def _lacks(name: str, platform: Platform, have: list[Platform]) -> errors.ImageInputInvalid:
    return errors.ImageInputInvalid(
        f"base {name} has no image for {platform}",
        why=f"got {', '.join(map(str, have)) or 'no platform'}, expected every platform of the image",
        fix="use a base that has it, or leave the target out of images.NAME.targets; it is never left out in silence",
    )
