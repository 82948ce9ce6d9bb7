"""Nox sessions generated from a matrix, run by the real nox in a user's repository."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import project
from tests.project import Project

NOXFILE = """\
# /// script
# dependencies = ["nox", "buildmatrix"]
# ///
import buildmatrix.sessions
buildmatrix.sessions.register()
"""


@pytest.fixture
def hello(tmp_path: Path) -> Project:
    made = project.create(tmp_path)
    made.write("noxfile.py", NOXFILE)
    return made


def nox(hello: Project, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "nox", "--script-mode", "none", "--no-error-on-missing-interpreters", *arguments],
        cwd=hello.root,
        env={**os.environ, "CI": "1", "PYTHONPATH": str(Path(__file__).parent.parent)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def names(hello: Project) -> set[str]:
    done = nox(hello, "--list")
    assert done.returncode == 0, done.stderr
    return {line.split()[1] for line in done.stdout.splitlines() if line.startswith(("- ", "* "))}


def test_every_target_has_its_sessions(hello: Project) -> None:
    expected = {"build-amd64", "build-arm64", "verify-amd64", "verify-arm64"}
    expected |= {"build-all", "verify-all", "plan", "doctor", "repro"}
    assert names(hello) == expected


def test_images_have_sessions_and_make_a_release(hello: Project) -> None:
    hello.write("matrix.toml", f'{project.MATRIX}\n[images.hello]\ntargets = ["*"]\n')
    assert names(hello) >= {"image-hello", "run-hello", "push-hello", "image-all", "release"}


def test_build_and_verify(hello: Project) -> None:
    assert nox(hello, "-s", "build-arm64").returncode == 0
    assert hello.artifact("arm64").is_file()
    assert not hello.artifact("amd64").exists()
    assert nox(hello, "-s", "verify-arm64").returncode == 0
    assert nox(hello, "-s", "verify-all").returncode == 1
    assert nox(hello, "-s", "build-all", "verify-all").returncode == 0


def test_what_follows_the_dashes_reaches_the_command(hello: Project) -> None:
    done = nox(hello, "-s", "plan", "--", "--json")
    text = done.stdout[done.stdout.index("{") : done.stdout.rindex("}") + 1]
    assert [cell["cell"] for cell in json.loads(text)["cells"]] == ["hello_amd64", "hello_arm64"]


def test_parallel_sessions_share_dist(hello: Project) -> None:
    done = nox(hello, "-j", "3", "-s", "build-amd64", "build-arm64", "build-all")
    assert done.returncode == 0, done.stdout + done.stderr
    assert nox(hello, "-s", "verify-all").returncode == 0


def test_a_broken_matrix_is_one_clear_message(hello: Project) -> None:
    hello.write("matrix.toml", project.MATRIX.replace("goarch", "gaorch", 1))
    done = nox(hello, "--list")
    assert done.returncode != 0
    assert "targets.amd64.gaorch" in done.stderr
    assert "did you mean 'goarch'" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_failing_build_fails_the_session(hello: Project) -> None:
    hello.write("cmd/hello/main.go", "package main\n")
    done = nox(hello, "-s", "build-arm64")
    assert done.returncode == 1
    assert "exit status 4" in done.stdout + done.stderr
