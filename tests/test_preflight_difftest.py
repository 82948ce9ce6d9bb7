"""A short run of the differential fuzzer against the running kernel; `python -m tests.difftest` runs long ones."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

import pytest

from buildmatrix.preflight.running import running
from tests.difftest import __main__ as difftest
from tests.difftest import loaders
from tests.difftest.mutate import any_mutant

ABLE = os.geteuid() == 0 and os.uname().machine == "x86_64" and shutil.which("cc") is not None


def test_mutants_are_reproducible_and_of_every_kind() -> None:
    once, again = ([any_mutant(random.Random(seed)).story for seed in range(300)] for _ in range(2))
    assert once == again
    words = " ".join(once)
    assert all(kind in words for kind in ("static", "static-pie", "dynamic", "script", "mode", "size=", "phnum="))


@pytest.mark.integration
@pytest.mark.skipif(not ABLE, reason="needs root for chroot, x86-64 and a C compiler")
def test_the_running_kernel_agrees(tmp_path: Path) -> None:
    for folder in (tmp_path, *list(tmp_path.parents)[:2]):
        folder.chmod(0o755)
    program = difftest.build_executor(tmp_path)
    root = tmp_path / "root"
    root.mkdir()
    assert running().arch == "amd64"
    assert difftest.fuzz_execve(program, root, random.Random(4711), 1500) == []


@pytest.mark.integration
@pytest.mark.skipif(not ABLE, reason="needs root for chroot, x86-64 and a C compiler")
def test_the_running_glibc_agrees(tmp_path: Path) -> None:
    for folder in (tmp_path, *list(tmp_path.parents)[:2]):
        folder.chmod(0o755)
    program = difftest.build_executor(tmp_path)
    root = tmp_path / "root"
    root.mkdir()
    setting = loaders.furnish(root, "glibc")
    # The library's bytes are the compiler's; one mutant in a hundred may reach what no model follows.
    assert len(loaders.run_batch(program, setting, random.Random(4711), 150)) <= 1
