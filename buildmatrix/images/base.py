"""What an image stands on: nothing, a layout of the project, or an image in a registry.

A base must have every planned platform. One that lacks a platform is an error with the platforms that it
has: leaving one out in silence is how a release loses an architecture.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from buildmatrix import errors
from buildmatrix.images.proof import Source
from buildmatrix.oci import platform as platforms
from buildmatrix.oci.content import Descriptor, Document, Manifest, parse_json
from buildmatrix.oci.platform import Platform


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


def resolve(name: str, source: Source, top: Document, wanted: tuple[Platform, ...]) -> Base:
    """The base `top` of a source, for every platform in `wanted`.

    Raises ImageInputInvalid where one is missing, and what the source raises where it cannot be read.
    """
    images = _images(source, top, depth=0)
    found = {}
    for platform in wanted:
        entry = platforms.select(images, platform)
        if entry is None:
            raise _lacks(name, platform, [where for where, _ in images])
        found[str(platform)] = _read(source, entry, name, platform)
    return Base(name=name, digest=top.digest, source=source, platforms=found)


_DEPTH = 4


def _images(source: Source, top: Document, depth: int) -> list[tuple[Platform, Document | Descriptor]]:
    """The images of a base with their platforms; a nested index counts, attestations do not.

    An entry that says its platform is fetched only when it is chosen.
    """
    manifest = top.manifest()
    if not manifest.is_index:
        return [(platforms.normalise(platforms.from_json(_config(source, manifest, top.digest))), top)]
    if depth > _DEPTH:
        raise errors.ImageInputInvalid(f"{top.digest}: its indexes are nested more than {_DEPTH} deep")
    found: list[tuple[Platform, Document | Descriptor]] = []
    for entry in manifest.manifests:
        if entry.is_attestation or (entry.platform is not None and entry.platform.unknown):
            continue
        if entry.platform is not None and not entry.is_index:
            found.append((platforms.normalise(entry.platform), entry))
        else:
            found += _images(source, source.manifest(entry), depth + 1)
    return found


def _read(source: Source, entry: Document | Descriptor, name: str, platform: Platform) -> PlatformBase:
    manifest = (source.manifest(entry) if isinstance(entry, Descriptor) else entry).manifest()
    config = _config(source, manifest, name)
    said = platforms.from_json(config)
    if not platforms.same(said, platform) and not platforms.runs_on(said, platform):
        raise errors.ImageInputInvalid(
            f"base {name}: its image for {platform} has a config for {said}",
            why="index and config disagree: what is inside is for one of them",
            fix="use another base, or have this one built again",
        )
    return PlatformBase(config=config, layers=manifest.layers)


def _config(source: Source, manifest: Manifest, name: str) -> dict[str, Any]:
    if manifest.config is None:
        raise errors.ImageInputInvalid(f"base {name}: got an index, expected an image")
    return parse_json(source.read(manifest.config), f"base {name}: config")


def _lacks(name: str, platform: Platform, have: list[Platform]) -> errors.ImageInputInvalid:
    return errors.ImageInputInvalid(
        f"base {name} has no image for {platform}",
        why=f"got {', '.join(map(str, have)) or 'no platform'}, expected every platform of the image",
        fix="use a base that has it, or leave the target out of images.NAME.targets; it is never left out in silence",
    )
