"""What is said about an image: made from its bytes, held to them again by verify and push, attested before tags."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from buildmatrix import inventory
from buildmatrix.artifact import Status
from buildmatrix.finding import Finding, Severity
from buildmatrix.images import attested, proof, record, verification
from buildmatrix.images.record import documents_path
from buildmatrix.oci.layout import Layout
from buildmatrix.oci.registry import Registry, Repository
from buildmatrix.sbom import reading
from buildmatrix.signing import registry, statement
from buildmatrix.signing.imagecheck import verify_image
from buildmatrix.signing.imagesign import sign_image
from buildmatrix.signing.registry import Subject
from buildmatrix.signing.remote import Remote
from tests import image_lab, signers
from tests.image_lab import HandMade, Lab, Member, layer, rules
from tests.registry_server import RegistryServer
from tests.test_images_push import QUICK, push, tagged
from tests.test_images_verification import found as verified
from tests.test_sbom import check_cyclonedx, check_spdx

NAMES = {
    "index.provenance.intoto.json",
    *(
        f"linux-{goarch}.{name}"
        for goarch in ("amd64", "arm64")
        for name in ("provenance.intoto.json", "sbom.cdx.json", "sbom.spdx.json")
    ),
}
MANY = "".join(
    f"Package: lib{number}\nStatus: install ok installed\nArchitecture: all\nVersion: 1.{number}\n"
    f"Description: {'x' * 60}\n\n"
    for number in range(700)
)
"""A dpkg database that is larger than the small files that a proof keeps anyway."""


def base(lab: Lab, *more: Member) -> None:
    """A Debian-like base for both platforms."""
    made = HandMade(Layout(lab.root / "base"))
    members = (
        Member(name="etc/os-release", data=b'ID=debian\nVERSION_ID="13"\n', mode=0o644),
        Member(name="var/lib/dpkg/status", data=MANY.encode(), mode=0o644),
        Member(name="var/lib/dpkg/info/lib1.list", data=b"/usr/share/lib1/data\n", mode=0o644),
        Member(name="usr/share/lib1/data", data=bytes(range(256)) * 1024, mode=0o644),
        Member(name="usr/share/empty", mode=0o644),
        *more,
    )
    for platform in image_lab.PLATFORMS:
        made.add(platform, layer(*members))
    made.top()
    lab.image["base"] = "oci:base"


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    lab = Lab(tmp_path)
    base(lab)
    assert not lab.build().failed
    return lab


@pytest.fixture
def server() -> Iterator[RegistryServer]:
    with RegistryServer() as running:
        yield running


def folder(lab: Lab) -> Path:
    return documents_path(lab.dist, "app")


def documents(lab: Lab) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder(lab).iterdir()}


def test_every_platform_is_described(lab: Lab) -> None:
    made = documents(lab)
    assert set(made) == NAMES
    for name, data in made.items():
        if name.endswith("cdx.json"):
            check_cyclonedx(data)
        elif name.endswith("spdx.json"):
            check_spdx(data)
    kept = record.read(lab.dist, "app")
    assert kept is not None and {item.name for item in kept.documents} == NAMES and kept.complete


@pytest.mark.parametrize("platform", image_lab.PLATFORMS)
def test_the_bill_lists_what_the_layers_hold(lab: Lab, platform: str) -> None:
    """The proof's stream and the layout read in another way give the same files, packages and facts."""
    told, _ = inventory.look(lab.layout.path, ("sha256", "sha1"), platform)
    bill = reading.bill(reading.parse(documents(lab)[f"{platform.replace('/', '-')}.sbom.cdx.json"]))
    files = {item.name: dict(item.hashes) for item in bill.components if item.kind == "file"}
    assert files == {item.path: dict(item.hashes) for item in told.files}
    assert {"usr/local/bin/app", "usr/share/empty", "var/lib/dpkg/status"} <= set(files)
    assert not {"etc/hosts", "etc/resolv.conf"} & set(files), "what an engine mounts is not in the image"
    packages = {item.name for item in bill.components if item.purl.startswith("pkg:deb/debian/")}
    assert len(told.packages) == 700 and packages == {item.name for item in told.packages}
    app = next(item for item in bill.components if item.name == "usr/local/bin/app")
    machine = {"linux/amd64": "x86_64", "linux/arm64": "aarch64"}[platform]
    assert ("buildmatrix:elf:machine", machine) in app.properties
    (manifest,) = (
        one.digest for one in lab.layout.manifest(lab.layout.index().manifests[0]).manifest().manifests
        if str(one.platform) == platform
    )  # fmt: skip
    assert dict(bill.subject.hashes) == {"sha256": manifest.removeprefix("sha256:")}
    assert bill.subject.purl.startswith("pkg:oci/app@sha256:") and f"arch={platform[6:]}" in bill.subject.purl


def test_the_same_inputs_give_the_same_documents(lab: Lab, tmp_path: Path) -> None:
    first = documents(lab)
    other = Lab(tmp_path / "other")
    base(other)
    assert not other.build().failed
    assert documents(other) == first
    shutil.rmtree(lab.dist.root)
    assert not lab.build().failed
    assert documents(lab) == first


def test_provenance_names_base_binaries_and_commit(lab: Lab) -> None:
    kept = record.read(lab.dist, "app")
    assert kept is not None and kept.base_digest
    said = json.loads(documents(lab)["linux-arm64.provenance.intoto.json"])
    digests = {one["name"]: one["digest"] for one in said["predicate"]["buildDefinition"]["resolvedDependencies"]}
    assert digests == {
        "sources": {"gitCommit": "0123456789abcdef"},
        "base": {"sha256": kept.base_digest.removeprefix("sha256:")},
        "app_arm64/app": {"sha256": lab.digests()["app_arm64"]},
    }
    assert said["subject"][0]["digest"]["sha256"] == dict(kept.platforms)["linux/arm64"].removeprefix("sha256:")
    index = json.loads(documents(lab)["index.provenance.intoto.json"])
    assert index["subject"][0]["digest"]["sha256"] == kept.index.removeprefix("sha256:")
    parts = {one["name"]: one["digest"] for one in index["predicate"]["buildDefinition"]["resolvedDependencies"]}
    assert {f"app {name}": {"sha256": digest.removeprefix("sha256:")} for name, digest in kept.platforms} == {
        name: digest for name, digest in parts.items() if name.startswith("app ")
    }


# Altered


def _swap(name: str) -> Callable[[Path], None]:
    def swap(place: Path) -> None:
        one, two = place / f"linux-amd64.{name}", place / f"linux-arm64.{name}"
        first = one.read_bytes()
        one.write_bytes(two.read_bytes())
        two.write_bytes(first)

    return swap


def _edit(name: str, change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    def edit(place: Path) -> None:
        value = json.loads((place / name).read_bytes())
        change(value)
        (place / name).write_text(json.dumps(value, indent=2, sort_keys=True) + "\n")

    return edit


def _drop_package(value: dict[str, Any]) -> None:
    value["components"] = [item for item in value["components"] if item["name"] != "lib7"]


def _rename_base(value: dict[str, Any]) -> None:
    for item in value["predicate"]["buildDefinition"]["resolvedDependencies"]:
        if item["name"] == "base":
            item["digest"] = {"sha256": "0" * 64}


def _other_subject(value: dict[str, Any]) -> None:
    value["subject"][0]["digest"]["sha256"] = "0" * 64


def _version(value: dict[str, Any]) -> None:
    next(item for item in value["packages"] if item["name"] == "lib7")["versionInfo"] = "9"


def _twice(place: Path) -> None:
    path = place / "linux-arm64.sbom.cdx.json"
    path.write_bytes(path.read_bytes().replace(b"{", b'{"version": 2, ', 1))


def _cut(place: Path) -> None:
    path = place / "linux-arm64.sbom.spdx.json"
    path.write_bytes(path.read_bytes()[:-40])


def _link(place: Path) -> None:
    path = place / "linux-arm64.sbom.spdx.json"
    path.rename(place.parent / "elsewhere")
    path.symlink_to(place.parent / "elsewhere")


def _empty(place: Path) -> None:
    (place / "linux-arm64.sbom.cdx.json").write_bytes(b"")


def _longer(place: Path) -> None:
    path = place / "linux-arm64.sbom.cdx.json"
    path.write_bytes(path.read_bytes() + b"\n")


ATTACKS: dict[str, tuple[str, Callable[[Path], None]]] = {
    "swapped CycloneDX": ("BM715", _swap("sbom.cdx.json")),
    "swapped SPDX": ("BM715", _swap("sbom.spdx.json")),
    "swapped provenance": ("BM715", _swap("provenance.intoto.json")),
    "missing": ("BM711", lambda place: (place / "linux-arm64.sbom.cdx.json").unlink()),
    "a link": ("BM711", _link),
    "empty": ("BM712", _empty),
    "truncated": ("BM713", _cut),
    "a key twice": ("BM714", _twice),
    "about other bytes": ("BM716", _edit("linux-arm64.provenance.intoto.json", _other_subject)),
    "a package less": ("BM717", _edit("linux-arm64.sbom.cdx.json", _drop_package)),
    "another version": ("BM718", _edit("linux-arm64.sbom.spdx.json", _version)),
    "another base": ("BM723", _edit("linux-arm64.provenance.intoto.json", _rename_base)),
    "another base of the index": ("BM723", _edit("index.provenance.intoto.json", _rename_base)),
    "other bytes": ("BM720", _longer),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_what_was_altered_is_caught_and_nothing_is_tagged(lab: Lab, server: RegistryServer, name: str) -> None:
    code, attack = ATTACKS[name]
    attack(folder(lab))
    assert rules(verified(lab)) == {code}
    done = push(lab, server)
    assert done.failed and rules(done.findings) == {code}
    assert tagged(server) == {}
    assert not lab.build().failed  # it is made again, and the image with it is not
    assert rules(verified(lab)) == set() and not push(lab, server).failed


def test_a_record_that_names_other_documents(lab: Lab) -> None:
    path = record.record_path(lab.dist, "app")
    value = json.loads(path.read_bytes())
    value["documents"][0]["sha256"] = "0" * 64
    path.write_bytes(image_lab.canonical_record(value))
    assert rules(verified(lab)) == {"BM722"}


def test_a_record_that_names_another_base(lab: Lab) -> None:
    path = record.record_path(lab.dist, "app")
    value = json.loads(path.read_bytes())
    value["base_digest"] = "sha256:" + "0" * 64
    path.write_bytes(image_lab.canonical_record(value))
    assert rules(verified(lab)) == {"BM860"}


def test_another_commit_or_time_is_told(lab: Lab) -> None:
    today = verification.Today(
        matrix=lab.matrix, dist=lab.dist, digests=lab.digests(), version="1.2.3", revision="fedcba9876543210",
        created=image_lab.CREATED,
    )  # fmt: skip
    (outcome,) = verification.outcomes(today)
    assert rules(outcome.findings) == {"BM723"}
    (outcome,) = verification.outcomes(replace(today, revision="0123456789abcdef", created=1))
    assert rules(outcome.findings) == {"BM719", "BM723"}


def test_unchanged_documents_are_not_made_again(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError("made again")

    monkeypatch.setattr(attested, "make", never)
    assert lab.build().status is Status.SKIPPED


def test_a_format_that_is_not_asked_for_any_more_goes(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    matrix = lab.matrix
    other = replace(matrix, sbom=replace(matrix.sbom, formats=("cyclonedx",)))
    monkeypatch.setattr(Lab, "matrix", property(lambda _: other))
    assert not lab.build().failed
    assert set(documents(lab)) == {name for name in NAMES if "spdx" not in name}
    assert "sha1" not in str(documents(lab)["linux-arm64.sbom.cdx.json"]).lower()


# What cannot be told


def test_a_damaged_package_database_fails_the_image(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    base(lab, Member(name="lib/apk/db/installed", data=b"P:broken\nno field\n\n", mode=0o644))
    outcome = lab.build()
    assert outcome.failed and rules(outcome.findings) == {"BM725"}
    assert outcome.findings[0].cell.startswith("image app linux/")
    assert record.read(lab.dist, "app") is None


def test_a_database_of_an_unknown_kind_is_told_every_time(tmp_path: Path) -> None:
    """The image can do nothing about it: the bill says that it is incomplete, and so does every run."""
    lab = Lab(tmp_path)
    base(lab, Member(name="var/lib/rpm/Packages", data=b"\0" * 5000, mode=0o644))
    for _ in range(2):
        outcome = lab.build()
        assert not outcome.failed
        assert {(item.rule, item.severity) for item in outcome.findings} == {("BM724", Severity.WARNING)}
    assert b'"incomplete"' in documents(lab)["linux-arm64.sbom.cdx.json"]
    assert {item.rule for item in verified(lab)} == {"BM724"}


def test_a_file_past_the_budget_is_streamed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where memory is spent, databases are read from their layer a second time: the documents are the same."""
    lab = Lab(tmp_path)
    base(lab)
    assert not lab.build().failed
    first = documents(lab)
    monkeypatch.setattr("buildmatrix.images.contents.KEPT", 1000)
    shutil.rmtree(lab.dist.root)
    assert not lab.build().failed
    assert documents(lab) == first


# Attested


def _signed(repository: Repository, subjects: tuple[Subject, ...]) -> None:
    sign_image(Remote(repository), subjects, signers.bundler(), created="2026-06-01T12:00:00Z")


def _check(server: RegistryServer, subjects: tuple[Subject, ...]) -> tuple[Finding, ...]:
    with Registry(server.host, access=QUICK) as client:
        return verify_image(Remote(client.repository("team/app")), subjects, signers.context())


def test_documents_are_attested_in_both_forms(lab: Lab, server: RegistryServer) -> None:
    asked: list[Subject] = []

    def sign(repository: Repository, subjects: tuple[Subject, ...]) -> None:
        assert tagged(server) == {}
        asked.extend(subjects)
        _signed(repository, subjects)

    assert not push(lab, server, sign).failed
    assert [len(subject.attestations) for subject in asked] == [1, 3, 3]
    assert _check(server, tuple(asked)) == ()
    kinds = {said.predicate_type for said in asked[1].attestations}
    assert kinds == {statement.CYCLONEDX, statement.SPDX, statement.SLSA}
    assert [said.predicate_type for said in asked[0].attestations] == [statement.SLSA]
    told = next(said.predicate for said in asked[2].attestations if said.predicate_type == statement.SPDX)
    assert told == json.loads(documents(lab)["linux-arm64.sbom.spdx.json"])


def test_attestations_of_two_platforms_swapped_before_they_are_signed(lab: Lab, server: RegistryServer) -> None:
    """A signer that signs whatever it is given: what then lies in the registry is held to what should."""
    asked: list[Subject] = []

    def sign(repository: Repository, subjects: tuple[Subject, ...]) -> None:
        index, one, two = subjects
        asked.extend(subjects)
        swapped = (index, replace(one, attestations=two.attestations), replace(two, attestations=one.attestations))
        _signed(repository, swapped)

    push(lab, server, sign)
    wrong = {item.cell for item in _check(server, tuple(asked)) if item.rule == "BM745"}
    assert wrong == {asked[1].digest, asked[2].digest}


def test_attestations_of_two_platforms_swapped_in_the_registry(lab: Lab, server: RegistryServer) -> None:
    asked: list[Subject] = []

    def sign(repository: Repository, subjects: tuple[Subject, ...]) -> None:
        asked.extend(subjects)
        _signed(repository, subjects)

    push(lab, server, sign)
    tags = server.repo("team/app").tags
    one, two = (registry.tag_of(item.digest, "att") for item in asked[1:])
    tags[one], tags[two] = tags[two], tags[one]
    assert {item.cell for item in _check(server, tuple(asked)) if item.rule == "BM745"} == {
        asked[1].digest, asked[2].digest,
    }  # fmt: skip


def test_the_proof_leaves_the_tree_as_it_is(lab: Lab) -> None:
    """What engines mount over an image is for the preflight alone."""
    plan = replace(lab.plan(), hashes=("sha256",))
    (one, _), _ = proof.prove(plan, lab.layout, lab.layout.index().manifests[0])
    etc = (one.contents.root.top.children or {})["etc"]
    assert set(etc.children or {}) == {"os-release"}
