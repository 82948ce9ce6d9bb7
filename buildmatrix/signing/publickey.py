"""Public keys: PEM and DER to a fingerprint, and one signature checked. Pure.

The fingerprint of a key is the hexadecimal SHA-256 of its SubjectPublicKeyInfo (RFC 5280); a bundle's hint is
the same digest in base64, as cosign writes it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from buildmatrix.errors import KeyDamaged
from buildmatrix.signing import keyfile, strict
from buildmatrix.signing.refused import Refused

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

LABEL = "PUBLIC KEY"
MIN_RSA_BITS = 2048
_P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicKey:
    """A key by the DER of its SubjectPublicKeyInfo; `name` says where it comes from."""

    name: str
    der: bytes

    @property
    def fingerprint(self) -> str:
        """The hexadecimal SHA-256 of the DER."""
        return hashlib.sha256(self.der).hexdigest()

    @property
    def hint(self) -> str:
        """The SHA-256 of the DER in base64."""
        return strict.to_base64(hashlib.sha256(self.der).digest())


def from_pem(data: bytes, name: str) -> PublicKey:
    """The key in a PEM file ``PUBLIC KEY``. Raises KeyDamaged for anything else."""
    label, der = keyfile.from_pem(data, name)
    if label != LABEL:
        raise KeyDamaged(
            f"{name}: got a PEM block {label!r}, expected {LABEL!r}",
            fix="name the public half of the key: cosign.pub, or what `buildmatrix keygen` wrote with .pub at its end",
        )
    return PublicKey(name=name, der=der)


def verify(key: PublicKey, signature: bytes, sha256: bytes, what: str, *, exact: bool = False) -> None:
    """Check a signature over data with this SHA-256; `exact` refuses the second form that each ECDSA signature has.

    Refuses BM735 where it does not fit and BM744 where the key is too weak.
    """
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
    from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

    public, hashed = load(key), Prehashed(hashes.SHA256())
    try:
        if isinstance(public, ec.EllipticCurvePublicKey) and isinstance(public.curve, ec.SECP256R1):
            public.verify(signature, sha256, ec.ECDSA(hashed))
            fits = canonical(signature) == signature or not exact
        elif isinstance(public, rsa.RSAPublicKey) and public.key_size >= MIN_RSA_BITS:
            public.verify(signature, sha256, padding.PKCS1v15(), hashed)
            fits = True
        else:
            raise _weak(key, public, what)
    except (InvalidSignature, ValueError):
        fits = False
    if not fits:
        raise Refused(
            "BM735",
            f"{what}: got a signature that does not fit, expected one by the key sha256:{key.fingerprint[:16]}…",
            why="the signature or what it signs was altered after signing",
            fix="do not ship it; find out what changed, then build and sign again",
        )


def canonical(signature: bytes) -> bytes:
    """The one of the two DER forms of a P-256 signature whose second number is the smaller (BIP 62 calls it low S)."""
    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

    r, s = decode_dss_signature(signature)
    return encode_dss_signature(r, min(s, _P256_ORDER - s))


def load(key: PublicKey) -> PublicKeyTypes:
    """The key as cryptography's object. Raises KeyDamaged."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_der_public_key

    try:
        return load_der_public_key(key.der)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise KeyDamaged(f"{key.name}: no public key", why=str(error), fix="restore it from a backup") from error


def _weak(key: PublicKey, public: object, what: str) -> Refused:
    size = getattr(public, "key_size", 0)
    kind = type(public).__name__.removeprefix("_").removesuffix("PublicKey")
    return Refused(
        "BM744",
        f"{what}: got a {kind} key of {size} bits ({key.name}), expected P-256, or RSA of at least {MIN_RSA_BITS} bits",
        why="other keys are weaker, or not signed with SHA-256 by cosign",
        fix="sign with a key of `buildmatrix keygen`",
    )


def to_pem(key: PublicKey) -> bytes:
    """The key as the bytes of a PEM file."""
    return keyfile.to_pem(LABEL, key.der)
