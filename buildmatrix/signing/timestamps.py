"""Time stamps that prove when a signature was there (RFC 3161). Needs the extra `keyless`."""

from __future__ import annotations

from datetime import datetime

from buildmatrix.errors import ToolMissing
from buildmatrix.signing import certificates
from buildmatrix.signing.policy import Authority
from buildmatrix.signing.refused import Refused

MAX_STAMPS = 8
MISSING = "pip install 'buildmatrix[keyless]'"


def check(stamps: tuple[bytes, ...], signature: bytes, authorities: tuple[Authority, ...], what: str) -> datetime:
    """The latest of the times that the stamps prove for a signature; every one of them must be good.

    Refuses BM746 otherwise. Raises ToolMissing without the library.
    """
    if len(stamps) > MAX_STAMPS:
        raise _refused(what, f"{len(stamps)} time stamps, expected at most {MAX_STAMPS}", "")
    return max(_check_one(stamp, signature, authorities, what) for stamp in stamps)


def _check_one(stamp: bytes, signature: bytes, authorities: tuple[Authority, ...], what: str) -> datetime:
    try:
        import rfc3161_client as rfc3161
    except ImportError as error:
        raise ToolMissing(f"{what}: no library for time stamps", why=str(error), fix=MISSING) from error

    try:
        response = rfc3161.decode_timestamp_response(stamp)
    except ValueError as error:
        raise _refused(what, "a time stamp that cannot be read, expected one of RFC 3161", str(error)) from error
    if response.as_bytes() != stamp:
        raise _refused(what, "a time stamp in another encoding, expected DER", "it was rewritten")
    reasons = []
    for authority in authorities:
        chain = [certificates.load(item, "trusted root") for item in authority.chain]
        builder = rfc3161.VerifierBuilder().add_root_certificate(chain[-1]).tsa_certificate(chain[0])
        for between in chain[1:-1]:
            builder = builder.add_intermediate_certificate(between)
        try:
            builder.build().verify_message(response, signature)
        except rfc3161.VerificationError as error:
            reasons.append(str(error))
            continue
        if authority.covers(response.tst_info.gen_time):
            return response.tst_info.gen_time
        reasons.append("the authority's own time is over")
    why = "; ".join(reasons) or "the trusted root names no timestamp authority"
    raise _refused(what, "a time stamp that no authority of the trusted root made for this signature", why)


def _refused(what: str, got: str, why: str) -> Refused:
    fix = "sign again, or add the authority to the trusted root that signing.trusted-root names"
    return Refused("BM746", f"{what}: got {got}", why=why, fix=fix)
