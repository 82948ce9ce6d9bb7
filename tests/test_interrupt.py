"""A build that is interrupted or killed leaves nothing that looks finished, and loses nothing."""

import os
import random
import signal
import time
from pathlib import Path

import pytest

from tests import project
from tests.project import Project

SLOW = """\
package main

import (
\t"crypto/tls"
\t"net/http"
\t"os"
)

func main() {
\t_ = http.ListenAndServeTLS("", "", "", nil)
\t_ = tls.VersionTLS13
\tos.Exit(1)
}
"""


@pytest.fixture
def hello(tmp_path: Path) -> Project:
    """Two cells that an earlier build has finished, and sources that have changed since."""
    made = project.create(tmp_path)
    assert made.run("build").returncode == 0
    made.write("cmd/hello/main.go", SLOW)
    return made


def wait_for_the_compiler(hello: Project) -> None:
    deadline = time.monotonic() + 60
    while not (hello.dist / ".partial").exists():
        assert time.monotonic() < deadline, "the build did not begin"
        time.sleep(0.02)


def children_of(folder: Path) -> list[int]:
    """Processes whose working folder is below `folder`."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and (entry / "cwd").readlink().is_relative_to(folder):
                found.append(int(entry.name))
        except OSError:
            continue
    return [process for process in found if process != os.getpid()]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_every_compiler_and_keeps_what_was_there(hello: Project, number: int) -> None:
    before = project.snapshot(hello.dist)
    process = hello.start("build", env={"GOCACHE": str(hello.root / ".git" / "cold-cache")})
    wait_for_the_compiler(hello)
    time.sleep(0.3)
    process.send_signal(number)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 130, output
    assert "interrupted: every compiler was stopped; 0 of 2 cells are finished and kept" in output
    assert "Traceback" not in output
    assert project.snapshot(hello.dist) == before
    deadline = time.monotonic() + 5
    while children_of(hello.root) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert children_of(hello.root) == []


def test_killed_at_any_point_the_next_build_recovers(hello: Project) -> None:
    before = project.snapshot(hello.dist)
    generator = random.Random(3)
    for attempt in range(6):
        hello.write("cmd/hello/main.go", project.MAIN + f"\n// {attempt}\n")
        process = hello.start("build")
        time.sleep(generator.uniform(0.05, 1.5))
        process.kill()
        process.communicate(timeout=30)
        left = project.snapshot(hello.dist)
        for name, data in before.items():
            assert name in left, f"{name} was lost"
            if name.endswith("record.json"):
                assert left[name].endswith(b"}\n"), f"{name} is half-written"
            elif name.endswith("/hello"):
                assert len(left[name]) > len(data) // 2
    assert hello.run("build").returncode == 0
    done = hello.run("verify")
    assert done.returncode == 0, done.stdout
