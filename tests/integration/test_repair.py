"""Repairs of real programs, which are really run afterwards, and every way in which one is refused."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from buildmatrix import arch, elf, matrix
from buildmatrix.cli import main
from buildmatrix.errors import RepairFailed, RepairRefused
from buildmatrix.process import SubprocessRunner
from buildmatrix.repair import advice, patchelf, run
from buildmatrix.repair.advice import Rebuild
from buildmatrix.repair.edits import Edits
from buildmatrix.repair.patchelf import Program
from buildmatrix.repair.run import Job
from tests import elves, project

pytestmark = pytest.mark.integration

LONG = "/opt/a/very/long/path/that/fits/into/no/gap/that/a/linker/leaves:$ORIGIN/../lib"
ENVIRONMENT = {"PATH": os.environ["PATH"], "LC_ALL": "C"}
SYSROOT = "/usr/aarch64-linux-gnu"
KINDS = {"pie": (), "fixed": ("-no-pie",), "old rpath": ("-Wl,--disable-new-dtags,-rpath,/x",),
         "one segment": ("-Wl,-z,noseparate-code",), "pages of 64K": ("-Wl,-z,max-page-size=65536",)}  # fmt: skip


def advise(key: str, value: str) -> Rebuild:
    return Rebuild(target="app-glibc", key=key, value=value)


def program() -> Program:
    return patchelf.find(SubprocessRunner(), ENVIRONMENT)


def repaired(source: Path, out: Path, edits: Edits, tool: Program | None = None, **more: Any) -> run.Repaired:
    job = Job(source=source, edits=edits, advise=advise, **more)
    return run.repair(job, out, tool or program(), SubprocessRunner(), ENVIRONMENT)


def ran(path: Path, goarch: str, *options: str) -> str:
    command = ["qemu-aarch64-static", "-L", SYSROOT, *options] if goarch == "arm64" else [*options]
    return subprocess.run([*command, str(path)], capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("goarch", ["amd64", "arm64"])
@pytest.mark.parametrize("path", ["/lib", LONG], ids=["short", "long"])
def test_a_new_run_path(goarch: str, kind: str, path: str, tmp_path: Path) -> None:
    source = elves.compile_c(tmp_path / "app", *KINDS[kind], goarch=goarch)
    before = source.read_bytes()
    done = repaired(source, tmp_path / "out", Edits(rpath=path))
    assert source.read_bytes() == before
    assert ran(tmp_path / "out", goarch) == "it runs\n"
    facts = elf.read_facts(tmp_path / "out").elf
    assert facts is not None
    assert (facts.rpath, facts.runpath) == ((path, None) if kind == "old rpath" else (None, path))
    assert done.before.data == before
    gone = repaired(tmp_path / "out", tmp_path / "again", Edits(rpath=""))
    assert (gone.after.elf.rpath, gone.after.elf.runpath) == (None, None)
    assert ran(tmp_path / "again", goarch) == "it runs\n"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("goarch", ["amd64", "arm64"])
def test_a_wrong_loader_is_put_right(goarch: str, kind: str, tmp_path: Path) -> None:
    row = arch.BY_GOARCH[goarch]
    base = row.glibc_loader.rpartition("/")[2]
    wrong = f"-Wl,--dynamic-linker=/no/such/folder/{base}"
    source = elves.compile_c(tmp_path / "app", wrong, *KINDS[kind], goarch=goarch)
    with pytest.raises((subprocess.CalledProcessError, FileNotFoundError)):
        ran(source, goarch)
    repaired(source, tmp_path / "out", Edits(interpreter=row.glibc_loader))
    assert ran(tmp_path / "out", goarch) == "it runs\n"
    longer = f"/a/much/longer/path/to/a/folder/that/holds/the/loader/of/this/system/{base}"
    other = repaired(source, tmp_path / "longer", Edits(interpreter=longer))
    assert other.after.elf.interp == longer


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("goarch", ["amd64", "arm64"])
def test_a_renamed_library(goarch: str, kind: str, tmp_path: Path) -> None:
    old = elves.compile_c(tmp_path / "libold.so.1", "-shared", "-fPIC", "-Wl,-soname,libold.so.1", goarch=goarch,
                          text="int answer(void) { return 42; }")  # fmt: skip
    text = '#include <stdio.h>\nint answer(void);\nint main(void) { printf("%d\\n", answer()); return 0; }\n'
    source = elves.compile_c(tmp_path / "app", *KINDS[kind], str(old), goarch=goarch, text=text)
    new = "libnew-with-a-much-longer-name.so.2"
    edits = Edits(replaced=(("libold.so.1", new),), rpath=str(tmp_path))
    done = repaired(source, tmp_path / "out", edits)
    assert new in done.after.elf.needed
    old.rename(tmp_path / new)
    assert ran(tmp_path / "out", goarch) == "42\n"


def cgo(tmp_path: Path, goarch: str) -> Path:
    """A Go program with cgo, linked by the cross compiler."""
    text = f"""
[targets.glibc]
goarch = "{goarch}"
cgo = true
cc = "{elves.CC[goarch]}"
"""
    main_go = 'package main\n\n// int seven(void) { return 7; }\nimport "C"\n\nfunc main() { println(C.seven()) }\n'
    made = project.create(tmp_path / "go", matrix=project.MATRIX + text, main=main_go)
    done = made.run("build", "-t", "glibc")
    assert (made.artifact("glibc")).is_file(), done.stdout + done.stderr
    return made.artifact("glibc")


@pytest.mark.parametrize("goarch", ["amd64", "arm64"])
def test_a_go_program_with_cgo_runs_after_a_repair(goarch: str, tmp_path: Path) -> None:
    source = cgo(tmp_path, goarch)
    done = repaired(source, tmp_path / "out", Edits(rpath=LONG, interpreter=arch.BY_GOARCH[goarch].glibc_loader))
    command = ["qemu-aarch64-static", "-L", SYSROOT] if goarch == "arm64" else []
    told = subprocess.run([*command, str(tmp_path / "out")], capture_output=True, text=True, check=True).stderr
    assert told == "7\n"
    assert done.before.facts.go == done.after.facts.go
    assert done.after.facts.go is not None


def refused(source: Path, edits: Edits, tmp_path: Path, **more: Any) -> RepairRefused:
    out = tmp_path / "refused"
    with pytest.raises(RepairRefused) as caught:
        repaired(source, out, edits, **more)
    assert not out.exists()
    assert caught.value.fix
    return caught.value


def test_static_go_is_refused(tmp_path: Path) -> None:
    made = project.create(tmp_path / "go")
    assert made.run("build", "-t", "amd64").returncode == 0
    error = refused(made.artifact("amd64"), Edits(rpath="/lib"), tmp_path)
    assert "got a static Go program" in error.what
    assert error.fix == "in matrix.toml, under [targets.app-glibc]: cgo = true; then: buildmatrix build -t app-glibc"


@pytest.mark.parametrize("edits", [Edits(interpreter="/lib/ld-musl-x86_64.so.1"),
                                   Edits(replaced=(("libc.so.6", "libc.musl-x86_64.so.1"),))])  # fmt: skip
def test_another_c_library_needs_a_rebuild(edits: Edits, tmp_path: Path) -> None:
    error = refused(elves.compile_c(tmp_path / "app"), edits, tmp_path)
    assert 'libc = "musl"; then: buildmatrix build -t app-glibc' in error.fix
    musl = tmp_path / "musl"
    subprocess.run(["musl-gcc", "-x", "c", "-", "-o", str(musl)], input=elves.PROGRAM, text=True, check=True)
    error = refused(musl, Edits(interpreter="/lib64/ld-linux-x86-64.so.2"), tmp_path)
    assert 'libc = "glibc"' in error.fix


def test_pages_need_a_rebuild(tmp_path: Path) -> None:
    source = elves.compile_c(tmp_path / "app", "-Wl,-z,max-page-size=4096", goarch="arm64")
    error = refused(source, Edits(page_size=65536), tmp_path)
    assert "page-sizes = [4096, 16384, 65536]" in error.fix
    refused(source, Edits(page_size=65536, rpath="/lib"), tmp_path)
    wide = elves.compile_c(tmp_path / "wide", goarch="arm64")
    assert "already" in refused(wide, Edits(page_size=65536), tmp_path).what
    done = repaired(wide, tmp_path / "out", Edits(page_size=65536, rpath=LONG))
    assert done.after.elf.page_incongruent == (False, False, False)
    assert ran(tmp_path / "out", "arm64") == "it runs\n"
    assert "expected 4096" in refused(wide, Edits(page_size=8192), tmp_path).what


def test_what_is_no_program_is_refused(tmp_path: Path) -> None:
    source = elves.compile_c(tmp_path / "app")
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\n")
    assert "expected ELF" in refused(script, Edits(rpath="/x"), tmp_path).what
    cut = tmp_path / "cut"
    cut.write_bytes(source.read_bytes()[:2000])
    assert "damaged" in refused(cut, Edits(rpath="/x"), tmp_path).what
    bare = tmp_path / "bare"
    shutil.copy(source, bare)
    data = bytearray(bare.read_bytes())
    data[40:48] = bytes(8)
    data[58:64] = bytes(6)
    bare.write_bytes(data)
    assert "without section headers" in refused(bare, Edits(rpath="/x"), tmp_path).what
    sealed = tmp_path / "sealed"
    sealed.write_bytes(source.read_bytes() + b"~Module signature appended~\n")
    assert "signature of its own bytes" in refused(sealed, Edits(rpath="/x"), tmp_path).what
    assert "absolute" in refused(source, Edits(interpreter="ld.so"), tmp_path).what
    assert "of aarch64" in refused(source, Edits(interpreter="/lib/ld-linux-aarch64.so.1"), tmp_path).what
    assert "does not need" in refused(source, Edits(replaced=(("liba.so", "libb.so"),)), tmp_path).what
    assert "nothing to change" in refused(source, Edits(), tmp_path).what
    library = elves.compile_c(tmp_path / "lib.so", "-shared", "-fPIC", "-nostdlib", text="int a;")
    assert "got a library" in refused(library, Edits(interpreter="/lib64/ld-linux-x86-64.so.2"), tmp_path).what


DAMAGE = {
    "truncates": "data = data[: len(data) // 2]",
    "empties": "data = b''",
    "corrupts the header": "data[18] = 183",
    "moves the entry": "data[24] ^= 4",
    "corrupts a program header": "data[64 + 56 * 2 + 8] ^= 1",
    "changes code": "at = data.find(b'it runs'); data[at] ^= 1",
    "forgets the edit": "pass",
    "adds nothing but bytes": "data += b'x' * 100",
    "gives up": "sys.stderr.write('cannot'); sys.exit(1)",
    "dies": "os.kill(os.getpid(), signal.SIGSEGV)",
    "removes the file": "os.unlink(path); sys.exit(0)",
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_patchelf_that_fails_or_damages_is_caught(damage: str, tmp_path: Path) -> None:
    source = elves.compile_c(tmp_path / "app")
    before = source.read_bytes()
    tool = Program(path=elves.fake_patchelf(tmp_path, DAMAGE[damage]), version="9.9")
    with pytest.raises(RepairFailed):
        repaired(source, tmp_path / "out", Edits(rpath="/lib"), tool)
    assert source.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["app", "patchelf"]


AFTERWARDS = {
    "code": "at = data.find(bytes.fromhex('{main}')); data[at] ^= 1",
    "data": "at = data.find(b'it runs'); data[at] ^= 1",
    "build id": "at = data.find(bytes.fromhex('{id}')); data[at] ^= 1",
    "rights": "at = 64 + 56 * 3 + 4; data[at] |= 2",
}


@pytest.mark.parametrize("what", AFTERWARDS)
def test_damage_beside_a_real_edit_is_caught(what: str, tmp_path: Path) -> None:
    """The edit is made by the real program; then one more byte is changed."""
    source = elves.compile_c(tmp_path / "app", "-Wl,--build-id=sha1")
    facts = elf.read_facts(source).elf
    assert facts is not None
    code = source.read_bytes()[facts.entry : facts.entry + 16].hex()
    real = f"import subprocess; subprocess.run([{str(program().path)!r}, *sys.argv[1:]], check=True)"
    again = "data = bytearray(open(path, 'rb').read())"
    extra = AFTERWARDS[what].format(main=code, id=facts.build_id)
    tool = Program(path=elves.fake_patchelf(tmp_path, f"{real}\n{again}\n{extra}"), version="9.9")
    with pytest.raises(RepairFailed):
        repaired(source, tmp_path / "out", Edits(rpath=LONG), tool)
    assert not (tmp_path / "out").exists()


def test_one_that_does_not_end_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patchelf, "SECONDS", 2.0)
    source = elves.compile_c(tmp_path / "app")
    tool = Program(path=elves.fake_patchelf(tmp_path, "time.sleep(600)"), version="9.9")
    with pytest.raises(RepairFailed, match="still running"):
        repaired(source, tmp_path / "out", Edits(rpath="/lib"), tool)


def test_the_root_decides(tmp_path: Path) -> None:
    root = tmp_path / "root"
    for name in ("/lib64/ld-linux-x86-64.so.2", "/lib/x86_64-linux-gnu/libc.so.6"):
        (root / name.lstrip("/")).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(name, root / name.lstrip("/"))
    wrong = elves.compile_c(tmp_path / "app", "-Wl,--dynamic-linker=/no/ld-linux-x86-64.so.2")
    edits = Edits(interpreter="/lib64/ld-linux-x86-64.so.2")
    done = repaired(wrong, tmp_path / "out", edits, root=root)
    assert [(old.cause, new.cause) for _, old, new in done.verdicts] == [("missing-interpreter", "none")]
    error = refused(wrong, Edits(interpreter="/elsewhere/ld-linux-x86-64.so.2"), tmp_path, root=root)
    assert "missing-interpreter" in error.what
    renamed = Edits(interpreter="/lib64/ld-linux-x86-64.so.2", replaced=(("libc.so.6", "libother.so"),))
    assert "missing-library" in refused(wrong, renamed, tmp_path, root=root).what


def test_the_record_tells_every_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The record's ranges, put over the old file, give the new one where sizes are shown whole."""
    from buildmatrix.repair.ranges import ranges

    source = elves.compile_c(tmp_path / "app", "-Wl,-rpath,/some/longer/path")
    done = repaired(source, tmp_path / "out", Edits(rpath="/short"))
    found = ranges(done.before, done.after)
    data = bytearray(done.before.data)
    for item in found:
        assert item.before == item.after
        assert bytes.fromhex(item.before_bytes) == done.before.data[item.before : item.before + item.before_size]
        data[item.after : item.after + item.after_size] = bytes.fromhex(item.after_bytes)
    assert (bytes(data), len(found) > 0) == (done.after.data, True)
    assert {item.where for item in found} <= {".dynstr", ".dynamic"}


def test_the_command_signs_and_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = project.create(tmp_path / "project")
    source = elves.compile_c(made.root / "app")
    monkeypatch.chdir(made.root)
    assert main(["repair", "app", "out", "--rpath", "/lib", "--host", "amd64"]) == 0
    record = json.loads((made.root / "out.repair.json").read_text())
    assert record["before"]["sha256"] != record["after"]["sha256"]
    assert record["ranges"]
    for name in ("out", "out.repair.json"):
        assert main(["verify", name]) == 0
    assert main(["repair", "app", "out", "--rpath", "/lib"]) == 2, "nothing is replaced"
    # A signed file is only repaired where its signature is good, and somebody signs the result.
    assert main(["repair", "out", "twice", "--rpath", "/lib64"]) == 0
    shutil.copy(source, "altered")
    shutil.copy("out.sigstore.json", "altered.sigstore.json")
    capsys.readouterr()
    assert main(["repair", "altered", "third", "--rpath", "/lib64"]) == 1
    assert "BM942" in capsys.readouterr().err
    (made.root / "matrix.toml").write_text(project.MATRIX + '\n[signing]\nbackend = "none"\n')
    assert main(["repair", "out", "fourth", "--rpath", "/lib64"]) == 1
    assert "nobody to sign it anew" in capsys.readouterr().err
    assert not {"third", "fourth"} & {path.name for path in made.root.iterdir()}


def test_advice_names_the_target(tmp_path: Path) -> None:
    text = '\n[targets."arm64-glibc"]\ngoarch = "arm64"\ncgo = true\ncc = "aarch64-linux-gnu-gcc"\n'
    made = project.create(tmp_path, matrix=project.MATRIX + text)
    parsed = matrix.read(made.root / "matrix.toml")
    assert advice.target_for(parsed, "arm64", dynamic=True) == "arm64-glibc"
    assert advice.target_for(parsed, "arm64", dynamic=False) == "arm64"
    assert advice.target_for(None, "arm64", dynamic=True) == "arm64"
