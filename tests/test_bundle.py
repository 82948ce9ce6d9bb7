"""Rollback bundles: what is packed, that the same bytes come out each time, and what is refused."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from buildmatrix import scripts
from buildmatrix.cli import main
from buildmatrix.errors import UsageError
from tests import bundles, project
from tests.bundles import Release
from tests.project import Project

Captured = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Release:
    return bundles.release(tmp_path_factory.mktemp("bundles"), "1.2.3", extra="")


@pytest.fixture
def hello(pristine: Release, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    shutil.copytree(pristine.made.root, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    shutil.rmtree("bundles")
    return Project(root=tmp_path / "copy")


def script(path: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["/bin/sh", str(path), *words], capture_output=True, text=True, check=False)


def test_an_archive_holds_everything_and_verifies(pristine: Release, tmp_path: Path) -> None:
    path = pristine.unpack("amd64", tmp_path)
    with tarfile.open(pristine.archive("amd64")) as archive:
        members = {item.name: item for item in archive}
    assert {(item.uid, item.gid, item.uname) for item in members.values()} == {(0, 0, "")}
    assert len({item.mtime for item in members.values()}) == 1
    top = path.parent
    names = {str(item.relative_to(top)) for item in top.rglob("*") if item.is_file()}
    cell = "evidence/hello_amd64/"
    assert names >= {path.name, "SHA256SUMS", "bundle.json", "files/hello", cell + "record.json",
                     cell + "sbom.cdx.json", cell + "hello.sigstore.json"}  # fmt: skip
    listed = {line.partition("  ")[2] for line in (top / "SHA256SUMS").read_text().splitlines()}
    assert names - listed == {path.name, "SHA256SUMS"}
    done = subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=top, capture_output=True, text=True, check=True)
    assert done.stdout.count(": OK") == len(listed)
    assert os.access(path, os.X_OK)
    assert json.loads((top / "bundle.json").read_text())["cells"] == ["hello_amd64"]


def test_the_same_dist_gives_the_same_archive(hello: Project, pristine: Release) -> None:
    assert main(["bundle"]) == 0
    for target in ("amd64", "arm64"):
        again = hello.root / "bundles" / pristine.archive(target).name
        assert again.read_bytes() == pristine.archive(target).read_bytes()
        assert main(["verify", str(again)]) == 0


def test_the_script_rolls_this_machine_back(pristine: Release, tmp_path: Path) -> None:
    machine = {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]
    path = pristine.unpack(machine, tmp_path)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "hello").write_text("the new one")
    words = ("--to", str(tmp_path / "bin"))
    assert script(path, *words, "--dry-run").returncode == 0
    assert (tmp_path / "bin" / "hello").read_text() == "the new one"
    for _ in range(2):
        done = script(path, *words)
        assert done.returncode == 0, done.stderr
    told = subprocess.run([str(tmp_path / "bin" / "hello")], capture_output=True, text=True, check=True)
    assert told.stdout == "1.2.3\n"
    (kept,) = (tmp_path / "bin").glob("hello.replaced-*")
    assert kept.read_text() == "the new one"
    (path.parent / "files" / "hello").write_text("tampered")
    done = script(path, *words)
    assert (done.returncode, "damaged or was altered" in done.stderr) == (1, True)


@pytest.mark.parametrize("hasher", ["openssl", "shasum"])
def test_other_programs_for_sha256(hasher: str, pristine: Release, tmp_path: Path) -> None:
    machine = {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]
    path = pristine.unpack(machine, tmp_path)
    tools = tmp_path / "tools"
    tools.mkdir()
    real = shutil.which(hasher)
    assert real is not None, f"{hasher} is not installed"
    for name in ("uname", "od", "dirname", "cp", "mv", "ln", "rm", "chmod", "mkdir"):
        found = shutil.which(name)
        assert found is not None
        (tools / name).symlink_to(found)
    done = subprocess.run(["/bin/sh", str(path), "--to", str(tmp_path)], capture_output=True, text=True, check=False,
                          env={"PATH": str(tools)})  # fmt: skip
    assert (done.returncode, "no program computes SHA-256 here" in done.stderr) == (3, True)
    (tools / hasher).symlink_to(real)
    done = subprocess.run(["/bin/sh", str(path), "--to", str(tmp_path)], capture_output=True, text=True, check=False,
                          env={"PATH": str(tools)})  # fmt: skip
    assert done.returncode == 0, done.stderr


def refused(capsys: Captured, *words: str) -> str:
    capsys.readouterr()
    status = main(["bundle", *words])
    said = capsys.readouterr().err
    assert status in (1, 2, 3), said
    assert not Path("bundles").exists()
    return said


def test_what_was_altered_is_not_packed(hello: Project, capsys: Captured) -> None:
    binary = hello.artifact("arm64")
    binary.write_bytes(binary.read_bytes() + b"\0")
    assert "BM940" in refused(capsys)
    hello.run("build", "--force")
    (hello.dist / "hello_amd64" / "sbom.cdx.json").unlink()
    assert "BM940" in refused(capsys)


def test_a_signature_that_is_not_good_is_not_packed(hello: Project, capsys: Captured) -> None:
    (hello.dist / "hello_amd64" / "hello.sigstore.json").write_text("{}")
    assert "BM940 hello_amd64: BM7" in refused(capsys)


def test_two_cells_for_one_name(hello: Project, capsys: Captured) -> None:
    hello.write("matrix.toml", project.MATRIX + '\n[targets.amd64-v3]\ngoarch = "amd64"\nlevel = "v3"\n')
    assert hello.run("build").returncode == 0
    assert "hello_amd64 and hello_amd64-v3 as hello for x86_64, expected one" in refused(capsys)
    assert main(["bundle", "-t", "amd64-v3"]) == 0


def test_two_versions(hello: Project, capsys: Captured) -> None:
    hello.write("matrix.toml", project.MATRIX.replace("1.2.3", "1.3.0") + bundles.TWO)
    hello.run("build", "-b", "other", "-t", "amd64")
    assert "got cells of the versions 1.2.3, 1.3.0" in refused(capsys, "-t", "amd64")
    assert "no cell that was built fits" in refused(capsys, "-t", "arm64", "-b", "other")


def test_a_layout(hello: Project, capsys: Captured) -> None:
    hello.write("matrix.toml", project.MATRIX + '\n[images.hello]\ntargets = ["amd64", "arm64"]\n')
    done = hello.run("image")
    assert done.returncode == 0, done.stdout + done.stderr
    assert main(["bundle", "--image", "hello", "-o", "out"]) == 0
    names = sorted(path.name for path in Path("out").glob("*.gz"))
    assert names == ["hello-1.2.3-aarch64-rollback.tar.gz", "hello-1.2.3-x86_64-rollback.tar.gz"]
    with tarfile.open(Path("out") / names[os.uname().machine == "x86_64"]) as archive:
        archive.extractall("unpacked", filter="tar")
    (path,) = Path("unpacked").glob("*/rollback-to-*.sh")
    done = script(path, "--to", "unpacked/image")
    assert done.returncode == 0, done.stderr
    layout = hello.dist / "images" / "hello"
    for item in layout.rglob("*"):
        if item.is_file():
            assert (Path("unpacked/image") / item.relative_to(layout)).read_bytes() == item.read_bytes()
    assert "got no version" in refused(capsys, "--layout", "dist/images/hello")
    blob = next(path for path in (layout / "blobs" / "sha256").iterdir())
    blob.write_bytes(blob.read_bytes() + b" ")
    said = refused(capsys, "--layout", "dist/images/hello", "--version", "1")
    assert "BM940" in said or "BM806" in said


@pytest.mark.parametrize("value", ["a'b", "a\\b", "a`b`", 'a"b', "a;b", "a&b", "ü"])
def test_nothing_that_a_shell_reads_gets_into_a_script(value: str) -> None:
    with pytest.raises(UsageError):
        scripts.filled("x='@X@'", {"X": value})


def test_every_place_is_filled() -> None:
    with pytest.raises(KeyError):
        scripts.filled("x='@X@' y='@Y@'", {"X": "1"})
    assert scripts.filled("x='@X@'", {"X": "1.2"}) == b"x='1.2'"


def test_the_place_on_hosts_is_checked(hello: Project, capsys: Captured) -> None:
    assert "expected letters" in refused(capsys, "--to", "/opt/it's")
