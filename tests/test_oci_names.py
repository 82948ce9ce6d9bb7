"""Platforms and references: what is equal, what runs where, and what Docker's grammar takes."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildmatrix.arch import BY_GOARCH
from buildmatrix.errors import ReferenceInvalid
from buildmatrix.oci import media, platform, reference
from buildmatrix.oci.platform import Platform

A = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    "spellings",
    [
        ("linux/arm64", "linux/arm64/v8", "linux/arm64/8", "linux/arm64/v8.0", "linux/aarch64", "Linux/ARM64", "arm64"),
        ("linux/amd64", "linux/amd64/v1", "linux/x86_64", "linux/x86-64", "amd64"),
        ("linux/arm", "linux/arm/v7", "linux/arm/7", "linux/armhf", "linux/armv7l", "arm"),
        ("linux/arm/v6", "linux/arm/6", "linux/armel"),
        ("linux/arm64/v9", "linux/arm64/v9.0", "linux/arm64/9"),
        ("darwin/arm64", "macos/arm64"),
    ],
    ids=lambda names: names[0],
)
def test_spellings_of_one_platform(spellings: tuple[str, ...]) -> None:
    forms = {platform.normalise(platform.parse(name)) for name in spellings}
    assert len(forms) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("linux/arm64/v8", "linux/arm64/v8.1"),
        ("linux/amd64", "linux/amd64/v2"),
        ("linux/arm/v6", "linux/arm/v7"),
        ("linux/arm64", "linux/arm"),
        ("linux/amd64", "windows/amd64"),
        ("linux/arm64/v9", "linux/arm64/v8"),
    ],
)
def test_platforms_that_differ(one: str, other: str) -> None:
    assert not platform.same(platform.parse(one), platform.parse(other))


@pytest.mark.parametrize(
    ("image", "machine", "runs"),
    [
        ("linux/arm/v6", "linux/arm/v7", True),
        ("linux/arm/v7", "linux/arm/v6", False),
        ("linux/amd64", "linux/amd64/v3", True),
        ("linux/amd64/v3", "linux/amd64", False),
        ("linux/arm64", "linux/arm64/v8.2", True),
        ("linux/arm64/v8.5", "linux/arm64/v9", True),
        ("linux/arm64/v8.6", "linux/arm64/v9", False),
        ("linux/arm64/v9", "linux/arm64/v8.4", False),
        ("linux/arm64/v9", "linux/arm64/v8.5", True),
        ("linux/arm/v7", "linux/arm64", False),
        ("linux/riscv64", "linux/riscv64", True),
        ("linux/riscv64/rva22u64", "linux/riscv64", False),
    ],
)
def test_what_runs_where(image: str, machine: str, runs: bool) -> None:
    assert platform.runs_on(platform.parse(image), platform.parse(machine)) is runs


def test_the_same_platform_wins_then_the_closest_lower_one_and_the_first_of_equals() -> None:
    items = [
        (platform.parse(name), number)
        for number, name in enumerate(("linux/arm/v5", "linux/arm/v6", "linux/arm/v6", "linux/arm/v7", "linux/arm/v7"))
    ]
    assert platform.select(items, platform.parse("linux/arm/v7")) == 3
    assert platform.select(items[:3], platform.parse("linux/arm/v7")) == 1
    assert platform.select(items, platform.parse("linux/arm/v5")) == 0
    assert platform.select(items[1:], platform.parse("linux/arm/v5")) is None


def test_windows_versions_count_where_both_have_one() -> None:
    one = Platform(os="windows", architecture="amd64", os_version="10.0.1")
    assert not platform.same(one, Platform(os="windows", architecture="amd64", os_version="10.0.2"))
    assert platform.same(one, Platform(os="windows", architecture="amd64"))
    assert not platform.runs_on(one, Platform(os="windows", architecture="amd64", os_version="10.0.2"))


@given(
    st.sampled_from(("linux", "windows", "Darwin")),
    st.sampled_from(sorted(BY_GOARCH)),
    st.text("v0123456789.", max_size=5),
)
def test_normalising_twice_changes_nothing(os: str, architecture: str, variant: str) -> None:
    one = platform.normalise(Platform(os=os, architecture=architecture, variant=variant))
    assert platform.normalise(one) == one
    assert platform.same(one, Platform(os=os, architecture=architecture, variant=variant))
    assert platform.runs_on(one, one)


@pytest.mark.parametrize("text", ["", "linux/", "a/b/c/d", "linux/arm64 ", "linux/../arm64", "linux/a b"])
def test_what_is_no_platform(text: str) -> None:
    with pytest.raises(ReferenceInvalid, match="BM801 got the platform"):
        platform.parse(text)


def test_a_platform_as_json_keeps_what_was_read() -> None:
    value = {"architecture": "arm64", "os": "linux", "variant": "v8", "os.version": "1", "os.features": ["x"]}
    assert platform.from_json(value).as_json() == value
    assert platform.from_json({}).unknown
    assert str(platform.from_json({})) == "unknown"
    assert platform.from_json({"os": "unknown", "architecture": "unknown"}).unknown


def test_platforms_listed_twice() -> None:
    items = [platform.parse(name) for name in ("linux/arm64", "linux/amd64", "linux/arm64/v8")]
    assert platform.duplicates(items) == (items[2],)


@pytest.mark.parametrize(
    ("text", "full", "target"),
    [
        ("alpine", "docker.io/library/alpine", "latest"),
        ("alpine:3", "docker.io/library/alpine:3", "3"),
        ("user/app", "docker.io/user/app", "latest"),
        ("docker.io/alpine", "docker.io/library/alpine", "latest"),
        ("index.docker.io/alpine", "docker.io/library/alpine", "latest"),
        ("index.docker.io/user/app:x", "docker.io/user/app:x", "x"),
        ("localhost/app", "localhost/app", "latest"),
        ("localhost:5000/app", "localhost:5000/app", "latest"),
        ("127.0.0.1:5000/team/app:v1.0_x-y", "127.0.0.1:5000/team/app:v1.0_x-y", "v1.0_x-y"),
        ("[::1]:5000/app:1", "[::1]:5000/app:1", "1"),
        ("[::1]/app", "[::1]/app", "latest"),
        ("Registry.Example.ORG/app", "registry.example.org/app", "latest"),
        (f"r.example/a__b/c--d.e@{A}", f"r.example/a__b/c--d.e@{A}", A),
        (f"r.example/app:1@{A}", f"r.example/app:1@{A}", A),
        ("r.example:443/a", "r.example:443/a", "latest"),
    ],
)
def test_references_as_docker_normalises_them(text: str, full: str, target: str) -> None:
    found = reference.parse(text)
    assert str(found) == full
    assert found.target == target
    assert reference.parse(str(found)) == found


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "repository"),
        ("App", "upper case"),
        ("r.example/App", "upper case"),
        ("r.example/", "repository"),
        ("r.example/a//b", "repository"),
        ("r.example/a/../b", "repository"),
        ("r.example/-a", "repository"),
        ("r.example/a___b", "repository"),
        ("r.example/a:", "tag"),
        ("r.example/a:.x", "tag"),
        ("r.example/a:" + "t" * 129, "tag"),
        ("r.example:0/a", "registry"),
        ("r.example:65536/a", "registry"),
        ("-r.example/a", "registry"),
        ("https://r.example/a", "registry"),
        ("r.example/a?x", "repository"),
        ("r.example/" + "a" * 250, "at most 255"),
        ("r.example/a@sha256:abc", "digest"),
        (f"r.example/a@md5:{'a' * 32}", "digest"),
        (f"r.example/a@{A.upper()}", "digest"),
        ("r.example/a\n", "repository"),
        ("r.example/a:1\n", "tag"),
        (f"r.example/a@{A}\n", "digest"),
    ],
)
def test_what_is_no_reference(text: str, why: str) -> None:
    with pytest.raises(ReferenceInvalid, match=why) as caught:
        reference.parse(text)
    assert "expected" in str(caught.value)


_WORD = st.from_regex(r"[a-z0-9]{1,8}((\.|_|__|-{1,3})[a-z0-9]{1,5}){0,2}", fullmatch=True)


@given(
    st.sampled_from(("r.example", "localhost", "127.0.0.1:5000", "[::1]:443", "docker.io")),
    st.lists(_WORD, min_size=2, max_size=4),
    st.from_regex(r"(\A[A-Za-z0-9_][A-Za-z0-9_.-]{0,20})?\Z", fullmatch=True),
    st.sampled_from(("", A)),
)
def test_what_is_printed_is_parsed_again(registry: str, path: list[str], tag: str, digest: str) -> None:
    made = reference.Reference(registry=registry, repository="/".join(path), tag=tag, digest=digest)
    assert reference.parse(str(made)) == made


@given(st.text(max_size=60))
def test_any_text_is_a_reference_or_an_error(text: str) -> None:
    try:
        found = reference.parse(text)
    except ReferenceInvalid:
        return
    assert reference.parse(str(found)) == found
    assert re.fullmatch(r"[A-Za-z0-9._:\[\]/@-]+", str(found))


def test_other_targets_of_the_same_repository() -> None:
    one = reference.parse("r.example/a:1")
    assert str(one.at("2")) == "r.example/a:2"
    assert str(one.at(A)) == f"r.example/a@{A}"
    for wrong in ("", "a b", "sha256:x", "../x"):
        with pytest.raises(ReferenceInvalid):
            one.at(wrong)


@pytest.mark.parametrize(
    ("registry", "loopback"),
    [
        ("localhost", True), ("localhost:5000", True), ("127.0.0.1:80", True), ("127.8.8.8", True),
        ("[::1]:5000", True), ("x.localhost:1", True), ("10.0.0.1:5000", False), ("localhost.example", False),
        ("r.example", False), ("127.0.0.1.example:5000", False),
    ],
)  # fmt: skip
def test_loopback(registry: str, loopback: bool) -> None:
    assert reference.is_loopback(registry) is loopback


def test_the_api_of_docker_hub_is_elsewhere() -> None:
    assert reference.api_host("docker.io") == "registry-1.docker.io"
    assert reference.api_host("r.example:1") == "r.example:1"


def test_tags_that_stand_for_digests() -> None:
    assert media.referrers_tag(A) == "sha256-" + "a" * 64
    assert media.referrers_tag("sha512:" + "b" * 128) == "sha512-" + "b" * 64
    assert media.legacy_tag(A, "sig") == "sha256-" + "a" * 64 + ".sig"
