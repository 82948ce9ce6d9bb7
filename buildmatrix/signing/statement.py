"""in-toto statements, and what DSSE signs of them. Pure.

Sources: in-toto attestation framework v1 (spec/v1/statement.md), DSSE protocol v1 (secure-systems-lab/dsse).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from buildmatrix.signing import strict
from buildmatrix.signing.refused import Refused

STATEMENT = "https://in-toto.io/Statement/v1"
CYCLONEDX = "https://cyclonedx.org/bom"
SPDX = "https://spdx.dev/Document"
SLSA = "https://slsa.dev/provenance/v1"
IMAGE = "https://sigstore.dev/cosign/sign/v1"
"""The predicate type that makes a statement a signature of an image, and not a word about it."""

_STATEMENTS = (STATEMENT, "https://in-toto.io/Statement/v0.1")
_DESCRIPTOR = {"name", "digest", "uri", "content", "downloadLocation", "mediaType", "annotations"}
"""The fields of a subject (spec/v1/resource_descriptor.md); cosign 3 writes annotations."""
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """Who it is about (name and hexadecimal SHA-256 of each subject), of what type, and what it says."""

    subjects: tuple[tuple[str, str], ...]
    predicate_type: str
    predicate: Any


def encode(statement: Statement) -> bytes:
    """The statement as the payload of an envelope, in its one form."""
    subjects = []
    for name, digest in statement.subjects:
        subjects.append({**({"name": name} if name else {}), "digest": {"sha256": digest}})
    return strict.encode(
        {
            "_type": STATEMENT,
            "subject": subjects,
            "predicateType": statement.predicate_type,
            "predicate": statement.predicate,
        }
    )


def decode(payload: bytes, what: str) -> Statement:
    """The statement in a payload; refuses (BM731 to BM733, BM744) anything else."""
    value = strict.decode(payload, what)
    required = {"_type", "subject", "predicateType"}
    if not isinstance(value, dict) or not required <= set(value) <= {*required, "predicate"}:
        raise _wrong(what, value)
    if value["_type"] not in _STATEMENTS or not isinstance(value["subject"], list) or not value["subject"]:
        raise _wrong(what, value)
    subjects = tuple(_subject(item, what) for item in value["subject"])
    return Statement(
        subjects=subjects, predicate_type=str(value["predicateType"]), predicate=value.get("predicate", {})
    )


def _subject(item: object, what: str) -> tuple[str, str]:
    if not isinstance(item, dict) or not set(item) <= _DESCRIPTOR or not isinstance(item.get("digest"), dict):
        raise _wrong(what, item)
    digest = item["digest"].get("sha256")
    if not isinstance(digest, str) or not _SHA256.fullmatch(digest):
        raise Refused(
            "BM744",
            f"{what}: got a subject with the digests {', '.join(sorted(item['digest'])) or 'none'}, expected sha256",
            why="a weaker digest lets another file pass under the same signature",
            fix="sign again; buildmatrix and cosign use SHA-256",
        )
    return str(item.get("name", "")), digest


def _wrong(what: str, value: object) -> Refused:
    got = ", ".join(sorted(map(str, value))) if isinstance(value, dict) else type(value).__name__
    return Refused(
        "BM733",
        f"{what}: got {got[:80]}, expected an in-toto statement with _type, subject, predicateType and predicate",
        why="what has other parts is not read the same way by everybody",
        fix="sign again",
    )


def pae(payload_type: str, payload: bytes) -> bytes:
    """The bytes that a DSSE signature is over (DSSE protocol, "PAE")."""
    kind = payload_type.encode("utf-8")
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)
