"""A disk that fills up in the middle of a build, for real: a small tmpfs."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import project

pytestmark = pytest.mark.integration


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB: room for one artifact of 1.4 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_loses_nothing_and_says_so(small_disk: Path, tmp_path: Path) -> None:
    made = project.create(tmp_path / "hello")
    assert made.run("build", "-t", "amd64", "--dist", str(small_disk)).returncode == 0
    before = project.snapshot(small_disk)
    done = made.run("build", "--dist", str(small_disk))
    assert done.returncode == 4, done.stdout + done.stderr
    assert "BM302 hello_arm64: no space left" in done.stdout
    assert "ok    hello_amd64" in done.stdout
    assert project.snapshot(small_disk) == before
    with (small_disk / "filler").open("wb", buffering=0) as stream:
        stream.write(bytes(shutil.disk_usage(small_disk).free))
    made.write("cmd/hello/main.go", project.MAIN + "\n// changed\n")
    done = made.run("build", "-t", "amd64", "--dist", str(small_disk))
    assert done.returncode == 4, done.stdout + done.stderr
    assert "BM302" in done.stdout
    assert {**project.snapshot(small_disk), "filler": b""} == {**before, "filler": b""}
