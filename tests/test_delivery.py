"""The delivery of a fix: complete, signed, held together, and refused where nothing was fixed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from buildmatrix.cli import main
from tests import project
from tests.project import Project

Captured = pytest.CaptureFixture[str]
HERE = {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]


@pytest.fixture
def hello(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project whose release 1.2.3 is bad (in old/) and whose 1.2.4 is built (in dist/)."""
    made = project.create(tmp_path / "hello")
    monkeypatch.chdir(made.root)
    assert made.run("build").returncode == 0
    made.dist.rename(made.root / "old")
    made.write("matrix.toml", project.MATRIX.replace("1.2.3", "1.2.4"))
    assert made.run("build").returncode == 0
    return made


def test_a_delivery_is_complete(hello: Project) -> None:
    assert main(["deliver", "bad-release", "--affected", "old"]) == 0
    for target, machine in (("amd64", "x86_64"), ("arm64", "aarch64")):
        folder = hello.root / "delivery" / machine
        names = {path.name for path in folder.iterdir() if path.is_file()}
        files = {"hello", f"detect-bad-release-in-1.2.3-{machine}.sh", f"hello-1.2.3-{machine}-rollback.tar.gz",
                 "NOTES.md", "SHA256SUMS"}  # fmt: skip
        assert names == files | {f"{name}.sigstore.json" for name in files}
        for name in files:
            assert main(["verify", str(folder / name)]) == 0
        subprocess.run(["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=folder, check=True)
        assert (folder / "hello").read_bytes() == hello.artifact(target).read_bytes()
        assert (folder / "evidence" / f"hello_{target}" / "sbom.cdx.json").is_file()
    notes = (hello.root / "delivery" / "x86_64" / "NOTES.md").read_text()
    assert "Fixes **bad-release** in 1.2.3" in notes
    assert "- amd64, after: /usr/local/bin/hello: executes" in notes
    assert "signed by the development key" in notes
    assert main(["deliver", "bad-release", "--affected", "old"]) == 2, "nothing is replaced"


def test_its_scripts_know_both_versions(hello: Project) -> None:
    assert main(["deliver", "bad-release", "--affected", "old", "-t", HERE, "-o", "out"]) == 0
    (folder,) = (hello.root / "out").iterdir()
    (script,) = folder.glob("detect-*.sh")
    for path, code in ((hello.root / "old" / f"hello_{HERE}" / "hello", 1), (folder / "hello", 0)):
        done = subprocess.run(["/bin/sh", str(script), str(path)], capture_output=True, text=True, check=False)
        assert (done.returncode, json.loads(done.stdout)["affected"]) == (code, bool(code))


def refused(capsys: Captured, *words: str) -> str:
    capsys.readouterr()
    assert main(["deliver", "bad-release", *words]) in (1, 2, 3)
    assert not Path("delivery").exists()
    assert not list(Path().glob(".delivery*"))
    return capsys.readouterr().err


def test_nothing_fixed(hello: Project, capsys: Captured) -> None:
    assert "got the same bytes before and after" in refused(capsys, "--affected", "dist")
    shutil.rmtree("dist/hello_arm64")
    assert "has nothing for aarch64" in refused(capsys, "--affected", "old")
    assert main(["deliver", "bad-release", "--affected", "old", "-t", "amd64"]) == 0


def test_an_altered_fix(hello: Project, capsys: Captured) -> None:
    hello.artifact("amd64").write_bytes(b"\x7fELF")
    assert "BM940" in refused(capsys, "--affected", "old")


def test_a_fix_with_another_signature(hello: Project, capsys: Captured) -> None:
    (hello.dist / "hello_amd64" / "hello.sigstore.json").write_text("{}")
    assert "BM944 hello_amd64: BM7" in refused(capsys, "--affected", "old")


def test_patched_files_need_their_record(hello: Project, capsys: Captured) -> None:
    shutil.copy("old/hello_amd64/hello", "patched")
    words = ("--affected", "old", "-t", "amd64", "--patched", "hello_amd64=patched")
    assert "BM944" in refused(capsys, *words), "it is not signed"
    assert main(["sign", "patched"]) == 0
    assert "got no record of its repair" in refused(capsys, *words)
    Path("patched.repair.json").write_text(json.dumps({"before": {"sha256": "0"}, "after": {"sha256": "0"}}))
    assert "its record is about other bytes" in refused(capsys, *words)
    assert "expected CELL=FILE" in refused(capsys, "--affected", "old", "--patched", "patched")
    assert "got no patched file for hello_arm64" in refused(
        capsys, "--affected", "old", "-t", "arm64", "--patched", "hello_amd64=patched"
    )


def test_a_fix_that_does_not_execute(hello: Project, capsys: Captured) -> None:
    said = refused(capsys, "--affected", "old", "-t", "amd64", "--root", "/nowhere")
    assert "BM" in said
