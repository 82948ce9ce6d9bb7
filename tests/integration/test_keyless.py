"""Certificates for an identity, from a real private sigstore: Fulcio, two logs, a time-stamp authority."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from buildmatrix import errors
from buildmatrix.cli import main
from buildmatrix.oci.registry import Registry
from buildmatrix.signing import blobs, bundle, policy, statement, strict
from buildmatrix.signing.backends import certificate, key, keyless, stamp
from buildmatrix.signing.check import Context
from buildmatrix.signing.imagecheck import verify_image
from buildmatrix.signing.imagesign import forms_of, sign_image
from buildmatrix.signing.policy import Policy
from buildmatrix.signing.refused import Refused
from buildmatrix.signing.registry import Attestation, Subject
from buildmatrix.signing.remote import Remote
from buildmatrix.signing.signer import Bundler
from tests import oci_images, project, signers
from tests.integration import sigstore_stack
from tests.integration.cosign import cosign
from tests.integration.services import DockerRegistry
from tests.integration.sigstore_stack import Stack
from tests.project import Project

pytestmark = [
    pytest.mark.integration,
    # Fulcio's ephemeral authority calls its country USA, which X.520 gives two letters.
    pytest.mark.filterwarnings("ignore:Attribute's length must be:UserWarning"),
]
WHO = "release@example.org"
NOW = datetime.datetime.now(datetime.UTC)
LATER = NOW + datetime.timedelta(days=400)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with sigstore_stack.running(tmp_path_factory.mktemp("sigstore")) as started:
        yield started


@pytest.fixture
def hello(stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    text = f"""{project.MATRIX}
[signing]
backend = "keyless"
fulcio = "{stack.fulcio}"
rekor = "{stack.rekor}"
rekor-version = "2"
timestamp-authority = "{stack.stamps}"
trusted-root = "trusted_root.json"
issuer = "{stack.issuer.url}"
identities = ["glob:*@example.org"]
"""
    made = project.create(tmp_path / "project", text)
    (made.root / "trusted_root.json").write_bytes(stack.trusted_root)
    monkeypatch.chdir(made.root)
    monkeypatch.setenv("SIGSTORE_ID_TOKEN", stack.issuer.token(WHO))
    return made


def trusting(stack: Stack, *, issuer: str = "", subject: str = WHO, now: datetime.datetime = LATER) -> Context:
    root = policy.read_root(stack.trusted_root, "trusted_root.json")
    return Context(
        policy=Policy(root=root, issuer=issuer or stack.issuer.url, identities=(subject,), log=True), now=now
    )


def refused(rule: str, path: Path, context: Context) -> None:
    with pytest.raises(Refused) as caught:
        blobs.verify(path, blobs.bundle_path(path), context)
    assert caught.value.rule == rule, str(caught.value)


@pytest.fixture
def signed(hello: Project) -> Path:
    path = hello.write("notes.txt", "release notes\n")
    assert main(["sign", "notes.txt"]) == 0
    return path


def test_a_signature_outlives_its_certificate(stack: Stack, signed: Path) -> None:
    """Fulcio's certificates live ten minutes; the time stamp and the log prove that it was in time."""
    who = blobs.verify(signed, blobs.bundle_path(signed), trusting(stack))
    assert (who.issuer, who.subject) == (stack.issuer.url, WHO)


def test_who_is_checked(stack: Stack, signed: Path) -> None:
    refused("BM741", signed, trusting(stack, issuer="https://login.example.com"))
    refused("BM742", signed, trusting(stack, subject="other@example.org"))
    signed.write_text("other notes\n")
    refused("BM734", signed, trusting(stack))


def test_a_log_entry_that_was_stripped_or_altered(stack: Stack, signed: Path) -> None:
    place = blobs.bundle_path(signed)
    good = json.loads(place.read_bytes())
    entry = good["verificationMaterial"]["tlogEntries"][0]
    for change in ([], [entry, entry], [{**entry, "canonicalizedBody": strict.to_base64(b"{}")}],
                   [{**entry, "inclusionProof": {**entry["inclusionProof"], "logIndex": "9"}}]):  # fmt: skip
        good["verificationMaterial"]["tlogEntries"] = change
        place.write_bytes(strict.encode(good))
        refused("BM751", signed, trusting(stack))


def test_a_time_stamp_of_another_signature(stack: Stack, signed: Path, hello: Project) -> None:
    other = hello.write("other.txt", "other\n")
    assert main(["sign", "other.txt"]) == 0
    place = blobs.bundle_path(signed)
    mine, theirs = (json.loads(blobs.bundle_path(path).read_bytes()) for path in (signed, other))
    name = "timestampVerificationData"
    mine["verificationMaterial"][name] = theirs["verificationMaterial"][name]
    place.write_bytes(strict.encode(mine))
    refused("BM746", signed, trusting(stack))


def test_another_trusted_root(stack: Stack, signed: Path) -> None:
    document = json.loads(stack.trusted_root)
    document["certificateAuthorities"] = json.loads(signers.authority().document())["certificateAuthorities"]
    root = policy.read_root(json.dumps(document).encode(), "other")
    good = trusting(stack).policy
    context = Context(policy=Policy(root=root, issuer=good.issuer, identities=good.identities, log=True), now=LATER)
    with pytest.raises(Refused) as caught:
        blobs.verify(signed, blobs.bundle_path(signed), context)
    assert caught.value.rule in ("BM740", "BM751")


def test_a_whole_build(hello: Project, stack: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["build", "-t", "arm64"]) == 0
    assert main(["verify", "-t", "arm64", "--offline", "--release"]) == 0, capsys.readouterr().out
    record = json.loads((hello.dist / "hello_arm64" / "signatures.json").read_text())
    assert record["signer"]["subject"] == WHO
    before = project.snapshot(hello.dist)
    assert main(["build", "-t", "arm64"]) == 0
    assert project.snapshot(hello.dist) == before, "what is good is kept"
    sbom = hello.dist / "hello_arm64" / "sbom.cdx.json.sigstore.json"
    made = bundle.decode(sbom.read_bytes(), "sbom")
    assert len(made.material.entries) == 1
    assert len(made.material.timestamps) == 1


def test_nobody_to_sign_as(hello: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    hello.write("notes.txt", "x")
    monkeypatch.delenv("SIGSTORE_ID_TOKEN")
    assert main(["sign", "notes.txt"]) == 5
    assert "SIGSTORE_ID_TOKEN" in capsys.readouterr().err
    monkeypatch.setenv("SIGSTORE_ID_TOKEN", "no token")
    assert main(["sign", "notes.txt"]) == 5
    assert "BM760" in capsys.readouterr().err


def test_a_service_that_is_down(stack: Stack) -> None:
    root = policy.read_root(stack.trusted_root, "root")
    services = keyless.Services(fulcio="http://127.0.0.1:9", rekor=stack.rekor, rekor_version=2, oidc="",
                                timestamp_authority=stack.stamps)  # fmt: skip
    with pytest.raises(errors.SigningFailed, match="BM760"):
        keyless.load(services, root, {"SIGSTORE_ID_TOKEN": stack.issuer.token(WHO)})


def test_a_certificate_of_ones_own_with_a_time_stamp(stack: Stack, tmp_path: Path) -> None:
    """X.509 without Fulcio: a short-lived leaf of a test authority, stamped by the real server."""
    from cryptography.hazmat.primitives.serialization import Encoding

    private = key.private_key(key.new_pkcs8(), "leaf")
    leaf = signers.leaf(signers.authority(), private, start=NOW - signers.DAY / 24, end=NOW + signers.DAY / 24)
    (tmp_path / "leaf.pem").write_bytes(leaf.public_bytes(Encoding.PEM))
    (tmp_path / "leaf.key").write_bytes(signers.pkcs8_pem(private))
    (tmp_path / "leaf.key").chmod(0o600)
    signer = Bundler(
        certificate.load(
            tmp_path / "leaf.pem", tmp_path / "leaf.key", lambda: b"", lambda data: stamp.ask(stack.stamps, data)
        )
    )
    path = tmp_path / "program"
    path.write_bytes(b"a program")
    blobs.sign(path, signer)
    document = json.loads(signers.authority().document())
    document["timestampAuthorities"] = json.loads(stack.trusted_root)["timestampAuthorities"]
    root = policy.read_root(json.dumps(document).encode(), "root")
    believed = Policy(root=root, issuer=signers.ISSUER, identities=(signers.SUBJECT,))
    far = NOW + 300 * signers.DAY
    assert blobs.verify(path, blobs.bundle_path(path), Context(policy=believed, now=far)).subject == signers.SUBJECT
    (tmp_path / "root.json").write_text(json.dumps(document))
    for major in ("2", "3"):
        tool = cosign(major, tmp_path)
        tool.run("verify-blob", "--bundle", "program.sigstore.json", "--new-bundle-format", "--trusted-root",
                 "root.json", "--use-signed-timestamps", "--insecure-ignore-tlog", "--insecure-ignore-sct",
                 "--certificate-oidc-issuer", signers.ISSUER, "--certificate-identity", signers.SUBJECT,
                 "program")  # fmt: skip


def test_no_authority_to_ask() -> None:
    with pytest.raises(errors.SigningFailed, match="no time stamp"):
        stamp.ask("http://127.0.0.1:9/", b"signature")


def test_cosign_verifies_a_keyless_bundle(stack: Stack, signed: Path) -> None:
    tool = cosign("3", signed.parent)
    (signed.parent / "root.json").write_bytes(stack.trusted_root)
    tool.run("verify-blob", "--bundle", f"{signed.name}.sigstore.json", "--trusted-root", "root.json",
             "--use-signed-timestamps", "--certificate-oidc-issuer", stack.issuer.url, "--certificate-identity", WHO,
             signed.name)  # fmt: skip


@pytest.mark.parametrize("major", ["2", "3"])
def test_images_are_signed_and_attested_in_bundles(
    stack: Stack, hello: Project, docker_registry: DockerRegistry, major: str
) -> None:
    """The newer form carries log entry and time stamp; real cosign verifies both the signature and the SBOM."""
    root = policy.read_root(stack.trusted_root, "root")
    services = keyless.Services(fulcio=stack.fulcio, rekor=stack.rekor, rekor_version=2, oidc="",
                                timestamp_authority=stack.stamps)  # fmt: skip
    signer = keyless.load(services, root, {"SIGSTORE_ID_TOKEN": stack.issuer.token(WHO)})
    tool = cosign(major, hello.root)
    said = (Attestation(predicate_type=statement.CYCLONEDX, predicate={"bomFormat": "CycloneDX", "components": []}),)
    with Registry(docker_registry.host) as opened:
        repository = opened.repository(f"keyless/v{major}")
        children = [oci_images.image(repository, f"linux/{name}") for name in ("amd64", "arm64")]
        index = oci_images.index(repository, children)
        subjects = tuple(Subject(digest=item.digest, attestations=said) for item in (index, *children))
        sign_image(Remote(repository), subjects, signer, created="2026-06-01T12:00:00Z")
        forms = forms_of(signer)
        assert verify_image(Remote(repository), subjects, trusting(stack), forms=forms) == ()
        other = verify_image(Remote(repository), subjects, trusting(stack, subject="x@example.org"), forms=forms)
        assert {item.rule for item in other} >= {"BM742"}
    (hello.root / "root.json").write_bytes(stack.trusted_root)
    options = (
        "--trusted-root", "root.json", "--use-signed-timestamps", "--certificate-oidc-issuer", stack.issuer.url,
        "--certificate-identity", WHO, "--allow-http-registry", *(("--new-bundle-format",) if major == "2" else ()),
    )  # fmt: skip
    for item in subjects:
        reference = f"{repository.name}@{item.digest}"
        tool.run("verify", *options, reference)
        tool.run("verify-attestation", "--type", "cyclonedx", *options, reference)
