"""What belongs to a manifest: signatures and attestations, wherever a tool may have put them.

Present is not valid: nothing is verified here. A sigstore bundle counts as a signature only where it says
so; an attestation does not stand in for one, although some verifiers take it for that.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from buildmatrix.oci import media
from buildmatrix.oci.content import Descriptor, Manifest
from buildmatrix.oci.store import Source

SIGN_PREDICATE = "https://sigstore.dev/cosign/sign/v1"
_BUNDLE = "application/vnd.dev.sigstore.bundle"
_SIGNATURE_TYPES = frozenset((media.NOTATION, media.COSIGN_ARTIFACT, media.SIMPLE_SIGNING))


@dataclass(frozen=True, slots=True, kw_only=True)
class Belonging:
    """One signature or attestation. `place` is ``tag``, ``referrer`` or ``index``, `what` its type."""

    signature: bool
    place: str
    what: str


def find(source: Source, digest: str) -> tuple[Belonging, ...]:
    """What belongs to a digest outside the index: under cosign's tags, and what refers to it."""
    return (*_tagged(source, digest), *(_referring(item) for item in source.referrers(digest)))


def _tagged(source: Source, digest: str) -> Iterator[Belonging]:
    for suffix in media.LEGACY_SUFFIXES:
        tag = media.legacy_tag(digest, suffix)
        if source.resolve(tag) is None:
            continue
        manifest = source.manifest(tag).manifest()
        if suffix == "sig":
            if any(layer.media_type == media.SIMPLE_SIGNING for layer in manifest.layers):
                yield Belonging(signature=True, place="tag", what=f".{suffix}")
        else:
            for what in predicates(manifest) or (f".{suffix}",):
                yield Belonging(signature=False, place="tag", what=what)


def predicates(manifest: Manifest) -> tuple[str, ...]:
    """The predicate types of an attestation manifest's layers: BuildKit's annotation, or cosign's."""
    names = (
        layer.annotations.get(media.IN_TOTO_PREDICATE) or layer.annotations.get("predicateType")
        for layer in manifest.layers
    )
    return tuple(dict.fromkeys(name for name in names if name))


def _referring(item: Descriptor) -> Belonging:
    kind = item.artifact_type or item.media_type
    if kind.startswith(_BUNDLE):
        predicate = item.annotations.get(media.BUNDLE_PREDICATE, "")
        signed = predicate == SIGN_PREDICATE or (
            not predicate and item.annotations.get(media.BUNDLE_CONTENT) == "message-signature"
        )
        return Belonging(signature=signed, place="referrer", what="bundle" if signed else predicate or kind)
    return Belonging(signature=kind in _SIGNATURE_TYPES, place="referrer", what=kind)
