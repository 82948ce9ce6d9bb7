"""What we sign, real cosign 2 and 3 accept; what they sign with the same key, we accept."""

from __future__ import annotations

import datetime
import hashlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from buildmatrix.oci.registry import Registry, Repository
from buildmatrix.signing import blobs, bundle, check, keyfile, statement
from buildmatrix.signing.backends import key, program
from buildmatrix.signing.check import Context
from buildmatrix.signing.imagecheck import verify_image
from buildmatrix.signing.imagesign import sign_image
from buildmatrix.signing.policy import Policy
from buildmatrix.signing.registry import Attestation, Subject
from buildmatrix.signing.remote import Remote
from buildmatrix.signing.signer import Bundler
from buildmatrix.signing.statement import Statement
from tests import oci_images, project, signers
from tests.integration.cosign import Cosign, cosign
from tests.integration.services import DockerRegistry

pytestmark = pytest.mark.integration
NOW = datetime.datetime.now(datetime.UTC)
SBOM = {"bomFormat": "CycloneDX", "specVersion": "1.6", "components": []}
CREATED = "2026-01-01T00:00:00Z"


@pytest.fixture(params=["2", "3"])
def tool(request: pytest.FixtureRequest, tmp_path: Path) -> Cosign:
    return cosign(request.param, tmp_path)


@pytest.fixture
def ours(tmp_path: Path) -> Bundler:
    """A key of ours, on disk as `buildmatrix keygen` writes it."""
    pkcs8 = key.new_pkcs8()
    signer = key.from_pkcs8(pkcs8, "k.key")
    key.create(tmp_path / "k.key", keyfile.encrypt(pkcs8, b"secret"), signer.public)
    return Bundler(key.load(tmp_path / "k.key", lambda: b"secret"))


def trusting(signer: Bundler) -> Context:
    assert isinstance(signer.raw, key.KeySigner)
    return Context(policy=Policy(keys=(signer.raw.public,)), now=NOW)


@pytest.fixture
def blob(tmp_path: Path) -> Path:
    path = tmp_path / "program"
    path.write_bytes(b"\x7fELF and so on")
    return path


def test_cosign_verifies_our_bundle(tool: Cosign, ours: Bundler, blob: Path) -> None:
    blobs.sign(blob, ours)
    verify = ("verify-blob", "--key", "k.pub", "--new-bundle-format", *tool.trusted_root, "--insecure-ignore-tlog",
              "--bundle", "program.sigstore.json")  # fmt: skip
    assert "Verified OK" in tool.run(*verify, "program")
    blob.write_bytes(b"another program")
    assert tool.try_run(*verify, "program").returncode != 0


def test_we_verify_cosigns_bundle(tool: Cosign, ours: Bundler, blob: Path) -> None:
    tool.run("sign-blob", "--key", "k.key", *tool.no_services, "--new-bundle-format", "--bundle", "out.json", "program")
    who = blobs.verify(blob, blob.with_name("out.json"), trusting(ours))
    assert who.fingerprint == ours.identity.fingerprint


def test_cosign_verifies_our_attestation(tool: Cosign, ours: Bundler, blob: Path) -> None:
    digest = hashlib.sha256(blob.read_bytes()).hexdigest()
    said = Statement(subjects=(("program", digest),), predicate_type=statement.CYCLONEDX, predicate=SBOM)
    made = bundle.encode(ours.attest(statement.encode(said)))
    blob.with_name("sbom.sigstore.json").write_bytes(made)
    verify = ("verify-blob-attestation", "--key", "k.pub", "--new-bundle-format", *tool.trusted_root,
              "--insecure-ignore-tlog", "--bundle", "sbom.sigstore.json")  # fmt: skip
    assert "Verified OK" in tool.run(*verify, "--type", "cyclonedx", "program")
    assert tool.try_run(*verify, "--type", "spdxjson", "program").returncode != 0


def test_we_verify_cosigns_attestation(tool: Cosign, ours: Bundler, blob: Path) -> None:
    (tool.folder / "sbom.json").write_bytes(b'{"bomFormat": "CycloneDX", "specVersion": "1.6", "components": []}')
    tool.run("attest-blob", "--key", "k.key", *tool.no_services, "--new-bundle-format", "--type", "cyclonedx",
             "--predicate", "sbom.json", "--bundle", "out.json", "program")  # fmt: skip
    data = blob.with_name("out.json").read_bytes()
    who, said = check.attestation(data, trusting(ours), "out.json", predicate_type=statement.CYCLONEDX)
    assert who.fingerprint == ours.identity.fingerprint
    assert said.predicate == SBOM
    assert said.subjects[0][1] == hashlib.sha256(blob.read_bytes()).hexdigest()


def test_cosigns_own_key_signs_here(tool: Cosign, blob: Path) -> None:
    tool.run("generate-key-pair", "--output-key-prefix", "theirs")
    signer = Bundler(key.load(tool.folder / "theirs.key", lambda: b"secret"))
    blobs.sign(blob, signer)
    tool.run("verify-blob", "--key", "theirs.pub", "--new-bundle-format", *tool.trusted_root, "--insecure-ignore-tlog",
             "--bundle", "program.sigstore.json", "program")  # fmt: skip


def test_the_program_as_a_backend(tool: Cosign, ours: Bundler, blob: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key file stands in for a KMS: cosign is asked in the same way."""
    from buildmatrix.process import SubprocessRunner

    environment = {"PATH": str(tool.program.parent), "COSIGN_PASSWORD": "secret", "HOME": str(tool.folder)}
    signer = Bundler(program.load(str(tool.folder / "k.key"), SubprocessRunner(), environment))
    assert signer.identity == ours.identity
    blobs.sign(blob, signer)
    context = Context(policy=trusting(ours).policy, now=NOW, exact=True)
    assert check.message(
        blobs.bundle_path(blob).read_bytes(), hashlib.sha256(blob.read_bytes()).digest(), context, "program"
    )
    said = Statement(subjects=(("program", "0" * 64),), predicate_type=statement.SPDX, predicate={})
    made = bundle.encode(signer.attest(statement.encode(said)))
    assert check.attestation(made, context, "x", predicate_type=statement.SPDX)


def test_a_built_dist_is_verified_by_cosign(tool: Cosign, tmp_path: Path) -> None:
    """What `build` leaves, file by file, as a user of cosign would check it."""
    made = project.create(tmp_path / "project", project.MATRIX + '\n[signing]\nbackend = "key"\nkey = "k.key"\n')
    for command in (("keygen", "-o", "k.key"), ("build", "-t", "arm64")):
        done = made.run(*command, env={"COSIGN_PASSWORD": "secret"})
        assert done.returncode == 0, done.stdout + done.stderr
    folder = made.dist / "hello_arm64"
    common = ("--key", str(made.root / "k.pub"), "--new-bundle-format", *tool.trusted_root, "--insecure-ignore-tlog")
    for name in ("hello", "record.json"):
        tool.run("verify-blob", *common, "--bundle", str(folder / f"{name}.sigstore.json"), str(folder / name))
    for name, kind in (
        ("sbom.cdx.json", "cyclonedx"),
        ("sbom.spdx.json", "spdxjson"),
        ("provenance.intoto.json", "slsaprovenance1"),
    ):
        tool.run("verify-blob-attestation", *common, "--type", kind, "--bundle",
                 str(folder / f"{name}.sigstore.json"), str(folder / "hello"))  # fmt: skip


# Images


@pytest.fixture
def repository(docker_registry: DockerRegistry, tmp_path: Path) -> Iterator[Repository]:
    with Registry(docker_registry.host) as opened:
        yield opened.repository(f"signing/{tmp_path.name.lower().replace('[', '-').replace(']', '')}")


@pytest.fixture
def subjects(repository: Repository) -> tuple[Subject, ...]:
    """An index and two children, each child with an SBOM."""
    children = [oci_images.image(repository, f"linux/{name}") for name in ("amd64", "arm64")]
    index = oci_images.index(repository, children)
    said = (Attestation(predicate_type=statement.CYCLONEDX, predicate=SBOM),)
    return (Subject(digest=index.digest), *(Subject(digest=child.digest, attestations=said) for child in children))


def verify(tool: Cosign, repository: Repository, digest: str, *options: str) -> subprocess.CompletedProcess[str]:
    root = () if "--trusted-root" in options else tool.trusted_root
    return tool.try_run("verify", *root, "--insecure-ignore-tlog=true", "--allow-http-registry", *options,
                        f"{repository.name}@{digest}")  # fmt: skip


def test_cosign_verifies_our_images(
    tool: Cosign, ours: Bundler, repository: Repository, subjects: tuple[Subject, ...]
) -> None:
    sign_image(Remote(repository), subjects, ours, created=CREATED)
    assert verify_image(Remote(repository), subjects, trusting(ours)) == ()
    for item in subjects:
        done = verify(tool, repository, item.digest, "--key", "k.pub")
        assert done.returncode == 0, done.stderr
    for item in subjects[1:]:
        tool.run("verify-attestation", *tool.trusted_root, "--type", "cyclonedx", "--key", "k.pub",
                 "--insecure-ignore-tlog=true", "--allow-http-registry",
                 f"{repository.name}@{item.digest}")  # fmt: skip
    tool.run("generate-key-pair", "--output-key-prefix", "stranger")
    assert verify(tool, repository, subjects[0].digest, "--key", "stranger.pub").returncode != 0


def test_we_verify_cosigns_images(
    tool: Cosign, ours: Bundler, repository: Repository, subjects: tuple[Subject, ...]
) -> None:
    """cosign 2 writes the older form, cosign 3 the newer one; each signs index and children with --recursive."""
    reference = f"{repository.name}@{subjects[0].digest}"
    tool.run("sign", "--key", "k.key", *tool.no_services, "--allow-http-registry", "--recursive", reference)
    form = "legacy" if tool.major == "2" else "bundle"
    plain = tuple(Subject(digest=item.digest) for item in subjects)
    assert verify_image(Remote(repository), plain, trusting(ours), forms=(form,)) == ()
    both = verify_image(Remote(repository), plain, trusting(ours))
    assert {finding.rule for finding in both} == {"BM749"}, "the other form is missing"
    stranger = Context(policy=Policy(keys=(signers.signer().public,)), now=NOW)
    assert {item.cell for item in verify_image(Remote(repository), plain, stranger, forms=(form,))} == {
        item.digest for item in plain
    }


def test_we_verify_cosigns_image_attestations(
    tool: Cosign, ours: Bundler, repository: Repository, subjects: tuple[Subject, ...]
) -> None:
    (tool.folder / "sbom.json").write_bytes(b'{"bomFormat": "CycloneDX", "specVersion": "1.6", "components": []}')
    child = subjects[1]
    reference = f"{repository.name}@{child.digest}"
    tool.run("attest", "--key", "k.key", *tool.no_services, "--allow-http-registry", "--type", "cyclonedx",
             "--predicate", "sbom.json", reference)  # fmt: skip
    assert verify_image(Remote(repository), (child,), trusting(ours), forms=()) == ()
    form, other = ("legacy", "bundle") if tool.major == "2" else ("bundle", "legacy")
    alone = verify_image(Remote(repository), (child,), trusting(ours), forms=(form,))
    assert [item.rule for item in alone] == ["BM749"], "an attestation is no signature of the image"
    neither = verify_image(Remote(repository), (child,), trusting(ours), forms=(other,))
    assert {item.rule for item in neither} == {"BM749", "BM730"}, "it is in one form only"


def test_cosign_and_we_sign_side_by_side(
    tool: Cosign, ours: Bundler, repository: Repository, subjects: tuple[Subject, ...]
) -> None:
    reference = f"{repository.name}@{subjects[0].digest}"
    tool.run("sign", "--key", "k.key", *tool.no_services, "--allow-http-registry", "--recursive", reference)
    sign_image(Remote(repository), subjects, ours, created=CREATED)
    assert verify_image(Remote(repository), subjects, trusting(ours)) == ()
    assert verify(tool, repository, subjects[0].digest, "--key", "k.pub").returncode == 0


def test_cosign_verifies_certificates_without_a_public_service(
    tool: Cosign, repository: Repository, subjects: tuple[Subject, ...], blob: Path
) -> None:
    private = key.private_key(key.new_pkcs8(), "leaf")
    certificate = signers.leaf(signers.authority(), private, start=NOW - signers.DAY / 24, end=NOW + signers.DAY / 24)
    signer = signers.certified(certificate, private)
    (tool.folder / "root.json").write_bytes(signers.authority().document())
    plain = tuple(Subject(digest=item.digest) for item in subjects)
    sign_image(Remote(repository), plain, signer, created=CREATED)
    policy = signers.authority().context().policy
    assert verify_image(Remote(repository), plain, Context(policy=policy, now=NOW)) == ()
    who = ("--trusted-root", "root.json", "--insecure-ignore-sct")
    issuer, identity = "--certificate-oidc-issuer", "--certificate-identity"
    form = "--use-signed-timestamps=false" if tool.major == "3" else "--new-bundle-format"
    right = (*who, issuer, signers.ISSUER, identity, signers.SUBJECT, form)
    blobs.sign(blob, signer)
    assert blobs.verify(blob, blobs.bundle_path(blob), Context(policy=policy, now=NOW)).subject == signers.SUBJECT
    done = verify(tool, repository, subjects[0].digest, *right)
    assert done.returncode == 0, done.stderr
    wrong = [("https://elsewhere.example.org" if word == signers.ISSUER else word) for word in right]
    assert verify(tool, repository, subjects[0].digest, *wrong).returncode != 0


# Offline


def test_offline_verification_in_a_network_namespace(tmp_path: Path) -> None:
    """`unshare -n`: not even loopback is up."""
    made = project.create(tmp_path / "project", project.MATRIX + '\n[signing]\nbackend = "key"\nkey = "k.key"\n')
    for command in (("keygen", "-o", "k.key"), ("build",)):
        assert made.run(*command, env={"BUILDMATRIX_PASSWORD": "secret"}).returncode == 0
    argv = ["unshare", "-n", *project.command("verify", "--offline", "--release")]
    done = subprocess.run(argv, cwd=made.root, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    probe = "import socket; socket.create_connection(('127.0.0.1', 9), 1)"
    tried = subprocess.run(["unshare", "-n", sys.executable, "-c", probe], capture_output=True, text=True, check=False)
    assert "Network is unreachable" in tried.stderr
