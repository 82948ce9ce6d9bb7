"""Signs images in a registry: an index and every image in it, in the two forms that tools know (registry.py)."""

from __future__ import annotations

import hashlib
from typing import Any

from buildmatrix.errors import SigningFailed
from buildmatrix.signing import bundle, keyfile, registry, statement, strict
from buildmatrix.signing.bundle import Envelope, Material
from buildmatrix.signing.registry import Attestation, Repository, Subject
from buildmatrix.signing.signer import Content, RawSigner, Signer
from buildmatrix.signing.statement import Statement


def sign_image(repository: Repository, subjects: tuple[Subject, ...], signer: Signer, *, created: str) -> None:
    """Sign every subject in `forms_of` the signer, and push what is attested about it; `created` is RFC 3339's time.

    Name the index and each of its children. A signer whose signatures are deterministic adds nothing the second
    time. Raises SigningFailed where an image is not there.
    """
    raw = signer.raw
    for subject in subjects:
        image = repository.manifest(subject.digest)
        if image is None:
            raise SigningFailed(
                f"{repository.name}@{subject.digest}: not in the registry", fix="push it before it is signed"
            )
        about = {"mediaType": image.media_type, "digest": subject.digest, "size": len(image.data)}
        said = (Attestation(predicate_type=statement.IMAGE, predicate={}), *subject.attestations)
        if raw is not None:
            _sign_legacy(repository, subject.digest, raw)
        if raw is not None and subject.attestations:
            _attest_legacy(repository, subject, signer)
        for item in said:
            _push_bundle(repository, about, item, signer, created)


def forms_of(signer: Signer) -> tuple[str, ...]:
    """The forms that a signer's signatures have: a keyless one's log entry fits into bundles only."""
    return registry.FORMS if signer.raw is not None else (registry.BUNDLE,)


def attest_image(repository: Repository, subjects: tuple[Subject, ...], signer: Signer, *, created: str) -> None:
    """Push what is attested about every subject in the signer's forms, and sign nothing. Raises SigningFailed."""
    for subject in subjects:
        image = repository.manifest(subject.digest)
        if image is None:
            raise SigningFailed(
                f"{repository.name}@{subject.digest}: not in the registry", fix="push it before it is attested"
            )
        about = {"mediaType": image.media_type, "digest": subject.digest, "size": len(image.data)}
        if signer.raw is not None:
            _attest_legacy(repository, subject, signer)
        for item in subject.attestations:
            _push_bundle(repository, about, item, signer, created)


def _sign_legacy(repository: Repository, digest: str, raw: RawSigner) -> None:
    payload = registry.simple_signing(repository.name, digest)
    made = raw.sign(Content.of(payload))
    annotations = {registry.SIGNATURE: strict.to_base64(made.signature), **_annotations(made.material)}
    layer = _descriptor(repository, registry.SIMPLE_SIGNING, payload) | {"annotations": annotations}
    _add_layers(repository, registry.tag_of(digest, "sig"), [layer])


def _annotations(material: Material) -> dict[str, str]:
    """Certificate and time stamp in the older form's annotations."""
    found = {}
    if material.certificate:
        found[registry.CERTIFICATE] = keyfile.to_pem("CERTIFICATE", material.certificate).decode("ascii")
    if material.timestamps:
        stamp = {"SignedRFC3161Timestamp": strict.to_base64(material.timestamps[0])}
        found[registry.TIMESTAMP] = strict.encode(stamp).decode("ascii")
    return found


def _attest_legacy(repository: Repository, subject: Subject, signer: Signer) -> None:
    layers = []
    for said in subject.attestations:
        made = signer.attest(_statement(repository, subject.digest, said, signer))
        if not isinstance(made.content, Envelope):
            raise AssertionError("an attestation is an envelope")
        envelope = {
            "payloadType": made.content.payload_type,
            "payload": strict.to_base64(made.content.payload),
            "signatures": [{"keyid": "", "sig": strict.to_base64(made.content.signature)}],
        }
        annotations = {registry.SIGNATURE: "", registry.PREDICATE: said.predicate_type, **_annotations(made.material)}
        layers.append(_descriptor(repository, registry.DSSE, strict.encode(envelope)) | {"annotations": annotations})
    _add_layers(repository, registry.tag_of(subject.digest, "att"), layers)


def _statement(repository: Repository, digest: str, said: Attestation, signer: Signer) -> bytes:
    """A signature has no name in it, as cosign's has none; sigstore's library signs nothing without one."""
    name = "" if said.predicate_type == statement.IMAGE and signer.raw is not None else repository.name
    subjects = ((name, digest.partition(":")[2]),)
    return statement.encode(Statement(subjects=subjects, predicate_type=said.predicate_type, predicate=said.predicate))


def _descriptor(repository: Repository, media_type: str, data: bytes) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": repository.put_blob(data), "size": len(data)}


def _add_layers(repository: Repository, tag: str, layers: list[dict[str, Any]]) -> None:
    """Add layers to the manifest under a tag; what is there stays, and what is there already is not added again."""
    known = repository.manifest(tag)
    before = registry.layers_of(known.data, tag) if known is not None else []
    fresh = [layer for layer in layers if layer not in before]
    if not fresh:
        return
    every = [*before, *fresh]
    config = {
        "architecture": "",
        "config": {},
        "created": "0001-01-01T00:00:00Z",
        "os": "",
        "rootfs": {"diff_ids": [layer["digest"] for layer in every], "type": "layers"},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": registry.MANIFEST,
        "config": _descriptor(repository, registry.CONFIG, strict.encode(config)),
        "layers": every,
    }
    repository.put_manifest(tag, registry.MANIFEST, strict.encode(manifest))


def _push_bundle(
    repository: Repository, subject: dict[str, Any], said: Attestation, signer: Signer, created: str
) -> None:
    data = bundle.encode(signer.attest(_statement(repository, subject["digest"], said, signer)))
    manifest = {
        "schemaVersion": 2,
        "mediaType": registry.MANIFEST,
        "artifactType": bundle.MEDIA_TYPE,
        "config": _descriptor(repository, registry.EMPTY, b"{}"),
        "layers": [_descriptor(repository, bundle.MEDIA_TYPE, data)],
        "subject": subject,
        "annotations": {
            registry.BUNDLE_CONTENT: "dsse-envelope",
            registry.BUNDLE_PREDICATE: said.predicate_type,
            registry.CREATED: created,
        },
    }
    encoded = strict.encode(manifest)
    repository.put_manifest(f"sha256:{hashlib.sha256(encoded).hexdigest()}", registry.MANIFEST, encoded)
