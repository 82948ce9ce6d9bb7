"""What the benchmarks make: removed again, and never in place of what still runs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench import corpora

ROOT = Path(__file__).parent.parent


def test_a_run_leaves_nothing_in_memory() -> None:
    program = (
        "from bench import corpora; corpora.LARGE_FILES, corpora.LARGE_BYTES = 3, 1 << 20;"
        "print(corpora.large()); assert any(corpora.large().iterdir())"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True, text=True)
    made = Path(done.stdout.strip())
    assert made.is_relative_to("/dev/shm") is not made.exists()


def test_what_a_killed_run_left_is_removed(tmp_path: Path) -> None:
    prefix = f"buildmatrix-bench-{os.getuid()}-"
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    names = [f"{prefix}{dead.pid}", f"{prefix}x", f"{prefix}{os.getpid()}", "someone-elses"]
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").touch()
    corpora.remove_abandoned(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names[2:])


def test_without_memory_the_cache_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpora, "LARGE_BYTES", 1 << 60)
    corpora.memory.cache_clear()
    assert corpora.memory() == corpora.cache()
    corpora.memory.cache_clear()
