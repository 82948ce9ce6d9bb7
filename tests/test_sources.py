"""Which files a build is made from, and that their digest sees every change and nothing else."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from buildmatrix import errors, sources
from buildmatrix.matrix import Matrix
from tests import factory

PLAIN = {"cmd/app/main.go": "package main\n", "lib/lib.go": "package lib\n", "lib/x.s": "", "go.sum": ""}


def project(root: Path, **files: str) -> Matrix:
    """A matrix over a module with some files."""
    factory.module(root, **{**PLAIN, **files})
    return factory.matrix_of(root=root)


def names(matrix: Matrix) -> set[str]:
    found = sources.find(matrix, matrix.root / "dist")
    return {str(path.relative_to(matrix.root)) for path in found.files}


def digest(matrix: Matrix) -> str:
    return sources.digest(sources.find(matrix, matrix.root / "dist"))


def test_what_go_build_can_see(tmp_path: Path) -> None:
    unseen = {
        "README.md": "", "lib/lib_test.go": "package lib\n", "testdata/x.go": "package x\n", "_old/x.go": "package x\n",
        ".hidden/x.go": "package x\n", ".git/config": "", "node_modules/x.c": "", "dist/app/x.go": "package x\n",
    }  # fmt: skip
    assert names(project(tmp_path, **unseen)) == {*PLAIN, "go.mod"}


@pytest.mark.parametrize(
    "text",
    [
        'package lib\n\nimport "C"\n',
        'package lib\n\nimport "C" // for the store\n',
        'package lib\n\nimport (\n\t"C"\n)\n',
        "package lib\n\nimport `C`\n",
        'package lib\n\nimport "embed"\n\n//go:embed data\nvar files embed.FS\n',
        'package lib\n\nimport _ "embed"\n\nvar (\n\t//go:embed data/x.txt\n\ttext string\n)\n',
    ],
)
def test_a_package_that_reads_other_files_has_all_of_them(tmp_path: Path, text: str) -> None:
    extra = {
        "lib/lib.go": text,
        "lib/data/x.txt": "",
        "lib/data/.hidden": "",
        "lib/inc/config.inc": "",
        "other.txt": "",
    }
    found = names(project(tmp_path, **extra))
    assert found == {*PLAIN, "go.mod", "lib/data/x.txt", "lib/data/.hidden", "lib/inc/config.inc"}


def test_nested_modules_are_left_out(tmp_path: Path) -> None:
    nested = {"nested/go.mod": "module example.org/nested\n", "nested/x.go": "package x\n"}
    assert names(project(tmp_path, **nested)) == {*PLAIN, "go.mod"}


@pytest.mark.parametrize(
    ("text", "folders"),
    [
        ("replace example.org/a => ../a", ("../a",)),
        ("replace example.org/a v1.0.0 => ./a // the fork", ("./a",)),
        ("replace (\n\texample.org/a => ../a\n\texample.org/b => ../b//comment\n)", ("../a", "../b")),
        ('replace example.org/a => "../with space"', ("../with space",)),
        ("replace example.org/a => `../raw`", ("../raw",)),
        ("replace example.org/a => /absolute/path\r", ("/absolute/path",)),
        ("replace example.org/a => ..", ("..",)),
        ("replace example.org/a => ./", ("./",)),
        ("// replace example.org/a => ../a", ()),
        ("replace example.org/a => example.org/b v1.2.3", ()),
        ("replace example.org/a => .hidden/b v1.2.3", ()),
        ("require example.org/a v1.0.0 // => ../a", ()),
        ("=>", ()),
    ],
)
def test_replace_lines(text: str, folders: tuple[str, ...]) -> None:
    assert sources.local_replacements(f"module example.org/app\n\ngo 1.26\n\n{text}\n") == folders


def replaced(tmp_path: Path, line: str) -> Matrix:
    matrix = project(tmp_path / "app")
    with (tmp_path / "app" / "go.mod").open("a") as stream:
        stream.write(f"\n{line}\n")
    return matrix


def test_replaced_modules_count(tmp_path: Path) -> None:
    factory.module(tmp_path / "a", **{"a.go": "package a\n"})
    matrix = replaced(tmp_path, "replace example.org/a => ../a")
    found = sources.find(matrix, matrix.root / "dist")
    assert found.roots == (tmp_path / "app", tmp_path / "a")
    assert tmp_path / "a" / "a.go" in found.files
    before = digest(matrix)
    (tmp_path / "a" / "a.go").write_text("package a // changed\n")
    assert digest(matrix) != before


def test_replace_lines_of_replaced_modules_are_not_followed(tmp_path: Path) -> None:
    factory.module(tmp_path / "a")
    with (tmp_path / "a" / "go.mod").open("a") as stream:
        stream.write("replace example.org/b => ../not-there\n")
    assert sources.find(replaced(tmp_path, "replace example.org/a => ../a"), tmp_path / "dist")


def test_a_replaced_module_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(errors.SourceMissing, match=r"nowhere/go\.mod: cannot be read") as caught:
        digest(replaced(tmp_path, "replace example.org/a => ../nowhere"))
    assert "replace lines" in caught.value.fix


@pytest.mark.parametrize("data", [None, b"\xff\xfe"])
def test_a_module_that_cannot_be_read(tmp_path: Path, data: bytes | None) -> None:
    matrix = project(tmp_path)
    (tmp_path / "go.mod").unlink()
    if data is not None:
        (tmp_path / "go.mod").write_bytes(data)
    with pytest.raises(errors.SourceMissing):
        digest(matrix)


def test_the_digest_does_not_depend_on_where_the_checkout_lies(tmp_path: Path) -> None:
    one = project(tmp_path / "one")
    shutil.copytree(one.root, tmp_path / "elsewhere" / "two", symlinks=True)
    assert digest(one) == digest(factory.matrix_of(root=tmp_path / "elsewhere" / "two"))


def test_the_digest_does_not_depend_on_times_or_dist(tmp_path: Path) -> None:
    matrix = project(tmp_path)
    before = digest(matrix)
    os.utime(tmp_path / "lib" / "lib.go", (0, 0))
    (tmp_path / "dist" / "app").mkdir(parents=True)
    (tmp_path / "dist" / "app" / "x.go").write_text("package x\n")
    assert digest(matrix) == before


def change_byte(root: Path) -> None:
    (root / "lib" / "lib.go").write_text("package lic\n")


def rename(root: Path) -> None:
    (root / "lib" / "lib.go").rename(root / "lib" / "lib2.go")


def move(root: Path) -> None:
    (root / "lib" / "lib.go").rename(root / "cmd" / "app" / "lib.go")


def add_empty(root: Path) -> None:
    (root / "lib" / "empty.go").touch()


def remove(root: Path) -> None:
    (root / "lib" / "x.s").unlink()


def change_link(root: Path) -> None:
    (root / "lib" / "link.go").unlink()
    (root / "lib" / "link.go").symlink_to("../main2.go")


def change_behind_link(root: Path) -> None:
    (root.parent / "outside.go").write_text("package outside // changed\n")


def link_becomes_file(root: Path) -> None:
    text = (root / "lib" / "outside.go").read_text()
    (root / "lib" / "outside.go").unlink()
    (root / "lib" / "outside.go").write_text(text)


def change_sum(root: Path) -> None:
    (root / "go.sum").write_text("x v1.0.0 h1:x\n")


CHANGES = [change_byte, rename, move, add_empty, remove, change_link, change_behind_link, link_becomes_file, change_sum]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_every_change_changes_the_digest(tmp_path: Path, change: Any) -> None:
    root = tmp_path / "app"
    matrix = project(root)
    (tmp_path / "outside.go").write_text("package outside\n")
    (root / "lib" / "link.go").symlink_to("../main.go")
    (root / "lib" / "outside.go").symlink_to("../../outside.go")
    before = digest(matrix)
    assert digest(matrix) == before
    change(root)
    assert digest(matrix) != before


def test_names_and_link_targets_cannot_be_mistaken_for_each_other(tmp_path: Path) -> None:
    digests = set()
    for index, (target, name) in enumerate([("a", "b c.go"), ("a b", "c.go")]):
        matrix = project(tmp_path / str(index))
        (matrix.root / name).symlink_to(target)
        digests.add(digest(matrix))
    assert len(digests) == 2


def test_swapped_contents_change_the_digest(tmp_path: Path) -> None:
    one = project(tmp_path / "one", **{"a.go": "package a\n", "b.go": "package b\n"})
    two = project(tmp_path / "two", **{"a.go": "package b\n", "b.go": "package a\n"})
    assert digest(one) != digest(two)


def test_a_pipe_among_the_sources_is_an_error_not_a_wait(tmp_path: Path) -> None:
    matrix = project(tmp_path)
    os.mkfifo(tmp_path / "lib" / "pipe.c")
    with pytest.raises(errors.SourceMissing, match="not-a-regular-file"):
        digest(matrix)


def test_a_folder_that_cannot_be_listed_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    matrix = project(tmp_path)
    scandir = os.scandir

    def refuse(path: Any) -> Any:
        if Path(path).name == "lib":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(errors.SourceMissing, match="cannot be listed"):
        digest(matrix)


def test_module_sums(tmp_path: Path) -> None:
    lines = "example.org/a v1.0.0 h1:aaa=\nexample.org/a v1.0.0/go.mod h1:bbb=\nnonsense\n"
    matrix = project(tmp_path, **{"go.sum": lines})
    assert sources.module_sums(matrix) == frozenset(
        {
            ("example.org/a", "v1.0.0", "h1:aaa="),
            ("example.org/a", "v1.0.0/go.mod", "h1:bbb="),
        }
    )
    (tmp_path / "go.sum").unlink()
    assert sources.module_sums(matrix) is None


def test_sums_that_cannot_be_read_are_no_missing_sums(tmp_path: Path) -> None:
    matrix = project(tmp_path)
    (tmp_path / "go.sum").write_bytes(b"\xff")
    with pytest.raises(errors.SourceMissing, match=r"go\.sum: cannot be read"):
        sources.module_sums(matrix)
