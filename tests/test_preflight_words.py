"""What explain prints for four failures that people really meet: a verdict, what they see, why, and a change."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from buildmatrix import cli, errors
from buildmatrix.preflight.rootfs import BytesBlob
from buildmatrix.preflight.sweep import is_command
from tests.debianroots import loader

CRLF = b"#!/bin/sh\r\necho hello\r\n"


def told(root: Path, path: str, host: str, capsys: pytest.CaptureFixture[str]) -> list[str]:
    assert cli.main(["explain", path, "--root", str(root), "--host", host]) == errors.EXIT_FINDINGS
    return capsys.readouterr().out.splitlines()


def put(root: Path, path: str, data: bytes) -> None:
    place = root / path.lstrip("/")
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(data)
    place.chmod(0o755)


def test_a_script_with_carriage_returns_is_told_without_printing_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The name of the interpreter used to be printed raw: '/bin/sh: does not exist', of a shell that is there."""
    put(tmp_path, "/run.sh", CRLF)
    put(tmp_path, "/bin/sh", b"\x7fELF")
    assert told(tmp_path, "/run.sh", "amd64", capsys) == [
        "/run.sh: does not execute: execve fails with ENOENT (bad-shebang)",
        "  Go: fork/exec /run.sh: no such file or directory",
        "  shell: bash: /run.sh: cannot execute: required file not found; status 127",
        "  because: /run.sh at byte 0x2: #! names '/bin/sh\\r'",
        "  because: /bin/sh\\r: does not exist",
        "  fix: convert the script's line ends (dos2unix): the carriage return is part of the name",
    ]


def test_control_characters_of_names_do_not_reach_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(tmp_path, "/a\x1b[2Jb", b"")
    lines = told(tmp_path, "/a\x1b[2Jb", "amd64", capsys)
    assert lines[0].startswith("/a\\x1b[2Jb: does not execute")
    assert not any("\x1b" in line for line in lines)


def test_a_program_for_another_machine_says_what_to_ship(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(tmp_path, "/bin/curl", ARM)
    lines = told(tmp_path, "/bin/curl", "amd64", capsys)
    assert lines[0] == "/bin/curl: does not execute: execve fails with ENOEXEC (wrong-machine)"
    assert "  Go: fork/exec /bin/curl: exec format error" in lines
    assert "  because: /bin/curl at byte 0x12: e_machine is 0xb7 (AArch64), the host is x86_64" in lines
    assert lines[-1] == "  fix: ship the build for amd64 (Go: GOARCH=amd64; images: --platform linux/amd64)"


ARM = b"\x7fELF\2\1\1" + bytes(9) + b"\2\0\xb7\0\1\0\0\0" + bytes(40)


@pytest.mark.parametrize(("flags", "command"), [(0x08000000, True), (0, False)])
def test_a_static_pie_is_a_command_and_a_library_is_none(flags: int, command: bool) -> None:
    """Only DT_FLAGS_1 tells the two apart; `--all` used to leave every static PIE out."""
    dynamic = struct.pack("<4Q", 0x6FFFFFFB, flags, 0, 0)
    header = b"\x7fELF\2\1\1" + bytes(9) + struct.pack("<HHIQQQIHHHHHH", 3, 62, 1, 0, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    phdr = struct.pack("<IIQQQQQQ", 2, 6, 120, 120, 120, len(dynamic), len(dynamic), 8)
    assert is_command(BytesBlob(header + phdr + dynamic)) is command


def test_the_answers_of_a_real_loader_are_read_line_by_line() -> None:
    out = (
        "\tlinux-vdso.so.1 (0x00007ffc)\n\tliba.so => /opt/liba.so (0x00007f01)\n\t/lib64/ld.so (0x00007f02)\n"
        "\tlibb.so => not found\n"
    )
    err = "undefined symbol: f, version V1\t(/opt/liba.so)\n/x: /c: version `V2' not found (required by /x)\n"
    said = loader.said("/lib64/ld.so", 0, out, err)
    assert said.closure == {("liba.so", "/opt/liba.so")}
    assert (said.missing, said.undefined, said.versions) == (("libb.so",), ("f",), ("V2",))
    assert not said.loads
