"""Tree hashes against git and Go themselves."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from buildmatrix import hashing
from buildmatrix.errors import ScanFailed


def write(root: Path, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)


FILES = {"a.txt": b"1\n", "a/b.go": b"package b\n", "a-b": b"", "z/y/x": b"deep", "a.d/q": b"q"}


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_tree_is_the_one_that_git_writes(tmp_path: Path) -> None:
    write(tmp_path, FILES)
    (tmp_path / "a-b").chmod(0o755)
    environment = os.environ | {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    for command in (["init", "-q"], ["add", "-A"]):
        subprocess.run(["git", *command], cwd=tmp_path, env=environment, check=True)
    tree = subprocess.run(["git", "write-tree"], cwd=tmp_path, env=environment, check=True, capture_output=True)
    files = {name: (0o100755 if name == "a-b" else 0o100644, data) for name, data in FILES.items()}
    assert hashing.git_tree(files) == tree.stdout.decode().strip()


def test_dirhash_of_a_directory_equals_that_of_its_files(tmp_path: Path) -> None:
    write(tmp_path, FILES)
    named = {f"m@v1/{name}": data for name, data in FILES.items()}
    assert hashing.dirhash_tree(tmp_path, "m@v1") == hashing.dirhash(named)


def test_dirhash_refuses_what_is_no_file(tmp_path: Path) -> None:
    write(tmp_path, FILES)
    (tmp_path / "link").symlink_to("a.txt")
    with pytest.raises(ScanFailed, match="got a symlink"):
        hashing.dirhash_tree(tmp_path, "m@v1")
