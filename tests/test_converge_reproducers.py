"""Every reproducer is run here: it shows its failure, or says why this host cannot."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from buildmatrix import elf
from buildmatrix.converge import conclusion, gather, join, reader, recipes, reproduce, tinyelf
from buildmatrix.converge.causes import CATALOGUE
from buildmatrix.host import parse
from buildmatrix.preflight import tarfs
from buildmatrix.preflight.explain import Judge
from buildmatrix.preflight.openexec import Command
from buildmatrix.preflight.walk import Credentials, View

REPRODUCED, CANNOT = 0, 77

ANYWHERE = frozenset({
    "argument-list-too-long", "bad-elf", "bad-interpreter", "bad-script", "bad-shebang", "crash", "killed",
    "missing-file", "missing-interpreter", "no-exec-permission", "not-a-file", "page-size", "symlink-loop", "truncated",
    "unknown-format", "wrong-elf-type", "wrong-endian",
})  # fmt: skip
"""What every Linux on x86-64 or arm64 can show, whoever runs it."""


@pytest.mark.parametrize("slug", recipes.slugs())
def test_the_failure_comes_back(slug: str, tmp_path: Path) -> None:
    assert slug in CATALOGUE
    assert reproduce.write(slug, tmp_path / slug)
    done = subprocess.run(
        ["sh", str(tmp_path / slug / reproduce.SCRIPT)],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=120,
        check=False,
    )
    allowed = {REPRODUCED} if slug in ANYWHERE else {REPRODUCED, CANNOT}
    assert done.returncode in allowed, done.stdout + done.stderr
    if done.returncode == CANNOT:
        assert "cannot be shown here" in done.stdout or slug == "seccomp"


def test_a_script_that_shows_nothing_says_so(tmp_path: Path) -> None:
    """The check is no formality: with a program that works, the same script fails."""
    reproduce.write("bad-elf", tmp_path)
    for isa in tinyelf.ISAS:
        (tmp_path / f"prog-{isa.uname}").write_bytes(tinyelf.static(isa))
    done = subprocess.run(["sh", str(tmp_path / reproduce.SCRIPT)], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "not reproduced" in done.stdout


def test_causes_without_a_recipe_say_why(tmp_path: Path) -> None:
    assert not reproduce.write("io-error", tmp_path)
    assert "To settle it: dmesg" in (tmp_path / "README").read_text()
    assert not (tmp_path / reproduce.SCRIPT).exists()


def test_a_reproducer_uses_what_was_seen(tmp_path: Path) -> None:
    (tmp_path / "log").write_text(
        "/app/x: /lib/libc.so.6: version `GLIBC_2.99' not found (required by /app/x)\n"
        "/app/y: error while loading shared libraries: libseen.so.4: cannot open shared object file: No such file or "
        "directory\n"
    )
    gathered = gather.gather(reader.read("log", tmp_path / "log", reader.Count()))
    found = conclusion.conclude(join.join(gathered), gathered)
    folders = reproduce.write_all(found.causes, tmp_path / "out")
    texts = "".join((Path(folder) / reproduce.SCRIPT).read_text() for folder in folders.values())
    assert len(folders) == 2
    assert "GLIBC_2.99" in texts and "libseen.so.4" in texts


PREDICTED = ("wrong-endian", "unknown-format", "wrong-elf-type", "bad-elf", "truncated", "missing-interpreter")


@pytest.mark.parametrize("slug", PREDICTED)
@pytest.mark.parametrize("isa", tinyelf.ISAS, ids=lambda isa: isa.uname)
def test_the_preflight_predicts_what_a_reproducer_shows(slug: str, isa: tinyelf.Isa, tmp_path: Path) -> None:
    reproduce.write(slug, tmp_path)
    path = tmp_path / f"prog-{isa.uname}"
    path = path if path.exists() else tmp_path / "prog"
    assert predicted(path, {"x86_64": "amd64", "aarch64": "arm64"}[isa.uname]) == slug


def test_the_program_for_pages_of_4_kib_is_that(tmp_path: Path) -> None:
    reproduce.write("page-size", tmp_path)
    assert predicted(tmp_path / "prog4k-aarch64", "arm64,page=4k") == "none"
    assert predicted(tmp_path / "prog4k-aarch64", "arm64,page=16k") == "page-size"


def predicted(path: Path, target: str) -> str:
    host = parse(target)
    view = View(
        root=tarfs.scratch_root([("/prog", path)]), who=Credentials(uid=0, gid=0), cwd="/", proc=True, noexec=()
    )
    return Judge(view, host).judge(Command(path="/prog", argv=("/prog",), env={})).cause


@pytest.mark.parametrize("isa", tinyelf.ISAS, ids=lambda isa: isa.uname)
def test_the_small_programs_are_whole(isa: tinyelf.Isa) -> None:
    """The reader that knows every issue finds none in them."""
    made = [
        tinyelf.static(isa),
        tinyelf.dynamic(isa, interpreter=isa.glibc, needed=("libc.so.6",), versions={"libc.so.6": "GLIBC_2.34"},
                        undefined="puts", runpath="$ORIGIN", isa_level=1),
        tinyelf.dynamic(isa, soname="libdemo.so.1"),
    ]  # fmt: skip
    for data in made:
        facts = elf.facts_of_bytes(data)
        assert not facts.issues, facts.issues
