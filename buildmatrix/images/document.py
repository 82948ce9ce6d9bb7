"""The JSON documents of an image: configuration, manifest and index (OCI image specification 1.1). Pure.

Every document is written in one form (`oci.content.canonical`), so that equal inputs give equal digests.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass, replace
from typing import Any

from buildmatrix.images.layer import Written
from buildmatrix.imagespec import ImageSpec
from buildmatrix.oci import media
from buildmatrix.oci.content import Descriptor, Document, canonical, document
from buildmatrix.oci.platform import Platform

DEFAULT_USER = "65532:65532"
"""Who runs an image that nobody gave a user: a number that no distribution assigns, so never root."""

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What every platform's image has in common: where it comes from and when; `created` is in seconds."""

    version: str
    revision: str
    created: int
    supplier: str = ""
    base_name: str = ""
    base_digest: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One layer that this tool made: what was written, and how it came about."""

    written: Written
    comment: str


def rfc3339(seconds: int) -> str:
    """A time as image documents write it, in UTC (RFC 3339)."""
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def notes(spec: ImageSpec, identity: Identity) -> dict[str, str]:
    """The annotations of index and manifests: the pre-defined keys (annotations.md), then the user's own."""
    plain = {
        "org.opencontainers.image.title": spec.name,
        "org.opencontainers.image.version": identity.version,
        "org.opencontainers.image.created": rfc3339(identity.created),
        "org.opencontainers.image.revision": identity.revision,
        "org.opencontainers.image.vendor": identity.supplier,
        "org.opencontainers.image.base.name": identity.base_name,
        "org.opencontainers.image.base.digest": identity.base_digest,
    }
    return {name: value for name, value in plain.items() if value} | dict(spec.annotations)


def config(
    spec: ImageSpec, identity: Identity, platform: Platform, base: dict[str, Any], parts: tuple[Part, ...]
) -> Document:
    """The configuration of one platform's image (config.md), on top of `base`, the base's (empty for scratch)."""
    inherited = base.get("config") or {}
    own = {
        "User": spec.user or inherited.get("User") or DEFAULT_USER,
        "WorkingDir": spec.workdir or inherited.get("WorkingDir") or "/",
        "Env": _env(spec, inherited),
        "Entrypoint": list(spec.entrypoint),
        "Cmd": list(spec.cmd),
        "ExposedPorts": {**(inherited.get("ExposedPorts") or {}), **{_port(port): {} for port in spec.ports}},
        "Labels": {**(inherited.get("Labels") or {}), **notes(spec, identity), **dict(spec.labels)},
        "StopSignal": spec.stop_signal or inherited.get("StopSignal", ""),
        "Volumes": inherited.get("Volumes") or {},
        "Healthcheck": _health(spec) or inherited.get("Healthcheck") or {},
    }
    history = [
        {"created": rfc3339(identity.created), "created_by": part.comment, "comment": "buildmatrix"} for part in parts
    ]
    value = {
        **platform.as_json(),
        "created": rfc3339(identity.created),
        "config": {name: value for name, value in own.items() if value},
        "rootfs": {"type": "layers", "diff_ids": [*_diff_ids(base), *(part.written.diff_id for part in parts)]},
        "history": [*(base.get("history") or []), *history],
    }
    return document(canonical(value), media.CONFIG)


def _diff_ids(base: dict[str, Any]) -> list[str]:
    return list((base.get("rootfs") or {}).get("diff_ids") or [])


def _env(spec: ImageSpec, inherited: dict[str, Any]) -> list[str]:
    """The variables in the base's order, then the new ones sorted; PATH is always there."""
    pairs = dict(entry.partition("=")[::2] for entry in inherited.get("Env") or [])
    pairs.setdefault("PATH", DEFAULT_PATH)
    return [f"{name}={value}" for name, value in (pairs | dict(spec.env)).items()]


def _port(port: str) -> str:
    return port if "/" in port else f"{port}/tcp"


def _health(spec: ImageSpec) -> dict[str, Any]:
    """Docker's extension of the configuration: times are in nanoseconds."""
    if not spec.health_check:
        return {}
    return {"Test": ["CMD", *spec.health_check], "Interval": spec.health_interval * 1_000_000_000}


def manifest(
    spec: ImageSpec,
    identity: Identity,
    config_of: Document,
    base_layers: tuple[Descriptor, ...],
    parts: tuple[Part, ...],
) -> Document:
    """The manifest of one platform's image (manifest.md); a base's Docker media types become OCI's."""
    own = (
        Descriptor(media_type=media.LAYER_GZIP, digest=part.written.digest, size=part.written.size) for part in parts
    )
    value = {
        "schemaVersion": 2,
        "mediaType": media.MANIFEST,
        "config": config_of.descriptor.as_json(),
        "layers": [layer.as_json() for layer in (*map(_as_oci, base_layers), *own)],
        "annotations": notes(spec, identity),
    }
    return document(canonical(value), media.MANIFEST)


def _as_oci(layer: Descriptor) -> Descriptor:
    """Docker's gzip layers are the same bytes under another name."""
    if layer.media_type == media.DOCKER_LAYER_GZIP:
        return Descriptor(media_type=media.LAYER_GZIP, digest=layer.digest, size=layer.size)
    return layer


def index(
    spec: ImageSpec,
    identity: Identity,
    images: tuple[tuple[Platform, Document], ...],
    extras: tuple[Descriptor, ...] = (),
) -> Document:
    """The index over the platforms' manifests (image-index.md), in the order given, and over their attestations."""
    value = {
        "schemaVersion": 2,
        "mediaType": media.INDEX,
        "manifests": [
            *(replace(manifest_of.descriptor, platform=platform).as_json() for platform, manifest_of in images),
            *(extra.as_json() for extra in extras),
        ],
        "annotations": notes(spec, identity),
    }
    return document(canonical(value), media.INDEX)
