"""Two builds in two folders with cold caches give the same bytes, with and without C code."""

import contextlib
from pathlib import Path

import pytest

from buildmatrix.cli import main
from tests import project

pytestmark = pytest.mark.integration

STAMPED = """\
package main

// const char *stamp(void) { return __FILE__ ":" __TIME__; }
import "C"

func main() { println(C.GoString(C.stamp())) }
"""


@pytest.mark.parametrize("target", ["arm64", "arm64-musl"])
def test_the_own_matrix_is_reproducible(target: str, capsys: pytest.CaptureFixture[str]) -> None:
    root = Path(__file__).parent.parent.parent
    assert main(["repro", "--matrix", str(root / "matrix.toml"), "--target", target]) == 0, capsys.readouterr().out


def test_a_time_stamp_is_found_and_its_section_named(tmp_path: Path) -> None:
    text = project.MATRIX.replace('goarch = "amd64"', 'goarch = "amd64"\ncgo = true\ncflags = ["-Wno-date-time"]')
    made = project.create(tmp_path, matrix=text, main=STAMPED)
    with contextlib.chdir(tmp_path):
        done = made.run("repro", "-t", "amd64")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "BM305 hello_amd64: not reproducible: first difference in section .rodata" in done.stdout
