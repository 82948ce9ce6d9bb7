"""Descriptors, manifests and blobs: types, and the one parser of what registries and layouts hand over.

Everything that is parsed here may be hostile: sizes, counts and nesting are capped, and a document that
could be read as two kinds is refused (CVE-2021-41190).
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from buildmatrix.errors import ContentInvalid, ContentMismatch, ReferenceInvalid
from buildmatrix.oci import media, platform, reference
from buildmatrix.oci.platform import Platform

MAX_MANIFEST = 4 << 20
"""Bytes of an index, manifest or config (distribution-spec: registries need not take more)."""

MAX_ENTRIES = 4096
"""Entries of an index, or layers of a manifest."""

MAX_DEPTH = 8
"""Indexes inside indexes."""

PIECE = 1 << 20
"""Bytes that are read, hashed and handed on at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Descriptor:
    """What points to content (image-spec, descriptor.md). `size` is in bytes."""

    media_type: str
    digest: str
    size: int
    platform: Platform | None = None
    artifact_type: str = ""
    annotations: Mapping[str, str] = field(default_factory=dict)
    urls: tuple[str, ...] = ()

    @property
    def is_index(self) -> bool:
        """Whether it points to an index, OCI's or Docker's."""
        return self.media_type in media.INDEXES

    @property
    def is_manifest(self) -> bool:
        """Whether it points to an image manifest, OCI's or Docker's."""
        return self.media_type in media.MANIFESTS

    @property
    def is_attestation(self) -> bool:
        """Whether it is BuildKit's attestation manifest for another entry of the same index."""
        return self.annotations.get(media.REFERENCE_TYPE) == media.ATTESTATION_MANIFEST

    def as_json(self) -> dict[str, Any]:
        """The JSON object; absent members are left out."""
        members: dict[str, Any] = {"mediaType": self.media_type, "digest": self.digest, "size": self.size}
        optional = {
            "platform": self.platform.as_json() if self.platform else None,
            "artifactType": self.artifact_type,
            "annotations": dict(self.annotations),
            "urls": list(self.urls),
        }
        return members | {name: value for name, value in optional.items() if value}


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """The exact bytes of an index, manifest or config, with the digest that was computed from them."""

    media_type: str
    data: bytes
    digest: str

    @property
    def descriptor(self) -> Descriptor:
        """What points to it, without platform or annotations."""
        return Descriptor(media_type=self.media_type, digest=self.digest, size=len(self.data))

    def manifest(self) -> Manifest:
        """Parse it. Raises ContentInvalid."""
        return parse_manifest(self.data, self.media_type, self.digest)


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """An image manifest or an index: the former has a `config`, the latter only `manifests`."""

    media_type: str
    manifests: tuple[Descriptor, ...] = ()
    config: Descriptor | None = None
    layers: tuple[Descriptor, ...] = ()
    subject: Descriptor | None = None
    artifact_type: str = ""
    annotations: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_index(self) -> bool:
        """Whether it is an index."""
        return self.config is None

    @property
    def is_image(self) -> bool:
        """Whether it has a root file system: no index, no artifact, nothing that refers to something else.

        cosign's signatures carry an image's config type: what their layers are tells them apart.
        """
        if self.config is None or self.subject is not None:
            return False
        return not self.layers or any(media.is_layer(item.media_type) for item in self.layers)

    @property
    def blobs(self) -> tuple[Descriptor, ...]:
        """Config and layers, each once."""
        found = (*((self.config,) if self.config else ()), *self.layers)
        return tuple({item.digest: item for item in found}.values())

    @property
    def kind(self) -> str:
        """Its artifact type as the referrers API reports it: its own, else its config's media type."""
        if self.artifact_type or self.config is None:
            return self.artifact_type
        return self.config.media_type


@dataclass(frozen=True, slots=True, kw_only=True)
class Blob:
    """Bytes that can be read from any offset, more than once; `size` may be relied on, the content not."""

    digest: str
    size: int
    open: Callable[[int], Iterator[bytes]] = field(repr=False)


def digest_of(data: bytes, algorithm: str = "sha256") -> str:
    """``algorithm:hex`` of some bytes."""
    return f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"


def document(data: bytes, media_type: str) -> Document:
    """Bytes of one's own, as a document."""
    return Document(media_type=media_type, data=data, digest=digest_of(data))


def canonical(value: object) -> bytes:
    """JSON with sorted keys and no white space: the same value is the same bytes, and the same digest."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def blob_of(data: bytes) -> Blob:
    """A blob in memory."""

    def read(offset: int) -> Iterator[bytes]:
        for start in range(offset, len(data), PIECE):
            yield data[start : start + PIECE]

    return Blob(digest=digest_of(data), size=len(data), open=read)


def blob_of_file(path: Path, digest: str = "") -> Blob:
    """A blob on disk; without `digest` the file is hashed first."""

    def read(offset: int) -> Iterator[bytes]:
        with path.open("rb") as stream:
            stream.seek(offset)
            while piece := stream.read(PIECE):
                yield piece

    if not digest:
        with path.open("rb") as stream:
            digest = f"sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()}"
    return Blob(digest=digest, size=os.stat(path).st_size, open=read)  # noqa: PTH116  (follows links, as open does)


class Check:
    """Holds a stream of bytes to a digest and a size, piece by piece."""

    def __init__(self, digest: str, size: int, what: str) -> None:
        self.digest = reference.check_digest(digest)
        self.size = size
        self.what = what
        self.seen = 0
        self._hash = hashlib.new(digest.partition(":")[0])

    def add(self, piece: bytes) -> None:
        """The next bytes. Raises ContentMismatch as soon as there are too many."""
        self.seen += len(piece)
        if self.seen > self.size >= 0:
            raise self._mismatch(f"more than {self.size} bytes")
        self._hash.update(piece)

    def finish(self) -> None:
        """All bytes were added. Raises ContentMismatch."""
        if self.seen < self.size:
            raise self._mismatch(f"{self.seen} of {self.size} bytes")
        got = f"{self.digest.partition(':')[0]}:{self._hash.hexdigest()}"
        if got != self.digest:
            raise self._mismatch(got)

    def _mismatch(self, got: str) -> ContentMismatch:
        return ContentMismatch(
            f"{self.what}: got {got}, expected {self.digest}",
            why="the bytes are not those that the digest names",
            fix="push or copy it again; if it comes back, the registry or something before it alters content",
        )


def checked(pieces: Iterator[bytes], digest: str, size: int, what: str) -> Iterator[bytes]:
    """The same bytes; raises ContentMismatch at their end, or before, where they are not what was named."""
    check = Check(digest, size, what)
    for piece in pieces:
        check.add(piece)
        yield piece
    check.finish()


def parse_json(data: bytes, what: str) -> dict[str, Any]:
    """A JSON object. Raises ContentInvalid, also for what is too large or too deeply nested."""
    if len(data) > MAX_MANIFEST:
        raise invalid(what, f"got {len(data)} bytes, expected at most {MAX_MANIFEST}")
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as cause:
        raise invalid(what, f"it is not JSON: {cause}") from cause
    if not isinstance(value, dict):
        raise invalid(what, f"got a JSON {type(value).__name__}, expected an object")
    return value


def parse_manifest(data: bytes, media_type: str, what: str) -> Manifest:
    """An index or image manifest. `media_type` is what pointed to it, or empty; raises ContentInvalid.

    A document without a media type of its own takes that of what pointed to it, and the other way round;
    where both are there they must agree.
    """
    value = parse_json(data, what)
    own = value.get("mediaType") or ""
    if not isinstance(own, str) or (own and media_type and own != media_type):
        raise invalid(what, f"it calls itself {own!r}, expected {media_type!r} as in what points to it")
    if value.get("schemaVersion") == 1 or media_type in media.DOCKER_SCHEMA_1:
        raise invalid(what, "got Docker's schema 1, expected an OCI or Docker schema 2 manifest")
    is_index = "manifests" in value
    if is_index and ("config" in value or "layers" in value):
        raise invalid(what, "it has manifests as well as config or layers, so that it could be read as two things")
    named = own or media_type
    if (named in media.INDEXES and not is_index) or (named in media.MANIFESTS and is_index):
        raise invalid(what, f"its members are not those of its media type {named}")
    if not is_index and "config" not in value:
        raise invalid(what, "it has neither manifests nor a config")
    return Manifest(
        media_type=named or (media.INDEX if is_index else media.MANIFEST),
        manifests=_descriptors(value, "manifests", what),
        config=None if is_index else parse_descriptor(value["config"], f"{what}: config"),
        layers=_descriptors(value, "layers", what),
        subject=parse_descriptor(value["subject"], f"{what}: subject") if value.get("subject") else None,
        artifact_type=_text(value, "artifactType", what),
        annotations=_annotations(value, what),
    )


def _descriptors(value: Mapping[str, Any], key: str, what: str) -> tuple[Descriptor, ...]:
    items = value.get(key)
    if items is None:
        return ()
    if not isinstance(items, list):
        raise invalid(what, f"{key}: got {type(items).__name__}, expected an array")
    if len(items) > MAX_ENTRIES:
        raise invalid(what, f"{key}: got {len(items)} entries, expected at most {MAX_ENTRIES}")
    return tuple(parse_descriptor(item, f"{what}: {key}[{index}]") for index, item in enumerate(items))


def parse_descriptor(value: Any, what: str) -> Descriptor:
    """One descriptor. Raises ContentInvalid."""
    if not isinstance(value, dict):
        raise invalid(what, f"got {type(value).__name__}, expected a descriptor")
    size = value.get("size")
    if isinstance(size, bool) or not isinstance(size, int) or not 0 <= size < 1 << 63:
        raise invalid(what, f"size: got {size!r}, expected a number of bytes")
    try:
        digest = reference.check_digest(_text(value, "digest", what))
    except ReferenceInvalid as cause:
        raise invalid(what, cause.what) from cause
    found = value.get("platform")
    urls = value.get("urls") or ()
    return Descriptor(
        media_type=_text(value, "mediaType", what),
        digest=digest,
        size=size,
        platform=platform.from_json(found) if isinstance(found, dict) else None,
        artifact_type=_text(value, "artifactType", what),
        annotations=_annotations(value, what),
        urls=tuple(map(str, urls)) if isinstance(urls, list) else (),
    )


def _text(value: Mapping[str, Any], key: str, what: str) -> str:
    found = value.get(key)
    if found is None:
        return ""
    if not isinstance(found, str):
        raise invalid(what, f"{key}: got {type(found).__name__}, expected text")
    return found


def _annotations(value: Mapping[str, Any], what: str) -> dict[str, str]:
    found = value.get("annotations")
    if found is None:
        return {}
    if not isinstance(found, dict) or not all(isinstance(item, str) for item in found.values()):
        raise invalid(what, "annotations: expected an object of texts")
    return found


def invalid(what: str, why: str) -> ContentInvalid:
    """The error for a document that is not what the image specification says."""
    return ContentInvalid(what + ": is not what the image specification says", why=why, fix="build or copy it again")


def referrer(found: Document, manifest: Manifest) -> Descriptor:
    """The descriptor under which a manifest with a subject is listed (distribution-spec, "Listing Referrers")."""
    return replace(found.descriptor, artifact_type=manifest.kind, annotations=manifest.annotations)
