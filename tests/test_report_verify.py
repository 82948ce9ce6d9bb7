"""Reports of a real dist/: written by verify and report, the same for the same inputs, and about what is there."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from buildmatrix.dist import REPORTS
from tests import project
from tests.project import Project


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Project:
    made = project.create(tmp_path_factory.mktemp("reported"))
    done = made.run("build")
    assert done.returncode == 0, done.stdout + done.stderr
    return made


@pytest.fixture
def hello(pristine: Project, tmp_path: Path) -> Project:
    shutil.copytree(pristine.root, tmp_path / "copy")
    return Project(root=tmp_path / "copy")


def written(made: Project) -> dict[str, bytes]:
    return {name: (made.dist / name).read_bytes() for name in REPORTS.values() if (made.dist / name).is_file()}


def model(made: Project) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((made.dist / "report.json").read_bytes())
    return value


def marks(made: Project, cell: str) -> dict[str, str]:
    row = next(row for row in model(made)["rows"] if row["cell"] == cell)
    return {mark["column"]: mark["state"] for mark in row["marks"]}


def test_verify_writes_every_format_and_still_passes_afterwards(hello: Project) -> None:
    assert hello.run("verify").returncode == 0
    assert set(written(hello)) == set(REPORTS.values())
    assert hello.run("verify").returncode == 0
    assert hello.run("clean").returncode == 0
    assert set(written(hello)) == set(REPORTS.values())


def test_the_same_inputs_give_the_same_bytes_wherever_they_lie(hello: Project, tmp_path: Path) -> None:
    hello.run("report", "--no-timings")
    first = written(hello)
    assert hello.run("report", "--no-timings").returncode == 0
    assert written(hello) == first
    shutil.copytree(hello.root, tmp_path / "elsewhere")
    other = Project(root=tmp_path / "elsewhere")
    assert other.run("report", "--no-timings").returncode == 0
    assert written(other) == first
    assert not any(str(tmp_path).encode() in data for data in first.values())


def test_a_good_dist_has_squares_that_say_what_they_saw(hello: Project) -> None:
    hello.run("verify")
    states = marks(hello, "hello_arm64")
    assert states["BM501"] == states["files"] == states["documents"] == states["signatures"] == "passed"
    assert states["BM508"] == states["BM515"] == "not applicable"
    row = next(row for row in model(hello)["rows"] if row["cell"] == "hello_arm64")
    assert all(mark["seen"] for mark in row["marks"])
    assert row["sizes"]["total"] == hello.artifact("arm64").stat().st_size
    assert {place["state"] for place in row["places"]} == {"passed"}
    assert [timing["cell"] for timing in model(hello)["timings"]] == ["hello_amd64", "hello_arm64"]


def test_a_swap_is_failed_in_the_squares_that_saw_it(hello: Project) -> None:
    one, two = hello.artifact("amd64"), hello.artifact("arm64")
    other = one.with_name("other")
    one.rename(other)
    two.rename(one)
    other.rename(two)
    assert hello.run("verify").returncode == 1
    states = marks(hello, "hello_amd64")
    assert states["BM501"] == states["files"] == "failed"
    assert model(hello)["failed"] is True
    assert b"Must not ship" in written(hello)["report.html"]


def test_what_is_missing_is_unknown_and_never_passed(hello: Project) -> None:
    hello.artifact("amd64").unlink()
    assert hello.run("verify").returncode == 1
    states = marks(hello, "hello_amd64")
    assert states.pop("files") == "failed"
    assert "passed" not in states.values()
    evidence = next(
        item["evidence"]
        for row in model(hello)["rows"]
        for mark in row["marks"]
        for item in mark["findings"]
        if item["rule"] == "BM702"
    )
    assert evidence == "dist/hello_amd64/hello"


def test_a_part_leaves_the_report_about_all_of_it_alone(hello: Project, tmp_path: Path) -> None:
    hello.run("verify")
    before = written(hello)
    assert hello.run("verify", "-t", "arm64").returncode == 0
    assert written(hello) == before
    assert hello.run("report", "-t", "arm64").returncode == 2
    out = tmp_path / "part.sarif"
    assert hello.run("report", "-t", "arm64", "--format", "sarif", "-o", str(out)).returncode == 0
    assert json.loads(out.read_bytes())["version"] == "2.1.0"
    assert written(hello) == before


def test_report_has_the_exit_status_of_verify_unless_told_otherwise(hello: Project) -> None:
    hello.artifact("amd64").unlink()
    assert hello.run("report").returncode == 1
    assert hello.run("report", "--exit-zero").returncode == 0
    printed = hello.run("report", "--format", "markdown", "-o", "-", "--exit-zero")
    assert printed.stdout.startswith("## ❌ hello")
    assert hello.run("report", "-o", "x.html").returncode == 2


def test_no_report_writes_nothing(hello: Project) -> None:
    assert hello.run("verify", "--no-report").returncode == 0
    assert not written(hello)


def test_a_dist_that_cannot_be_written_is_verified_all_the_same(hello: Project) -> None:
    (hello.dist / "report.html").mkdir()
    (hello.dist / "report.html" / "file").touch()
    done = hello.run("verify")
    assert "no report:" in done.stderr
    assert "hello_arm64" in done.stdout
