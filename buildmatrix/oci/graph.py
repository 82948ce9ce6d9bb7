"""From an index to its images: walking nested indexes, and choosing by platform. Works on any Source."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from buildmatrix.errors import BuildmatrixError, NotInRegistry
from buildmatrix.oci import content, media, platform
from buildmatrix.oci.content import Descriptor, Document, Manifest
from buildmatrix.oci.platform import Platform
from buildmatrix.oci.store import Source

MAX_NODES = 20_000
"""Manifests and indexes that one walk will read."""


UNKNOWN = Platform(os="unknown", architecture="unknown")


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """An index or manifest with what points to it. `depth` is 0 at the top."""

    descriptor: Descriptor
    document: Document
    manifest: Manifest
    depth: int

    @property
    def is_image(self) -> bool:
        """Whether it is a runnable image: neither an index, nor an attestation, nor an artifact with a subject."""
        return self.manifest.is_image and not self.descriptor.is_attestation


def walk(source: Source, top: Descriptor) -> Iterator[Node]:
    """The manifest at the top and every one below it, indexes before what they list, in their order.

    Entries of unknown media types are passed over (image-spec, image-index.md). Raises ContentInvalid where
    indexes nest too deeply or are too many, and what reading a manifest raises.
    """
    return _Walk(source).below(top, 0)


class _Walk:
    def __init__(self, source: Source) -> None:
        self._source = source
        self._count = 0

    def below(self, descriptor: Descriptor, depth: int) -> Iterator[Node]:
        self._count += 1
        what = f"{self._source.name}@{descriptor.digest}"
        if depth > content.MAX_DEPTH:
            raise content.invalid(what, f"indexes are nested more than {content.MAX_DEPTH} deep")
        if self._count > MAX_NODES:
            raise content.invalid(what, f"it leads to more than {MAX_NODES} manifests")
        document = self._source.manifest(descriptor)
        manifest = document.manifest()
        yield Node(descriptor=descriptor, document=document, manifest=manifest, depth=depth)
        for entry in manifest.manifests:
            if known(entry):
                yield from self.below(entry, depth + 1)


def known(entry: Descriptor) -> bool:
    """Whether an index entry is one of the kinds that are read; one without a type is read to find out."""
    return entry.is_index or entry.is_manifest or not entry.media_type


def platform_of(source: Source, node: Node) -> Platform:
    """The platform of an image: its index entry's, else that of its config."""
    return node.descriptor.platform or config_platform(source, node.manifest) or UNKNOWN


def config_platform(source: Source, manifest: Manifest) -> Platform | None:
    """The platform that an image's config names; None where it has no such config."""
    config = manifest.config
    if config is None or config.media_type not in media.CONFIGS:
        return None
    return platform.from_json(content.parse_json(source.read(config), f"{source.name}@{config.digest}"))


def select(source: Source, top: Descriptor, wanted: Platform) -> Node:
    """The image for a machine: the first of its platform, else of the closest lower variant.

    Raises NotInRegistry, which lists the platforms that there are.
    """
    images = images_of(source, top)
    found = platform.select(images, wanted)
    if found is None:
        have = ", ".join(sorted({str(item) for item, _ in images})) or "no image"
        raise NotInRegistry(
            f"{source.name}: has {have}, expected {wanted}", fix="build that platform, or ask for one that is there"
        )
    return found


def images_of(source: Source, top: Descriptor) -> list[tuple[Platform, Node]]:
    """Every runnable image with its platform, in the order of the indexes."""
    return [(platform_of(source, node), node) for node in walk(source, top) if node.is_image]


def resolve(source: Source, target: str) -> Descriptor:
    """What a tag or digest points to. Raises NotInRegistry."""
    found = source.resolve(target)
    if found is None:
        raise missing(source, target)
    return found


def missing(source: Source, target: str) -> BuildmatrixError:
    """The error for a tag or digest that is not there."""
    glue = "@" if ":" in target else ":"
    return NotInRegistry(f"{source.name}{glue}{target}: is not there", fix="check the name, or push it first")
