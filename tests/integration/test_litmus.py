"""The litmus programs, built by their own matrix for both architectures, natively and under qemu-user."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests import factory, fault_lab

pytestmark = pytest.mark.integration

ORDERED = {"atomic", "seq_cst", "acquire-release", "compare-and-swap"}


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("litmus") / "litmus"
    shutil.copytree(factory.ROOT / "examples" / "litmus", folder, ignore=shutil.ignore_patterns("dist"))
    done = fault_lab.call(folder / "matrix.toml", "build")
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "dist"


def native(cell: str) -> bool:
    """Whether this machine runs the cell itself."""
    return os.uname().machine == ("aarch64" if "arm64" in cell else "x86_64")


def run(dist: Path, cell: str, rounds: int) -> dict[str, Any]:
    """The report of one cell, under an emulator where the machine is another one."""
    emulator = [] if native(cell) else ["qemu-aarch64-static" if "arm64" in cell else "qemu-x86_64-static"]
    program = str(dist / cell / cell.partition("_")[0])
    done = subprocess.run(
        [*emulator, program, "-n", str(rounds)], capture_output=True, text=True, timeout=300, check=False
    )
    report: dict[str, Any] = json.loads(done.stdout)
    assert report["goarch"] == ("arm64" if "arm64" in cell else "amd64")
    assert done.returncode == int(any(item["bad"] for item in report["results"])), done.stderr
    return report


@pytest.mark.parametrize("cell", ["litmus_amd64", "litmus_arm64", "litmusc_amd64-c", "litmusc_arm64-c"])
def test_ordered_accesses_never_show_a_forbidden_outcome(dist: Path, cell: str) -> None:
    """On hardware. qemu-user of Debian 12 does let sequentially consistent arm64 accesses be seen out of order (store
    buffering, some ten in 100000 rounds on x86-64), so that of an emulated run only the counting is held."""
    results = run(dist, cell, 20_000)["results"]
    assert {item["test"] for item in results} == {"SB", "MP", "LB", "CAS"}
    assert len(results) == 8
    assert all(item["iterations"] == 20_000 for item in results)
    ordered = [item for item in results if item["order"] in ORDERED]
    assert len(ordered) == 4
    held = [item for item in ordered if native(cell) or item["test"] == "CAS"]
    assert held
    assert all(item["forbidden"] == 0 and not item["bad"] for item in held)


def test_the_tests_can_see_what_they_look_for(dist: Path) -> None:
    """Store buffering is visible even on x86-64, in enough rounds: a test that never sees it would prove nothing."""
    cell = "litmusc_amd64-c" if native("amd64") else "litmusc_arm64-c"
    seen = {"SB": 0, "CAS": 0}
    for _ in range(10):
        for item in run(dist, cell, 20_000)["results"]:
            if item["order"] in ("relaxed", "load-store") and item["test"] in seen:
                seen[item["test"]] += item["forbidden"]
        if all(seen.values()):
            return
    pytest.fail(f"got {seen} in 200000 rounds, expected reordered stores and lost additions")


def test_usage(dist: Path) -> None:
    program = dist / "litmus_amd64" / "litmus"
    if native("amd64"):
        done = subprocess.run([program, "-n", "1"], capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert "expected at least" in done.stderr
