"""What was built really runs, and says the truth about itself, under qemu-user where it must."""

import contextlib
import json
import platform
import re
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from buildmatrix import arch
from buildmatrix.checks.cpu_level import same_level
from buildmatrix.matrix import Cell, Matrix

pytestmark = pytest.mark.integration

SERVED = ("amd64", "arm64", "riscv64", "s390x", "armv7", "ppc64le")
STORES = ("amd64-glibc", "arm64-glibc", "amd64-musl", "arm64-musl")
SYSROOTS = {"arm64": "/usr/aarch64-linux-gnu"}


def emulated(cell: Cell) -> list[str]:
    """The command before a program of another architecture; empty on its own."""
    row = cell.target.architecture
    if arch.normalise(platform.machine()) == row.goarch:
        return []
    emulator = shutil.which(f"qemu-{row.qemu}-static") or shutil.which(f"qemu-{row.qemu}")
    assert emulator, f"qemu-user for {row.goarch} is missing; .ci/run installs qemu-user-static"
    return [emulator]


def find(own_matrix: Matrix, binary: str, target: str) -> Cell:
    return next(cell for cell in own_matrix.cells if (cell.binary.name, cell.target.name) == (binary, target))


@contextlib.contextmanager
def service(command: list[str]) -> Iterator[str]:
    """Start the service on a free port; yields its address."""
    process = subprocess.Popen([*command, "-listen", "127.0.0.1:0"], stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        for line in process.stderr:
            if found := re.search(r"127\.0\.0\.1:\d+", line):
                yield f"http://{found[0]}"
                break
        else:
            pytest.fail(f"{command[-1]} ended without serving")
    finally:
        process.terminate()
        _, rest = process.communicate(timeout=30)
    assert process.returncode == 0, f"no graceful shutdown: {rest}"


def get(address: str) -> Any:
    with urllib.request.urlopen(address, timeout=30) as answer:
        assert answer.status == 200
        return json.loads(answer.read())


@pytest.mark.parametrize("target", SERVED)
def test_the_service_answers_truthfully(own_matrix: Matrix, dist: Path, target: str) -> None:
    cell = find(own_matrix, "archprobe", target)
    row = cell.target.architecture
    with service([*emulated(cell), str(dist / cell.id / "archprobe")]) as address:
        report = get(f"{address}/arch")
        with urllib.request.urlopen(f"{address}/healthz", timeout=30) as answer:
            assert answer.status == 200
    build = report["build"]
    assert (build["goos"], build["goarch"]) == ("linux", row.goarch)
    if row.level_variable:
        assert build["level_variable"] == row.level_variable
        assert same_level(row, build["level"], cell.target.level)
    assert build["cgo"] is False
    assert report["system"]["machine"] in (row.uname, *({"armv8l", "aarch64"} if row.goarch == "arm" else ()))
    assert report["libc"]["kind"] == "none"
    assert report["emulation"]["state"] == ("user-mode" if emulated(cell) else "not-detected")


@pytest.mark.parametrize("target", STORES)
def test_the_store_runs_with_its_c_library(own_matrix: Matrix, dist: Path, target: str, tmp_path: Path) -> None:
    cell = find(own_matrix, "archstore", target)
    command = emulated(cell)
    if command and cell.target.libc == "glibc":
        command += ["-L", SYSROOTS[cell.target.goarch]]
    program = [*command, str(dist / cell.id / "archstore"), "-db", str(tmp_path / "store.db")]
    probe = find(own_matrix, "archprobe", "amd64")
    report = subprocess.run(
        [*emulated(probe), str(dist / probe.id / "archprobe"), "-once"], capture_output=True, check=True
    ).stdout
    subprocess.run([*program, "add"], input=report, check=True, capture_output=True)
    listed = subprocess.run([*program, "list"], check=True, capture_output=True, text=True).stdout
    assert "amd64" in listed


def test_every_byte_that_is_flipped_is_named(own_matrix: Matrix, dist: Path, tmp_path: Path) -> None:
    """One flipped byte in each artifact of a copy of dist/: verify names every one of them."""
    from buildmatrix.cli import main

    copy = tmp_path / "dist"
    shutil.copytree(dist, copy)
    for index, cell in enumerate(own_matrix.cells):
        path = copy / cell.id / cell.file_name
        size = path.stat().st_size
        with path.open("r+b") as artifact:
            offset = size * (index + 1) // (len(own_matrix.cells) + 1)
            artifact.seek(offset)
            byte = artifact.read(1)[0]
            artifact.seek(offset)
            artifact.write(bytes([byte ^ 0x10]))
    output = tmp_path / "output"
    with output.open("w", encoding="utf-8") as stream, contextlib.redirect_stdout(stream):
        assert main(["verify", "--matrix", str(own_matrix.path), "--dist", str(copy)]) == 1
    text = output.read_text()
    for cell in own_matrix.cells:
        assert f"BM704 {cell.id}: artifact changed" in text
