"""cosign's encrypted private keys: PEM to PKCS #8 DER and back. Pure, but for random salts.

A PEM block holds JSON: scrypt's parameters and salt (RFC 7914), a nonce, and the PKCS #8 DER sealed with
nacl/secretbox (secure-systems-lab/go-securesystemslib, encrypted/encrypted.go).
"""

from __future__ import annotations

import binascii
import hashlib
import os
from typing import Any

from buildmatrix.errors import KeyDamaged, KeyParameters, WrongPassword
from buildmatrix.signing import strict
from buildmatrix.signing.refused import Refused

LABELS = ("ENCRYPTED SIGSTORE PRIVATE KEY", "ENCRYPTED COSIGN PRIVATE KEY")
"""The PEM labels that are read; the first is the one that is written."""

MAX_BYTES = 64 << 10
COSTS = (1 << 15, 1 << 16, 1 << 17)
"""scrypt's N: another one is refused before any memory is spent on it."""

_BLOCK, _PARALLEL, _SALT, _NONCE = 8, 1, 32, 24


def to_pem(label: str, data: bytes) -> bytes:
    """One PEM block with 64 characters a line (RFC 7468)."""
    text = strict.to_base64(data)
    lines = "\n".join(text[start : start + 64] for start in range(0, len(text), 64))
    return f"-----BEGIN {label}-----\n{lines}\n-----END {label}-----\n".encode("ascii")


def from_pem(data: bytes, what: str) -> tuple[str, bytes]:
    """Label and content of the only PEM block in a file. Raises KeyDamaged for anything else."""
    lines = [line.strip() for line in data[: MAX_BYTES + 1].decode("ascii", "replace").strip().splitlines()]
    first, last = (lines[0], lines[-1]) if lines else ("", "")
    label = first.removeprefix("-----BEGIN ").removesuffix("-----")
    if len(data) > MAX_BYTES or first != f"-----BEGIN {label}-----" or last != f"-----END {label}-----":
        raise KeyDamaged(
            f"{what}: got {first[:40]!r}, expected one PEM block",
            why="it is no key, or was cut short",
            fix="name a key made by `buildmatrix keygen` or `cosign generate-key-pair`",
        )
    try:
        return label, binascii.a2b_base64("".join(lines[1:-1]), strict_mode=True)
    except binascii.Error as error:
        raise KeyDamaged(f"{what}: the PEM block is damaged", why=str(error), fix="restore it from a backup") from error


def encrypt(pkcs8: bytes, password: bytes, cost: int = COSTS[1]) -> bytes:
    """A private key as the bytes of an encrypted key file."""
    from nacl.secret import SecretBox

    salt, nonce = os.urandom(_SALT), os.urandom(_NONCE)
    sealed = SecretBox(_derive(password, salt, cost)).encrypt(pkcs8, nonce).ciphertext
    parameters = {"N": cost, "r": _BLOCK, "p": _PARALLEL}
    document = {
        "kdf": {"name": "scrypt", "params": parameters, "salt": strict.to_base64(salt)},
        "cipher": {"name": "nacl/secretbox", "nonce": strict.to_base64(nonce)},
        "ciphertext": strict.to_base64(sealed),
    }
    return to_pem(LABELS[0], strict.encode(document))


def check(data: bytes, what: str) -> None:
    """Raise KeyDamaged or KeyParameters for a file that no password would open."""
    _parameters(data, what)


def decrypt(data: bytes, password: bytes, what: str) -> bytes:
    """The PKCS #8 DER in an encrypted key file.

    Raises KeyDamaged, KeyParameters for a cost that nobody uses, WrongPassword where the box does not open.
    """
    from nacl.exceptions import CryptoError
    from nacl.secret import SecretBox

    salt, nonce, cost, sealed = _parameters(data, what)
    try:
        return SecretBox(_derive(password, salt, cost)).decrypt(sealed, nonce)
    except CryptoError as error:
        raise WrongPassword(
            f"{what}: the password does not open this key",
            why="got a password for another key, or the key file was altered",
            fix="give the password that the key was made with in BUILDMATRIX_PASSWORD or COSIGN_PASSWORD",
        ) from error


def _parameters(data: bytes, what: str) -> tuple[bytes, bytes, int, bytes]:
    label, content = from_pem(data, what)
    if label not in LABELS:
        raise KeyDamaged(
            f"{what}: got a PEM block {label!r}, expected {LABELS[0]!r}",
            why="only encrypted keys sign",
            fix="import it: cosign import-key-pair --key FILE",
        )
    try:
        document = strict.decode(content, what)
        kdf, cipher = document["kdf"], document["cipher"]
        _check_costs(kdf["params"], what)
        names = (kdf["name"], cipher["name"])
        salt = strict.from_base64(kdf["salt"], what)
        nonce = strict.from_base64(cipher["nonce"], what)
        sealed = strict.from_base64(document["ciphertext"], what)
    except (Refused, KeyError, TypeError) as error:
        raise _damaged(what, str(error)) from error
    if names != ("scrypt", "nacl/secretbox") or len(nonce) != _NONCE or not 8 <= len(salt) <= 64:
        raise _damaged(what, f"got {names[0]} and {names[1]}, expected scrypt and nacl/secretbox")
    return salt, nonce, kdf["params"]["N"], sealed


def _damaged(what: str, why: str) -> KeyDamaged:
    return KeyDamaged(f"{what}: no encrypted private key", why=why, fix="restore the key file from a backup")


def _check_costs(parameters: Any, what: str) -> None:
    got = {name: parameters.get(name) for name in ("N", "r", "p")} if isinstance(parameters, dict) else {}
    fair = type(got.get("N")) is int and got["N"] in COSTS
    if not fair or (got["r"], got["p"]) != (_BLOCK, _PARALLEL) or len(parameters) != len(got):
        shown = ", ".join(f"{name}={str(value)[:24]}" for name, value in got.items()) or "none"
        raise KeyParameters(
            f"{what}: got scrypt with {shown}, expected N of {', '.join(map(str, COSTS))}, r={_BLOCK}, p={_PARALLEL}",
            why="another cost is a trap: a large one exhausts memory, a small one gives the password away",
            fix="restore the key file from a backup, or make a new key with `buildmatrix keygen`",
        )


def _derive(password: bytes, salt: bytes, cost: int) -> bytes:
    memory = 128 * cost * _BLOCK * 2
    return hashlib.scrypt(password, salt=salt, n=cost, r=_BLOCK, p=_PARALLEL, maxmem=memory, dklen=32)
