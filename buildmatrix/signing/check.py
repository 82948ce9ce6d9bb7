"""One bundle against a policy: recomputes digest, signature, identity and time, and believes nothing. Pure.

Order: form, content, signature, trust. A bundle that fails in several ways is refused for the first.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from buildmatrix.signing import bundle, certificates, publickey, statement, timestamps, transparency
from buildmatrix.signing.bundle import Bundle, Envelope, Message
from buildmatrix.signing.policy import Policy
from buildmatrix.signing.publickey import PublicKey
from buildmatrix.signing.refused import Refused
from buildmatrix.signing.statement import Statement


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who signed: a key by its fingerprint, and for a certificate its OIDC issuer and identity."""

    fingerprint: str
    issuer: str = ""
    subject: str = ""
    development: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """How strictly and when: `exact` demands the bytes that are written here, `now` is the time in UTC.

    `repositories` are names that a signature of an image may be for, beside the one that it lies in.
    """

    policy: Policy
    now: datetime
    exact: bool = False
    repositories: tuple[str, ...] = ()


def message(data: bytes, sha256: bytes, context: Context, what: str) -> Identity:
    """Who signed the file with this SHA-256 (32 bytes), by the bundle in `data`.

    Refuses everything else; an attestation is no signature (BM743).
    """
    found = bundle.decode(data, what, exact=context.exact)
    if not isinstance(found.content, Message):
        raise Refused(
            "BM743",
            f"{what}: got an attestation, expected a signature of the file",
            why="an attestation says something about a file; whoever made it need not have approved it",
            fix="take the file's own bundle, or sign the file: buildmatrix sign FILE",
        )
    if found.content.sha256 != sha256:
        raise Refused(
            "BM734",
            f"{what}: got a signature of sha256:{found.content.sha256.hex()}, expected of sha256:{sha256.hex()}",
            why="the bundle belongs to another file, or the file was altered",
            fix="put the right bundle beside the file, or build and sign again",
        )
    return signed(found, found.content.signature, sha256, context, what)


def attestation(
    data: bytes, context: Context, what: str, *, predicate_type: str, payload: bytes | None = None
) -> tuple[Identity, Statement]:
    """Who attested what, by the bundle in `data`; the statement must be of `predicate_type`.

    Where `payload` is given, the statement must be exactly that, byte for byte (else BM745).
    """
    import hashlib

    found = bundle.decode(data, what, exact=context.exact)
    if not isinstance(found.content, Envelope):
        raise _wrong_type(what, "the signature of a file", predicate_type)
    said = statement.decode(found.content.payload, what)
    if said.predicate_type != predicate_type:
        raise _wrong_type(what, said.predicate_type, predicate_type)
    if payload is not None and found.content.payload != payload:
        raise _other_content(what, said, statement.decode(payload, what))
    encoded = statement.pae(found.content.payload_type, found.content.payload)
    signer = signed(found, found.content.signature, hashlib.sha256(encoded).digest(), context, what)
    return signer, said


def _wrong_type(what: str, got: str, expected: str) -> Refused:
    return Refused(
        "BM743",
        f"{what}: got {got}, expected an attestation of type {expected}",
        why="a word of one kind does not stand for a word of another",
        fix="put the right bundle in its place, or sign again",
    )


def _other_content(what: str, got: Statement, expected: Statement) -> Refused:
    names = ", ".join(f"{name} sha256:{digest[:16]}…" for name, digest in got.subjects)
    wanted = ", ".join(f"{name} sha256:{digest[:16]}…" for name, digest in expected.subjects)
    same = got.subjects == expected.subjects
    return Refused(
        "BM745",
        f"{what}: got other content than the file beside it, expected the same"
        if same
        else f"{what}: got an attestation about {names}, expected about {wanted}",
        why="the file or its attestation was replaced" if same else "it belongs to another artifact, or was swapped",
        fix="build and sign again",
    )


def signed(found: Bundle, signature: bytes, sha256: bytes, context: Context, what: str) -> Identity:
    """Who made a signature over data with this SHA-256, by the material in the bundle; refuses everybody else."""
    if found.material.certificate:
        return _by_certificate(found, signature, sha256, context, what)
    if found.material.entries or found.material.timestamps:
        raise Refused(
            "BM751",
            f"{what}: got a log entry or a time stamp beside a key, expected none",
            why="nothing here can check them for a bare key, and what is not checked is not accepted",
            fix="sign without a log and without time stamps (cosign: --use-signing-config=false --tlog-upload=false)",
        )
    return _by_key(found.material.hint, signature, sha256, context, what)


def _by_key(hint: str, signature: bytes, sha256: bytes, context: Context, what: str) -> Identity:
    policy = context.policy
    named = [key for key in policy.keys if key.hint == hint] if hint else list(policy.keys)
    if not named:
        raise _untrusted(hint, policy, what)
    failure = None
    for key in named:
        try:
            publickey.verify(key, signature, sha256, what, exact=context.exact)
        except Refused as refused:
            failure = refused
            continue
        _check_revoked(key, policy, what)
        return Identity(fingerprint=key.fingerprint, development=key.fingerprint == policy.development)
    if failure is not None and not hint and len(named) > 1:
        raise _fits_none(named, failure, what)
    raise failure or _untrusted(hint, policy, what)


def _fits_none(keys: list[PublicKey], failure: Refused, what: str) -> Refused:
    """For signatures that do not say by which key they are."""
    names = ", ".join(key.name for key in keys)
    return Refused(
        failure.rule,
        f"{what}: got a signature that fits none of the trusted keys, expected one by {names}",
        why="somebody else signed, or the signature or what it signs was altered",
        fix=failure.fix,
    )


def _check_revoked(key: PublicKey, policy: Policy, what: str) -> None:
    if key.fingerprint in policy.revoked:
        raise Refused(
            "BM737",
            f"{what}: got a signature by the revoked key sha256:{key.fingerprint}, expected a key in force",
            why="whoever stole the key could have made it, whenever it says it was made",
            fix="sign again with a key in force",
        )


def _untrusted(hint: str, policy: Policy, what: str) -> Refused:
    known = ", ".join(f"{key.name} ({key.hint})" for key in policy.keys) or "no key"
    if _fingerprint(hint) in policy.revoked:
        return Refused(
            "BM737",
            f"{what}: got a signature by the revoked key with the hint {hint}, expected {known}",
            why="whoever stole the key could have made it, whenever it says it was made",
            fix="sign again with a key in force",
        )
    return Refused(
        "BM736",
        f"{what}: got a signature by a key with the hint {hint[:64] or 'none'}, expected {known}",
        why="anybody can sign with a key of their own",
        fix="sign with a trusted key, or add the signer's public key to signing.trusted-keys in matrix.toml",
    )


def _fingerprint(hint: str) -> str:
    import binascii

    try:
        return binascii.a2b_base64(hint).hex()
    except binascii.Error:
        return ""


def _by_certificate(found: Bundle, signature: bytes, sha256: bytes, context: Context, what: str) -> Identity:
    policy, material = context.policy, found.material
    certificate = certificates.load(material.certificate, what)
    key = certificates.key_of(certificate, what)
    publickey.verify(key, signature, sha256, what, exact=context.exact and not material.entries)
    _check_revoked(key, policy, what)
    root = policy.root
    if root is None:
        raise Refused(
            "BM740",
            f"{what}: got a certificate, expected a signature by one of the trusted keys",
            why="no trusted root is configured, so nobody can vouch for a certificate",
            fix="set signing.trusted-root, signing.issuer and signing.identities in matrix.toml",
        )
    time, source = context.now, "now"
    if material.timestamps:
        time, source = timestamps.check(material.timestamps, signature, root.timestamps, what), "its time stamp"
    if material.entries or policy.log:
        logged = transparency.check(found, sha256, root, what)
        if not material.timestamps:
            time, source = logged or time, "its log entry"
    certificates.check_time(certificate, time, source, what)
    certificates.check_chain(certificate, root.authorities, time, what)
    issuer, subject = certificates.check_identity(certificate, policy, what)
    return Identity(fingerprint=key.fingerprint, issuer=issuer, subject=subject)
