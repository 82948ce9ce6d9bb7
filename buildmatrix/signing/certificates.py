"""Certificates that say who signed: chain, purpose, time, OIDC issuer and identity. Pure.

Sources: RFC 5280; Fulcio's docs/oid-info.md for the issuer's OIDs 1.3.6.1.4.1.57264.1.8 (DER UTF8String) and its
older form 1.1 (raw bytes).
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from buildmatrix import patterns
from buildmatrix.errors import KeyDamaged
from buildmatrix.signing.policy import Authority, Policy
from buildmatrix.signing.publickey import PublicKey
from buildmatrix.signing.refused import Refused

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

_ISSUER = "1.3.6.1.4.1.57264.1.8"
_ISSUER_OLD = "1.3.6.1.4.1.57264.1.1"
_UTF8_STRING = 0x0C


def load(der: bytes, what: str) -> Certificate:
    """The certificate in DER; refuses (BM733) what is none."""
    from cryptography.x509 import load_der_x509_certificate

    try:
        found = load_der_x509_certificate(der)
        _ = (found.extensions, found.public_key())  # both are read late and may fail
    except (ValueError, TypeError) as error:
        raise Refused("BM733", f"{what}: the certificate cannot be read", why=str(error), fix="sign again") from error
    return found


def load_pem(data: bytes, name: str) -> tuple[Certificate, ...]:
    """The certificates in a PEM file, in its order. Raises KeyDamaged."""
    from cryptography.x509 import load_pem_x509_certificates

    try:
        return tuple(load_pem_x509_certificates(data))
    except ValueError as error:
        raise KeyDamaged(
            f"{name}: no certificate in PEM", why=str(error), fix="name the certificate that goes with the key"
        ) from error


def der(certificate: Certificate) -> bytes:
    """The certificate in DER."""
    from cryptography.hazmat.primitives.serialization import Encoding

    return certificate.public_bytes(Encoding.DER)


def key_of(certificate: Certificate, what: str) -> PublicKey:
    """The public key in a certificate."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    spki = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return PublicKey(name=what, der=spki)


def issuer_of(certificate: Certificate) -> str:
    """The OIDC issuer in a certificate, or an empty string."""
    from cryptography.x509 import UnrecognizedExtension

    raw = {
        extension.oid.dotted_string: extension.value.value
        for extension in certificate.extensions
        if isinstance(extension.value, UnrecognizedExtension)
    }
    if _ISSUER in raw:
        return _utf8_string(raw[_ISSUER])
    return raw.get(_ISSUER_OLD, b"").decode("utf-8", "replace")


def _utf8_string(value: bytes) -> str:
    """The text of a DER UTF8String (X.690, 8.23); empty where it is none, so that nothing matches it."""
    if len(value) < 2 or value[0] != _UTF8_STRING:
        return ""
    length, start = value[1], 2
    if length & 0x80:
        start += length & 0x7F
        length = int.from_bytes(value[2:start], "big")
    content = value[start:]
    return content.decode("utf-8", "replace") if len(content) == length else ""


def identities_of(certificate: Certificate) -> tuple[str, ...]:
    """The URIs and e-mail addresses that a certificate names as its subject."""
    from cryptography import x509

    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    kinds = (x509.UniformResourceIdentifier, x509.RFC822Name)
    return tuple(str(name.value) for name in names if isinstance(name, kinds))


def check_identity(certificate: Certificate, policy: Policy, what: str) -> tuple[str, str]:
    """Issuer and identity of a certificate; refuses BM741 and BM742 where the policy names others."""
    issuer, subjects = issuer_of(certificate), identities_of(certificate)
    if not patterns.matches(policy.issuer, issuer):
        raise Refused(
            "BM741",
            f"{what}: got a certificate for the OIDC issuer {issuer or 'nobody'!r}, expected {policy.issuer!r}",
            why="whoever vouched for the identity is not the one that the policy names",
            fix="sign with a token of that issuer, or correct signing.issuer in matrix.toml",
        )
    if len(subjects) == 1 and any(patterns.matches(pattern, subjects[0]) for pattern in policy.identities):
        return issuer, subjects[0]
    raise Refused(
        "BM742",
        f"{what}: got the identity {', '.join(subjects) or 'nobody'}, expected {' or '.join(policy.identities)}",
        why="somebody else signed, or a certificate that names several identities",
        fix="sign as that identity, or correct signing.identities in matrix.toml",
    )


def check_time(certificate: Certificate, time: datetime, source: str, what: str) -> None:
    """Refuse BM738 and BM739 where the certificate was not valid at `time`, which `source` tells."""
    first, last = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if time > last:
        raise Refused(
            "BM738",
            f"{what}: got a certificate that expired on {last:%Y-%m-%d %H:%M:%S} UTC, expected one valid at "
            f"{time:%Y-%m-%d %H:%M:%S} UTC ({source})",
            why="nothing proves that it signed while it was valid",
            fix="sign again; for short-lived certificates set signing.timestamp-authority, so that the time is proved",
        )
    if time < first:
        raise Refused(
            "BM739",
            f"{what}: got a certificate that becomes valid on {first:%Y-%m-%d %H:%M:%S} UTC, expected one valid at "
            f"{time:%Y-%m-%d %H:%M:%S} UTC ({source})",
            why="it signed before it could, or a clock is wrong",
            fix="correct the clock, or sign again once it is valid",
        )


def check_chain(certificate: Certificate, authorities: tuple[Authority, ...], time: datetime, what: str) -> None:
    """Refuse BM740 where no authority that counts at `time` issued the certificate for signing code."""
    _check_purpose(certificate, what)
    reasons = []
    for authority in authorities:
        if not authority.covers(time):
            reasons.append("an authority whose own time is over")
            continue
        reason = _chain_fault(certificate, authority, time)
        if not reason:
            return
        reasons.append(reason)
    raise Refused(
        "BM740",
        f"{what}: got a certificate of {certificate.issuer.rfc4514_string() or 'an unnamed issuer'}, "
        "expected one that an authority of the trusted root issued",
        why="; ".join(reasons) or "the trusted root names no certificate authority",
        fix="sign with a certificate of that authority, or correct signing.trusted-root in matrix.toml",
    )


def _chain_fault(certificate: Certificate, authority: Authority, time: datetime) -> str:
    from cryptography.x509 import ExtendedKeyUsage, UnsupportedGeneralNameType, verification

    anchors = [load(item, "trusted root") for item in authority.chain]
    policies = {
        kind: policy.may_be_present(ExtendedKeyUsage, verification.Criticality.AGNOSTIC, None)
        for kind, policy in (
            ("ca_policy", verification.ExtensionPolicy.webpki_defaults_ca()),
            ("ee_policy", verification.ExtensionPolicy.webpki_defaults_ee()),
        )
    }
    builder = verification.PolicyBuilder().store(verification.Store([anchors[-1]])).time(time)
    verifier = builder.extension_policies(**policies).build_client_verifier()
    try:
        verifier.verify(certificate, anchors[:-1])
    except (verification.VerificationError, UnsupportedGeneralNameType) as error:
        return str(error)
    return ""


def _check_purpose(certificate: Certificate, what: str) -> None:
    from cryptography import x509
    from cryptography.x509.oid import ExtendedKeyUsageOID

    try:
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
        purposes = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        fits = usage.digital_signature and ExtendedKeyUsageOID.CODE_SIGNING in purposes
    except x509.ExtensionNotFound:
        fits = False
    if not fits:
        raise Refused(
            "BM740",
            f"{what}: got a certificate for another purpose, expected digitalSignature and codeSigning",
            why="a certificate of a web server or of an authority must not sign releases",
            fix="have one issued with key usage digitalSignature and extended key usage codeSigning",
        )
