"""Short-lived certificates for an OIDC identity, from configured Fulcio and Rekor. Needs the extra `keyless`.

The protocol is sigstore's own library's. Nothing here knows of a public service: all addresses are configured.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from buildmatrix.errors import SigningFailed, ToolMissing
from buildmatrix.signing import bundle, certificates, timestamps
from buildmatrix.signing.bundle import Bundle
from buildmatrix.signing.check import Identity
from buildmatrix.signing.policy import TrustedRoot
from buildmatrix.signing.signer import Content, RawSigner

if TYPE_CHECKING:
    from sigstore.models import Bundle as SigstoreBundle
    from sigstore.oidc import IdentityToken
    from sigstore.sign import Signer

TOKEN = "SIGSTORE_ID_TOKEN"  # noqa: S105  # a variable's name
"""The environment variable that holds an OIDC token; else the ambient identity of a CI system is asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """Where to ask. `rekor_version` is 1, or 2 for rekor-tiles, which needs a time-stamp authority."""

    fulcio: str
    rekor: str
    rekor_version: int
    oidc: str
    timestamp_authority: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KeylessSigner:
    """Signs through sigstore's Signer with one certificate for all signatures of a run."""

    inner: Signer
    identity: Identity

    @property
    def raw(self) -> RawSigner | None:
        """None: every signature has its log entry, which only bundles carry."""
        return None

    def message(self, content: Content) -> Bundle:
        """A signature of a file."""
        from sigstore.hashes import Hashed
        from sigstore_models.common.v1 import HashAlgorithm

        hashed = Hashed(digest=content.sha256, algorithm=HashAlgorithm.SHA2_256)
        return _own(_asked(lambda: self.inner.sign_artifact(hashed)))

    def attest(self, payload: bytes) -> Bundle:
        """An envelope around an in-toto statement."""
        from sigstore.dsse import Statement

        return _own(_asked(lambda: self.inner.sign_dsse(Statement(payload))))


def _own(made: SigstoreBundle) -> Bundle:
    return bundle.decode(made.to_json().encode(), "sigstore's bundle")


def _asked(ask: Callable[[], SigstoreBundle]) -> SigstoreBundle:
    """Call sigstore's library. Raises SigningFailed in the place of whatever it and its HTTP client raise."""
    try:
        return ask()
    except Exception as error:  # the library documents no closed set
        raise SigningFailed(
            "keyless: the services did not sign",
            why=f"{type(error).__name__}: {error}",
            fix="see whether signing.fulcio, signing.rekor and signing.timestamp-authority answer, and sign again",
        ) from error


def load(services: Services, root: TrustedRoot, environment: Mapping[str, str]) -> KeylessSigner:
    """A signer with a fresh certificate. Raises ToolMissing without the library, SigningFailed without an identity."""
    try:
        from sigstore.models import ClientTrustConfig
        from sigstore.sign import Signer, SigningContext
    except ImportError as error:
        raise ToolMissing("keyless: sigstore's library is missing", why=str(error), fix=timestamps.MISSING) from error

    try:
        config = ClientTrustConfig.from_json(json.dumps(_trust_config(services, root)))
        inner = Signer(_token(services, environment), SigningContext.from_trust_config(config))
        leaf = inner._signing_cert()  # the library has no public way to say who it signs as
    except SigningFailed:
        raise
    except Exception as error:  # the library documents no closed set
        raise SigningFailed(
            "keyless: no certificate for this identity",
            why=f"{type(error).__name__}: {error}",
            fix="see whether signing.fulcio accepts the token's issuer, and whether the token is fresh",
        ) from error
    identity = Identity(
        fingerprint=certificates.key_of(leaf, services.fulcio).fingerprint,
        issuer=certificates.issuer_of(leaf),
        subject=", ".join(certificates.identities_of(leaf)),
    )
    return KeylessSigner(inner=inner, identity=identity)


def _trust_config(services: Services, root: TrustedRoot) -> dict[str, Any]:
    """A sigstore client trust config (protos/sigstore_trustroot.proto) of our addresses."""

    def service(address: str, version: int) -> list[dict[str, Any]]:
        always = {"start": "1970-01-01T00:00:00Z"}
        entry = {"url": address, "majorApiVersion": version, "validFor": always, "operator": address}
        return [entry] if address else []

    signing = {
        "mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json",
        "caUrls": service(services.fulcio, 1),
        "oidcUrls": service(services.oidc, 1),
        "rekorTlogUrls": service(services.rekor, services.rekor_version),
        "tsaUrls": service(services.timestamp_authority, 1),
        "rekorTlogConfig": {"selector": "ANY"},
        "tsaConfig": {"selector": "ANY"},
    }
    return {
        "mediaType": "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json",
        "trustedRoot": json.loads(root.document),
        "signingConfig": signing,
    }


def _token(services: Services, environment: Mapping[str, str]) -> IdentityToken:
    from sigstore.oidc import IdentityToken, Issuer, detect_credential

    if text := environment.get(TOKEN) or detect_credential():
        return IdentityToken(text)
    if services.oidc and sys.stdin.isatty():
        return Issuer(services.oidc).identity_token()
    raise SigningFailed(
        "keyless: nobody says who is signing",
        why=f"got no {TOKEN}, no identity from a CI system and no terminal to log in at, expected one of them",
        fix=f"set {TOKEN} to an OIDC token, or give the CI job the right to ask for one (permissions: id-token: write)",
    )
