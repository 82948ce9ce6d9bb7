"""Asks a time-stamp authority over HTTP (RFC 3161, section 3.4). Needs the extra `keyless`."""

from __future__ import annotations

import urllib.error
import urllib.request

from buildmatrix.errors import SigningFailed, ToolMissing
from buildmatrix.signing import timestamps

_SECONDS = 30
_MAX_BYTES = 1 << 20


def ask(address: str, signature: bytes) -> bytes:
    """The authority's answer about a signature, in DER. Raises SigningFailed, or ToolMissing without the library."""
    try:
        import rfc3161_client as rfc3161
    except ImportError as error:
        raise ToolMissing(f"{address}: no library for time stamps", why=str(error), fix=timestamps.MISSING) from error

    asked = rfc3161.TimestampRequestBuilder().data(signature).nonce(nonce=True).build()
    request = urllib.request.Request(  # noqa: S310  # the address is checked when matrix.toml is read
        address, data=asked.as_bytes(), headers={"Content-Type": "application/timestamp-query"}
    )
    try:
        with urllib.request.urlopen(request, timeout=_SECONDS) as answer:  # noqa: S310
            data: bytes = answer.read(_MAX_BYTES)
        response = rfc3161.decode_timestamp_response(data)
    except (OSError, ValueError) as error:
        raise _failed(address, str(error)) from error
    if response.status not in (0, 1) or response.tst_info.nonce != asked.nonce:
        raise _failed(address, f"got status {response.status} or another nonce than was sent")
    return response.as_bytes()


def _failed(address: str, why: str) -> SigningFailed:
    return SigningFailed(
        f"{address}: no time stamp",
        why=why,
        fix="make the authority reachable, or name another in signing.timestamp-authority",
    )
