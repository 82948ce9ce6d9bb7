"""Signatures of an index and its children: every one that is there must be good, in both forms."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from buildmatrix import errors
from buildmatrix.finding import Finding
from buildmatrix.signing import bundle, imagesign, registry, statement, strict
from buildmatrix.signing.backends.keyless import KeylessSigner
from buildmatrix.signing.bundle import Bundle
from buildmatrix.signing.check import Context, Identity
from buildmatrix.signing.imagecheck import verify_image
from buildmatrix.signing.imagesign import sign_image
from buildmatrix.signing.registry import Attestation, Subject
from buildmatrix.signing.signer import Bundler, Content
from tests import signers
from tests.registries import MemoryRepository, digest_of

CREATED = "2026-06-01T12:00:00Z"


def sbom(name: str) -> Attestation:
    return Attestation(predicate_type=statement.CYCLONEDX, predicate={"components": [{"name": name}]})


@pytest.fixture
def repository() -> MemoryRepository:
    return MemoryRepository()


@pytest.fixture
def subjects(repository: MemoryRepository) -> tuple[Subject, ...]:
    index, *children = repository.push_image("amd64", "arm64")
    return (Subject(digest=index), *(Subject(digest=child, attestations=(sbom(child),)) for child in children))


def sign(repository: MemoryRepository, subjects: tuple[Subject, ...], name: str = "release") -> None:
    sign_image(repository, subjects, signers.bundler(name), created=CREATED)


def rules(
    repository: MemoryRepository, subjects: tuple[Subject, ...], context: Context | None = None, **options: Any
) -> dict[str, set[str]]:
    """The rules broken, by digest."""
    found: dict[str, set[str]] = {}
    for finding in verify_image(repository, subjects, context or signers.context(), **options):
        assert isinstance(finding, Finding)
        assert finding.fix
        found.setdefault(finding.cell, set()).add(finding.rule)
    return found


def test_everything_signed_is_good(repository: MemoryRepository, subjects: tuple[Subject, ...]) -> None:
    sign(repository, subjects)
    assert rules(repository, subjects) == {}


def test_signing_again_adds_nothing(repository: MemoryRepository, subjects: tuple[Subject, ...]) -> None:
    sign(repository, subjects)
    before = dict(repository.manifests)
    sign(repository, subjects)
    assert repository.manifests == before


def test_what_is_written(repository: MemoryRepository, subjects: tuple[Subject, ...]) -> None:
    sign(repository, subjects)
    index = subjects[0].digest
    tag = json.loads(repository.manifests[f"sha256-{index.removeprefix('sha256:')}.sig"].data)
    (layer,) = tag["layers"]
    assert layer["mediaType"] == "application/vnd.dev.cosign.simplesigning.v1+json"
    payload = json.loads(repository.blobs[layer["digest"]])
    assert payload["critical"]["identity"]["docker-reference"] == repository.name
    assert payload["critical"]["image"]["docker-manifest-digest"] == index
    (referrer,) = repository.referrers(index)
    manifest = json.loads(repository.manifests[referrer["digest"]].data)
    assert manifest["artifactType"] == bundle.MEDIA_TYPE
    assert manifest["config"]["digest"] == "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
    assert manifest["annotations"]["dev.sigstore.bundle.predicateType"] == statement.IMAGE


def test_a_child_without_a_signature(repository: MemoryRepository, subjects: tuple[Subject, ...]) -> None:
    """cosign verify of the index passes; nobody looked at the child."""
    sign(repository, subjects[:2])
    assert rules(repository, subjects) == {subjects[2].digest: {"BM749", "BM730"}}


@pytest.mark.parametrize("form", ["legacy", "bundle"])
def test_one_form_alone(repository: MemoryRepository, subjects: tuple[Subject, ...], form: str) -> None:
    sign(repository, subjects)
    index = subjects[0].digest
    if form == "legacy":
        for item in repository.referrers(index):
            del repository.manifests[item["digest"]]
    else:
        del repository.manifests[registry.tag_of(index, "sig")]
    assert rules(repository, subjects[:1]) == {index: {"BM749"}}
    assert rules(repository, subjects[:1], forms=(form,)) == {}


def test_a_stranger(repository: MemoryRepository, subjects: tuple[Subject, ...]) -> None:
    """The older form does not say by which key: there it fits none of ours."""
    sign(repository, subjects, "stranger")
    assert rules(repository, subjects[:1]) == {subjects[0].digest: {"BM735", "BM736", "BM749"}}


def test_a_strangers_signature_beside_a_good_one(repository: MemoryRepository, subjects: tuple[Subject, ...]) -> None:
    sign(repository, subjects)
    sign(repository, subjects, "stranger")
    assert rules(repository, subjects[:1]) == {subjects[0].digest: {"BM735", "BM736"}}
    assert rules(repository, subjects, signers.context("release", "stranger")) == {}


def test_an_attestation_alone_is_no_signature(repository: MemoryRepository, subjects: tuple[Subject, ...]) -> None:
    """cosign verify takes any bundle for a signature."""
    sign(repository, subjects)
    child = subjects[1]
    for item in repository.referrers(child.digest):
        manifest = json.loads(repository.manifests[item["digest"]].data)
        if manifest["annotations"][registry.BUNDLE_PREDICATE] == statement.IMAGE:
            del repository.manifests[item["digest"]]
    assert rules(repository, (child,)) == {child.digest: {"BM749"}}


def test_an_annotation_that_lies_about_the_predicate(
    repository: MemoryRepository, subjects: tuple[Subject, ...]
) -> None:
    sign(repository, subjects)
    child = subjects[1]
    for item in repository.referrers(child.digest):
        manifest = json.loads(repository.manifests.pop(item["digest"]).data)
        if manifest["annotations"][registry.BUNDLE_PREDICATE] == statement.CYCLONEDX:
            manifest["annotations"][registry.BUNDLE_PREDICATE] = statement.IMAGE
            data = strict.encode(manifest)
            repository.put_manifest(digest_of(data), registry.MANIFEST, data)
    assert rules(repository, (child,)) == {child.digest: {"BM749"}}


@pytest.mark.parametrize("form", ["legacy", "bundle"])
def test_an_attestation_in_one_form_alone(
    repository: MemoryRepository, subjects: tuple[Subject, ...], form: str
) -> None:
    sign(repository, subjects)
    child = subjects[1]
    if form == "bundle":
        del repository.manifests[registry.tag_of(child.digest, "att")]
    for item in repository.referrers(child.digest) if form == "legacy" else ():
        manifest = json.loads(repository.manifests[item["digest"]].data)
        if manifest["annotations"][registry.BUNDLE_PREDICATE] == statement.CYCLONEDX:
            del repository.manifests[item["digest"]]
    assert rules(repository, (child,)) == {child.digest: {"BM730"}}
    assert rules(repository, (child,), forms=(form,)) == {}


def test_the_signature_of_another_image(repository: MemoryRepository, subjects: tuple[Subject, ...]) -> None:
    sign(repository, subjects)
    one, two = subjects[1].digest, subjects[2].digest
    repository.manifests[registry.tag_of(one, "sig")] = repository.manifests[registry.tag_of(two, "sig")]
    assert rules(repository, subjects[1:2]) == {one: {"BM734", "BM749"}}


def test_the_attestations_of_two_architectures_swapped(
    repository: MemoryRepository, subjects: tuple[Subject, ...]
) -> None:
    sign(repository, subjects)
    one, two = (registry.tag_of(item.digest, "att") for item in subjects[1:])
    repository.manifests[one], repository.manifests[two] = repository.manifests[two], repository.manifests[one]
    assert rules(repository, subjects) == {item.digest: {"BM745", "BM730"} for item in subjects[1:]}


def test_an_outdated_attestation_that_is_still_there(
    repository: MemoryRepository, subjects: tuple[Subject, ...]
) -> None:
    sign(repository, subjects)
    child = subjects[1].digest
    newer = Subject(digest=child, attestations=(sbom("newer"),))
    sign(repository, (newer,))
    assert rules(repository, (newer,)) == {child: {"BM745"}}
    anything = Subject(digest=child, attestations=(Attestation(predicate_type=statement.CYCLONEDX, predicate=None),))
    assert rules(repository, (anything,)) == {}


def test_a_signature_for_another_repository(repository: MemoryRepository, subjects: tuple[Subject, ...]) -> None:
    """A staging registry's signature, copied to production: cosign does not mind."""
    repository.name = "registry.example.org/staging/app"
    sign(repository, subjects)
    repository.name = "registry.example.org/team/app"
    assert rules(repository, subjects[:1]) == {subjects[0].digest: {"BM748", "BM749"}}


def edit_layer(repository: MemoryRepository, tag: str, change: Callable[[dict[str, Any]], object]) -> None:
    manifest = json.loads(repository.manifests[tag].data)
    change(manifest["layers"][0])
    repository.put_manifest(tag, registry.MANIFEST, strict.encode(manifest))


LAYERS: dict[str, tuple[str, Callable[[dict[str, Any]], object]]] = {
    "another media type": ("BM752", lambda layer: layer.update(mediaType="text/plain")),
    "no signature": ("BM733", lambda layer: layer["annotations"].pop(registry.SIGNATURE)),
    "another signature": ("BM735", lambda layer: layer["annotations"].update({registry.SIGNATURE: "AAAA"})),
    "a log entry": ("BM751", lambda layer: layer["annotations"].update({"dev.sigstore.cosign/bundle": "{}"})),
    "annotations that are none": ("BM752", lambda layer: layer.update(annotations=[1])),
    "a certificate that is none": ("BM752", lambda layer: layer["annotations"].update({registry.CERTIFICATE: "x"})),
    "a time stamp that is none": ("BM733", lambda layer: layer["annotations"].update({registry.TIMESTAMP: "{}"})),
}


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_with(repository: MemoryRepository, subjects: tuple[Subject, ...], name: str) -> None:
    sign(repository, subjects)
    code, change = LAYERS[name]
    edit_layer(repository, registry.tag_of(subjects[0].digest, "sig"), change)
    assert rules(repository, subjects[:1]) == {subjects[0].digest: {code, "BM749"}}


@pytest.mark.parametrize("data", [b"{}", b'{"layers": []}', b'{"layers": [1]}', b'{"layers": ' + b"[{}," * 200])
def test_a_signature_tag_that_holds_none(
    repository: MemoryRepository, subjects: tuple[Subject, ...], data: bytes
) -> None:
    sign(repository, subjects)
    repository.put_manifest(registry.tag_of(subjects[0].digest, "sig"), registry.MANIFEST, data)
    found = rules(repository, subjects[:1])[subjects[0].digest]
    assert found in ({"BM752", "BM749"}, {"BM731", "BM749"})


def test_too_many_signatures(repository: MemoryRepository, subjects: tuple[Subject, ...]) -> None:
    sign(repository, subjects)
    tag = registry.tag_of(subjects[0].digest, "sig")
    manifest = json.loads(repository.manifests[tag].data)
    manifest["layers"] *= registry.MAX_SIGNATURES + 1
    repository.put_manifest(tag, registry.MANIFEST, strict.encode(manifest))
    assert rules(repository, subjects[:1]) == {subjects[0].digest: {"BM752", "BM749"}}


def test_a_blob_that_the_client_does_not_check(repository: MemoryRepository, subjects: tuple[Subject, ...]) -> None:
    sign(repository, subjects)
    (layer,) = json.loads(repository.manifests[registry.tag_of(subjects[0].digest, "sig")].data)["layers"]
    repository.blobs[layer["digest"]] += b" "
    assert rules(repository, subjects[:1]) == {subjects[0].digest: {"BM752", "BM749"}}


def edit_referrer(repository: MemoryRepository, digest: str, change: Callable[[dict[str, Any]], object]) -> None:
    (item,) = repository.referrers(digest)
    manifest = json.loads(repository.manifests.pop(item["digest"]).data)
    change(manifest)
    data = strict.encode(manifest)
    repository.put_manifest(digest_of(data), registry.MANIFEST, data)


REFERRERS: dict[str, tuple[set[str], Callable[[dict[str, Any]], object]]] = {
    "two layers": ({"BM752", "BM749"}, lambda manifest: manifest.update(layers=manifest["layers"] * 2)),
    "an older kind": (
        {"BM752", "BM749"},
        lambda manifest: manifest.update(artifactType="application/vnd.dev.cosign.artifact.sig.v1+json"),
    ),
    "a kind of another tool": ({"BM749"}, lambda manifest: manifest.update(artifactType="application/vnd.example")),
}


@pytest.mark.parametrize("name", REFERRERS)
def test_a_referrer_with(repository: MemoryRepository, subjects: tuple[Subject, ...], name: str) -> None:
    sign(repository, subjects)
    codes, change = REFERRERS[name]
    edit_referrer(repository, subjects[0].digest, change)
    assert rules(repository, subjects[:1]) == {subjects[0].digest: codes}


def test_a_referrer_that_is_not_there(
    repository: MemoryRepository, subjects: tuple[Subject, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    sign(repository, subjects)
    monkeypatch.setattr(repository, "referrers", lambda _: [{"digest": "sha256:" + "0" * 64}])
    assert rules(repository, subjects[:1]) == {subjects[0].digest: {"BM752", "BM749"}}


def test_a_bundle_without_a_statement(repository: MemoryRepository, subjects: tuple[Subject, ...]) -> None:
    from buildmatrix.signing.signer import Content

    sign(repository, subjects)
    image = repository.manifests[subjects[0].digest].data
    data = bundle.encode(signers.bundler().message(Content.of(image)))
    layer = {"mediaType": bundle.MEDIA_TYPE, "digest": repository.put_blob(data), "size": len(data)}
    edit_referrer(repository, subjects[0].digest, lambda manifest: manifest.update(layers=[layer]))
    assert rules(repository, subjects[:1]) == {subjects[0].digest: {"BM743", "BM749"}}


def test_certificates_sign_images_too(repository: MemoryRepository, subjects: tuple[Subject, ...]) -> None:
    private = signers.signer("certified").private
    signer = signers.certified(signers.leaf(signers.authority(), private), private)
    sign_image(repository, subjects, signer, created=CREATED)
    assert rules(repository, subjects, signers.authority().context()) == {}
    other = signers.authority().context(issuer="https://elsewhere.example.org")
    assert rules(repository, subjects[:1], other) == {subjects[0].digest: {"BM741", "BM749"}}


def test_an_image_that_is_not_there(repository: MemoryRepository) -> None:
    with pytest.raises(errors.SigningFailed, match="not in the registry"):
        sign(repository, (Subject(digest="sha256:" + "0" * 64),))


@dataclass(frozen=True)
class Unraw:
    """A signer that makes bundles only, as the keyless one does."""

    inner: Bundler = field(default_factory=signers.bundler)
    raw: None = None

    @property
    def identity(self) -> Identity:
        return self.inner.identity

    def message(self, content: Content) -> Bundle:
        return self.inner.message(content)

    def attest(self, payload: bytes) -> Bundle:
        return self.inner.attest(payload)


def test_a_signer_of_bundles_alone_has_no_older_form(
    repository: MemoryRepository, subjects: tuple[Subject, ...]
) -> None:
    keyless = KeylessSigner(inner=None, identity=signers.bundler().identity)  # type: ignore[arg-type]
    assert imagesign.forms_of(keyless) == ("bundle",) and imagesign.forms_of(signers.bundler()) == registry.FORMS
    sign_image(repository, subjects, Unraw(), created=CREATED)
    assert not [name for name in repository.manifests if name.endswith((".sig", ".att"))]
    assert rules(repository, subjects, forms=("bundle",)) == {}
    assert rules(repository, subjects[:1]) == {subjects[0].digest: {"BM749"}}, "who signs with a key has both"
