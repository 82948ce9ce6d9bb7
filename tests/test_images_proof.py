"""What an image's bytes are decides; what its documents say must agree."""

from __future__ import annotations

import gzip
import hashlib
import os
import tarfile
from pathlib import Path

import pytest

from buildmatrix.errors import NotInRegistry
from buildmatrix.finding import Finding
from buildmatrix.images import contents, proof
from buildmatrix.oci import media
from buildmatrix.oci.layout import Layout
from buildmatrix.oci.platform import Platform, parse
from buildmatrix.preflight import tarfs
from tests import factory, image_lab, preflight_objects
from tests.image_lab import HandMade, Lab, Member, app, elf, layer, rules


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


@pytest.fixture
def made(tmp_path: Path) -> HandMade:
    return HandMade(Layout(tmp_path / "layout"))


def proven(lab: Lab, made: HandMade) -> tuple[Finding, ...]:
    return lab.prove(made.layout, made.top())


def good(made: HandMade, *platforms: str) -> None:
    for platform in platforms or image_lab.PLATFORMS:
        made.add(platform, layer(app(f"static-{platform.partition('/')[2]}")))


def test_an_honest_image_is_proven(lab: Lab, made: HandMade) -> None:
    good(made)
    assert rules(proven(lab, made)) == set()


def test_a_platform_that_is_missing_is_told(lab: Lab, made: HandMade) -> None:
    good(made, "linux/amd64")
    (finding,) = proven(lab, made)
    assert finding.rule == "BM851"
    assert "linux/arm64 missing" in finding.what and "index has linux/amd64" in finding.evidence


def test_a_platform_that_nobody_planned_is_told(lab: Lab, made: HandMade) -> None:
    good(made)
    made.add("linux/s390x", layer(Member(name="usr/local/bin/app", data=elf("static-s390x"))))
    assert [item.what for item in proven(lab, made)] == ["platform linux/s390x unplanned in the index"]


def test_a_platform_twice_is_told(lab: Lab, made: HandMade) -> None:
    good(made)
    made.list(made.entries[1], parse("linux/arm64/v8"))
    assert rules(proven(lab, made)) == {"BM851"}


@pytest.mark.parametrize("spelling", ["linux/arm64", "linux/arm64/v8", "linux/aarch64"])
def test_spellings_of_a_platform_are_one(lab: Lab, made: HandMade, spelling: str) -> None:
    good(made, "linux/amd64")
    made.add(spelling, layer(app("static-arm64")))
    assert rules(proven(lab, made)) == set()


def test_an_amd64_program_in_the_arm64_image_is_found(lab: Lab, made: HandMade) -> None:
    good(made, "linux/amd64")
    made.add("linux/arm64", layer(app("static-amd64")))
    found = proven(lab, made)
    assert rules(found) == {"BM854", "BM855", "BM858"}
    (foreign,) = [item for item in found if item.rule == "BM854"]
    assert "got x86-64 in an image for linux/arm64" in foreign.what and "/usr/local/bin/app" in foreign.what


def test_a_foreign_library_beside_a_good_entrypoint_is_found(lab: Lab, made: HandMade) -> None:
    good(made, "linux/amd64")
    plugin = Member(name="opt/plugins/x.so", data=elf("library-amd64"))
    made.add("linux/arm64", layer(app("static-arm64"), plugin))
    assert rules(proven(lab, made)) == {"BM854"}
    lab.image["foreign"] = ["/opt/plugins/*"]
    assert rules(proven(lab, made)) == set()


def test_a_config_for_another_platform_is_found(lab: Lab, made: HandMade) -> None:
    good(made, "linux/amd64")
    made.add("linux/arm64", layer(app("static-arm64")), says="linux/amd64")
    (finding,) = [item for item in proven(lab, made) if item.rule == "BM852"]
    assert "config says linux/amd64, its entry in the index linux/arm64" in finding.what


def test_a_missing_loader_is_found(lab: Lab, made: HandMade) -> None:
    program = elf("pie-glibc-arm64")
    lab.files["arm64"] = "pie-glibc-arm64"
    good(made, "linux/amd64")
    made.add("linux/arm64", layer(Member(name="usr/local/bin/app", data=program)))
    (finding,) = [item for item in proven(lab, made) if item.rule == "BM858"]
    assert "ENOENT" in finding.what and "ld-linux-aarch64.so.1" in finding.evidence


def test_an_entrypoint_that_is_not_there_is_found(lab: Lab, made: HandMade) -> None:
    good(made, "linux/amd64")
    made.add("linux/arm64", layer(app("static-arm64")), runs={"Entrypoint": ["/app"]})
    (finding,) = [item for item in proven(lab, made) if item.rule == "BM858"]
    assert "/app, which is not in the image" in finding.what


def test_an_image_that_starts_nothing_is_found(lab: Lab, made: HandMade) -> None:
    good(made, "linux/amd64")
    made.add("linux/arm64", layer(app("static-arm64")), runs={})
    assert rules(proven(lab, made)) == {"BM858"}


def test_an_entrypoint_without_its_x_bit_is_found(lab: Lab, made: HandMade) -> None:
    good(made, "linux/amd64")
    made.add("linux/arm64", layer(Member(name="usr/local/bin/app", data=elf("static-arm64"), mode=0o644)))
    (finding,) = [item for item in proven(lab, made) if item.rule == "BM858"]
    assert "EACCES" in finding.what or "not" in finding.what


@pytest.mark.parametrize("user", ["65532", "nobody", "app:staff", ""])
def test_the_entrypoint_is_judged_as_the_images_user(lab: Lab, made: HandMade, user: str) -> None:
    """A program that only its owner may start: 1000 owns it, /etc/passwd says who that is."""
    passwd = Member(
        name="etc/passwd", data=b"root:x:0:0::/:\napp:x:0:0::/:/bin/sh\nnobody:x:65534:65534::/:\n", mode=0o644
    )
    group = Member(name="etc/group", data=b"staff:x:50:\n", mode=0o644)
    program = Member(name="usr/local/bin/app", data=elf("static-arm64"), mode=0o700)
    good(made, "linux/amd64")
    runs = {"Entrypoint": ["/usr/local/bin/app"], "User": user}
    made.add("linux/arm64", layer(passwd, group, program), runs=runs)
    expected = set() if user in ("", "app:staff") else {"BM858"}
    assert rules(proven(lab, made)) == expected


def test_another_binary_than_the_artifact_is_found(lab: Lab, made: HandMade) -> None:
    good(made, "linux/amd64")
    made.add("linux/arm64", layer(Member(name="usr/local/bin/app", data=elf("static-arm64") + b"\0")))
    (finding,) = proven(lab, made)
    assert finding.rule == "BM855" and hashlib.sha256(elf("static-arm64")).hexdigest()[:16] in finding.what


def test_children_of_the_service_must_be_there(lab: Lab, made: HandMade) -> None:
    good(made)
    matrix = factory.parse(
        factory.document(
            binaries={"app": {"package": ".", "exec": ["/usr/bin/curl"]}},
            targets={"amd64": {"goarch": "amd64"}, "arm64": {"goarch": "arm64"}},
            images={"app": {"targets": ["*"]}},
        )
    )
    plan = proof.Plan(spec=matrix.images[0], matrix=matrix, digests=lab.digests())
    found = proof.prove(plan, made.layout, made.top())[1]
    assert [item.rule for item in found if item.rule == "BM603"] == ["BM603", "BM603"]


@pytest.mark.parametrize("policy", ["forbid", "allow", "require"])
@pytest.mark.parametrize("present", [False, True])
def test_attestations_follow_the_policy(lab: Lab, made: HandMade, policy: str, present: bool) -> None:
    lab.image["attestations"] = policy
    good(made)
    if present:
        for entry in list(made.entries):
            made.list(
                entry,
                Platform(os="unknown", architecture="unknown"),
                vnd__docker__reference__type=media.ATTESTATION_MANIFEST,
                vnd__docker__reference__digest=entry.digest,
            )
    wrong = (policy, present) in (("forbid", True), ("require", False))
    assert rules(proven(lab, made)) == ({"BM856"} if wrong else set())


def test_an_attestation_about_something_else_is_found(lab: Lab, made: HandMade) -> None:
    lab.image["attestations"] = "allow"
    good(made)
    made.list(
        made.entries[0],
        Platform(os="unknown", architecture="unknown"),
        vnd__docker__reference__type=media.ATTESTATION_MANIFEST,
        vnd__docker__reference__digest="sha256:" + "0" * 64,
    )
    assert rules(proven(lab, made)) == {"BM856"}


# Layers


def test_whiteouts_hide_what_lies_below(lab: Lab, made: HandMade) -> None:
    good(made, "linux/amd64")
    below = layer(Member(name="opt/x", data=elf("static-amd64")), Member(name="opt/deep/y", data=elf("static-amd64")))
    above = layer(Member(name="opt/.wh.x"), Member(name="opt/deep/.wh..wh..opq"), app("static-arm64"))
    made.add("linux/arm64", below, above)
    assert rules(proven(lab, made)) == set()


def test_the_last_of_duplicate_entries_counts(lab: Lab, made: HandMade) -> None:
    good(made, "linux/amd64")
    made.add("linux/arm64", layer(app("static-amd64"), app("static-arm64")))
    assert rules(proven(lab, made)) == set()


@pytest.mark.parametrize(
    "member",
    [
        Member(name="../escape", data=b"1"),
        Member(name="a/../../escape", data=b"1"),
        Member(name="hard", type=tarfile.LNKTYPE, link="../../etc/shadow"),
        Member(name="hard", type=tarfile.LNKTYPE, link="not/there"),
        Member(name="dev/mem", type=tarfile.CHRTYPE),
        Member(name="dev/sda", type=tarfile.BLKTYPE),
    ],
    ids=lambda member: f"{member.name}-{member.link}",
)
def test_entries_that_no_image_should_have(lab: Lab, made: HandMade, member: Member) -> None:
    good(made, "linux/amd64")
    made.add("linux/arm64", layer(app("static-arm64"), member))
    (finding,) = proven(lab, made)
    assert finding.rule == "BM857" and member.name.rpartition("/")[2] in finding.what


def test_symlinks_lead_nowhere_outside(lab: Lab, made: HandMade) -> None:
    """An absolute link is taken inside the root, as a container would."""
    good(made, "linux/amd64")
    links = (
        Member(name="bin", type=tarfile.SYMTYPE, link="usr/local/bin"),
        Member(name="loop", type=tarfile.SYMTYPE, link="loop"),
        Member(name="up", type=tarfile.SYMTYPE, link="../../../../etc/passwd"),
    )
    made.add("linux/arm64", layer(*links, app("static-arm64")), runs={"Entrypoint": ["/bin/app"]})
    assert rules(proven(lab, made)) == set()


def test_a_layer_that_its_config_does_not_name_is_found(lab: Lab, made: HandMade) -> None:
    good(made, "linux/amd64")
    data, _ = layer(app("static-arm64"))
    made.add("linux/arm64", (data, "sha256:" + "0" * 64))
    (finding,) = proven(lab, made)
    assert finding.rule == "BM853" and "other content" in finding.what


def test_a_layer_count_that_differs_is_found(lab: Lab, made: HandMade) -> None:
    good(made, "linux/amd64")
    made.add("linux/arm64", layer(app("static-arm64")), config={"rootfs": {"type": "layers", "diff_ids": []}})
    assert "BM852" in rules(proven(lab, made))


@pytest.mark.parametrize("how", ["flip", "cut", "grow", "remove"])
def test_damaged_blobs_are_found(lab: Lab, made: HandMade, how: str) -> None:
    good(made)
    top = made.top()
    arm64 = made.layout.manifest(made.entries[1]).manifest()
    path = made.layout.blob_path(arm64.layers[0].digest)
    data = path.read_bytes()
    half = len(data) // 2
    flipped = data[:half] + bytes([data[half] ^ 1]) + data[half + 1 :]
    path.write_bytes({"flip": flipped, "cut": data[:-20], "grow": data + b"\0", "remove": b""}[how])
    if how == "remove":
        path.unlink()
        with pytest.raises(NotInRegistry):
            lab.prove(made.layout, top)
    else:
        assert rules(lab.prove(made.layout, top)) == {"BM853"}


def test_an_archive_that_ends_early_is_found(lab: Lab, made: HandMade) -> None:
    good(made, "linux/amd64")
    plain = image_lab.tar([app("static-arm64"), Member(name="usr/share/big", data=os.urandom(100_000))])[:60_000]
    made.add("linux/arm64", (gzip.compress(plain, mtime=0), f"sha256:{hashlib.sha256(plain).hexdigest()}"))
    assert rules(proven(lab, made)) == {"BM853"}


@pytest.mark.parametrize("packing", ["plain", "gzip", "gzip-members", "zstd"])
def test_every_packing_is_read(lab: Lab, made: HandMade, packing: str) -> None:
    plain = image_lab.tar([app("static-arm64")])
    data = {"plain": plain, "gzip": gzip.compress(plain), "gzip-members": _members(plain), "zstd": b""}[packing]
    if packing == "zstd":
        data = contents_zstd(plain)
    good(made, "linux/amd64")
    made.add("linux/arm64", (data, f"sha256:{hashlib.sha256(plain).hexdigest()}"))
    assert rules(proven(lab, made)) == set()


def _members(plain: bytes) -> bytes:
    """gzip members one after another, as estargz and pigz write them."""
    return b"".join(gzip.compress(plain[start : start + 1000]) for start in range(0, len(plain), 1000))


def contents_zstd(plain: bytes) -> bytes:
    try:
        from compression import zstd  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        from backports import zstd
    return bytes(zstd.compress(plain))


def test_a_bomb_is_refused_before_it_fills_anything(lab: Lab, made: HandMade, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contents, "RATIO", 50)
    good(made, "linux/amd64")
    made.add("linux/arm64", layer(app("static-arm64"), Member(name="zeros", data=bytes(64 << 20))))
    (finding,) = proven(lab, made)
    assert finding.rule == "BM853" and "expands past" in finding.what


def test_too_many_entries_are_refused(lab: Lab, made: HandMade, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tarfs, "MAX_MEMBERS", 50)
    good(made, "linux/amd64")
    made.add("linux/arm64", layer(app("static-arm64"), *(Member(name=f"f{number}") for number in range(60))))
    assert rules(proven(lab, made)) == {"BM853"}


def test_files_past_the_budget_are_streamed_again(lab: Lab, made: HandMade, monkeypatch: pytest.MonkeyPatch) -> None:
    """The preflight sees the same bytes whether they were kept or not."""
    monkeypatch.setattr(contents, "KEPT", 0)
    good(made)
    assert rules(proven(lab, made)) == set()
    lab.files["arm64"] = "pie-glibc-arm64"
    made.entries.pop()
    made.add("linux/arm64", layer(Member(name="usr/local/bin/app", data=elf("pie-glibc-arm64"))))
    assert rules(proven(lab, made)) == {"BM858"}


def test_libraries_of_the_image_are_resolved(lab: Lab, made: HandMade) -> None:
    """A dynamic program, its loader and its library, in the image's own root; then without the library."""
    program = preflight_objects.Object(interp=preflight_objects.MUSL, needed=("libx.so",)).build()
    loader = preflight_objects.Object(extra=preflight_objects.MUSL_WORDS).build()
    library = preflight_objects.Object(soname="libx.so").build()
    path = lab.root / "program"
    path.write_bytes(program)
    members = [
        Member(name="usr/local/bin/app", data=program),
        Member(name=preflight_objects.MUSL.lstrip("/"), data=loader),
        Member(name="usr/lib/libx.so", data=library),
    ]
    digests = {**lab.digests(), "app_amd64": hashlib.sha256(program).hexdigest()}
    plan = proof.Plan(spec=lab.matrix.images[0], matrix=lab.matrix, digests=digests)
    for kept, expected in ((members, set()), (members[:2], {"BM858"})):
        made.entries.clear()
        made.add("linux/amd64", layer(*kept))
        made.add("linux/arm64", layer(app("static-arm64")))
        found = proof.prove(plan, made.layout, made.top())[1]
        assert rules(found) == expected, found
