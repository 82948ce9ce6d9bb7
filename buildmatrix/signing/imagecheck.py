"""Verifies the signatures of an index and of each of its children: whatever is there must be good.

cosign looks at one image at a time and stops at the first good signature; an older good one then hides a newer
bad one, and a good index says nothing of its children. Here every signature and attestation of every digest is
checked, and an attestation never stands for a signature.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from buildmatrix.errors import KeyDamaged
from buildmatrix.finding import Finding
from buildmatrix.signing import bundle, certificates, check, registry, statement, strict
from buildmatrix.signing.bundle import Bundle, Envelope, Material, Message
from buildmatrix.signing.check import Context, Identity
from buildmatrix.signing.refused import Refused
from buildmatrix.signing.registry import BUNDLE, FORMS, LEGACY, Repository, Subject
from buildmatrix.signing.statement import Statement


@dataclass(slots=True)
class _Seen:
    """What good signatures and statements were found for one digest."""

    signatures: dict[str, list[Identity]] = field(default_factory=lambda: {form: [] for form in FORMS})
    statements: list[tuple[str, Statement]] = field(default_factory=list)
    """Each with the form in which it was found."""
    signers: list[Identity] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Examined:
    """What is good about one digest, and what is not.

    `forms` are the forms in which a good signature is there, `signers` everybody who signed or attested well, and
    `statements` what they attest, each with its form. What is not good is in `findings`, whose cell is the digest.
    """

    digest: str
    forms: tuple[str, ...]
    signers: tuple[Identity, ...]
    statements: tuple[tuple[str, Statement], ...]
    findings: tuple[Finding, ...]


def examine(repository: Repository, digest: str, context: Context) -> Examined:
    """Everything that is signed and attested about a digest. What the registry client raises passes through."""
    seen, found = _Seen(), []
    for what, check_it in _Examined(repository, digest, context, seen).every():
        try:
            check_it()
        except Refused as refused:
            found.append(refused.finding(digest, evidence=what))
    return Examined(
        digest=digest,
        forms=tuple(form for form in FORMS if seen.signatures[form]),
        signers=tuple(dict.fromkeys((*(one for form in FORMS for one in seen.signatures[form]), *seen.signers))),
        statements=tuple(seen.statements),
        findings=tuple(found),
    )


def verify_image(
    repository: Repository, expected: tuple[Subject, ...], context: Context, *, forms: tuple[str, ...] = FORMS
) -> tuple[Finding, ...]:
    """What is wrong with the signatures of an index and its children; nothing where all is well.

    Each digest needs, in each of `forms`, a signature and each attestation of its Subject, with that predicate (None:
    with any). A finding's cell is the digest. What the registry client raises passes through.
    """
    found: list[Finding] = []
    for item in expected:
        seen = _Seen()
        examined = _Examined(repository, item.digest, context, seen)
        for what, examine in examined.every():
            try:
                examine()
            except Refused as refused:
                found.append(refused.finding(item.digest, evidence=what))
        found += _missing(item, seen, forms)
        found += _differing(item, seen)
    return tuple(found)


def _missing(item: Subject, seen: _Seen, forms: tuple[str, ...]) -> Iterator[Finding]:
    if absent := [form for form in forms if not seen.signatures[form]]:
        yield Finding(
            rule="BM749",
            cell=item.digest,
            what=f"got no good signature in the form {' and '.join(absent)}, expected {' and '.join(forms)}",
            why="tools look for one form only, and a signed index says nothing of its children",
            fix="sign the index and every child again",
        )
    for kind in sorted({said.predicate_type for said in item.attestations}):
        have = {form for form, said in seen.statements if said.predicate_type == kind}
        if absent := [form for form in forms if form not in have]:
            yield Finding(
                rule="BM730",
                cell=item.digest,
                what=f"got no good attestation of type {kind} in the form {' and '.join(absent)}, "
                f"expected {' and '.join(forms)}",
                why="it was removed, or never made; tools look for one form only",
                fix="sign the image again with its attestations",
            )


def _differing(item: Subject, seen: _Seen) -> Iterator[Finding]:
    for wanted in item.attestations:
        for _, said in seen.statements:
            if said.predicate_type != wanted.predicate_type or wanted.predicate is None:
                continue
            if strict.encode(said.predicate) != strict.encode(wanted.predicate):
                yield Finding(
                    rule="BM745",
                    cell=item.digest,
                    what=f"got an attestation of type {said.predicate_type} with other content, expected today's",
                    why="an older one is still there, or it was swapped with that of another architecture",
                    fix="remove what is outdated from the registry, and sign again",
                )


@dataclass(frozen=True, slots=True)
class _Examined:
    """One digest in a repository while its signatures are looked at."""

    repository: Repository
    digest: str
    context: Context
    seen: _Seen

    def every(self) -> Iterator[tuple[str, Callable[[], None]]]:
        """A description of each signature and a call that checks it."""
        for suffix, examine in (("sig", self.signature), ("att", self.attestation)):
            tag = registry.tag_of(self.digest, suffix)
            yield from self.tagged(tag, examine)
        for descriptor in self.repository.referrers(self.digest):
            reference = str(descriptor.get("digest"))
            yield f"{self.repository.name}@{reference}", lambda reference=reference: self.referrer(reference)  # type: ignore[misc]

    def tagged(
        self, tag: str, examine: Callable[[dict[str, Any], str], None]
    ) -> Iterator[tuple[str, Callable[[], None]]]:
        """The layers of the manifest under a tag of the older form."""
        pushed = self.repository.manifest(tag)
        if pushed is None:
            return
        what = f"{self.repository.name}:{tag}"
        try:
            layers = registry.layers_of(pushed.data, what)
        except Refused as refused:
            yield what, _raise(refused)
            return
        if not layers:
            yield what, _raise(registry.unknown(what, "no layers"))
        for index, layer in enumerate(layers):
            where = f"{what} layer {index}"
            yield where, lambda layer=layer, where=where: examine(layer, where)  # type: ignore[misc]

    def signature(self, layer: dict[str, Any], what: str) -> None:
        """A layer of a ``.sig`` tag."""
        if layer.get("mediaType") != registry.SIMPLE_SIGNING:
            raise registry.unknown(what, f"a layer of type {layer.get('mediaType')}")
        payload = self.blob(layer, what)
        annotations = _annotations(layer, what)
        signature = strict.from_base64(annotations.get(registry.SIGNATURE), what)
        sha256 = hashlib.sha256(payload).digest()
        found = Bundle(material=_material(annotations, what), content=Message(sha256=sha256, signature=signature))
        names = (self.repository.name, *self.context.repositories)
        _check_simple_signing(payload, names, self.digest, what)
        self.seen.signatures[LEGACY].append(check.signed(found, signature, sha256, self.context, what))

    def attestation(self, layer: dict[str, Any], what: str) -> None:
        """A layer of an ``.att`` tag."""
        if layer.get("mediaType") != registry.DSSE:
            raise registry.unknown(what, f"a layer of type {layer.get('mediaType')}")
        envelope = bundle.decode_envelope(self.blob(layer, what), what)
        annotations = _annotations(layer, what)
        found = Bundle(material=_material(annotations, what), content=envelope)
        self.statement(found, envelope, LEGACY, what)

    def referrer(self, reference: str) -> None:
        """A manifest that refers to the digest."""
        what = f"{self.repository.name}@{reference}"
        pushed = self.repository.manifest(reference)
        if pushed is None:
            raise registry.unknown(what, "a referrer that is not there")
        manifest = strict.decode(pushed.data, what)
        kind = str(manifest.get("artifactType", "")) if isinstance(manifest, dict) else ""
        if not any(word in kind for word in ("sigstore", "cosign")):
            return  # nothing that a signature tool would take for a signature
        subject = manifest.get("subject")
        if not isinstance(subject, dict) or subject.get("digest") != self.digest:
            raise registry.unknown(what, "a manifest about another subject")
        layers = registry.layers_of(pushed.data, what)
        if kind != bundle.MEDIA_TYPE or len(layers) != 1 or layers[0].get("mediaType") != bundle.MEDIA_TYPE:
            raise registry.unknown(what, f"a manifest of type {kind} with {len(layers)} layers")
        found = bundle.decode(self.blob(layers[0], what), what)
        if not isinstance(found.content, Envelope):
            raise Refused(
                "BM743",
                f"{what}: got a signature without a statement, expected one of type {statement.IMAGE}",
                why="only the statement says what the signature is meant for",
                fix="sign the image with buildmatrix, or with cosign 3",
            )
        said, signer = self.statement(found, found.content, BUNDLE, what)
        if said.predicate_type == statement.IMAGE:
            self.seen.signatures[BUNDLE].append(signer)

    def statement(self, found: Bundle, envelope: Envelope, form: str, what: str) -> tuple[Statement, Identity]:
        """The statement of a good envelope about this digest, and who signed it."""
        said = statement.decode(envelope.payload, what)
        sha256 = hashlib.sha256(statement.pae(envelope.payload_type, envelope.payload)).digest()
        signer = check.signed(found, envelope.signature, sha256, self.context, what)
        self.seen.signers.append(signer)
        if any(digest != self.digest.partition(":")[2] for _, digest in said.subjects):
            raise Refused(
                "BM745",
                f"{what}: got an attestation about sha256:{said.subjects[0][1]}, expected about {self.digest}",
                why="it belongs to another image, or was swapped with that of another architecture",
                fix="sign every image again with its own attestations",
            )
        if said.predicate_type != statement.IMAGE:
            self.seen.statements.append((form, said))
        return said, signer

    def blob(self, layer: dict[str, Any], what: str) -> bytes:
        """The content of a layer, against its digest once more: no client is trusted with that."""
        digest = str(layer.get("digest"))
        size = layer.get("size")
        if type(size) is not int:
            raise registry.unknown(what, f"a layer of size {size}")
        data = self.repository.blob(digest, size)
        if f"sha256:{hashlib.sha256(data).hexdigest()}" != digest:
            raise registry.unknown(what, f"a layer whose bytes are not those of {digest}")
        return data


def _raise(refused: Refused) -> Callable[[], None]:
    def examine() -> None:
        raise refused

    return examine


def _annotations(layer: dict[str, Any], what: str) -> dict[str, str]:
    found = layer.get("annotations", {})
    if not isinstance(found, dict) or not all(isinstance(text, str) for text in found.values()):
        raise registry.unknown(what, "annotations that are no strings")
    unchecked = set(found) - {registry.SIGNATURE, registry.CERTIFICATE, registry.CHAIN, registry.TIMESTAMP}
    if "dev.sigstore.cosign/bundle" in unchecked:
        raise Refused(
            "BM751",
            f"{what}: got a log entry in the older form, expected none",
            why="nothing here can check it, and what is not checked is not accepted",
            fix="sign without a log (cosign: --tlog-upload=false), or in the bundle form",
        )
    return found


def _material(annotations: dict[str, str], what: str) -> Material:
    """Certificate and time stamp of the older form; the chain in it decides nothing, the trusted root does."""
    certificate = b""
    stamps: tuple[bytes, ...] = ()
    if text := annotations.get(registry.CERTIFICATE):
        try:
            certificate = certificates.der(certificates.load_pem(text.encode(), what)[0])
        except KeyDamaged as error:
            raise registry.unknown(what, "a certificate that cannot be read") from error
    if text := annotations.get(registry.TIMESTAMP):
        value = strict.decode(text.encode(), what)
        raw = value.get("SignedRFC3161Timestamp") if isinstance(value, dict) else None
        stamps = (strict.from_base64(raw, what),)
    return Material(certificate=certificate, timestamps=stamps)


def _check_simple_signing(payload: bytes, repositories: tuple[str, ...], digest: str, what: str) -> None:
    value = strict.decode(payload, what)
    try:
        critical = value["critical"]
        kind, about = critical["type"], critical["image"]["docker-manifest-digest"]
        name = critical["identity"]["docker-reference"]
    except (KeyError, TypeError) as error:
        raise registry.unknown(what, "a payload without type, image and identity") from error
    if kind != registry.SIMPLE_SIGNING_TYPE:
        raise registry.unknown(what, f"a payload of type {kind}")
    if about != digest:
        raise Refused(
            "BM734",
            f"{what}: got a signature of {about}, expected of {digest}",
            why="the signature belongs to another image",
            fix="sign the index and every child again",
        )
    if name not in repositories:
        raise Refused(
            "BM748",
            f"{what}: got a signature for the repository {name}, expected {' or '.join(repositories)}",
            why="a signature that was copied to another name makes a test image pass as a release",
            fix="sign it where it is; or name where it was promoted from in release.promoted-from",
        )
