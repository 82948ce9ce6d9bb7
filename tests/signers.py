"""Keys, certificates and trusted roots for tests, made on the spot."""

from __future__ import annotations

import datetime
import json
from dataclasses import dataclass
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from buildmatrix.signing import certificates, keyfile, policy, strict
from buildmatrix.signing.backends import key
from buildmatrix.signing.backends.certificate import CertificateSigner
from buildmatrix.signing.backends.key import KeySigner
from buildmatrix.signing.check import Context, Identity
from buildmatrix.signing.policy import Policy, TrustedRoot
from buildmatrix.signing.signer import Bundler

NOW = datetime.datetime(2026, 6, 1, 12, tzinfo=datetime.UTC)
DAY = datetime.timedelta(days=1)
ISSUER = "https://login.example.org"
SUBJECT = "https://ci.example.org/team/project/release"


def signer(name: str = "release") -> KeySigner:
    """A key of that name, the same in one run of the tests."""
    return _signer(name)


@cache
def _signer(name: str) -> KeySigner:
    return key.from_pkcs8(key.new_pkcs8(), name)


def bundler(name: str = "release") -> Bundler:
    return Bundler(signer(name))


def context(*names: str, exact: bool = False, revoked: tuple[str, ...] = ()) -> Context:
    """A policy that trusts the keys of these names."""
    keys = tuple(signer(name).public for name in names or ("release",))
    return Context(
        policy=Policy(keys=keys, revoked=frozenset(signer(name).public.fingerprint for name in revoked)),
        now=NOW,
        exact=exact,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """A certificate authority of one certificate."""

    private: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    def document(self, **more: object) -> bytes:
        """A trusted_root.json that names it."""
        der = certificates.der(self.certificate)
        entry = {"certChain": {"certificates": [{"rawBytes": strict.to_base64(der)}]},
                 "validFor": {"start": "2020-01-01T00:00:00Z"}}  # fmt: skip
        kind = "application/vnd.dev.sigstore.trustedroot+json;version=0.1"
        return json.dumps({"mediaType": kind, "certificateAuthorities": [entry], **more}).encode()

    def root(self) -> TrustedRoot:
        return policy.read_root(self.document(), "trusted_root.json")

    def context(self, issuer: str = ISSUER, subjects: tuple[str, ...] = (SUBJECT,)) -> Context:
        """A policy that believes it about one identity."""
        return Context(policy=Policy(root=self.root(), issuer=issuer, identities=subjects), now=NOW)


def authority(name: str = "Test CA") -> Authority:
    """An authority of that name, the same in one run of the tests."""
    return _authority(name)


@cache
def _authority(name: str) -> Authority:
    private = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - 1000 * DAY)
        .not_valid_after(NOW + 1000 * DAY)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(usage(sign=False), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(private.public_key()), critical=False)
    )
    return Authority(private=private, certificate=builder.sign(private, hashes.SHA256()))


def usage(*, sign: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=sign, content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, key_cert_sign=not sign, crl_sign=not sign, encipher_only=False, decipher_only=False,
    )  # fmt: skip


def leaf(
    issued_by: Authority,
    private: ec.EllipticCurvePrivateKey,
    *,
    start: datetime.datetime = NOW - DAY,
    end: datetime.datetime = NOW + DAY,
    issuer: str = ISSUER,
    subjects: tuple[str, ...] = (SUBJECT,),
    purpose: x509.ObjectIdentifier = ExtendedKeyUsageOID.CODE_SIGNING,
) -> x509.Certificate:
    """A certificate as Fulcio issues them."""
    text = issuer.encode()
    oid = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.8")
    names = [x509.UniformResourceIdentifier(name) for name in subjects]
    key_id = issued_by.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(issued_by.certificate.subject)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
        .add_extension(usage(sign=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(key_id), critical=False)
        .add_extension(x509.UnrecognizedExtension(oid, bytes([0x0C, len(text)]) + text), critical=False)
        .sign(issued_by.private, hashes.SHA256())
    )


def certified(certificate: x509.Certificate, private: ec.EllipticCurvePrivateKey) -> Bundler:
    """A signer with a certificate."""
    identity = Identity(
        fingerprint=certificates.key_of(certificate, "leaf").fingerprint,
        issuer=certificates.issuer_of(certificate),
        subject=", ".join(certificates.identities_of(certificate)),
    )
    return Bundler(
        CertificateSigner(private=private, certificate=certificates.der(certificate), identity=identity, stamp=None)
    )


def pkcs8_pem(private: ec.EllipticCurvePrivateKey) -> bytes:
    return keyfile.to_pem("PRIVATE KEY", private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()))
