"""Every check with artifacts it accepts and artifacts it refuses; a check without cases fails here."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from buildmatrix import arch, checks
from buildmatrix.checks import across, cpu_level, floor
from buildmatrix.checks.rule import Check, Subject
from buildmatrix.facts import Facts, Format, GoModule, Issue, MachoFacts, PeFacts, VersionNeed
from buildmatrix.finding import Severity
from tests import factory
from tests.factory import subject

Case = tuple[str, Callable[[], Subject], str]
"""Code, artifact, and words of the finding; no words for an artifact that the check accepts."""


def need(version: str, *, weak: bool = False) -> VersionNeed:
    return VersionNeed(library="libc.so.6", version=version, weak=weak, hash=0, index=2)


def glibc(**changes: Any) -> Subject:
    """A good cgo artifact for glibc."""
    return subject("t", cgo=True, **changes)


def macho(**changes: int) -> Subject:
    values = {"cputype": 0x0100000C, "cpusubtype": 0, "bits": 64, "filetype": 2, "flags": 0, **changes}
    return subject("t", goos="darwin", goarch="arm64", changed={"macho": MachoFacts(**values)})


def pe(**changes: int) -> Subject:
    values = {"machine": 0x8664, "bits": 64, "subsystem": 3, "characteristics": 0x22, **changes}
    return subject("t", goos="windows", changed={"pe": PeFacts(**values)})


def script() -> Subject:
    return subject("t", changed={"format": Format.SCRIPT, "elf": None, "go": None, "shebang": "/bin/sh"})


SUM = ("example.org/m", "v1.0.0", "h1:abc=")


def modules(*listed: GoModule, sums: frozenset[tuple[str, str, str]] | None = frozenset({SUM})) -> Subject:
    return subject("t", go={"modules": listed}, sums=sums)


LOCAL = GoModule(path="../m", version="")
FORK = GoModule(path="example.org/fork", version="v2.0.0", sum="h1:f=")
KNOWN, OTHER = GoModule(path=SUM[0], version=SUM[1], sum=SUM[2]), GoModule(path=SUM[0], version="v1.0.1", sum="h1:x=")

CASES: list[Case] = [
    ("BM501", lambda: subject("t"), ""),
    ("BM501", lambda: subject("t", elf={"machine": 183}), "got AArch64 64-bit little-endian, expected x86-64"),
    ("BM501", lambda: subject("t", elf={"bits": 32}), "got x86-64 32-bit"),
    ("BM501", lambda: subject("t", goarch="ppc64le", elf={"little_endian": False}), "64-bit big-endian, expected"),
    ("BM501", macho, ""),
    ("BM501", lambda: macho(cputype=0x01000007), "got 0x1000007, expected 0x100000c"),
    ("BM501", pe, ""),
    ("BM501", lambda: pe(machine=0xAA64), "got 0xaa64, expected 0x8664"),
    ("BM501", script, ""),
    ("BM502", lambda: subject("t"), ""),
    ("BM502", script, "got script, expected elf"),
    ("BM502", lambda: replace(pe(), facts=subject("t").facts), "got elf, expected pe"),
    ("BM503", lambda: subject("t"), ""),
    ("BM503", lambda: subject("t", changed={"issues": (Issue(code="load-past-eof", offset=64, detail=9),)}), "load"),
    ("BM504", lambda: subject("t"), ""),
    ("BM504", lambda: subject("t", elf={"type": 3}), ""),
    ("BM504", lambda: subject("t", elf={"type": 1}), "got ET_REL, expected ET_EXEC or ET_DYN"),
    ("BM504", lambda: subject("t", elf={"type": 4}), "got ET_CORE"),
    ("BM504", lambda: subject("t", elf={"type": 0xFE00}), "got e_type 0xfe00"),
    ("BM504", lambda: macho(filetype=1), "got Mach-O file type 1"),
    ("BM504", macho, ""),
    ("BM504", lambda: pe(characteristics=0), "got a PE object"),
    ("BM504", pe, ""),
    ("BM505", lambda: subject("t"), ""),
    ("BM505", glibc, ""),
    ("BM505", lambda: subject("t", pie=True, elf={"interp": "/lib64/ld-linux-x86-64.so.2"}), ""),
    ("BM505", lambda: subject("t", elf={"interp": "/lib/ld.so"}), "got /lib/ld.so, expected none"),
    ("BM505", lambda: glibc(elf={"interp": None}), "got none, expected /lib64/ld-linux-x86-64.so.2"),
    ("BM505", lambda: glibc(elf={"interp": "/lib/ld-musl-x86_64.so.1"}), "got /lib/ld-musl-x86_64.so.1"),
    ("BM505", lambda: subject("t", goos="openbsd", elf={"interp": "/usr/libexec/ld.so"}), ""),
    ("BM505", lambda: subject("t", goos="openbsd"), "expected /usr/libexec/ld.so"),
    ("BM505", lambda: subject("t", goos="freebsd"), ""),
    ("BM506", glibc, ""),
    ("BM506", lambda: glibc(elf={"needed": ("libc.so.6", "libz.so.1")}), "got DT_NEEDED libz.so.1, expected libc.so.6"),
    ("BM506", lambda: glibc(elf={"needed": ("libz.so.1",)}, needed=["libz.so.*"]), ""),
    ("BM506", lambda: subject("t", elf={"needed": ("libc.so.6",)}), "expected no library at all"),
    ("BM506", lambda: subject("t", goos="openbsd", elf={"needed": ("libc.so", "libpthread.so.26.1")}), ""),
    ("BM506", lambda: glibc(elf={"needed": ("libc.so.6\x1b[2J",)}), "got DT_NEEDED libc.so.6\x1b"),
    ("BM507", glibc, ""),
    ("BM507", lambda: subject("t"), ""),
    ("BM507", lambda: glibc(elf={"needed": ("libc.musl-x86_64.so.1",)}), "got musl, expected glibc"),
    ("BM507", lambda: subject("t", cgo=True, libc="musl", elf={"version_needs": (need("GLIBC_2.4"),)}), "got glibc"),
    ("BM507", lambda: subject("t", elf={"interp": "/lib/ld-musl-x86_64.so.1"}), ""),
    ("BM507", lambda: subject("t", elf={"needed": ("libc.so.6",)}), "got glibc, expected none"),
    ("BM507", lambda: subject("t", goos="openbsd", elf={"interp": "/usr/libexec/ld.so", "needed": ("libc.so",)}), ""),
    ("BM508", lambda: glibc(libc_floor="2.28", elf={"version_needs": (need("GLIBC_2.28"),)}), ""),
    ("BM508", lambda: glibc(libc_floor="2.28", elf={"version_needs": (need("GLIBC_PRIVATE"),)}), ""),
    ("BM508", lambda: glibc(elf={"version_needs": (need("GLIBC_2.99"),)}), ""),
    (
        "BM508",
        lambda: glibc(libc_floor="2.28", elf={"version_needs": (need("GLIBC_2.4"), need("GLIBC_2.34"))}),
        "got GLIBC_2.34, expected at most GLIBC_2.28",
    ),
    ("BM508", lambda: glibc(libc_floor="2.9", elf={"version_needs": (need("GLIBC_2.10"),)}), "got GLIBC_2.10"),
    ("BM508", lambda: glibc(libc_floor="2.28", elf={"version_needs": (need("GLIBC_2.28.1"),)}), "got GLIBC_2.28.1"),
    ("BM509", glibc, ""),
    ("BM509", lambda: glibc(rpath=["$ORIGIN", "/opt"], elf={"runpath": "$ORIGIN:/opt"}), ""),
    ("BM509", lambda: glibc(rpath=["/opt"]), "got DT_RUNPATH nothing, expected /opt"),
    ("BM509", lambda: glibc(elf={"runpath": "/home/ci"}), "got DT_RUNPATH /home/ci, expected nothing"),
    ("BM509", lambda: glibc(elf={"runpath": ""}), "got DT_RUNPATH with an empty value, expected nothing"),
    ("BM509", lambda: glibc(rpath=["/opt"], elf={"rpath": "/opt:", "runpath": None}), "got DT_RPATH /opt:"),
    ("BM510", lambda: subject("t", level="v3"), ""),
    ("BM510", lambda: subject("t", level="v1", go={"settings": {"GOAMD64": "v3"}}), "got GOAMD64=v3, expected v1"),
    ("BM510", lambda: subject("t", go={"settings": {"GOAMD64": None}}), "got GOAMD64=nothing, expected v1"),
    ("BM510", lambda: subject("t", goarch="arm64", level="v8.1", go={"settings": {"GOARM64": "v8.1,lse"}}), ""),
    ("BM510", lambda: subject("t", goarch="arm64", go={"settings": {"GOARM64": "v8.0,lse"}}), "got GOARM64=v8.0,lse"),
    ("BM510", lambda: subject("t", goarch="arm", level="7", go={"settings": {"GOARM": "7,hardfloat"}}), ""),
    ("BM510", lambda: subject("t", goarch="arm", go={"settings": {"GOARM": "7,softfloat"}}), "got GOARM=7,softfloat"),
    ("BM511", lambda: glibc(elf={"x86_isa_needed": 1}), ""),
    ("BM511", lambda: glibc(level="v3", elf={"x86_isa_needed": 7}), ""),
    ("BM511", lambda: glibc(level="v2", elf={"x86_isa_needed": 4}), "got x86-64-v3, expected at most x86-64-v2"),
    ("BM511", lambda: glibc(elf={"x86_isa_needed": 1 << 20}), "got x86-64-v4"),
    ("BM512", lambda: subject("t", goarch="arm64"), ""),
    (
        "BM512",
        lambda: subject("t", goarch="arm64", elf={"page_incongruent": (False, True, True), "max_align_common": 4096}),
        "cannot be mapped with 16 and 64 KiB pages (got addresses and offsets that differ modulo the page size",
    ),
    ("BM512", lambda: subject("t", goarch="arm64", page_sizes=[4096], elf={"page_overlap": (False, False, True)}), ""),
    ("BM512", lambda: subject("t", elf={"page_overlap": (True, True, True)}), "4 KiB pages"),
    ("BM513", lambda: subject("t"), ""),
    ("BM513", lambda: subject("t", elf={"stack_flags": None}), ""),
    ("BM513", lambda: subject("t", elf={"stack_flags": 7}), "got flags 0x7, expected PT_GNU_STACK without PF_X"),
    ("BM513", lambda: glibc(elf={"stack_flags": None}), "got no PT_GNU_STACK"),
    ("BM513", lambda: subject("t", cgo=True, goarch="arm64", elf={"stack_flags": None}), ""),
    ("BM513", lambda: subject("t", goos="openbsd", elf={"stack_flags": None, "interp": "/usr/libexec/ld.so"}), ""),
    ("BM514", glibc, ""),
    ("BM514", lambda: subject("t", elf={"relro": False}), ""),
    ("BM514", lambda: glibc(elf={"textrel": True}), "got DT_TEXTREL, expected none"),
    ("BM514", lambda: glibc(elf={"relro": False}), "got no PT_GNU_RELRO, expected one"),
    ("BM515", lambda: subject("t"), ""),
    ("BM515", lambda: subject("t", pie=True, elf={"pie": True}), ""),
    ("BM515", lambda: subject("t", pie=True, elf={"static_pie": True}), ""),
    ("BM515", lambda: subject("t", pie=True), "got e_type 2, expected ET_DYN"),
    ("BM516", lambda: subject("t"), ""),
    ("BM516", macho, ""),
    ("BM516", lambda: subject("t", changed={"go": None}), "no Go build info (got none"),
    ("BM516", lambda: subject("t", go={"settings": {"GOARCH": "arm64"}}), "got GOARCH=arm64, expected amd64"),
    ("BM516", lambda: subject("t", go={"settings": {"GOOS": None}}), "got GOOS=nothing, expected linux"),
    ("BM516", lambda: glibc(go={"settings": {"CGO_ENABLED": "0"}}), "got CGO_ENABLED=0, expected 1"),
    ("BM516", lambda: subject("t", go={"version": "go1.25.1"}), "got go1.25.1, expected go1.26.8"),
    ("BM516", lambda: subject("t", go={"version": "go1.26.8 X:boringcrypto"}), ""),
    ("BM516", lambda: replace(subject("t", go={"version": "go1.1"}), go_version=""), ""),
    ("BM517", lambda: modules(KNOWN), ""),
    ("BM517", lambda: modules(OTHER, sums=None), ""),
    ("BM517", lambda: modules(replace(KNOWN, replace=LOCAL)), ""),
    ("BM517", lambda: modules(OTHER), "got example.org/m v1.0.1 h1:x=, expected v1.0.0"),
    ("BM517", lambda: modules(replace(KNOWN, sum="h1:other=")), "got example.org/m v1.0.0 h1:other="),
    ("BM517", lambda: modules(replace(KNOWN, sum="")), "without a sum"),
    ("BM517", lambda: modules(replace(KNOWN, replace=FORK)), "got example.org/fork v2.0.0 h1:f=, expected no such"),
    ("BM519", lambda: subject("t", goarch="arm"), ""),
    ("BM519", lambda: subject("t", goarch="riscv64", cgo=True), ""),
    ("BM519", lambda: subject("t", goarch="ppc64le"), ""),
    ("BM519", lambda: subject("t", goarch="arm", elf={"flags": 0x400}), "got e_flags 0x400, expected an EABI version"),
    ("BM519", lambda: subject("t", goarch="arm", cgo=True, elf={"flags": 0x05000200}), "expected hard float"),
    ("BM519", lambda: subject("t", goarch="riscv64", cgo=True, elf={"flags": 1}), "expected double float"),
    ("BM519", lambda: subject("t", goarch="ppc64le", elf={"flags": 1}), "expected ELFv2"),
    ("BM519", lambda: subject("t", goarch="ppc64le", elf={"machine": 62, "flags": 1}), ""),
]  # fmt: skip

BY_CODE = {check.code: check for check in checks.CHECKS}
GOOD = [case for case in CASES if not case[2]]
BAD = [case for case in CASES if case[2]]
WARNINGS = {"BM508": "GLIBC_2.99", "BM514": "no PT_GNU_RELRO"}


def _ids(cases: list[Case]) -> list[str]:
    return [f"{code}-{index}" for index, (code, _, _) in enumerate(cases)]


@pytest.mark.parametrize("check", checks.CHECKS, ids=lambda check: check.code)
def test_every_check_has_a_good_and_a_bad_case(check: Check) -> None:
    assert any(code == check.code for code, _, _ in GOOD)
    assert any(code == check.code for code, _, _ in BAD)


def test_codes_titles_and_files_are_unique() -> None:
    assert len(BY_CODE) == len({check.title for check in checks.CHECKS}) == len(checks.CHECKS)
    modules_of = {check.run.__module__ for check in checks.CHECKS}
    folder = factory.ROOT / "buildmatrix" / "checks"
    files = {f"buildmatrix.checks.{path.stem}" for path in folder.glob("*.py")}
    assert files - modules_of == {f"buildmatrix.checks.{name}" for name in ("__init__", "rule", "across")}


@pytest.mark.parametrize("check", checks.CHECKS, ids=lambda check: check.code)
def test_a_checks_docstring_is_its_page(check: Check) -> None:
    text = inspect.getdoc(inspect.getmodule(check.run)) or ""
    heading, _, body = text.partition("\n\n")
    assert heading.startswith(f"{check.code} ")
    assert len(body) > 80


@pytest.mark.parametrize(("code", "make", "words"), GOOD, ids=_ids(GOOD))
def test_accepted(code: str, make: Callable[[], Subject], words: str) -> None:
    assert not words
    assert BY_CODE[code].findings(make()) == ()


@pytest.mark.parametrize(("code", "make", "words"), BAD, ids=_ids(BAD))
def test_refused(code: str, make: Callable[[], Subject], words: str) -> None:
    findings = BY_CODE[code].findings(make())
    assert any(words in finding.what for finding in findings), findings
    for finding in findings:
        assert finding.rule == code
        assert finding.cell == "app_t"
        assert finding.why
        assert finding.fix
        expected = Severity.WARNING if WARNINGS.get(code, "\0") in finding.what else Severity.ERROR
        assert finding.severity is expected
        if code != "BM503":
            assert re.search(r"\(got .+, expected .+\)", finding.what, re.DOTALL), finding.what


def test_weak_version_needs_warn() -> None:
    (finding,) = BY_CODE["BM508"].findings(
        glibc(libc_floor="2.28", elf={"version_needs": (need("GLIBC_2.99", weak=True),)})
    )
    assert finding.severity is Severity.WARNING
    assert floor.version_key("GLIBC_2.4.1") == (2, 4, 1)


def test_many_defects_are_counted_not_listed() -> None:
    issues = tuple(Issue(code="segment-order", offset=index, detail=0) for index in range(20))
    findings = BY_CODE["BM503"].findings(subject("t", changed={"issues": issues}))
    assert len(findings) == 9
    assert findings[-1].what == "damaged structure: 12 further defects"


@pytest.mark.parametrize("goos", arch.PORTS)
def test_a_good_artifact_of_every_port_passes_every_check(goos: str) -> None:
    for goarch in arch.PORTS[goos]:
        loader: dict[str, Any] = {"interp": "/usr/libexec/ld.so", "needed": ("libc.so",)} if goos == "openbsd" else {}
        assert checks.run(subject("t", goos=goos, goarch=goarch, elf=loader)) == (), (goos, goarch)


@pytest.mark.parametrize("kind", list(Format), ids=str)
def test_no_check_fails_on_files_of_another_format(kind: Format) -> None:
    systems: tuple[dict[str, Any], ...] = ({}, {"goos": "windows"}, {"goos": "darwin", "goarch": "arm64"})
    for settings in systems:
        planned = factory.cell("t", **settings)
        found = checks.run(Subject(cell=planned, facts=Facts(format=kind, size=0), go_version="1.26.8"))
        assert "BM516" in {finding.rule for finding in found}
        assert ("BM502" in {finding.rule for finding in found}) == (str(kind) != planned.target.format)


def pair(one: Subject, two: Subject, digests: tuple[str, str] = ("aa", "bb")) -> list[str]:
    return [finding.what for finding in across.run([(one, digests[0]), (two, digests[1])])]


def other(**elf: Any) -> Subject:
    return subject("u", goarch="arm64", elf=elf)


def test_across_accepts_different_builds() -> None:
    assert pair(subject("t"), other()) == []
    assert pair(subject("t", elf={"go_build_id": None}), other(go_build_id=None)) == []
    same = subject("v", level="v3", elf={"go_build_id": "x"})
    assert pair(subject("t", elf={"go_build_id": "x"}), same, ("aa", "aa")) == []


@pytest.mark.parametrize(
    ("name", "kind", "digests"),
    [
        ("go_build_id", "Go build id", ("aa", "bb")),
        ("build_id", "GNU build id", ("aa", "bb")),
        ("", "content", ("a", "a")),
    ],
)
def test_across_refuses_one_build_under_two_architectures(name: str, kind: str, digests: tuple[str, str]) -> None:
    changes = {name: "same"} if name else {}
    (what,) = pair(subject("t", elf=changes), other(**changes), digests)
    assert what.startswith(f"same {kind} as app_t (got linux/amd64 and linux/arm64, expected")


def test_across_compares_systems_too() -> None:
    assert pair(subject("t"), subject("u", goos="freebsd"), ("a", "a"))
    (finding,) = across.run([(subject("t"), "a"), (subject("u", goos="windows"), "a")])
    assert (finding.rule, finding.cell, finding.severity) == ("BM518", "app_u", Severity.ERROR)
    assert "--target t --target u" in finding.fix


def test_levels_that_mean_the_same() -> None:
    arm, arm64 = arch.BY_GOARCH["arm"], arch.BY_GOARCH["arm64"]
    assert cpu_level.same_level(arm, "5", "5,softfloat")
    assert not cpu_level.same_level(arm, "5", "5,hardfloat")
    assert cpu_level.same_level(arm64, "v9.0,lse", "v9.0")
    assert not cpu_level.same_level(arm64, "v8.0,lse", "v8.0")
    assert not cpu_level.same_level(arm64, "v8.2", "v8.2,crypto")
