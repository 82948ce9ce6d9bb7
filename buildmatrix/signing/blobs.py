"""Any file, signed and verified with a bundle beside it."""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path

from buildmatrix.errors import SigningFailed
from buildmatrix.signing import bundle, check
from buildmatrix.signing.check import Context, Identity
from buildmatrix.signing.refused import Refused
from buildmatrix.signing.signer import Content, Signer
from buildmatrix.signing.strict import MAX_BYTES


def bundle_path(path: Path) -> Path:
    """Where the bundle of a file lies."""
    return path.with_name(path.name + bundle.SUFFIX)


def sign(path: Path, signer: Signer) -> Path:
    """Sign a file and write its bundle beside it, replacing an older one; gives the bundle's path.

    Raises SigningFailed where the file cannot be read or the bundle not written.
    """
    target = bundle_path(path)
    try:
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").digest()
    except OSError as error:
        raise SigningFailed(
            f"{path}: cannot be read", why=error.strerror or str(error), fix="name a file that you may read"
        ) from error
    data = bundle.encode(signer.message(Content(sha256=digest, source=path.absolute())))
    scratch = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        scratch.write_bytes(data)
        scratch.replace(target)
    except OSError as error:
        with contextlib.suppress(OSError):
            scratch.unlink()
        raise SigningFailed(
            f"{target}: cannot be written",
            why=error.strerror or str(error),
            fix="make the folder writable, or sign a copy of the file elsewhere",
        ) from error
    return target


def verify(path: Path, signature: Path, context: Context, *, release: bool = False) -> Identity:
    """Who signed a file, by the bundle at `signature`. Refuses as `check.message` does; BM730 without a bundle."""
    try:
        with signature.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").digest()
    except FileNotFoundError as error:
        raise Refused(
            "BM730",
            f"{error.filename}: got no such file, expected a file and its bundle",
            why="without a signature nobody vouches for the file",
            fix="fetch the bundle too, name it with --bundle, or sign the file: buildmatrix sign FILE",
        ) from error
    except OSError as error:
        raise Refused(
            "BM731", f"{error.filename}: cannot be read", why=error.strerror or "", fix="make it readable"
        ) from error
    signer = check.message(data, digest, context, signature.name)
    if release and signer.development:
        raise Refused(
            "BM750",
            f"{signature.name}: got a signature by a development key, expected a release's signer",
            why="a development key has no password, and was made without anybody's decision",
            fix="sign it with the key of signing.backend",
        )
    return signer


def describe(signer: Identity) -> str:
    """A signer in words."""
    if signer.subject:
        return f"signed by {signer.subject} ({signer.issuer})"
    return f"signed by {'the development ' if signer.development else ''}key sha256:{signer.fingerprint[:16]}"
