"""Sigstore bundles, version 0.3: bytes to values and back. Pure.

Format: sigstore/protobuf-specs, protos/sigstore_bundle.proto and sigstore_common.proto in the JSON mapping
of protobuf, narrowed: exactly one signature, one certificate or one key hint, no field that is not listed here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from buildmatrix.signing import strict
from buildmatrix.signing.refused import Refused

MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
SUFFIX = ".sigstore.json"
"""What is appended to a file's name for the name of its bundle."""

IN_TOTO = "application/vnd.in-toto+json"
_DIGEST = "SHA2_256"


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """What a signature is verified with: a key's hint or a certificate (DER), time stamps (DER), log entries (JSON)."""

    hint: str = ""
    certificate: bytes = b""
    timestamps: tuple[bytes, ...] = ()
    entries: tuple[Any, ...] = field(default=())


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A signature over a file: the file's SHA-256 (32 bytes) and the signature (DER for ECDSA)."""

    sha256: bytes
    signature: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """A DSSE envelope with one signature: payload type, payload, signature over their encoding."""

    payload_type: str
    payload: bytes
    signature: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """One signature with what is needed to verify it."""

    material: Material
    content: Message | Envelope


def encode(bundle: Bundle) -> bytes:
    """The bundle in the one form in which bundles are written here."""
    return strict.encode(_plain(bundle))


def _plain(bundle: Bundle) -> dict[str, Any]:
    material: dict[str, Any] = {"tlogEntries": list(bundle.material.entries)}
    if bundle.material.certificate:
        material["certificate"] = {"rawBytes": strict.to_base64(bundle.material.certificate)}
    else:
        material["publicKey"] = {"hint": bundle.material.hint}
    if bundle.material.timestamps:
        stamps = [{"signedTimestamp": strict.to_base64(item)} for item in bundle.material.timestamps]
        material["timestampVerificationData"] = {"rfc3161Timestamps": stamps}
    content = bundle.content
    value = {"mediaType": MEDIA_TYPE, "verificationMaterial": material}
    if isinstance(content, Message):
        digest = {"algorithm": _DIGEST, "digest": strict.to_base64(content.sha256)}
        signature = strict.to_base64(content.signature)
        return value | {"messageSignature": {"messageDigest": digest, "signature": signature}}
    envelope = {
        "payload": strict.to_base64(content.payload),
        "payloadType": content.payload_type,
        "signatures": [{"sig": strict.to_base64(content.signature)}],
    }
    return value | {"dsseEnvelope": envelope}


def decode(data: bytes, what: str, *, exact: bool = False) -> Bundle:
    """The bundle in JSON bytes; `exact` demands the form that `encode` writes, byte for byte.

    Refuses (BM731 to BM733, BM744) what is no such bundle; `what` names it.
    """
    reader = _Reader(what)
    top = reader.fields(
        strict.decode(data, what), "", {"mediaType", "verificationMaterial"}, {"messageSignature", "dsseEnvelope"}
    )
    if top["mediaType"] != MEDIA_TYPE:
        raise reader.wrong("mediaType", top["mediaType"], MEDIA_TYPE)
    if ("messageSignature" in top) == ("dsseEnvelope" in top):
        raise reader.wrong("", "both or neither", "one of messageSignature and dsseEnvelope")
    content = reader.message(top["messageSignature"]) if "messageSignature" in top else reader.envelope(top)
    bundle = Bundle(material=reader.material(top["verificationMaterial"]), content=content)
    if exact and encode(bundle) != data:
        raise Refused(
            "BM733",
            f"{what}: got other bytes than this bundle is written with, expected exactly those",
            why="it was rewritten after it was signed: spaces, the order of keys or an empty field differ",
            fix="sign again",
        )
    return bundle


def decode_envelope(data: bytes, what: str) -> Envelope:
    """A DSSE envelope alone, as the older form of image attestations has it."""
    return _Reader(what).envelope({"dsseEnvelope": strict.decode(data, what)})


class _Reader:
    """Takes values out of decoded JSON and names what is wrong."""

    def __init__(self, what: str) -> None:
        self.what = what

    def wrong(self, path: str, got: object, expected: str) -> Refused:
        where = f"{self.what}: {path}" if path else self.what
        return Refused(
            "BM733",
            f"{where}: got {str(got)[:80]}, expected {expected}",
            why=f"it is no bundle of the form {MEDIA_TYPE}, or has parts that nothing here checks",
            fix="sign again with buildmatrix, or with cosign and --new-bundle-format",
        )

    def fields(
        self, value: object, path: str, required: set[str], optional: set[str] | frozenset[str] = frozenset()
    ) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise self.wrong(path, type(value).__name__, "an object")
        for name in required - set(value):
            raise self.wrong(f"{path}.{name}".lstrip("."), "nothing", "a value")
        for name in set(value) - required - optional:
            raise self.wrong(f"{path}.{name}".lstrip("."), "an unknown field", f"only {sorted(required | optional)}")
        return value

    def decoded(self, value: object, path: str) -> bytes:
        return strict.from_base64(value, f"{self.what}: {path}")

    def one(self, value: object, path: str) -> object:
        if not isinstance(value, list) or len(value) != 1:
            raise self.wrong(path, f"{len(value)} of them" if isinstance(value, list) else type(value).__name__, "one")
        return value[0]

    def message(self, value: object) -> Message:
        found = self.fields(value, "messageSignature", {"messageDigest", "signature"})
        digest = self.fields(found["messageDigest"], "messageSignature.messageDigest", {"algorithm", "digest"})
        sha256 = self.decoded(digest["digest"], "messageSignature.messageDigest.digest")
        if digest["algorithm"] != _DIGEST or len(sha256) != 32:
            raise Refused(
                "BM744",
                f"{self.what}: got a digest {digest['algorithm']} of {8 * len(sha256)} bits, expected {_DIGEST}",
                why="a weaker digest lets another file pass under the same signature",
                fix="sign again; buildmatrix and cosign use SHA-256",
            )
        return Message(sha256=sha256, signature=self.decoded(found["signature"], "messageSignature.signature"))

    def envelope(self, top: dict[str, Any]) -> Envelope:
        found = self.fields(top["dsseEnvelope"], "dsseEnvelope", {"payload", "payloadType", "signatures"})
        only = self.one(found["signatures"], "dsseEnvelope.signatures")
        signature = self.fields(only, "dsseEnvelope.signatures[0]", {"sig"}, {"keyid"})
        if signature.get("keyid", "") != "":
            raise self.wrong("dsseEnvelope.signatures[0].keyid", signature["keyid"], "none")
        if found["payloadType"] != IN_TOTO:
            raise self.wrong("dsseEnvelope.payloadType", found["payloadType"], IN_TOTO)
        return Envelope(
            payload_type=IN_TOTO,
            payload=self.decoded(found["payload"], "dsseEnvelope.payload"),
            signature=self.decoded(signature["sig"], "dsseEnvelope.signatures[0].sig"),
        )

    def material(self, value: object) -> Material:
        path = "verificationMaterial"
        optional = {"publicKey", "certificate", "timestampVerificationData", "tlogEntries"}
        found = self.fields(value, path, set(), optional)
        if ("publicKey" in found) == ("certificate" in found):
            raise self.wrong(path, "both or neither", "one of publicKey and certificate")
        hint, certificate = "", b""
        if "publicKey" in found:
            hint = str(self.fields(found["publicKey"], f"{path}.publicKey", set(), {"hint"}).get("hint", ""))
        else:
            only = self.fields(found["certificate"], f"{path}.certificate", {"rawBytes"})
            certificate = self.decoded(only["rawBytes"], f"{path}.certificate.rawBytes")
        entries = found.get("tlogEntries", [])
        if not isinstance(entries, list):
            raise self.wrong(f"{path}.tlogEntries", type(entries).__name__, "a list")
        stamps = self.timestamps(found.get("timestampVerificationData", {}), f"{path}.timestampVerificationData")
        return Material(hint=hint, certificate=certificate, timestamps=stamps, entries=tuple(entries))

    def timestamps(self, value: object, path: str) -> tuple[bytes, ...]:
        listed = self.fields(value, path, set(), {"rfc3161Timestamps"}).get("rfc3161Timestamps", [])
        if not isinstance(listed, list):
            raise self.wrong(path, type(listed).__name__, "a list")
        each = [self.fields(item, f"{path}[{index}]", {"signedTimestamp"}) for index, item in enumerate(listed)]
        return tuple(self.decoded(item["signedTimestamp"], f"{path}.signedTimestamp") for item in each)
