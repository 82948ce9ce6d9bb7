"""What any registry must do with our client: run against the one in this process and against real ones.

A subclass gives the fixture `repository` (an empty repository of its own) and `other` (a second one of the
same registry).
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from buildmatrix.errors import ContentMismatch, NotInRegistry, RegistryFailed
from buildmatrix.oci import content, copy, graph, inspection, media, platform, referrers
from buildmatrix.oci.content import Descriptor
from buildmatrix.oci.layout import Layout
from buildmatrix.oci.registry import Repository
from buildmatrix.oci.store import Store
from tests import oci_images

NOTHING = "sha256:" + "0" * 64


def everything(store: Store, tag: str = "v1") -> Descriptor:
    """Two images, one of them in an index of its own, an attestation, signatures of both kinds, and an SBOM's."""
    amd64 = oci_images.image(store, "linux/amd64")
    arm64 = oci_images.image(store, "linux/arm64/v8", docker=True)
    nested = oci_images.index(store, [arm64])
    top = oci_images.index(store, [amd64, nested, oci_images.attestation(store, amd64)], tag)
    oci_images.sign_with_tag(store, top.digest)
    oci_images.sign_with_tag(store, amd64.digest)
    oci_images.sign_with_tag(store, amd64.digest, "att")
    oci_images.attach(store, arm64, media.SIGSTORE_BUNDLE, b"bundle", **{media.BUNDLE_CONTENT: "message-signature"})
    sbom = oci_images.attach(store, top, "application/vnd.cyclonedx+json", b"sbom")
    oci_images.attach(store, sbom, "application/vnd.example.sig", b"signature of the sbom")
    return top


def digests(store: Store, top: Descriptor) -> set[str]:
    """Everything that belongs to an image, by digest, as a client finds it."""
    found: set[str] = set()
    level = [node.descriptor.digest for node in graph.walk(store, top)]
    while level:
        found.update(level)
        following = []
        for digest in level:
            following += [item.digest for item in store.referrers(digest)]
            for suffix in media.LEGACY_SUFFIXES:
                tagged = store.resolve(media.legacy_tag(digest, suffix))
                following += [tagged.digest] if tagged else []
        level = [digest for digest in following if digest not in found]
    return found


class Suite:
    def test_blobs_of_every_size_come_back(self, repository: Repository) -> None:
        access = repository.registry.access
        sizes = (0, 1, access.monolithic, access.monolithic + 1, access.chunk * 3, access.chunk * 3 + 7)
        for size in sizes:
            data = os.urandom(size)
            blob = content.blob_of(data)
            found = Descriptor(media_type=media.LAYER, digest=blob.digest, size=size)
            assert repository.blob_size(blob.digest) is None
            assert repository.put_blob(blob) is True
            assert repository.put_blob(blob) is False
            assert repository.blob_size(blob.digest) == size
            assert b"".join(repository.blob(found).open(0)) == data
            assert b"".join(repository.blob(found).open(size // 3)) == data[size // 3 :]

    def test_blobs_from_files(self, repository: Repository, tmp_path: Path) -> None:
        path = tmp_path / "blob"
        path.write_bytes(os.urandom(repository.registry.access.monolithic + 5))
        blob = content.blob_of_file(path)
        repository.put_blob(blob)
        found = Descriptor(media_type=media.LAYER, digest=blob.digest, size=blob.size)
        assert b"".join(repository.blob(found).open(0)) == path.read_bytes()

    def test_bytes_that_are_not_the_digests_are_not_stored(self, repository: Repository) -> None:
        for size in (10, repository.registry.access.monolithic + 1):
            good = content.blob_of(os.urandom(size))
            bad = content.Blob(digest=good.digest, size=size, open=content.blob_of(bytes(size)).open)
            with pytest.raises(ContentMismatch, match="the blob to send: got"):
                repository.put_blob(bad)
            assert not repository.has_blob(good.digest)
            short = content.Blob(digest=good.digest, size=size + 1, open=good.open)
            with pytest.raises(ContentMismatch, match=f"got {size} of {size + 1} bytes"):
                repository.put_blob(short)

    def test_blobs_are_mounted_across_repositories(self, repository: Repository, other: Repository) -> None:
        blob = content.blob_of(os.urandom(100))
        repository.put_blob(blob)
        assert other.put_blob(blob, mount_from=repository.path) is False
        assert other.blob_size(blob.digest) == 100
        missing = content.blob_of(os.urandom(50))
        assert other.put_blob(missing, mount_from=repository.path) is True
        assert other.blob_size(missing.digest) == 50

    def test_manifests_by_tag_and_digest(self, repository: Repository) -> None:
        entry = oci_images.image(repository, "linux/arm64", tag="one")
        by_tag, by_digest = repository.manifest("one"), repository.manifest(entry.digest)
        assert by_tag == by_digest
        assert by_tag.digest == entry.digest == content.digest_of(by_tag.data)
        assert repository.resolve("one") == repository.resolve(entry.digest) == by_tag.descriptor
        assert repository.resolve("two") is None
        assert repository.resolve(NOTHING) is None
        with pytest.raises(NotInRegistry, match=r"BM804 .*:two: not in the registry"):
            repository.manifest("two")
        with pytest.raises(NotInRegistry, match=rf"@{NOTHING} .linux/arm64.: not in the registry"):
            repository.manifest(Descriptor(media_type="", digest=NOTHING, size=1, platform=platform.parse("arm64")))

    def test_a_manifest_whose_blobs_are_missing_is_refused(self, repository: Repository) -> None:
        lost = Descriptor(media_type=media.CONFIG, digest=NOTHING, size=3)
        with pytest.raises((RegistryFailed, NotInRegistry), match=r"refused|not in the registry"):
            repository.put_manifest(oci_images.manifest({"config": lost.as_json(), "layers": []}), "broken")
        assert repository.resolve("broken") is None

    def test_tags(self, repository: Repository) -> None:
        with pytest.raises(NotInRegistry):
            repository.tags()
        for tag in ("a", "b", "c"):
            oci_images.image(repository, tag=tag)
        assert sorted(repository.tags()) == ["a", "b", "c"]

    def test_manifests_are_deleted(self, repository: Repository) -> None:
        entry = oci_images.image(repository, tag="one")
        assert repository.delete(entry.digest) is True
        assert repository.delete(entry.digest) is False
        assert repository.resolve("one") is None

    def test_referrers(self, repository: Repository) -> None:
        subject = oci_images.image(repository)
        assert repository.referrers(subject.digest) == ()
        first = oci_images.attach(repository, subject, "application/a", b"1")
        second = oci_images.attach(repository, subject, "application/b", b"2", note="kept")
        oci_images.attach(repository, subject, "application/b", b"2", note="kept")
        found = repository.referrers(subject.digest)
        assert sorted(found, key=str) == sorted((first, second), key=str)
        assert repository.referrers(subject.digest, "application/b") == (second,)
        assert second.annotations == {"note": "kept"}

    def test_referrers_of_several_subjects_at_once(self, repository: Repository, tmp_path: Path) -> None:
        layout = Layout(tmp_path / "layout").create()
        subjects = [oci_images.image(layout, name, tag=name[6:]) for name in ("linux/amd64", "linux/arm64")]
        made = {item.digest: [oci_images.attach(layout, item, f"application/{n}") for n in "abc"] for item in subjects}
        for subject in subjects:
            copy.copy(layout, repository, subject.digest, referrers=False)
        documents = [layout.manifest(item) for items in made.values() for item in items]
        for document in documents:
            for item in document.manifest().blobs:
                repository.put_blob(layout.blob(item))
        repository.put_referrers(documents)
        for digest, items in made.items():
            assert sorted(repository.referrers(digest), key=str) == sorted(items, key=str)

    def test_a_whole_image_is_copied_through_a_layout(
        self, repository: Repository, other: Repository, tmp_path: Path
    ) -> None:
        top = everything(repository)
        layout = Layout(tmp_path / "layout").create()
        out = copy.copy(repository, layout, "v1", tags=("v1",))
        back = copy.copy(layout, other, "v1", tags=("v1", "latest"))
        assert digests(repository, top) == digests(layout, top) == digests(other, top)
        assert len(digests(other, top)) == 11
        assert out.manifests == back.manifests == 11
        assert other.resolve("latest") == other.resolve("v1") == top
        assert other.manifest("v1").data == repository.manifest("v1").data

    def test_a_copy_in_one_registry_moves_no_bytes(self, repository: Repository, other: Repository) -> None:
        everything(repository)
        done = copy.copy(repository, other, "v1", tags=("v1",))
        assert (done.moved, done.descriptor) == (0, repository.resolve("v1"))
        assert len(done.tags) == 4
        assert len(done.referrers) == 3

    def test_an_image_is_chosen_by_platform(self, repository: Repository) -> None:
        top = everything(repository)
        node = graph.select(repository, top, platform.parse("linux/arm64"))
        assert node.depth == 2
        assert node.descriptor.media_type == media.DOCKER_MANIFEST
        with pytest.raises(NotInRegistry, match="has linux/amd64, linux/arm64/v8, expected linux/s390x"):
            graph.select(repository, top, platform.parse("linux/s390x"))

    def test_an_image_is_inspected(self, repository: Repository) -> None:
        everything(repository)
        report = inspection.inspect(repository, repository.manifest("v1"))
        index, amd64, nested, arm64, attestation = report.entries
        assert index.signatures == ("tag .sig",)
        assert amd64.attestations == ("https://slsa.dev/x", "https://slsa.dev/provenance/v1")
        assert arm64.signatures == ("referrer bundle",)
        assert attestation.attests == amd64.descriptor.digest
        assert [(item.rule, item.cell) for item in report.findings] == [("BM823", f"index {nested.descriptor.digest}")]

    def test_referrers_are_taken_out_of_the_fallback_index(self, repository: Repository) -> None:
        subject = oci_images.image(repository)
        items = [Descriptor(media_type=media.MANIFEST, digest=f"sha256:{n:064x}", size=n) for n in (1, 2)]
        for item in items:
            oci_images.image(repository, files={str(item.size): b""})
        real = [oci_images.image(repository, files={str(n): b""}) for n in (1, 2)]
        plain = [Descriptor(media_type=item.media_type, digest=item.digest, size=item.size) for item in real]
        referrers.add(repository, subject.digest, plain)
        assert referrers.by_tag(repository, subject.digest) == tuple(plain)
        referrers.remove(repository, subject.digest, [plain[0].digest])
        assert referrers.by_tag(repository, subject.digest) == (plain[1],)
