"""A key with an X.509 certificate that names an OIDC issuer and an identity; time stamps for short-lived ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from buildmatrix.errors import KeyDamaged
from buildmatrix.signing import certificates, keyfile
from buildmatrix.signing.backends import key
from buildmatrix.signing.bundle import Material
from buildmatrix.signing.check import Identity
from buildmatrix.signing.signer import Content, Raw

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

PKCS8 = "PRIVATE KEY"

Stamp = Callable[[bytes], bytes]
"""Asks a time-stamp authority about a signature; gives its answer in DER."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateSigner:
    """Signs with the key of a certificate; `stamp` is None where none is needed."""

    private: EllipticCurvePrivateKey
    certificate: bytes
    identity: Identity
    stamp: Stamp | None

    def sign(self, content: Content) -> Raw:
        """Sign the digest, and have the signature stamped."""
        signature = key.sign_digest(self.private, content.sha256)
        stamps = (self.stamp(signature),) if self.stamp is not None else ()
        return Raw(signature=signature, material=Material(certificate=self.certificate, timestamps=stamps))


def load(certificate: Path, private: Path, password: Callable[[], bytes], stamp: Stamp | None) -> CertificateSigner:
    """The signer of a certificate in PEM and its key: cosign's format, or PKCS #8 with mode 0600.

    Raises KeyDamaged, KeyExposed, KeyParameters, WrongPassword, PasswordMissing.
    """
    try:
        data = certificate.read_bytes()
    except OSError as error:
        raise KeyDamaged(
            f"{certificate}: the certificate cannot be read",
            why=error.strerror or str(error),
            fix="name it in signing.certificate",
        ) from error
    leaf = certificates.load_pem(data, str(certificate))[0]
    found = _private(private, password)
    own = certificates.key_of(leaf, str(certificate))
    if own.der != key.public_of(found, str(private)).der:
        raise KeyDamaged(
            f"{certificate}: got the certificate of another key, expected that of {private}",
            why="a signature by this key would not fit the certificate",
            fix="name the pair that belongs together in signing.certificate and signing.key",
        )
    subject = ", ".join(certificates.identities_of(leaf))
    identity = Identity(fingerprint=own.fingerprint, issuer=certificates.issuer_of(leaf), subject=subject)
    return CertificateSigner(private=found, certificate=certificates.der(leaf), identity=identity, stamp=stamp)


def _private(path: Path, password: Callable[[], bytes]) -> EllipticCurvePrivateKey:
    data = key.read(path)
    label, der = keyfile.from_pem(data, str(path))
    if label == PKCS8:
        return key.private_key(der, str(path))
    keyfile.check(data, str(path))
    return key.private_key(keyfile.decrypt(data, password(), str(path)), str(path))
