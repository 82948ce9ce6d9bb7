"""verify trusts nothing: every way of altering dist/ must fail it and be named."""

import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from buildmatrix import toolchain
from buildmatrix.facts import Digests
from tests import project
from tests.project import Project


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Project:
    made = project.create(tmp_path_factory.mktemp("pristine"))
    done = made.run("build")
    assert done.returncode == 0, done.stdout + done.stderr
    return made


@pytest.fixture
def hello(pristine: Project, tmp_path: Path) -> Project:
    shutil.copytree(pristine.root, tmp_path / "copy")
    return Project(root=tmp_path / "copy")


def test_an_untouched_dist_passes(hello: Project) -> None:
    done = hello.run("verify")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ok    hello_amd64" in done.stdout
    assert "ok    hello_arm64" in done.stdout


def test_any_flipped_byte_of_an_artifact_fails(hello: Project) -> None:
    path = hello.artifact("arm64")
    good = path.read_bytes()
    generator = random.Random(1)
    offsets = [0, 1, 16, 18, len(good) // 2, len(good) - 1, *generator.sample(range(len(good)), 4)]
    for offset in offsets:
        data = bytearray(good)
        data[offset] ^= 1 << generator.randrange(8)
        path.write_bytes(data)
        done = hello.run("verify")
        assert done.returncode == 1, f"offset {offset}"
        assert "BM704 hello_arm64: artifact changed" in done.stdout
        assert "ok    hello_amd64" in done.stdout
    path.write_bytes(good)
    assert hello.run("verify").returncode == 0


def test_any_flipped_byte_of_a_record_fails(hello: Project) -> None:
    path = hello.artifact("amd64").with_name("record.json")
    good = path.read_bytes()
    generator = random.Random(2)
    for offset in generator.sample(range(len(good)), 12):
        data = bytearray(good)
        data[offset] ^= 1 << generator.randrange(8)
        path.write_bytes(data)
        done = hello.run("verify")
        assert done.returncode == 1, f"offset {offset}: {good[offset - 20 : offset + 20]!r}"
        assert "hello_amd64" in done.stdout


def test_swapped_architectures_are_named(hello: Project) -> None:
    one, two = hello.artifact("amd64"), hello.artifact("arm64")
    other = one.with_name("other")
    one.rename(other)
    two.rename(one)
    other.rename(two)
    done = hello.run("verify")
    assert done.returncode == 1
    assert "it is the file of hello_arm64" in done.stdout
    assert "it is the file of hello_amd64" in done.stdout
    assert "BM501 hello_amd64: wrong machine (got AArch64" in done.stdout


def test_swapped_with_their_records_still_fails(hello: Project) -> None:
    """Whoever swaps the folders whole has swapped the records too; the machine does not lie."""
    one, two = hello.dist / "hello_amd64", hello.dist / "hello_arm64"
    other = hello.dist / "other"
    one.rename(other)
    two.rename(one)
    other.rename(two)
    done = hello.run("verify")
    assert done.returncode == 1
    assert "BM501 hello_amd64" in done.stdout
    assert "BM706 hello_amd64: built from another plan: target (got arm64, expected amd64)" in done.stdout


def test_one_file_under_both_architectures(hello: Project) -> None:
    shutil.copy(hello.artifact("amd64"), hello.artifact("arm64"))
    done = hello.run("verify")
    assert done.returncode == 1
    assert "BM518 hello_arm64: same content as hello_amd64" in done.stdout


def test_a_missing_record_is_named(hello: Project) -> None:
    hello.artifact("amd64").with_name("record.json").unlink()
    done = hello.run("verify")
    assert done.returncode == 1
    assert "BM705 hello_amd64: record missing" in done.stdout


def test_a_missing_artifact_is_named(hello: Project) -> None:
    hello.artifact("arm64").unlink()
    done = hello.run("verify")
    assert done.returncode == 1
    assert "BM702 hello_arm64: artifact missing" in done.stdout


def test_an_empty_dist_fails(hello: Project) -> None:
    shutil.rmtree(hello.dist)
    done = hello.run("verify")
    assert done.returncode == 1
    assert done.stdout.count("artifact missing") == 2


@pytest.mark.parametrize("name", ["stray", "hello_amd64/stray", "hello_s390x/hello", "hello_amd64/.hidden"])
def test_extra_files_are_named(hello: Project, name: str) -> None:
    path = hello.dist / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"x")
    done = hello.run("verify")
    assert done.returncode == 1
    assert f"BM703 dist: file that nothing accounts for: {name}" in done.stdout
    assert hello.run("clean").returncode == 0
    assert hello.run("verify").returncode == 0


@pytest.mark.parametrize("name", ["artifacts.json", "checksums.txt", "effective.toml", "metadata.json"])
def test_altered_index_files_are_named(hello: Project, name: str) -> None:
    path = hello.dist / name
    path.write_bytes(path.read_bytes().replace(b"a", b"b", 1))
    done = hello.run("verify")
    assert done.returncode == 1
    assert f"BM708 dist: {name}" in done.stdout


def test_a_symlink_in_an_artifacts_place_is_no_artifact(hello: Project, tmp_path: Path) -> None:
    path = hello.artifact("amd64")
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    done = hello.run("verify")
    assert done.returncode == 1
    assert "BM702 hello_amd64: artifact is not a regular file" in done.stdout


def test_an_unreadable_artifact_fails_closed(
    hello: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Root reads every file, so the reader is told of a failing disk instead of a mode."""
    from buildmatrix import elf
    from buildmatrix.cli import main

    real = elf.scan

    def failing(paths: list[str], **options: Any) -> Iterator[Any]:
        for scan in real(paths, **options):
            broken = scan.path.endswith("hello_amd64/hello")
            yield (
                SimpleNamespace(path=scan.path, status="read-failed", facts=None, digests=Digests()) if broken else scan
            )

    monkeypatch.setattr(elf, "scan", failing)
    monkeypatch.chdir(hello.root)
    assert main(["verify"]) == 1
    assert "BM709 hello_amd64: artifact unreadable (read-failed)" in capsys.readouterr().out


def test_changed_sources_are_named(hello: Project) -> None:
    hello.write("cmd/hello/main.go", project.MAIN + "\n// changed\n")
    done = hello.run("verify")
    assert done.returncode == 1
    assert "BM707 hello_amd64: built from other sources" in done.stdout


def test_a_changed_matrix_is_named(hello: Project) -> None:
    hello.write("matrix.toml", project.MATRIX.replace("1.2.3", "1.2.4"))
    done = hello.run("verify")
    assert done.returncode == 1
    assert "BM706 hello_amd64: built from another plan: version (got 1.2.3, expected 1.2.4)" in done.stdout


def test_one_target_alone(hello: Project) -> None:
    hello.artifact("arm64").unlink()
    assert hello.run("verify", "--target", "amd64").returncode == 0
    assert hello.run("verify", "--target", "arm64").returncode == 1


def test_needs_no_go(hello: Project, tmp_path: Path) -> None:
    """A release gate may run where no compiler is installed; what the cache still has is the development key."""
    shutil.copytree(toolchain.cache_dir(os.environ) / "signing", tmp_path / "signing")
    done = hello.run("verify", env={"PATH": "/nowhere", "BUILDMATRIX_CACHE": str(tmp_path)})
    assert done.returncode == 0, done.stdout + done.stderr
