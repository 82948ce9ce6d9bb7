"""The helper that builds Go programs for the other tests."""

import subprocess
from pathlib import Path

import pytest

from tests.integration.tools import go_tool

pytestmark = pytest.mark.integration

PACKAGE = "golang.org/x/tools/cmd/stringer"


def test_a_program_is_built_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BUILDMATRIX_CACHE", str(tmp_path))
    program = go_tool("names", PACKAGE, "v0.30.0")
    assert program == tmp_path / "tools" / "names-v0.30.0" / "names"
    said = subprocess.run([program, "-help"], capture_output=True, text=True, check=False).stderr
    assert "Usage of stringer" in said
    assert sorted(path.name for path in (tmp_path / "tools").iterdir()) == ["names-v0.30.0", "names-v0.30.0.lock"]
    monkeypatch.setenv("PATH", "/nowhere")
    assert go_tool("names", PACKAGE, "v0.30.0") == program


def test_a_program_that_cannot_be_had_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BUILDMATRIX_CACHE", str(tmp_path))
    with pytest.raises(AssertionError, match="cannot be built"):
        go_tool("absent", "golang.org/x/tools/cmd/absent", "v0.30.0")
    assert not (tmp_path / "tools" / "absent-v0.30.0" / "absent").exists()
