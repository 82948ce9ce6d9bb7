"""The reader's own tests in C: compiled here, run natively, under sanitizers and on other byte orders."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from buildmatrix._native import ffi, lib

from buildmatrix import _layouts, _records
from buildmatrix.facts import Format, Kind, Status
from native import tasks


def need(*tools: str) -> None:
    """Skip where a cross compiler or an emulator is missing, but never in CI."""
    missing = [tool for tool in tools if shutil.which(tool) is None]
    if missing and os.environ.get("CI"):
        pytest.fail(f"CI must have {', '.join(missing)}")
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")


def test_failures_of_memory_and_reads(tmp_path: Path) -> None:
    assert f"{len(tasks.fixtures())} files tested" in tasks.test_reader(tmp_path, flags=tasks.SANITIZERS)


def test_fixtures_and_corpus_hold_every_invariant(tmp_path: Path) -> None:
    count = len(tasks.fixtures()) + len(tasks.corpus())
    assert count > 40
    assert f"{count} files replayed" in tasks.replay(tmp_path)


@pytest.mark.integration
@pytest.mark.parametrize("machine", ["aarch64", "s390x"])
def test_on_other_machines(tmp_path: Path, machine: str) -> None:
    compiler, emulator = f"{machine}-linux-gnu-gcc", f"qemu-{machine}-static"
    need(compiler, emulator)
    output = tasks.test_reader(tmp_path, compiler=compiler, flags=("-O2", "-static"), emulator=emulator)
    assert f"{len(tasks.fixtures())} files tested" in output


def test_a_missing_compiler_says_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="no-such-cc is not on PATH; on Debian: apt-get install"):
        tasks.test_reader(tmp_path, compiler="no-such-cc")


@pytest.mark.integration
def test_building_without_a_compiler_says_what_to_install(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "setup.py", "-q", "build_ext", f"--build-lib={tmp_path}", f"--build-temp={tmp_path}"],
        cwd=tasks.ROOT, env={**os.environ, "CC": "/nonexistent/cc"}, capture_output=True, text=True, check=False,
        timeout=120,
    )  # fmt: skip
    assert done.returncode == 1
    assert "buildmatrix: its native core could not be compiled" in done.stderr
    assert "install a C compiler and Python's headers" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("struct", "layout"),
    [
        ("bm_facts", _layouts.FACTS),
        ("bm_record", _layouts.RECORD),
        ("bm_str", _layouts.STRING),
        ("bm_issue", _layouts.ISSUE),
        ("bm_segment", _layouts.SEGMENT),
        ("bm_verneed", _layouts.VERNEED),
        ("bm_verdef", _layouts.VERDEF),
        ("bm_symbol", _layouts.SYMBOL),
        ("bm_note", _layouts.NOTE),
        ("bm_fat_arch", _layouts.FAT_ARCH),
    ],
)
def test_layouts_are_those_of_the_compiler(struct: str, layout: _layouts.Layout) -> None:
    assert layout.size == ffi.sizeof(struct)
    assert layout.offsets == {name: field.offset for name, field in ffi.typeof(struct).fields}


def _slugs(prefix: str) -> dict[int, str]:
    names = [name for name in dir(lib) if name.startswith(prefix)]
    return {getattr(lib, name): name.removeprefix(prefix).lower().replace("_", "-") for name in names}


def test_numbers_have_the_names_of_the_header() -> None:
    assert dict(enumerate(_records.ISSUES)) == _slugs("BM_ISSUE_")
    assert dict(enumerate(_records.FORMATS)) == {code: Format(slug) for code, slug in _slugs("BM_FORMAT_").items()}
    assert dict(enumerate(_records.KINDS)) == {code: Kind(slug) for code, slug in _slugs("BM_KIND_").items()}
    members = {code: slug.replace("-", "_").upper() for code, slug in _slugs("BM_STATUS_").items()}
    assert {code: status.name for code, status in enumerate(_records.STATUSES)} == members
    assert len(members) == len(Status)
