"""Which causes a detection script can tell, and what is written into it."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from buildmatrix import arch, codes
from buildmatrix.cli import main
from buildmatrix.detect import causes, script, table
from buildmatrix.detect.table import Program
from buildmatrix.errors import Undetectable
from buildmatrix.facts import Facts, Format, GoInfo, VersionNeed
from buildmatrix.host import Host
from buildmatrix.preflight import running
from tests import factory, project

Captured = pytest.CaptureFixture[str]


def made(
    goarch: str = "amd64", libc: str = "glibc", settings: tuple[tuple[str, str], ...] = (), **facts: Any
) -> Program:
    elf = factory.elf_facts(goarch, libc, **facts)
    go = GoInfo(version="go1.26", settings=settings)
    whole = Facts(format=Format.ELF, size=4096, elf=elf, go=go)
    return Program(cell=f"app_{goarch}", name="app", sha256="0" * 64, size=4096, facts=whole, elf=elf)


def test_every_cause_is_one_of_the_preflight() -> None:
    page = (factory.ROOT / "docs" / "preflight.md").read_text()
    for cause in causes.CAUSES:
        assert cause.slug == causes.RELEASE or f"`{cause.slug}`" in page
    template = (factory.ROOT / "buildmatrix" / "detect" / "detect.sh").read_text()
    assert all(cause.slug in template for cause in causes.CAUSES)


def test_every_code_is_known_and_stands_for_one_cause() -> None:
    known = {item.code for item in codes.every()}
    named = [code for cause in causes.CAUSES for code in cause.codes]
    assert set(named) <= known
    assert len(named) == len(set(named))
    assert causes.find("bm508").slug == "glibc-too-old"


@pytest.mark.parametrize("word", ["seccomp", "page-sizes", "BM999"])
def test_other_causes_are_refused(word: str) -> None:
    with pytest.raises(Undetectable) as caught:
        causes.find(word)
    assert caught.value.fix


def needed(library: str, version: str, weak: bool = False) -> VersionNeed:
    return VersionNeed(library=library, version=version, weak=weak, hash=0, index=2)


def test_needs_are_the_highest_of_each_kind() -> None:
    needs = (
        needed("libc.so.6", "GLIBC_2.9"),
        needed("libc.so.6", "GLIBC_2.34"),
        needed("libc.so.6", "GLIBC_2.40", weak=True),
        needed("libc.so.6", "GLIBC_PRIVATE"),
        needed("libm.so.6", "GLIBC_2.29"),
    )
    elf = factory.elf_facts("amd64", "glibc", version_needs=needs, needed=("libc.so.6", "libm.so.6", "libx.so"))
    assert table.needs(elf) == ("libc.so.6:GLIBC_2.34", "libm.so.6:GLIBC_2.29", "libx.so:")
    musl = replace(elf, interp="/lib/ld-musl-x86_64.so.1", needed=("libc.musl-x86_64.so.1",), version_needs=())
    assert table.needs(musl) == ()


@pytest.mark.parametrize(("level", "words"), table.X86_WORDS.items())
def test_words_of_the_cpu_mean_what_the_preflight_takes_them_for(
    level: str, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = f"flags\t: {' '.join(words)}\n"
    monkeypatch.setattr(Path, "read_text", lambda *_a, **_k: text)
    assert running._cpu(Host(name="x", arch="amd64")).level == level


def test_folders_come_with_the_run_path_first() -> None:
    elf = factory.elf_facts("arm64", "glibc", runpath="${ORIGIN}/../lib:/opt/lib")
    folders = table.folders(elf, arch.BY_GOARCH["arm64"])
    assert folders[:3] == ("%ORIGIN/../lib", "/opt/lib", "/lib/aarch64-linux-gnu")
    assert len(folders) == len(set(folders))


def test_a_script_says_what_it_is_about() -> None:
    text = script.make(causes.find("isa-level"), "1.2.3", [made(settings=(("GOAMD64", "v3"),)), made("arm64")]).decode()
    assert "cause='isa-level'" in text
    assert "app_amd64|2 62|" in text
    assert "|x86_64||4096 16384 65536|cx16 lahf_lm" in text
    assert "|aarch64 arm64||" in text
    assert "@" not in "".join(line for line in text.splitlines() if "='@" in line)


def test_an_architecture_that_is_not_in_the_table() -> None:
    with pytest.raises(Undetectable):
        script.make(causes.find("page-size"), "1", [made(machine=43)])


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    hello = project.create(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert hello.run("build").returncode == 0
    assert main(["detect", "bad-release", "-o", "detect.sh"]) == 0
    assert main(["verify", "detect.sh"]) == 0
    here = {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]
    done = subprocess.run(
        ["/bin/sh", "detect.sh", str(hello.artifact(here))], capture_output=True, text=True, check=False
    )
    said = json.loads(done.stdout)
    assert (done.returncode, said["artifact"], said["release"]) == (1, f"hello_{here}", "1.2.3")
    capsys.readouterr()
    assert main(["detect", "bad-release", "--fixed", "dist"]) == 0
    assert "fixed='" in capsys.readouterr().out
    binary = hello.artifact("amd64")
    binary.write_bytes(binary.read_bytes() + b"\0")
    assert main(["detect", "bad-release"]) == 1
    assert "expected an ELF file with SHA-256" in capsys.readouterr().err
    assert main(["detect", "seccomp"]) == 2


def test_a_layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    images = '\n[images.hello]\ntargets = ["amd64", "arm64"]\n'
    hello = project.create(tmp_path, matrix=project.MATRIX + images)
    monkeypatch.chdir(tmp_path)
    done = hello.run("image")
    assert done.returncode == 0, done.stdout + done.stderr
    assert main(["detect", "page-size", "--release", "dist/images/hello", "--version", "1.2.3"]) == 0
    text = capsys.readouterr().out
    assert text.count("|2 62|") == text.count("|2 183|") == 1
    assert main(["detect", "page-size", "--release", "dist/images/hello"]) == 2
