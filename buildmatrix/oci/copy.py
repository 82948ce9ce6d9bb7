"""Copies an image with everything that belongs to it, between registries, repositories and layouts.

That is: the index, the indexes and images below it, their blobs, whatever refers to any of them (by the
referrers API, by the tag in its place, by cosign's ``sha256-<hex>.sig``, ``.att`` and ``.sbom`` tags), and
what refers to that in turn. Blobs go first, then manifests from the leaves up, then referrers, then the
tag: nobody sees an image that is not whole, or not yet signed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from operator import attrgetter

from buildmatrix.errors import NotInRegistry
from buildmatrix.oci import content, graph, media, parallel
from buildmatrix.oci.content import Descriptor
from buildmatrix.oci.graph import Node
from buildmatrix.oci.store import Source, Store

MAX_REFERRERS = 4
"""Referrers of referrers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Copied:
    """What a copy did: `moved` blobs whose bytes were sent (others were there, or were mounted)."""

    descriptor: Descriptor
    manifests: int
    blobs: int
    moved: int
    referrers: tuple[Descriptor, ...]
    tags: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Extra:
    """Something that belongs to a manifest: under a tag of its own, or by its subject."""

    nodes: tuple[Node, ...]
    tag: str = ""
    level: int = 0


def copy(
    source: Source,
    destination: Store,
    target: str,
    *,
    tags: tuple[str, ...] = (),
    referrers: bool = True,
    threads: int = 4,
) -> Copied:
    """Copy what `target` (a tag or digest) points to, then give it `tags` at the destination.

    Without `referrers` only the image itself is copied. Raises NotInRegistry where anything is missing at
    the source, before anything is written.
    """
    top = graph.resolve(source, target)
    nodes = tuple(graph.walk(source, top))
    extras = tuple(_extras(source, nodes)) if referrers else ()
    every = (*nodes, *(node for extra in extras for node in extra.nodes))
    moved = _blobs(source, destination, every, threads)
    for node in reversed(nodes[1:]):  # what an index lists stands behind it
        destination.put_manifest(node.document)
    destination.put_manifest(nodes[0].document, top=not tags)
    for _, group in groupby(extras, key=attrgetter("level")):
        _attach(destination, tuple(group))
    for tag in tags:
        destination.put_manifest(nodes[0].document, tag)
    return Copied(
        descriptor=nodes[0].document.descriptor,
        manifests=len({node.descriptor.digest for node in every}),
        blobs=len(_unique(every)),
        moved=moved,
        referrers=tuple(extra.nodes[0].descriptor for extra in extras if not extra.tag),
        tags=(*(extra.tag for extra in extras if extra.tag), *tags),
    )


def _attach(destination: Store, extras: tuple[_Extra, ...]) -> None:
    """Store what belongs to manifests that are there."""
    for extra in extras:
        for node in reversed(extra.nodes[1:]):
            destination.put_manifest(node.document)
        if extra.tag:
            destination.put_manifest(extra.nodes[0].document, extra.tag)
    destination.put_referrers([extra.nodes[0].document for extra in extras if not extra.tag])


def _extras(source: Source, nodes: tuple[Node, ...]) -> Iterator[_Extra]:
    """What belongs to the manifests, and to what belongs to them; each once, its subject before it."""
    seen = {node.descriptor.digest for node in nodes}
    tagged: set[str] = set()
    level = [node.descriptor.digest for node in nodes]
    for number in range(MAX_REFERRERS):
        following: list[str] = []
        for digest in dict.fromkeys(level):
            for extra in _belonging(source, digest):
                own = extra.nodes[0].descriptor.digest
                if (extra.tag or own) in (tagged if extra.tag else seen):
                    continue
                tagged.add(extra.tag)
                seen.update(node.descriptor.digest for node in extra.nodes)
                following += [node.descriptor.digest for node in extra.nodes]
                yield replace(extra, level=number)
        level = following
    if any(source.referrers(digest) for digest in level):
        raise content.invalid(source.name, f"referrers refer to referrers more than {MAX_REFERRERS} deep")


def _belonging(source: Source, digest: str) -> Iterator[_Extra]:
    for item in source.referrers(digest):
        yield _Extra(nodes=tuple(graph.walk(source, item)))
    for suffix in media.LEGACY_SUFFIXES:
        tag = media.legacy_tag(digest, suffix)
        found = source.resolve(tag)
        if found is not None:
            yield _Extra(nodes=tuple(graph.walk(source, found)), tag=tag)


def _unique(nodes: tuple[Node, ...]) -> tuple[Descriptor, ...]:
    return tuple({item.digest: item for node in nodes for item in node.manifest.blobs}.values())


def _blobs(source: Source, destination: Store, nodes: tuple[Node, ...], threads: int) -> int:
    """How many blobs were sent."""
    mount_from = _same_registry(source, destination)
    every = _unique(nodes)
    left_out = parallel.each([partial(_left_out, source, item) for item in every], threads, (source,))
    wanted = [item for item, elsewhere in zip(every, left_out, strict=True) if not elsewhere]
    moves = [partial(destination.put_blob, source.blob(item), mount_from) for item in wanted]
    return sum(parallel.each(moves, threads, (source, destination)))


def _left_out(source: Source, item: Descriptor) -> bool:
    """Whether a layer lies elsewhere by design. Any other that is missing is an error, told before all else."""
    if source.blob_size(item.digest) is not None:
        return False
    if item.urls and media.is_foreign(item.media_type):
        return True
    raise NotInRegistry(f"{source.name}@{item.digest}: a blob of {item.size} bytes is not there", fix="push it again")


def _same_registry(source: Source, destination: Store) -> str:
    """The source's path where both are repositories of one registry."""
    mine, other = getattr(destination, "registry", None), getattr(source, "registry", None)
    if mine is None or other is None or mine.name != other.name:
        return ""
    return str(getattr(source, "path", ""))
