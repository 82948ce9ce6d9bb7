"""What explain prints for four failures that people really meet: a verdict, what they see, why, and a change."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from buildmatrix import cli, errors
from buildmatrix.preflight import words
from buildmatrix.preflight.rootfs import BytesBlob
from buildmatrix.preflight.sweep import is_command
from tests.debianroots import loader
from tests.preflight_objects import GLIBC, GLIBC_WORDS, MUSL, Object, libc
from tests.preflight_objects import loader as stand_in

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
        "  fix: sed -i 's/\\r$//' /run.sh (or dos2unix): the carriage return is part of the name",
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


def test_a_program_for_musl_in_a_glibc_image_says_which_libc_is_meant(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(tmp_path, GLIBC, stand_in())
    put(tmp_path, "/lib/x86_64-linux-gnu/libc.so.6", libc())
    put(tmp_path, "/app", Object(interp=MUSL, needed=("libc.musl-x86_64.so.1",)).build())
    assert told(tmp_path, "/app", "amd64", capsys) == MUSL_TOLD.splitlines()


def test_a_library_aligned_for_4k_on_64k_pages_says_how_to_link_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    interp, machine = "/lib/ld-linux-aarch64.so.1", 183
    words = GLIBC_WORDS.replace(b"x86_64", b"aarch64")
    put(tmp_path, interp, Object(soname="ld-linux-aarch64.so.1", extra=words, machine=machine).build())
    put(tmp_path, "/app", Object(interp=interp, needed=("libx.so.1",), machine=machine).build())
    library = bytearray(Object(soname="libx.so.1", defines={"x": ""}, machine=machine).build())
    struct.pack_into("<QQ", library, 64 + 8, 0, 0x1000)  # p_offset, p_vaddr
    put(tmp_path, "/lib/aarch64-linux-gnu/libx.so.1", bytes(library))
    assert told(tmp_path, "/app", "arm64,page=64k", capsys) == ALIGNED_TOLD.splitlines()


def test_all_names_a_library_that_is_lacking_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each program used to be told of on its own: six lines a program, all alike."""
    put(tmp_path, GLIBC, stand_in())
    put(tmp_path, "/lib/x86_64-linux-gnu/libc.so.6", libc())
    put(tmp_path, "/lib/x86_64-linux-gnu/liby.so.1", Object(soname="liby.so.1", needed=("libx.so.1",)).build())
    for name, needed in (("a", "libx.so.1"), ("b", "liby.so.1"), ("c", "libz.so.1")):
        put(tmp_path, f"/bin/{name}", Object(interp=GLIBC, needed=(needed, "libc.so.6")).build())
    arguments = ["explain", "--all", "--root", str(tmp_path), "--host", "amd64,cpu=v3"]
    assert cli.main(arguments) == errors.EXIT_FINDINGS
    assert capsys.readouterr().out.splitlines() == ALL_TOLD.splitlines()
    assert cli.main([*arguments, "--json"]) == errors.EXIT_FINDINGS
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_long_lines_go_on_below_themselves_and_names_stay_whole() -> None:
    line = "  because: /usr/lib/x86_64-linux-gnu/libfoo.so.1 at byte 0x10: is no library of this machine at all"
    folded = list(words.folded([line], 50))
    assert folded[0].startswith("  because: /usr/lib/x86_64-linux-gnu/libfoo.so.1")
    assert all(len(part) <= 50 for part in folded) and all(part.startswith("      ") for part in folded[1:])
    assert " ".join(part.strip() for part in folded) == line.strip()


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


MUSL_TOLD = """\
/app: does not execute: execve fails with ENOENT (wrong-libc)
  Go: fork/exec /app: no such file or directory
  shell: bash: /app: cannot execute: required file not found; status 127
  because: /app at byte 0x400: PT_INTERP is '/lib/ld-musl-x86_64.so.1'
  because: /lib/ld-musl-x86_64.so.1: does not exist
  because: /lib/ld-musl-x86_64.so.1: the root has glibc's loader /lib64/ld-linux-x86-64.so.2, not musl's \
/lib/ld-musl-x86_64.so.1
  fix: build for glibc (or statically), or use a base image with musl
"""
ALIGNED_TOLD = """\
/app: does not execute: the dynamic loader gives up (page-size)
  Go: exit status 127
  shell: status 127
  printed: /app: error while loading shared libraries: libx.so.1: ELF load command address/offset not page-aligned
  because: /app at byte 0x400: PT_INTERP is '/lib/ld-linux-aarch64.so.1'
  because: /lib/aarch64-linux-gnu/libx.so.1 at byte 0x40: p_vaddr 0x1000 and p_offset 0x0 differ in \
65536-byte pages, though not in 4096-byte ones: it is linked for 4K pages
  fix: link libx.so.1 again with -Wl,-z,max-page-size=65536, which fits every page size, or take a kernel with 4K pages
"""
ALL_TOLD = """\
libx.so.1: lacking: 2 programs do not execute (missing-library)
  wanted by: /bin/a
  wanted by: /bin/b, through /lib/x86_64-linux-gnu/liby.so.1
  printed: /bin/a: error while loading shared libraries: libx.so.1: cannot open shared object file: \
No such file or directory
  because: libx.so.1 is in no directory that the loader searches for it
  fix: put libx.so.1 into a directory that the loader searches, or name its directory in RUNPATH
/bin/c: does not execute: the dynamic loader gives up (missing-library)
  Go: exit status 127
  shell: status 127
  printed: /bin/c: error while loading shared libraries: libz.so.1: cannot open shared object file: \
No such file or directory
  because: /bin/c at byte 0x400: PT_INTERP is '/lib64/ld-linux-x86-64.so.2'
  because: /bin/c: libz.so.1 is in no directory that the loader searches for it
  fix: put libz.so.1 into a directory that the loader searches, or name its directory in RUNPATH
3 executables among 6 files, 3 will not execute
"""
