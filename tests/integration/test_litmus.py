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


def run(dist: Path, cell: str, rounds: int) -> dict[str, Any]:
    """The report of one cell, under an emulator where the machine is another one."""
    arch = cell.partition("_")[2].removesuffix("-c")
    machine = {"amd64": "x86_64", "arm64": "aarch64"}[arch]
    emulator = [] if os.uname().machine == machine else [f"qemu-{machine}-static"]
    program = str(dist / cell / cell.partition("_")[0])
    done = subprocess.run(
        [*emulator, program, "-n", str(rounds)], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    assert report["goarch"] == arch
    return report


@pytest.mark.parametrize("cell", ["litmus_amd64", "litmus_arm64", "litmusc_amd64-c", "litmusc_arm64-c"])
def test_ordered_accesses_never_show_a_forbidden_outcome(dist: Path, cell: str) -> None:
    results = run(dist, cell, 20_000)["results"]
    assert {item["test"] for item in results} == {"SB", "MP", "LB", "CAS"}
    assert len(results) == 8
    ordered = [item for item in results if item["order"] in ORDERED]
    assert len(ordered) == 4
    assert all(item["forbidden"] == 0 and not item["bad"] for item in ordered)
    assert all(item["iterations"] == 20_000 for item in results)


def test_the_tests_can_see_what_they_look_for(dist: Path) -> None:
    """Store buffering is visible even on x86-64, in enough rounds: a test that never sees it would prove nothing."""
    native = "litmusc_amd64-c" if os.uname().machine == "x86_64" else "litmusc_arm64-c"
    seen = {"SB": 0, "CAS": 0}
    for _ in range(10):
        for item in run(dist, native, 50_000)["results"]:
            if item["order"] in ("relaxed", "load-store") and item["test"] in seen:
                seen[item["test"]] += item["forbidden"]
        if all(seen.values()):
            return
    pytest.fail(f"got {seen} in 500000 rounds, expected reordered stores and lost additions")


def test_usage(dist: Path) -> None:
    program = dist / "litmus_amd64" / "litmus"
    if os.uname().machine == "x86_64":
        done = subprocess.run([program, "-n", "1"], capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert "expected at least" in done.stderr
