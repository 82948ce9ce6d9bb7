"""The C tests of hashes and batches: under sanitizers here, and on other machines and byte orders."""

from __future__ import annotations

import os
import platform
import shutil
from pathlib import Path

import pytest

from native import tasks


def need(*tools: str) -> None:
    """Skip where a cross compiler or an emulator is missing, but never in CI."""
    missing = [tool for tool in tools if shutil.which(tool) is None]
    if missing and os.environ.get("CI"):
        pytest.fail(f"CI must have {', '.join(missing)}")
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")


WRAPPED = ("open", "read", "pread", "fstat", "ring_setup", "ring_register", "ring_enter")
"""The system calls of native/sys.h that batch_main.c makes fail."""


def build(program: str, output: Path, *, compiler: str = "gcc", flags: tuple[str, ...] = tasks.SANITIZERS) -> Path:
    sources = [tasks.NATIVE / "tests" / program, *sorted(tasks.NATIVE.glob("*.c"))]
    command: list[str | Path] = [
        tasks.require(compiler),
        *tasks.WARNINGS,
        *flags,
        f"-I{tasks.NATIVE}",
        "-o",
        output,
        *sources,
        "-lpthread",
    ]
    tasks.run(command, timeout=600)
    return output


def test_every_kernel_under_sanitizers(tmp_path: Path) -> None:
    output = tasks.run([build("hash_main.c", tmp_path / "hash")], timeout=600)
    assert output.endswith("0 failures\n")
    for want in (4, 8, 16):
        assert f"want {want:2}: portable" in output
        if platform.machine() == "x86_64":
            assert f"want {want:2}: sse2 schedule" in output


@pytest.mark.integration
@pytest.mark.parametrize("machine", ["aarch64", "s390x"])
def test_every_kernel_on_other_machines(tmp_path: Path, machine: str) -> None:
    compiler, emulator = f"{machine}-linux-gnu-gcc", f"qemu-{machine}-static"
    need(compiler, emulator)
    program = build("hash_main.c", tmp_path / "hash", compiler=compiler, flags=("-O2", "-static"))
    output = tasks.run([tasks.require(emulator), "-cpu", "max", program], timeout=1800)
    assert output.endswith("0 failures\n")
    if machine == "aarch64":
        for want in (4, 8, 16):
            for lanes in (1, 2, 3, 4):
                assert f"want {want:2}: armv8 x{lanes}\n" in output


@pytest.mark.parametrize("sanitizer", ["address,undefined", "thread"])
def test_batches_under_sanitizers(tmp_path: Path, sanitizer: str) -> None:
    wraps = (f"-Wl,--wrap=bm_sys_{name}" for name in WRAPPED)
    flags = ("-g", "-O1", f"-fsanitize={sanitizer}", "-fno-sanitize-recover=all", *wraps)
    program = build("batch_main.c", tmp_path / "batch", flags=flags)
    (tmp_path / "tree").mkdir()
    output = tasks.run([program, tmp_path / "tree"], timeout=600)
    assert output.endswith("0 failures\n")
    assert "4 threads:" in output
    assert output.count("failed one after the other") == 4
    assert "ring: " in output
