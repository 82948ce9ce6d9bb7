"""Transparency log entries, checked by sigstore's own library. Needs the extra `keyless`; calls nobody."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from buildmatrix.errors import ToolMissing
from buildmatrix.signing import bundle, timestamps
from buildmatrix.signing.bundle import Bundle, Message
from buildmatrix.signing.policy import TrustedRoot
from buildmatrix.signing.refused import Refused

if TYPE_CHECKING:
    from cryptography.x509 import Certificate


class _Anybody:
    """A sigstore policy without a say of its own: `certificates.check_identity` decides after it."""

    def verify(self, cert: Certificate) -> None:
        """Accept; called by sigstore's Verifier."""


def check(found: Bundle, sha256: bytes, root: TrustedRoot, what: str) -> datetime | None:
    """Check the log entry of a bundle whose signature is over data with this SHA-256.

    Gives the time that the log vouches for, or None where it vouches for none (Rekor v2 does not). Refuses BM751.
    """
    if len(found.material.entries) != 1:
        raise _refused(what, f"{len(found.material.entries)} log entries, expected one", "")
    try:
        from sigstore.errors import Error
        from sigstore.hashes import Hashed
        from sigstore.models import Bundle as SigstoreBundle
        from sigstore.models import TrustedRoot as SigstoreRoot
        from sigstore.verify import Verifier
        from sigstore_models.common.v1 import HashAlgorithm
        from sigstore_models.trustroot.v1 import TrustedRoot as RootModel
    except ImportError as error:
        raise ToolMissing(
            f"{what}: no library for transparency logs", why=str(error), fix=timestamps.MISSING
        ) from error

    try:
        same = SigstoreBundle.from_json(bundle.encode(found))
        verifier = Verifier(trusted_root=SigstoreRoot(RootModel.from_json(root.document)))
        if isinstance(found.content, Message):
            verifier.verify_artifact(Hashed(digest=sha256, algorithm=HashAlgorithm.SHA2_256), same, _Anybody())
        else:
            verifier.verify_dsse(same, _Anybody())
    except (Error, ValueError) as error:
        raise _refused(
            what, "a log entry that proves nothing, expected one of a log of the trusted root", str(error)
        ) from error
    entry = found.material.entries[0]
    promised = isinstance(entry, dict) and entry.get("inclusionPromise") and entry.get("integratedTime")
    return datetime.fromtimestamp(int(entry["integratedTime"]), tz=UTC) if promised else None


def _refused(what: str, got: str, why: str) -> Refused:
    return Refused(
        "BM751",
        f"{what}: got {got}",
        why=why or "without its entry nobody could notice a stolen identity",
        fix="sign again with signing.rekor set, or add the log to the file that signing.trusted-root names",
    )
