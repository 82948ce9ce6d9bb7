"""Whom to believe: keys, revoked keys, and identities under a trusted root. Types and their reading from bytes."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from buildmatrix.errors import KeyDamaged
from buildmatrix.signing import strict
from buildmatrix.signing.publickey import PublicKey
from buildmatrix.signing.refused import Refused

_ROOTS = (
    "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
    "application/vnd.dev.sigstore.trustedroot.v0.2+json",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """A certificate authority: its chain (DER, the issuing certificate first), and when what it issued counts."""

    chain: tuple[bytes, ...]
    start: datetime | None
    end: datetime | None

    def covers(self, time: datetime) -> bool:
        """Whether a time lies in the authority's own validity."""
        return (self.start is None or self.start <= time) and (self.end is None or time <= self.end)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustedRoot:
    """A sigstore trusted_root.json (protos/sigstore_trustroot.proto): who issues certificates and time stamps.

    `document` is the file itself, for the logs in it.
    """

    authorities: tuple[Authority, ...]
    timestamps: tuple[Authority, ...]
    document: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What a good signature is.

    `keys` are trusted; `revoked` are fingerprints (hexadecimal SHA-256) that are not, whatever else says so.
    A certificate must come from `root`, its OIDC issuer match `issuer` and its identity one of `identities`
    (patterns of `patterns.py`); `log` demands a transparency log entry with it. `development` is the fingerprint of
    a development key that is accepted, or empty.
    """

    keys: tuple[PublicKey, ...] = ()
    revoked: frozenset[str] = field(default=frozenset())
    root: TrustedRoot | None = None
    issuer: str = ""
    identities: tuple[str, ...] = ()
    log: bool = False
    development: str = ""


def read_root(data: bytes, name: str) -> TrustedRoot:
    """The trusted root in a file's bytes. Raises KeyDamaged."""
    try:
        document = strict.decode(data, name)
        if document["mediaType"] not in _ROOTS:
            raise ValueError(f"got mediaType {document['mediaType']!r}, expected {_ROOTS[0]!r}")
        authorities = tuple(_authority(item) for item in document.get("certificateAuthorities", ()))
        stamps = tuple(_authority(item) for item in document.get("timestampAuthorities", ()))
    except (Refused, KeyError, TypeError, ValueError, AttributeError) as error:
        raise KeyDamaged(
            f"{name}: no sigstore trusted root",
            why=f"{type(error).__name__}: {error}",
            fix="take it from who runs the certificate authority, or make one with `cosign trusted-root create`",
        ) from error
    return TrustedRoot(authorities=authorities, timestamps=stamps, document=data)


def _authority(item: Any) -> Authority:
    chain = tuple(
        strict.from_base64(one["rawBytes"], "certChain.certificates.rawBytes")
        for one in item["certChain"]["certificates"]
    )
    if not chain:
        raise ValueError("got an authority without certificates, expected at least one")
    valid = item.get("validFor", {})
    return Authority(chain=chain, start=_time(valid.get("start")), end=_time(valid.get("end")))


def _time(text: object) -> datetime | None:
    if text is None:
        return None
    time = datetime.fromisoformat(str(text))
    if time.tzinfo is None:
        raise ValueError(f"got the time {text!r}, expected one with a zone (RFC 3339)")
    return time
