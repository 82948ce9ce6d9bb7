"""A development key: made on first use, without a password, good for this machine only and for no release.

What it signs says so in its record, and `verify --release` refuses it.
"""

from __future__ import annotations

import fcntl
from pathlib import Path

from buildmatrix.errors import SigningFailed
from buildmatrix.signing import keyfile
from buildmatrix.signing.backends import key
from buildmatrix.signing.backends.key import KeySigner

LABEL = "BUILDMATRIX DEVELOPMENT KEY"
"""The PEM label: no other tool takes it for a key of its own."""


def path_in(cache: Path) -> Path:
    """Where the key lies in buildmatrix's cache."""
    return cache / "signing" / "development.key"


def load(path: Path) -> KeySigner:
    """The signer, with a new key where there is none. Raises KeyDamaged, KeyExposed, SigningFailed."""
    if not path.is_file():
        _make(path)
    label, der = keyfile.from_pem(key.read(path), str(path))
    if label != LABEL:
        raise SigningFailed(
            f"{path}: got a PEM block {label!r}, expected {LABEL!r}",
            why="a real key must not lie where development keys are made",
            fix='move it away, and name it in signing.key with signing.backend = "key"',
        )
    return key.from_pkcs8(der, str(path), development=True)


def _make(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = path.with_suffix(".lock").open("w")
    except OSError as error:
        raise SigningFailed(
            f"{path.parent}: no development key can be made there",
            why=error.strerror or str(error),
            fix="make the folder writable, or name another in BUILDMATRIX_CACHE",
        ) from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if path.is_file():
            return  # another process was faster
        key.public_path(path).unlink(missing_ok=True)  # of a key that is gone
        pkcs8 = key.new_pkcs8()
        made = key.from_pkcs8(pkcs8, str(path))
        key.create(path, keyfile.to_pem(LABEL, pkcs8), made.public)
