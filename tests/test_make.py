"""The Makefile fragment, driven by a real GNU make in a user's Makefile."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import project
from tests.project import Project
from tests.test_sessions import NOXFILE

MAKEFILE = """\
BUILDMATRIX := {python} -m buildmatrix
include buildmatrix.mk

.PHONY: hello
hello: build-amd64
\t@echo my own recipe
report.txt: dist/hello_amd64/hello dist/hello_arm64/hello
\t@wc -c $^ > $@
"""


@pytest.fixture
def hello(tmp_path: Path) -> Project:
    made = project.create(tmp_path)
    made.write("Makefile", MAKEFILE.format(python=sys.executable))
    made.write(
        "cmd/hello/embed/embed.go", 'package embed\n\nimport _ "embed"\n\n//go:embed hello.txt\nvar Text string\n'
    )
    made.write("cmd/hello/embed/hello.txt", "x")
    made.write("node_modules/package/index.js", "")
    (made.root / "link").symlink_to("cmd")
    done = made.run("make", "--output", "buildmatrix.mk")
    assert done.returncode == 0, done.stderr
    return made


def make(hello: Project, *arguments: str) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    done = subprocess.run(
        ["make", "--warn-undefined-variables", *arguments],
        cwd=hello.root,
        env={**environment, "CI": "1", "PYTHONPATH": str(Path(__file__).parent.parent)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "warning" not in done.stderr
    return done.stdout


def test_a_users_goal_stays_the_default_and_builds_what_it_needs(hello: Project) -> None:
    assert "my own recipe" in make(hello)
    assert hello.artifact("amd64").is_file()
    assert not hello.artifact("arm64").exists()


def test_no_change_does_nothing(hello: Project) -> None:
    make(hello, "build-all")
    assert "buildmatrix build" not in make(hello, "build-all")
    assert make(hello, "-q", "build-all") == ""


@pytest.mark.parametrize("name", ["cmd/hello/main.go", "go.mod", "matrix.toml", "cmd/hello/embed/hello.txt"])
def test_a_source_change_rebuilds(hello: Project, name: str) -> None:
    make(hello, "build-amd64")
    path = hello.root / name
    path.write_text(path.read_text() + "\n")
    assert "buildmatrix build" in make(hello, "build-amd64")


def test_a_removed_file_rebuilds(hello: Project) -> None:
    extra = hello.write("cmd/hello/extra.go", "package main\n")
    make(hello, "build-amd64")
    extra.unlink()
    assert "buildmatrix build" in make(hello, "build-amd64")


@pytest.mark.parametrize("name", ["README.md", "cmd/hello/main_test.go", "cmd/hello/testdata/x.go"])
def test_what_go_build_does_not_see_rebuilds_nothing(hello: Project, name: str) -> None:
    hello.write(name, "package main\n")
    make(hello, "build-amd64")
    path = hello.write(name, "package main\n\n")
    assert path.stat().st_mtime_ns > hello.artifact("amd64").stat().st_mtime_ns
    assert "buildmatrix build" not in make(hello, "build-amd64")


def test_a_new_file_in_a_new_folder_rebuilds_and_is_watched(hello: Project) -> None:
    make(hello, "build-amd64")
    hello.write("cmd/hello/deep/er/er.go", "package er\n")
    assert "buildmatrix build" in make(hello, "build-amd64")
    assert "cmd/hello/deep/er" in (hello.root / "buildmatrix.mk").read_text()


def test_parallel_make_builds_each_cell_once(hello: Project) -> None:
    out = make(hello, "-j", "4", "report.txt")
    assert out.count("buildmatrix build") == 2
    assert (hello.root / "report.txt").read_text().count("/hello\n") == 2
    make(hello, "verify-all")


def test_the_example_makes_its_own_fragment(tmp_path: Path) -> None:
    source = Path(__file__).parent.parent / "examples" / "embedding"
    example = Project(root=tmp_path / "embedding")
    shutil.copytree(source, example.root, ignore=shutil.ignore_patterns("dist", "buildmatrix.mk"))
    command = f"BUILDMATRIX={sys.executable} -m buildmatrix"
    text = (example.root / "Makefile").read_text()
    example.write("Makefile", text.replace("\tbuildmatrix make", f"\t{sys.executable} -m buildmatrix make"))
    make(example, "release", command)
    assert make(example, "-q", command) == ""
    assert (source / "noxfile.py").read_text() == NOXFILE


def test_a_prefix_keeps_names_apart(hello: Project) -> None:
    text = hello.run("make", "--prefix", "go-").stdout
    assert "go-build-amd64:" in text
    assert "\nbuild-amd64:" not in text


def test_a_path_that_make_cannot_hold_is_an_error(hello: Project) -> None:
    hello.write("cmd/hello/with space.go", "x")
    done = hello.run("make")
    assert done.returncode == 2
    assert "with space.go" in done.stderr


def test_a_failing_build_fails_make(hello: Project) -> None:
    hello.write("cmd/hello/main.go", "package main\n")
    done = subprocess.run(["make", "build-all"], cwd=hello.root, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "BM301" in done.stdout
