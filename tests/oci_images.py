"""Small images in any store: a layout, a repository of the test registry, or one of a real registry."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from buildmatrix.oci import content, media, platform
from buildmatrix.oci.content import Descriptor, Document
from buildmatrix.oci.store import Store


def layer(files: Mapping[str, bytes]) -> bytes:
    """A compressed layer with these files; the same files give the same bytes."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as archive:
        for name, data in sorted(files.items()):
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(data), 0o755
            archive.addfile(member, io.BytesIO(data))
    return gzip.compress(plain.getvalue(), mtime=0)


def put(store: Store, data: bytes, media_type: str, **more: Any) -> Descriptor:
    """Store a blob; its descriptor."""
    blob = content.blob_of(data)
    store.put_blob(blob)
    return Descriptor(media_type=media_type, digest=blob.digest, size=blob.size, **more)


def as_written(name: str) -> platform.Platform:
    """A platform without any normalisation."""
    system, architecture, variant = (*name.split("/"), "")[:3]
    return platform.Platform(os=system, architecture=architecture, variant=variant)


def manifest(value: Mapping[str, Any], media_type: str = media.MANIFEST) -> Document:
    """A document with its version and media type filled in."""
    return content.document(content.canonical({"schemaVersion": 2, "mediaType": media_type} | dict(value)), media_type)


def image(
    store: Store,
    name: str = "linux/amd64",
    *,
    config: str | None = None,
    files: Mapping[str, bytes] | None = None,
    tag: str = "",
    docker: bool = False,
    **members: Any,
) -> Descriptor:
    """One image for a platform; `config` is the platform in its config where that differs. Returns its entry."""
    named = as_written(name)
    value = as_written(config or name).as_json() | {
        "created": "2024-05-22T14:30:00Z",
        "rootfs": {"type": "layers", "diff_ids": []},
    }
    held = put(store, content.canonical(value), media.DOCKER_CONFIG if docker else media.CONFIG)
    data = layer(files if files is not None else {"app": name.encode()})
    one = put(store, data, media.DOCKER_LAYER_GZIP if docker else media.LAYER_GZIP)
    document = manifest(
        {"config": held.as_json(), "layers": [one.as_json()]} | members,
        media.DOCKER_MANIFEST if docker else media.MANIFEST,
    )
    store.put_manifest(document, tag)
    return replace(document.descriptor, platform=named)


def index(store: Store, entries: Sequence[Descriptor], tag: str = "", *, docker: bool = False) -> Descriptor:
    """An index of entries that are stored already."""
    document = manifest(
        {"manifests": [entry.as_json() for entry in entries]}, media.DOCKER_LIST if docker else media.INDEX
    )
    store.put_manifest(document, tag)
    return document.descriptor


def attach(
    store: Store,
    subject: Descriptor,
    artifact_type: str = "application/vnd.example+json",
    payload: bytes = b"{}",
    **annotations: str,
) -> Descriptor:
    """An artifact that refers to `subject`."""
    config = put(store, b"{}", media.EMPTY)
    one = put(store, payload, artifact_type)
    plain = Descriptor(media_type=subject.media_type, digest=subject.digest, size=subject.size)
    document = manifest(
        {
            "artifactType": artifact_type,
            "config": config.as_json(),
            "layers": [one.as_json()],
            "subject": plain.as_json(),
            "annotations": annotations or {"n": payload.hex()[:40]},
        }
    )
    store.put_manifest(document)
    return content.referrer(document, document.manifest())


def sign_with_tag(store: Store, digest: str, suffix: str = "sig") -> Document:
    """What cosign 2 leaves under ``sha256-<hex>.sig`` (or ``.att``)."""
    kinds = {"sig": media.SIMPLE_SIGNING, "att": "application/vnd.dsse.envelope.v1+json", "sbom": "text/spdx+json"}
    config = put(store, content.canonical({"architecture": "", "of": digest}), media.CONFIG)
    notes = {"dev.cosignproject.cosign/signature": "MEQ="} | (
        {"predicateType": "https://slsa.dev/x"} if suffix == "att" else {}
    )
    one = put(store, b'{"critical":{}}' + digest.encode(), kinds[suffix], annotations=notes)
    document = manifest({"config": config.as_json(), "layers": [one.as_json()]})
    store.put_manifest(document, media.legacy_tag(digest, suffix))
    return document


def attestation(store: Store, of: Descriptor, predicate: str = "https://slsa.dev/provenance/v1") -> Descriptor:
    """BuildKit's attestation manifest for an image of the same index."""
    config = put(store, content.canonical({"architecture": "unknown", "os": "unknown", "of": of.digest}), media.CONFIG)
    one = put(
        store, b'{"of":"' + of.digest.encode() + b'"}', media.IN_TOTO, annotations={media.IN_TOTO_PREDICATE: predicate}
    )
    document = manifest({"config": config.as_json(), "layers": [one.as_json()]})
    store.put_manifest(document)
    return replace(
        document.descriptor,
        platform=platform.Platform(os="unknown", architecture="unknown"),
        annotations={media.REFERENCE_TYPE: media.ATTESTATION_MANIFEST, media.REFERENCE_DIGEST: of.digest},
    )
