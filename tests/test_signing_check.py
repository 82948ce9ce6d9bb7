"""One bundle against a policy: every way of getting another thing accepted is refused, each with its own code."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given, settings
from hypothesis import strategies as st

from buildmatrix.signing import bundle, check, publickey, statement, strict
from buildmatrix.signing.bundle import Bundle, Material, Message
from buildmatrix.signing.check import Context
from buildmatrix.signing.policy import Policy
from buildmatrix.signing.publickey import PublicKey
from buildmatrix.signing.refused import CODES, Refused
from buildmatrix.signing.signer import Content
from buildmatrix.signing.statement import Statement
from tests import signers

FILE = b"a program\n" * 100
DIGEST = hashlib.sha256(FILE).digest()
OTHER = hashlib.sha256(b"another program").digest()
SBOM = {"bomFormat": "CycloneDX", "components": [{"name": "a"}]}


def signature(name: str = "release") -> bytes:
    return bundle.encode(signers.bundler(name).message(Content.of(FILE)))


def payload(digest: bytes = DIGEST, kind: str = statement.CYCLONEDX, predicate: object = SBOM) -> bytes:
    said = Statement(subjects=(("program", digest.hex()),), predicate_type=kind, predicate=predicate)
    return statement.encode(said)


def attestation(data: bytes | None = None, name: str = "release") -> bytes:
    return bundle.encode(signers.bundler(name).attest(payload() if data is None else data))


def refused(rule: str, call: Callable[[], object]) -> Refused:
    with pytest.raises(Refused) as caught:
        call()
    problem = caught.value
    assert problem.rule == rule, str(problem)
    assert rule in CODES
    assert problem.fix
    return problem


def edited(data: bytes, change: Callable[[Any], object]) -> bytes:
    value = json.loads(data)
    change(value)
    return strict.encode(value)


def test_a_signature_says_who_signed() -> None:
    who = check.message(signature(), DIGEST, signers.context(exact=True), "program")
    assert who.fingerprint == signers.signer().public.fingerprint
    assert (who.issuer, who.subject, who.development) == ("", "", False)


def test_an_attestation_says_who_attested_what() -> None:
    context = signers.context(exact=True)
    who, said = check.attestation(attestation(), context, "sbom", predicate_type=statement.CYCLONEDX, payload=payload())
    assert who.fingerprint == signers.signer().public.fingerprint
    assert said.predicate == SBOM
    assert said.subjects == (("program", DIGEST.hex()),)


def test_signing_twice_gives_the_same_bytes() -> None:
    assert signature() == signature()
    assert attestation() == attestation()


def test_the_bundle_of_another_file() -> None:
    problem = refused("BM734", lambda: check.message(signature(), OTHER, signers.context(), "program"))
    assert DIGEST.hex() in problem.what
    assert OTHER.hex() in problem.what


def test_a_digest_that_was_put_in_the_place_of_the_real_one() -> None:
    """Whoever swaps the digest in the bundle too still lacks the signature."""
    data = edited(
        signature(), lambda value: value["messageSignature"]["messageDigest"].update(digest=strict.to_base64(OTHER))
    )
    refused("BM735", lambda: check.message(data, OTHER, signers.context(), "program"))


def test_an_untrusted_key() -> None:
    refused("BM736", lambda: check.message(signature("stranger"), DIGEST, signers.context(), "program"))


@pytest.mark.parametrize("hint", ["release", ""])
def test_an_untrusted_key_under_a_trusted_hint(hint: str) -> None:
    wanted = signers.signer(hint).public.hint if hint else ""
    data = edited(signature("stranger"), lambda value: value["verificationMaterial"].update(publicKey={"hint": wanted}))
    refused("BM735", lambda: check.message(data, DIGEST, signers.context(), "program"))


def test_rotation_two_keys_are_trusted_at_once() -> None:
    context = signers.context("old", "new")
    for name in ("old", "new"):
        who = check.message(signature(name), DIGEST, context, "program")
        assert who.fingerprint == signers.signer(name).public.fingerprint


def test_a_revoked_key_even_if_it_is_still_trusted() -> None:
    for trusted in (("old", "new"), ("new",)):
        context = signers.context(*trusted, revoked=("old",))
        refused("BM737", lambda context=context: check.message(signature("old"), DIGEST, context, "program"))  # type: ignore[misc]
        assert check.message(signature("new"), DIGEST, context, "program")


def test_an_attestation_offered_as_a_signature() -> None:
    problem = refused("BM743", lambda: check.message(attestation(), DIGEST, signers.context(), "program"))
    assert "sign the file" in problem.fix


def test_a_signature_offered_as_an_attestation() -> None:
    refused(
        "BM743",
        lambda: check.attestation(signature(), signers.context(), "sbom", predicate_type=statement.CYCLONEDX),
    )


def test_an_attestation_of_another_type() -> None:
    data = attestation(payload(kind=statement.SPDX))
    refused("BM743", lambda: check.attestation(data, signers.context(), "sbom", predicate_type=statement.CYCLONEDX))


def test_the_attestations_of_two_architectures_swapped() -> None:
    data = attestation(payload(OTHER))
    refused(
        "BM745",
        lambda: check.attestation(
            data, signers.context(), "sbom", predicate_type=statement.CYCLONEDX, payload=payload()
        ),
    )


def test_an_attestation_with_other_content_than_the_file() -> None:
    """A newer, empty SBOM beside an older envelope that is still valid."""
    wanted = payload(predicate={"bomFormat": "CycloneDX", "components": []})
    problem = refused(
        "BM745",
        lambda: check.attestation(
            attestation(), signers.context(), "sbom", predicate_type=statement.CYCLONEDX, payload=wanted
        ),
    )
    assert "other content" in problem.what


def test_an_altered_payload() -> None:
    good = payload()
    altered = strict.to_base64(good.replace(b'"a"', b'"b"'))
    data = edited(attestation(), lambda value: value["dsseEnvelope"].update(payload=altered))
    refused("BM735", lambda: check.attestation(data, signers.context(), "sbom", predicate_type=statement.CYCLONEDX))


@pytest.mark.parametrize("length", [0, 1, 50, 200, 399])
def test_a_truncated_bundle(length: int) -> None:
    refused("BM731", lambda: check.message(signature()[:length], DIGEST, signers.context(), "program"))


@pytest.mark.parametrize("data", [b"null", b"[]", b"{}", b"\xff", b"[" * 100_000, b'{"a": NaN}', b"\xef\xbb\xbf{}"])
def test_what_is_no_bundle(data: bytes) -> None:
    with pytest.raises(Refused) as caught:
        check.message(data, DIGEST, signers.context(), "program")
    assert caught.value.rule in ("BM731", "BM733")


def test_duplicate_keys() -> None:
    evil = signature().replace(b'{"mediaType"', b'{"mediaType":"text/plain","mediaType"', 1)
    refused("BM732", lambda: check.message(evil, DIGEST, signers.context(), "program"))


def test_duplicate_keys_in_a_payload() -> None:
    """Signed by the right key, and still shown differently to different readers."""
    evil = payload().replace(b'"predicateType"', b'"predicateType":"https://spdx.dev/Document","predicateType"', 1)
    refused(
        "BM732",
        lambda: check.attestation(attestation(evil), signers.context(), "sbom", predicate_type=statement.CYCLONEDX),
    )


@pytest.mark.parametrize("algorithm", ["SHA1", "SHA2_224", "MD5", "SHA2_512", ""])
def test_a_digest_algorithm_that_was_downgraded(algorithm: str) -> None:
    data = edited(signature(), lambda value: value["messageSignature"]["messageDigest"].update(algorithm=algorithm))
    refused("BM744", lambda: check.message(data, DIGEST, signers.context(), "program"))


def test_a_subject_without_sha256() -> None:
    sha1 = hashlib.sha1(FILE, usedforsecurity=False).hexdigest()
    evil = payload().replace(f'"sha256":"{DIGEST.hex()}"'.encode(), f'"sha1":"{sha1}"'.encode())
    refused(
        "BM744",
        lambda: check.attestation(attestation(evil), signers.context(), "sbom", predicate_type=statement.CYCLONEDX),
    )


def rsa_bundle(bits: int) -> tuple[bytes, PublicKey]:
    private = rsa.generate_private_key(public_exponent=65537, key_size=bits)
    der = private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    public = PublicKey(name="rsa", der=der)
    made = private.sign(FILE, padding.PKCS1v15(), hashes.SHA256())
    content = Message(sha256=DIGEST, signature=made)
    return bundle.encode(Bundle(material=Material(hint=public.hint), content=content)), public


def test_a_kms_key_with_rsa() -> None:
    data, public = rsa_bundle(2048)
    context = Context(policy=Policy(keys=(public,)), now=signers.NOW, exact=True)
    assert check.message(data, DIGEST, context, "program").fingerprint == public.fingerprint


def test_a_weak_key() -> None:
    data, public = rsa_bundle(1024)
    context = Context(policy=Policy(keys=(public,)), now=signers.NOW)
    refused("BM744", lambda: check.message(data, DIGEST, context, "program"))


EDITS: dict[str, Callable[[Any], object]] = {
    "another media type": lambda value: value.update(mediaType="application/vnd.dev.sigstore.bundle+json;version=0.1"),
    "an unknown field": lambda value: value.update(comment="harmless"),
    "an unknown field in the material": lambda value: value["verificationMaterial"].update(x509CertificateChain={}),
    "a key and a certificate": lambda value: value["verificationMaterial"].update(certificate={"rawBytes": "AAAA"}),
    "no material": lambda value: value["verificationMaterial"].pop("publicKey"),
    "a number as material": lambda value: value.update(verificationMaterial=1),
    "no signature": lambda value: value["messageSignature"].pop("signature"),
    "both contents": lambda value: value.update(dsseEnvelope={}),
    "base64 without padding": lambda value: value["messageSignature"].update(
        signature=value["messageSignature"]["signature"].rstrip("=")
    ),
    "base64 of the URL alphabet": lambda value: value["messageSignature"].update(signature="_-__"),
    "a line in base64": lambda value: value["messageSignature"].update(
        signature=value["messageSignature"]["signature"] + "\n"
    ),
    "log entries that are no list": lambda value: value["verificationMaterial"].update(tlogEntries={}),
}


@pytest.mark.parametrize("change", EDITS.values(), ids=list(EDITS))
def test_other_forms(change: Callable[[Any], object]) -> None:
    refused("BM733", lambda: check.message(edited(signature(), change), DIGEST, signers.context(), "program"))


@pytest.mark.parametrize("name", ["payloadType", "keyid", "two signatures", "no signature"])
def test_other_envelopes(name: str) -> None:
    def change(value: Any) -> None:
        envelope = value["dsseEnvelope"]
        if name == "payloadType":
            envelope["payloadType"] = "application/json"
        elif name == "keyid":
            envelope["signatures"][0]["keyid"] = "me"
        else:
            envelope["signatures"] *= 2 if name == "two signatures" else 0

    data = edited(attestation(), change)
    refused("BM733", lambda: check.attestation(data, signers.context(), "x", predicate_type=statement.CYCLONEDX))


def test_a_log_entry_beside_a_key_is_not_passed_over() -> None:
    data = edited(signature(), lambda value: value["verificationMaterial"].update(tlogEntries=[{"logIndex": "1"}]))
    refused("BM751", lambda: check.message(data, DIGEST, signers.context(), "program"))


def test_the_other_form_of_an_ecdsa_signature() -> None:
    """(r, n - s) verifies as well as (r, s): where bundles are ours, only one of the two is accepted."""
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    r, s = utils.decode_dss_signature(base64.b64decode(json.loads(signature())["messageSignature"]["signature"]))
    twin = strict.to_base64(utils.encode_dss_signature(r, order - s))
    data = edited(signature(), lambda value: value["messageSignature"].update(signature=twin))
    assert check.message(data, DIGEST, signers.context(), "program"), "cosign's are not all of the smaller form"
    refused("BM735", lambda: check.message(data, DIGEST, signers.context(exact=True), "program"))


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_altered_byte_of_a_bundle_is_refused(data: st.DataObject) -> None:
    good = data.draw(st.sampled_from([signature(), attestation()]))
    offset = data.draw(st.integers(0, len(good) - 1))
    altered = bytearray(good)
    altered[offset] = data.draw(st.integers(0, 255).filter(lambda value: value != good[offset]))
    context = signers.context(exact=True)
    with pytest.raises(Refused):
        if b"messageSignature" in good:
            check.message(bytes(altered), DIGEST, context, "program")
        else:
            check.attestation(bytes(altered), context, "sbom", predicate_type=statement.CYCLONEDX, payload=payload())


@pytest.mark.parametrize(
    "change", [lambda data: data + b"\n", lambda data: b" " + data, lambda data: data[:-1] + b" }"]
)
def test_spaces_are_a_change(change: Callable[[bytes], bytes]) -> None:
    data = change(signature())
    assert check.message(data, DIGEST, signers.context(), "program")
    refused("BM733", lambda: check.message(data, DIGEST, signers.context(exact=True), "program"))


# Certificates


def certified(**options: Any) -> bytes:
    private = ec.generate_private_key(ec.SECP256R1())
    certificate = signers.leaf(options.pop("by", signers.authority()), private, **options)
    return bundle.encode(signers.certified(certificate, private).message(Content.of(FILE)))


def test_a_certificate_says_who_signed() -> None:
    who = check.message(certified(), DIGEST, signers.authority().context(), "program")
    assert (who.issuer, who.subject) == (signers.ISSUER, signers.SUBJECT)


@pytest.mark.parametrize(
    ("issuer", "subjects"),
    [
        (signers.ISSUER, ("glob:https://ci.example.org/team/*/release",)),
        ("glob:https://*.example.org", ("https://elsewhere.example.org", signers.SUBJECT)),
        ("regex:https://login[.]example[.]org", ("regex:https://ci[.]example[.]org/team/[a-z]+/release",)),
    ],
)
def test_policies_that_match(issuer: str, subjects: tuple[str, ...]) -> None:
    assert check.message(certified(), DIGEST, signers.authority().context(issuer, subjects), "program")


@pytest.mark.parametrize("issuer", ["https://login.example.com", "glob:*.org/x", "regex:https://login", ""])
def test_another_issuer(issuer: str) -> None:
    context = signers.authority().context(issuer)
    refused("BM741", lambda: check.message(certified(), DIGEST, context, "program"))


@pytest.mark.parametrize(
    "subject", ["https://ci.example.org", "glob:https://ci.example.org/other/*", "regex:https://ci"]
)
def test_another_identity(subject: str) -> None:
    context = signers.authority().context(subjects=(subject,))
    refused("BM742", lambda: check.message(certified(), DIGEST, context, "program"))


def test_a_certificate_with_a_second_identity() -> None:
    data = certified(subjects=(signers.SUBJECT, "https://evil.example.org"))
    refused("BM742", lambda: check.message(data, DIGEST, signers.authority().context(), "program"))


def test_an_expired_certificate() -> None:
    data = certified(start=signers.NOW - 9 * signers.DAY, end=signers.NOW - signers.DAY)
    problem = refused("BM738", lambda: check.message(data, DIGEST, signers.authority().context(), "program"))
    assert "timestamp-authority" in problem.fix


def test_a_certificate_of_tomorrow() -> None:
    data = certified(start=signers.NOW + signers.DAY, end=signers.NOW + 9 * signers.DAY)
    refused("BM739", lambda: check.message(data, DIGEST, signers.authority().context(), "program"))


def test_a_certificate_of_another_authority() -> None:
    data = certified(by=signers.authority("Other CA"))
    refused("BM740", lambda: check.message(data, DIGEST, signers.authority().context(), "program"))


def test_a_certificate_for_another_purpose() -> None:
    data = certified(purpose=ExtendedKeyUsageOID.SERVER_AUTH)
    refused("BM740", lambda: check.message(data, DIGEST, signers.authority().context(), "program"))


def test_a_certificate_where_only_keys_are_trusted() -> None:
    refused("BM740", lambda: check.message(certified(), DIGEST, signers.context(), "program"))


def test_a_certificate_with_another_signature() -> None:
    data = json.loads(certified())
    data["messageSignature"] = json.loads(certified())["messageSignature"]
    context = signers.authority().context()
    refused("BM735", lambda: check.message(strict.encode(data), DIGEST, context, "program"))


def test_a_certificate_that_is_none() -> None:
    raw = strict.to_base64(b"no certificate")
    data = edited(certified(), lambda value: value["verificationMaterial"].update(certificate={"rawBytes": raw}))
    refused("BM733", lambda: check.message(data, DIGEST, signers.authority().context(), "program"))


def test_a_log_entry_that_is_demanded() -> None:
    policy = signers.authority().context().policy
    context = Context(
        policy=Policy(root=policy.root, issuer=policy.issuer, identities=policy.identities, log=True), now=signers.NOW
    )
    refused("BM751", lambda: check.message(certified(), DIGEST, context, "program"))


def test_a_time_stamp_that_is_none() -> None:
    stamps = {"rfc3161Timestamps": [{"signedTimestamp": strict.to_base64(b"0")}]}
    data = edited(certified(), lambda value: value["verificationMaterial"].update(timestampVerificationData=stamps))
    refused("BM746", lambda: check.message(data, DIGEST, signers.authority().context(), "program"))


def test_a_revoked_certificate_key() -> None:
    data = certified()
    raw = base64.b64decode(json.loads(data)["verificationMaterial"]["certificate"]["rawBytes"])
    from buildmatrix.signing import certificates

    mark = certificates.key_of(certificates.load(raw, "leaf"), "leaf").fingerprint
    policy = signers.authority().context().policy
    context = Context(
        policy=Policy(root=policy.root, issuer=policy.issuer, identities=policy.identities, revoked=frozenset({mark})),
        now=signers.NOW,
    )
    refused("BM737", lambda: check.message(data, DIGEST, context, "program"))


def test_the_hint_is_cosigns() -> None:
    public = signers.signer().public
    assert base64.b64decode(public.hint).hex() == public.fingerprint == hashlib.sha256(public.der).hexdigest()
    assert publickey.from_pem(publickey.to_pem(public), "again").der == public.der
