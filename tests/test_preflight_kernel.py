"""The model of execve, on executables made byte by byte."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from buildmatrix.preflight import script
from buildmatrix.preflight.verdict import Stage
from tests.difftest import seeds
from tests.difftest.seeds import R, Segment, X
from tests.preflight_objects import Roots

ELF = seeds.static()


def empty() -> Roots:
    return Roots(glibc=False)


def errno_of(data: bytes, mode: int = 0o755, **options: object) -> str | None:
    return empty().put("/prog", data, mode).judge(**options).errno  # type: ignore[arg-type]


def test_static_program_runs_in_an_empty_root() -> None:
    verdict = empty().put("/prog", ELF.build()).judge()
    assert (verdict.stage, verdict.cause, verdict.certain) == (Stage.OK, "none", True)


@pytest.mark.parametrize(
    ("file", "errno", "cause"),
    [
        (replace(ELF, machine=183), "ENOEXEC", "wrong-machine"),
        (replace(ELF, machine=0x3E00), "ENOEXEC", "wrong-endian"),
        (replace(ELF, machine=40), "ENOEXEC", "wrong-machine"),
        (replace(ELF, type=1), "ENOEXEC", "wrong-elf-type"),
        (replace(ELF, type=4), "ENOEXEC", "wrong-elf-type"),
        (replace(ELF, phentsize=32), "ENOEXEC", "bad-elf"),
        (replace(ELF, phnum=0), "ENOEXEC", "bad-elf"),
        (replace(ELF, size=40), "ENOEXEC", "truncated"),
        (replace(ELF, size=0), "ENOEXEC", "unknown-format"),
        (replace(ELF, phoff=0x9000), "ENOEXEC", "truncated"),
    ],
)
def test_refused_files(file: seeds.File, errno: str, cause: str) -> None:
    verdict = empty().put("/prog", file.build()).judge()
    assert (verdict.stage, verdict.errno, verdict.cause) == (Stage.EXECVE, errno, cause)
    assert verdict.evidence
    assert verdict.fix


@pytest.mark.parametrize("at", range(4, 16))
def test_the_kernel_does_not_read_e_ident(at: int) -> None:
    ident = bytearray(ELF.ident)
    ident[at] = 97
    assert empty().put("/prog", replace(ELF, ident=bytes(ident)).build()).judge().stage is Stage.OK


@pytest.mark.parametrize(
    ("segment", "cause"),
    [
        (Segment(flags=R | X, offset=0x1000, vaddr=0x401000, filesz=0x1000, memsz=0x10), "bad-elf"),
        (Segment(flags=R | X, offset=0x1008, vaddr=0x401000, filesz=0x1000, memsz=0x1000), "bad-elf"),
        (Segment(flags=R | X, offset=0x1000, vaddr=0x401000, filesz=0x1000, memsz=1 << 52), "bad-elf"),
    ],
)
def test_killed_past_the_point_of_no_return(segment: Segment, cause: str) -> None:
    verdict = empty().put("/prog", ELF.with_segment(1, segment).build()).judge()
    assert (verdict.stage, verdict.signal, verdict.errno, verdict.cause) == (Stage.EXECVE, "SIGSEGV", None, cause)


def test_mmap_min_addr_binds_all_but_root() -> None:
    low = ELF.with_segment(0, Segment(offset=0, vaddr=0x1000, filesz=0x1000, memsz=0x1000))
    root = empty().put("/prog", low.build())
    assert root.judge(uid=1000).signal == "SIGSEGV"
    assert root.judge(uid=0).stage is Stage.OK


@pytest.mark.parametrize(("entry", "signal"), [(0x10, "SIGSEGV"), (0x400100, "SIGSEGV"), (0x402000, "SIGSEGV")])
def test_entry_that_cannot_be_executed(entry: int, signal: str) -> None:
    verdict = empty().put("/prog", replace(ELF, entry=entry).build()).judge()
    assert (verdict.stage, verdict.signal) == (Stage.RUNTIME_SIGNAL, signal)


def test_an_unaligned_entry_is_named_where_instructions_are_aligned() -> None:
    odd = empty().put("/prog", replace(ELF, machine=183, entry=0x401002).build()).judge(host="arm64")
    assert (odd.stage, odd.signal, odd.cause) == (Stage.RUNTIME_SIGNAL, "SIGBUS", "bad-elf")
    assert "entry 0x401002 is no multiple of four" in odd.evidence[-1].text
    assert empty().put("/prog", replace(ELF, entry=0x401002).build()).judge().stage is Stage.OK


@pytest.mark.parametrize(("page", "stage"), [("4k", Stage.OK), ("16k", Stage.EXECVE), ("64k", Stage.EXECVE)])
def test_page_size_decides_for_segments_aligned_to_4k(page: str, stage: Stage) -> None:
    arm = replace(ELF, machine=183)
    verdict = empty().put("/prog", arm.build()).judge(host=f"arm64,page={page}")
    assert verdict.stage is stage
    assert verdict.cause == ("none" if stage is Stage.OK else "page-size")


def test_bss_past_the_end_of_the_file_by_kernel() -> None:
    cut = empty().put("/prog", replace(ELF, size=0x2000).build())
    new, old = cut.judge(host="amd64,kernel=6.12"), cut.judge(host="amd64,kernel=6.1")
    assert (new.stage, new.signal, new.cause) == (Stage.EXECVE, "SIGSEGV", "truncated")
    assert (old.stage, old.signal, old.cause) == (Stage.RUNTIME_SIGNAL, "SIGBUS", "truncated")


@pytest.mark.parametrize(
    ("interp", "errno", "cause"),
    [
        (b"/none\0", "ENOENT", "missing-interpreter"),
        (b"/text\0", "ELIBBAD", "bad-interpreter"),
        (b"/short\0", "EIO", "bad-interpreter"),
        (b"/dir\0", "EACCES", "bad-interpreter"),
        (b"/plain\0", "EACCES", "no-exec-permission"),
        (b"/foreign\0", "ELIBBAD", "bad-interpreter"),
        (b"/unterminated", "ENOEXEC", "bad-elf"),
        (b"\0", "ENOEXEC", "bad-elf"),
        (b"x" * 4097, "ENOEXEC", "bad-elf"),
    ],
)
def test_interpreters(interp: bytes, errno: str, cause: str) -> None:
    root = empty().put("/text", b"text\n" * 30).put("/short", b"\x7fELF").put("/dir/file", b"")
    root.put("/plain", seeds.static_pie().build(), 0o644).put("/foreign", replace(ELF, machine=40).build())
    file = replace(seeds.dynamic(interp), size=0x8000) if len(interp) > 2000 else seeds.dynamic(interp)
    verdict = root.put("/prog", file.build()).judge()
    assert (verdict.errno, verdict.cause) == (errno, cause)


def test_thirty_two_bit_programs_need_compat() -> None:
    arm = bytearray(replace(ELF, machine=40).build())
    verdict = empty().put("/prog", bytes(arm)).judge(host="arm64,compat32=no")
    assert (verdict.errno, verdict.cause) == ("ENOEXEC", "compat32-unavailable")


def test_emulator_takes_a_foreign_program_and_says_so() -> None:
    root = empty().put("/prog", replace(ELF, machine=183).build())
    verdict = root.judge(host="amd64,binfmt=qemu-aarch64")
    assert (verdict.stage, verdict.emulated) == (Stage.OK, "qemu-aarch64")
    assert verdict.warnings


@pytest.mark.parametrize(
    ("mode", "uid", "errno"),
    [(0o755, 1000, None), (0o644, 0, "EACCES"), (0o700, 1000, "EACCES"), (0o711, 1000, None), (0o100, 0, None)],
)
def test_permissions(mode: int, uid: int, errno: str | None) -> None:
    assert errno_of(ELF.build(), mode, uid=uid) == errno


def test_paths() -> None:
    root = (
        empty().put("/dir/prog", ELF.build()).put("/file", b"x", 0o644).link("/loop", "loop").link("/abs", "/dir/prog")
    )
    root.link("/up", "../../../../dir/prog").link("/gone", "nowhere")
    for index in range(41):
        root.link(f"/c{index}", f"c{index - 1}" if index else "dir/prog")
    expected = {
        "/abs": None, "/up": None, "/dir/../dir//./prog": None, "/c39": None, "/c40": "ELOOP", "/loop": "ELOOP",
        "/gone": "ENOENT", "/none": "ENOENT", "/file/prog": "ENOTDIR", "/dir": "EACCES", "/dir/prog/": "ENOTDIR",
        "/" + "n" * 256: "ENAMETOOLONG", "/dir" + "/." * 2050: "ENAMETOOLONG", "": "ENOENT",
    }  # fmt: skip
    got = {path: root.judge(path).errno for path in expected if path}
    assert got == {path: errno for path, errno in expected.items() if path}


def test_noexec_mount() -> None:
    verdict = empty().put("/mnt/a/prog", ELF.build()).judge("/mnt/a/prog", noexec=("/mnt",))
    assert (verdict.errno, verdict.cause) == ("EACCES", "noexec-mount")


def test_argument_limits() -> None:
    root = empty().put("/prog", ELF.build())
    assert root.judge("/prog", "x" * 131071).errno is None
    assert root.judge("/prog", "x" * 131072).errno == "E2BIG"
    assert root.judge("/prog", *["x" * 1000] * 2200).errno == "E2BIG"


def scripts(lines: dict[str, bytes]) -> Roots:
    root = empty().put("/bin/sh", ELF.build())
    for path, line in lines.items():
        root.put(path, line)
    return root


@pytest.mark.parametrize(
    ("line", "errno", "cause"),
    [
        (b"#!/bin/sh\necho\n", None, "none"),
        (b"#! \t /bin/sh\n", None, "none"),
        (b"#!/bin/sh", None, "none"),
        (b"#!/bin/sh\r\n", "ENOENT", "bad-shebang"),
        (b"#!/bin/none\n", "ENOENT", "missing-interpreter"),
        (b"#!\n", "ENOEXEC", "bad-shebang"),
        (b"#!   \n", "ENOEXEC", "bad-shebang"),
        (b"\xef\xbb\xbf#!/bin/sh\n", "ENOEXEC", "bad-shebang"),
        (b"\n#!/bin/sh\n", "ENOEXEC", "bad-shebang"),
        (b"#!/bin\n", "EACCES", "bad-shebang"),
        (b"echo hello\n", "ENOEXEC", "unknown-format"),
        (b"#!/" + b"./" * 130 + b"bin/sh\n", "ENOEXEC", "bad-shebang"),
    ],
)
def test_first_lines(line: bytes, errno: str | None, cause: str) -> None:
    verdict = scripts({"/prog": line}).judge()
    assert (verdict.errno, verdict.cause) == (errno, cause)


def test_five_scripts_run_and_six_do_not() -> None:
    lines = {f"/s{index}": f"#!/s{index - 1}\n".encode() for index in range(1, 7)} | {"/s1": b"#!/bin/sh\n"}
    assert scripts(lines).judge("/s5").stage is Stage.OK
    assert scripts(lines).judge("/s6").errno == "ELOOP"


def test_env_finds_programs_along_path_and_exits_127() -> None:
    root = scripts({"/prog": b"#!/usr/bin/env python9\n", "/usr/bin/env": ELF.build()})
    verdict = root.judge()
    assert (verdict.stage, verdict.exit, verdict.cause) == (Stage.RUNTIME_EXIT, 127, "missing-interpreter")
    assert root.put("/opt/python9", ELF.build()).judge(env={"PATH": "/opt"}).stage is Stage.OK
    two = scripts({"/prog": b"#!/usr/bin/env sh -e\n", "/usr/bin/env": ELF.build()})
    assert (two.judge().exit, two.judge().cause) == (127, "bad-shebang")


@given(st.binary(max_size=300))
def test_any_first_line_is_read_without_an_error(line: bytes) -> None:
    found = script.parse((b"#!" + line)[:256].ljust(256, b"\0"))
    if found is not None:
        assert b"\n" not in found.interpreter
        assert b"\0" not in found.interpreter
        assert not found.interpreter.startswith((b" ", b"\t"))


@settings(deadline=None)
@given(st.integers(0, 0x3FFF), st.binary(min_size=1, max_size=8))
def test_damaged_executables_give_a_verdict(at: int, patch: bytes) -> None:
    for seed in (ELF, seeds.static_pie(), seeds.dynamic()):
        data = bytearray(seed.build())
        data[at : at + len(patch)] = patch
        verdict = empty().put("/prog", bytes(data[: seed.size])).put("/loader", seeds.static_pie().build()).judge()
        assert verdict.stage in Stage
