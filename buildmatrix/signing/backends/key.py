"""A private key in a file of cosign's format, opened with a password."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from buildmatrix.errors import KeyDamaged, KeyExists, KeyExposed, SigningFailed
from buildmatrix.signing import keyfile, publickey
from buildmatrix.signing.bundle import Material
from buildmatrix.signing.check import Identity
from buildmatrix.signing.publickey import PublicKey
from buildmatrix.signing.signer import Content, Raw

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

_PRIVATE_MODE = 0o600


@dataclass(frozen=True, slots=True, kw_only=True)
class KeySigner:
    """Signs with a P-256 key in memory, deterministically (RFC 6979): the same content gives the same bytes."""

    private: EllipticCurvePrivateKey
    public: PublicKey
    material: Material
    identity: Identity

    def sign(self, content: Content) -> Raw:
        """Sign the digest of the content."""
        return Raw(signature=sign_digest(self.private, content.sha256), material=self.material)


def sign_digest(private: EllipticCurvePrivateKey, sha256: bytes) -> bytes:
    """The signature in its one canonical DER form."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

    algorithm = ec.ECDSA(Prehashed(hashes.SHA256()), deterministic_signing=True)
    return publickey.canonical(private.sign(sha256, algorithm))


def read(path: Path) -> bytes:
    """The bytes of a private key file. Raises KeyExposed where others may read or change it, KeyDamaged."""
    try:
        with path.open("rb") as stream:
            facts = os.fstat(stream.fileno())
            data = stream.read(keyfile.MAX_BYTES + 1)
    except OSError as error:
        raise KeyDamaged(
            f"{path}: the private key cannot be read",
            why=error.strerror or str(error),
            fix="name it in signing.key, or make one: buildmatrix keygen",
        ) from error
    mode = stat.S_IMODE(facts.st_mode)
    if mode & 0o077 or facts.st_uid not in (os.geteuid(), 0):
        raise KeyExposed(
            f"{path}: got mode {mode:04o} and owner {facts.st_uid}, expected 0600 and yourself",
            why="whoever can read the file can guess at its password at leisure, whoever can write it can replace it",
            fix=f"chmod 600 {path}; and if others have had access, make a new key and revoke this one",
        )
    return data


def load(path: Path, password: Callable[[], bytes]) -> KeySigner:
    """The signer of a key file. Raises KeyDamaged, KeyExposed, KeyParameters, WrongPassword, PasswordMissing."""
    data = read(path)
    keyfile.check(data, str(path))  # before anybody is asked for a password
    return from_pkcs8(keyfile.decrypt(data, password(), str(path)), str(path))


def from_pkcs8(der: bytes, name: str, *, development: bool = False) -> KeySigner:
    """The signer of a key in PKCS #8 DER. Raises KeyDamaged where it is no P-256 key."""
    private = private_key(der, name)
    public = public_of(private, name)
    identity = Identity(fingerprint=public.fingerprint, development=development)
    return KeySigner(private=private, public=public, material=Material(hint=public.hint), identity=identity)


def private_key(der: bytes, name: str) -> EllipticCurvePrivateKey:
    """A P-256 private key in PKCS #8 DER. Raises KeyDamaged."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_der_private_key

    try:
        found = load_der_private_key(der, None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise KeyDamaged(f"{name}: no private key", why=str(error), fix="restore it from a backup") from error
    if not isinstance(found, ec.EllipticCurvePrivateKey) or not isinstance(found.curve, ec.SECP256R1):
        raise KeyDamaged(
            f"{name}: got a {type(found).__name__.removesuffix('PrivateKey')} key, expected ECDSA P-256",
            why="cosign and registries expect that kind",
            fix="make one: buildmatrix keygen",
        )
    return found


def public_of(private: EllipticCurvePrivateKey, name: str) -> PublicKey:
    """The public half of a private key."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    der = private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return PublicKey(name=name, der=der)


def new_pkcs8() -> bytes:
    """A new P-256 key as PKCS #8 DER."""
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    made = ec.generate_private_key(ec.SECP256R1())
    return made.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def public_path(path: Path) -> Path:
    """Where the public half of the key at `path` lies: the suffix ``.key`` becomes ``.pub``."""
    return path.with_suffix(".pub") if path.suffix == ".key" else path.with_name(f"{path.name}.pub")


def refuse_existing(path: Path) -> Path:
    """The path of the public half. Raises KeyExists where there is a key already, before anybody is asked anything."""
    pub = public_path(path)
    for place in (path, pub):
        if place.exists() or place.is_symlink():
            raise KeyExists(
                f"{place}: there is a key already, and it stays",
                why="whoever trusts the old key would reject everything that a new one signs",
                fix="name another file with --output, or move the old pair away yourself",
            )
    return pub


def create(path: Path, data: bytes, public: PublicKey) -> Path:
    """Write a new private key (mode 0600) and its public half; gives the public half's path.

    Raises KeyExists where either is there, SigningFailed where the folder cannot be written; nothing is left then.
    """
    pub = refuse_existing(path)
    made: list[Path] = []
    try:
        for place, content, mode in (
            (path, data, _PRIVATE_MODE),
            (pub, publickey.to_pem(public), 0o644),
        ):
            _write_new(place, content, mode)
            made.append(place)
    except OSError as error:
        for place in made:
            place.unlink(missing_ok=True)
        raise SigningFailed(
            f"{path}: the key cannot be written", why=error.strerror or str(error), fix="name a folder you may write to"
        ) from error
    return pub


def _write_new(path: Path, data: bytes, mode: int) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(handle, "wb") as stream:
            os.fchmod(stream.fileno(), mode)
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
    except BaseException:
        path.unlink(missing_ok=True)
        raise
