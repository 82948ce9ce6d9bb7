"""The digest of a build context: what .dockerignore leaves out, and that nothing else is."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest

from buildmatrix.images import context


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("a.txt", "sub/b.txt", "sub/deep/c.log", "dist/app", "d.log"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    return tmp_path


def digest(root: Path) -> str:
    return context.digest(root, root / "Dockerfile", root / "dist")


@pytest.mark.parametrize("name", ["a.txt", "sub/b.txt", "sub/deep/c.log"])
def test_every_file_counts(root: Path, name: str) -> None:
    before = digest(root)
    (root / name).write_text("other")
    assert digest(root) != before


def test_modes_names_and_links_count(root: Path) -> None:
    seen = {digest(root)}
    (root / "a.txt").chmod(0o755)
    seen.add(digest(root))
    (root / "a.txt").rename(root / "z.txt")
    seen.add(digest(root))
    (root / "link").symlink_to("z.txt")
    seen.add(digest(root))
    (root / "link").unlink()
    (root / "link").symlink_to("d.log")
    seen.add(digest(root))
    assert len(seen) == 5


def test_dist_does_not_count(root: Path) -> None:
    before = digest(root)
    (root / "dist/app").write_text("other")
    assert digest(root) == before


def test_what_is_ignored_does_not_count(root: Path) -> None:
    (root / ".dockerignore").write_text("# comment\n**/*.log\n")
    before = digest(root)
    (root / "sub/deep/c.log").write_text("other")
    (root / "d.log").write_text("other")
    assert digest(root) == before
    (root / "a.txt").write_text("other")
    assert digest(root) != before


def test_the_dockerfiles_own_list_comes_first(root: Path) -> None:
    (root / ".dockerignore").write_text("a.txt\n")
    (root / "Dockerfile.dockerignore").write_text("d.log\n")
    before = digest(root)
    (root / "d.log").write_text("other")
    assert digest(root) == before
    (root / "a.txt").write_text("other")
    assert digest(root) != before


def test_an_exception_inside_a_folder_that_is_left_out(root: Path) -> None:
    (root / ".dockerignore").write_text("sub\n!sub/deep\n")
    before = digest(root)
    (root / "sub/b.txt").write_text("other")
    assert digest(root) == before
    (root / "sub/deep/c.log").write_text("other")
    assert digest(root) != before


@pytest.mark.parametrize(
    ("rules", "path", "out"),
    [
        ("*.md", "a.md", True), ("*.md", "x/a.md", False), ("**/*.md", "x/y/a.md", True), ("**/*.md", "a.md", True),
        ("x", "x/y", True), ("/x", "x", True), ("x/", "x/y", True), ("x?", "xy", True), ("x?", "x/y", False),
        ("[a-c]x", "bx", True), ("[a-c]x", "dx", False), ("x/**", "x/y/z", True), ("*\n!a", "a", False),
        ("*\n!a", "b", True), ("!a\n*", "a", True), ("a.b", "axb", False), ("a\\*", "a*", True), ("a\\*", "ab", False),
    ],
)  # fmt: skip
def test_patterns(rules: str, path: str, out: bool) -> None:
    assert context.left_out(PurePosixPath(path), context.rules(rules)) is out
