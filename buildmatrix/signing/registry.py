"""What signing needs of a registry, and the forms that signatures of images have there.

The older form is a tag ``sha256-<hex>.sig`` (attestations: ``.att``) whose manifest has one layer for each
signature; cosign 2 and most registries show it. The newer one is a manifest that refers to the image
(OCI 1.1 `subject`) and holds a bundle; cosign 3 looks for it first. Sources: cosign specs/SIGNATURE_SPEC.md and
BUNDLE_SPEC.md, OCI distribution-spec v1.1.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Protocol

from buildmatrix.signing import strict
from buildmatrix.signing.refused import Refused

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
EMPTY = "application/vnd.oci.empty.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
SIMPLE_SIGNING = "application/vnd.dev.cosign.simplesigning.v1+json"
DSSE = "application/vnd.dsse.envelope.v1+json"

SIGNATURE = "dev.cosignproject.cosign/signature"
CERTIFICATE = "dev.sigstore.cosign/certificate"
CHAIN = "dev.sigstore.cosign/chain"
TIMESTAMP = "dev.sigstore.cosign/rfc3161timestamp"
PREDICATE = "predicateType"
BUNDLE_CONTENT = "dev.sigstore.bundle.content"
BUNDLE_PREDICATE = "dev.sigstore.bundle.predicateType"
CREATED = "org.opencontainers.image.created"

SIMPLE_SIGNING_TYPE = "cosign container image signature"
LEGACY = "legacy"
BUNDLE = "bundle"
FORMS = (LEGACY, BUNDLE)

MAX_SIGNATURES = 128
"""The most layers that a signature tag, and the most referrers that an image may have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pushed:
    """A manifest as a registry has it: its media type and bytes."""

    media_type: str
    data: bytes


class Repository(Protocol):
    """What signing needs of a registry client, for one repository. Digests are ``sha256:<hex>``."""

    @property
    def name(self) -> str:
        """``HOST/REPOSITORY``, as a signature names it."""

    def manifest(self, reference: str) -> Pushed | None:
        """The manifest under a tag or digest, checked against the digest; None where there is none."""

    def blob(self, digest: str, size: int) -> bytes:
        """A blob, checked against its digest; `size` in bytes is what its manifest says."""

    def put_blob(self, data: bytes) -> str:
        """Push a blob; gives its digest."""

    def put_manifest(self, reference: str, media_type: str, data: bytes) -> None:
        """Push a manifest under a tag or its digest, with the referrers tag where the registry needs it."""

    def referrers(self, digest: str) -> list[dict[str, Any]]:
        """The descriptors of what refers to a digest: from the API, else from the tag ``sha256-<hex>``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attestation:
    """Something said about an image: its predicate type and the predicate (JSON)."""

    predicate_type: str
    predicate: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One image, or an index, by digest (``sha256:<hex>``), with what is attested about it."""

    digest: str
    attestations: tuple[Attestation, ...] = field(default=())


def tag_of(digest: str, suffix: str) -> str:
    """The tag of the older form: ``sha256-<hex>.sig``."""
    return f"{digest.replace(':', '-', 1)}.{suffix}"


def simple_signing(repository: str, digest: str) -> bytes:
    """What the older form signs (containers/image docs/containers-signature.5.md)."""
    identity = {"docker-reference": repository}
    critical = {"identity": identity, "image": {"docker-manifest-digest": digest}, "type": SIMPLE_SIGNING_TYPE}
    return json.dumps({"critical": critical, "optional": None}, separators=(",", ":")).encode("ascii")


def layers_of(data: bytes, what: str) -> list[dict[str, Any]]:
    """The layers of a signature's manifest; refuses (BM752) what is none, or has too many."""
    value = strict.decode(data, what)
    layers = value.get("layers") if isinstance(value, dict) else None
    if not isinstance(layers, list) or not all(isinstance(one, dict) for one in layers):
        raise unknown(what, "no manifest with layers")
    if len(layers) > MAX_SIGNATURES:
        raise unknown(what, f"{len(layers)} layers")
    return layers


def unknown(what: str, got: str) -> Refused:
    """The refusal of something that stands in a signature's place and is none."""
    return Refused(
        "BM752",
        f"{what}: got {got}, expected a signature of cosign's forms, at most {MAX_SIGNATURES} of them",
        why="what cannot be read is not skipped: it may be what another tool goes by",
        fix="remove it from the registry, or find out who pushed it",
    )
