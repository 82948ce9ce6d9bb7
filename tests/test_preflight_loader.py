"""The two loaders' rules, on small roots."""

from __future__ import annotations

import struct

import pytest

from buildmatrix.preflight.verdict import Stage
from tests.preflight_objects import GLIBC, MUSL, MUSL_WORDS, Object, Roots, loader

DEFAULT = "/lib/x86_64-linux-gnu"
PROGRAM = Object(interp=GLIBC, needed=("libc.so.6",), wants={"puts": ("GLIBC_2.2.5", "libc.so.6")})


def program(**changes: object) -> bytes:
    values = {"interp": GLIBC, "needed": ("libx.so.1", "libc.so.6"), "wants": {"x": ("", "")}}
    return Object(**{**values, **changes}).build()  # type: ignore[arg-type]


LIBRARY = Object(soname="libx.so.1", defines={"x": ""}).build()


def cache(rows: dict[str, str]) -> bytes:
    """An ld.so.cache of x86-64 libraries: SONAME to path."""
    texts = b"".join(f"{key}\0{value}\0".encode() for key, value in rows.items())
    entries, at = b"", 48 + 24 * len(rows)
    for key, value in rows.items():
        entries += struct.pack("<iIIIQ", 0x0303, at, at + len(key) + 1, 0, 0)
        at += len(key) + len(value) + 2
    return b"glibc-ld.so.cache1.1" + struct.pack("<IIB3xI12x", len(rows), len(texts), 2, 0) + entries + texts


def test_program_with_its_libc_runs() -> None:
    verdict = Roots().put("/prog", PROGRAM.build()).judge()
    assert (verdict.stage, verdict.cause, verdict.certain) == (Stage.OK, "none", True)
    assert [(edge.name, edge.rule) for edge in verdict.needed] == [("libc.so.6", "default directory")]


def test_missing_library_is_told_in_the_loaders_words() -> None:
    verdict = Roots().put("/prog", program()).judge()
    assert (verdict.stage, verdict.exit, verdict.cause) == (Stage.LOADER, 127, "missing-library")
    assert verdict.message == (
        "/prog: error while loading shared libraries: libx.so.1: cannot open shared object file: "
        "No such file or directory"
    )


@pytest.mark.parametrize(
    ("changes", "env", "found"),
    [
        ({"rpath": "/r"}, {"LD_LIBRARY_PATH": "/l"}, "/r/libx.so.1"),
        ({"runpath": "/u"}, {"LD_LIBRARY_PATH": "/l"}, "/l/libx.so.1"),
        ({"rpath": "/r", "runpath": "/u"}, {}, "/u/libx.so.1"),
        ({"runpath": "/nowhere:/u"}, {}, "/u/libx.so.1"),
        ({}, {"LD_LIBRARY_PATH": "/none;/l"}, "/l/libx.so.1"),
        ({"runpath": "$ORIGIN/u"}, {}, "/u/libx.so.1"),
        ({"runpath": "/usr/$LIB"}, {}, "/usr/lib/x86_64-linux-gnu/libx.so.1"),
    ],
)
def test_search_order_of_glibc(changes: dict[str, str], env: dict[str, str], found: str) -> None:
    root = Roots().put("/prog", program(**changes))
    for folder in ("/r", "/l", "/u", "/usr/lib/x86_64-linux-gnu"):
        root.put(f"{folder}/libx.so.1", LIBRARY)
    verdict = root.judge(env=env)
    assert verdict.stage is Stage.OK
    path = found.replace("/u/", "//u/") if "$O" in changes.get("runpath", "") else found
    assert [edge.path for edge in verdict.needed if edge.name == "libx.so.1"] == [path]


def test_origin_needs_proc() -> None:
    root = Roots().put("/a/prog", program(runpath="$ORIGIN/lib")).put("/a/lib/libx.so.1", LIBRARY)
    assert root.judge("/a/prog").stage is Stage.OK
    verdict = root.judge("/a/prog", proc=False)
    assert (verdict.stage, verdict.cause) == (Stage.LOADER, "origin-without-proc")


def test_set_user_id_program_ignores_library_path_and_origin() -> None:
    root = Roots().put("/a/prog", program(runpath="$ORIGIN/lib"), 0o4755).put("/a/lib/libx.so.1", LIBRARY)
    assert root.judge("/a/prog", uid=1000).cause == "secure-exec"
    assert root.judge("/a/prog", uid=0).stage is Stage.OK


def test_library_for_another_machine_is_passed_over() -> None:
    foreign = Object(soname="libx.so.1", machine=183).build()
    root = Roots().put("/prog", program(runpath="/a:/b")).put("/a/libx.so.1", foreign)
    assert root.judge().cause == "wrong-library-arch"
    assert root.put("/b/libx.so.1", LIBRARY).judge().stage is Stage.OK


@pytest.mark.parametrize(
    ("ident", "text"),
    [
        (b"\x7fELF\x02\x02\x01" + bytes(9), "ELF file data encoding not little-endian"),
        (b"\x7fELF\x02\x01\x02" + bytes(9), "ELF file version ident does not match current one"),
        (b"\x7fELF\x02\x01\x01\x09" + bytes(8), "ELF file OS ABI invalid"),
        (b"\x7fELF\x02\x01\x01\x00\x01" + bytes(7), "ELF file ABI version invalid"),
        (b"\x7fELF\x02\x01\x01" + bytes(8) + b"\x01", "nonzero padding in e_ident"),
        (b"#!/bin/sh\n" + bytes(6), "invalid ELF header"),
    ],
)
def test_library_with_a_bad_header_is_fatal(ident: bytes, text: str) -> None:
    broken = Object(soname="libx.so.1", ident=ident).build()
    verdict = (
        Roots().put("/prog", program(runpath="/a:/b")).put("/a/libx.so.1", broken).put("/b/libx.so.1", LIBRARY).judge()
    )
    assert (verdict.exit, verdict.cause) == (127, "bad-library")
    assert verdict.message == f"/prog: error while loading shared libraries: /a/libx.so.1: {text}"


def test_executable_in_place_of_a_library() -> None:
    verdict = Roots().put("/prog", program(runpath="/a")).put("/a/libx.so.1", Object(type=2).build()).judge()
    assert verdict.message is not None
    assert verdict.message.endswith("libx.so.1: cannot dynamically load executable")


def test_version_that_libc_lacks() -> None:
    wants = {"future": ("GLIBC_2.99", "libc.so.6")}
    verdict = Roots().put("/prog", Object(interp=GLIBC, needed=("libc.so.6",), wants=wants).build()).judge()
    assert (verdict.stage, verdict.exit, verdict.cause) == (Stage.LOADER, 1, "glibc-too-old")
    assert verdict.message is not None
    assert "version `GLIBC_2.99' not found (required by /prog)" in verdict.message


def test_undefined_symbol_at_once_and_lazily() -> None:
    broken = program(needed=("libc.so.6",), wants={"gone": ("", "")})
    verdict = Roots().put("/prog", broken).judge()
    assert (verdict.exit, verdict.cause) == (127, "missing-symbol")
    assert verdict.message == "/prog: symbol lookup error: /prog: undefined symbol: gone"
    lazy = program(needed=("libc.so.6",), wants={"gone": ("", "")}, lazy=True)
    verdict = Roots().put("/prog", lazy).judge()
    assert verdict.stage is Stage.OK
    assert not verdict.certain
    assert "gone" in verdict.depends[0]
    assert Roots().put("/prog", lazy).judge(env={"LD_BIND_NOW": "1"}).stage is Stage.LOADER


def test_libc_of_another_build() -> None:
    old = Object(soname="libc.so.6", defines={"puts": "GLIBC_2.2.5"}).build()
    verdict = Roots().put("/prog", PROGRAM.build()).put("/old/libc.so.6", old).judge(env={"LD_LIBRARY_PATH": "/old"})
    assert verdict.cause == "libc-mismatch"


def test_preload_that_is_missing_is_only_a_warning() -> None:
    verdict = Roots().put("/prog", PROGRAM.build()).judge(env={"LD_PRELOAD": "/no.so"})
    assert verdict.stage is Stage.OK
    assert verdict.warnings == (
        "ERROR: ld.so: object '/no.so' from LD_PRELOAD cannot be preloaded (cannot open shared object file): ignored.",
    )


def musl_root() -> Roots:
    return Roots(glibc=False).put(MUSL, loader(MUSL_WORDS, soname="libc.so"))


def test_glibc_program_in_a_musl_root_and_the_other_way_round() -> None:
    assert musl_root().put("/prog", PROGRAM.build()).judge().cause == "wrong-libc"
    assert Roots().put("/prog", Object(interp=MUSL).build()).judge().cause == "wrong-libc"
    verdict = Roots(glibc=False).put("/prog", PROGRAM.build()).judge()
    assert (verdict.stage, verdict.errno, verdict.cause) == (Stage.EXECVE, "ENOENT", "missing-interpreter")


def test_musl_names_everything_that_is_missing_and_ignores_versions() -> None:
    root = musl_root().put("/prog", program(interp=MUSL, needed=("libx.so.1", "libc.so")))
    verdict = root.judge()
    assert verdict.message == "Error loading shared library libx.so.1: No such file or directory (needed by /prog)"
    versioned = program(interp=MUSL, wants={"x": ("X_2", "libx.so.1")})
    assert musl_root().put("/prog", versioned).put("/lib/libx.so.1", LIBRARY).judge().stage is Stage.OK


def test_musl_path_file_replaces_the_built_in_list() -> None:
    root = musl_root().put("/prog", program(interp=MUSL)).put("/usr/lib/libx.so.1", LIBRARY)
    assert root.judge().stage is Stage.OK
    assert root.put("/etc/ld-musl-x86_64.path", b"/lib\n", 0o644).judge().cause == "missing-library"
    assert root.put("/etc/ld-musl-x86_64.path", b"/lib\n/usr/lib\n", 0o644).judge().stage is Stage.OK


def test_musl_runs_the_code_of_a_foreign_library() -> None:
    foreign = Object(soname="libx.so.1", machine=183, defines={"x": ""}).build()
    verdict = musl_root().put("/prog", program(interp=MUSL)).put("/lib/libx.so.1", foreign).judge()
    assert (verdict.stage, verdict.cause, verdict.certain) == (Stage.RUNTIME_SIGNAL, "wrong-library-arch", False)


def test_loader_started_by_hand_finds_a_bare_name_in_the_cache_alone() -> None:
    """Neither LD_LIBRARY_PATH nor the default directories are searched for a program (seen on 2.31, 2.36, 2.41)."""
    root = Roots().put(f"{DEFAULT}/prog", PROGRAM.build(), 0o644)
    bare = root.judge(GLIBC, "--library-path", DEFAULT, "prog")
    words = "prog: error while loading shared libraries: prog: cannot open shared object file"
    assert (bare.cause, bare.exit, bare.message) == ("missing-file", 127, f"{words}: No such file or directory")
    cached = root.put("/etc/ld.so.cache", cache({"prog": f"{DEFAULT}/prog"}), 0o644)
    assert cached.judge(GLIBC, "prog").stage is Stage.OK
    assert cached.judge(GLIBC, "other").message == words.replace("prog", "other")


def test_loader_started_by_hand_needs_no_execute_permission() -> None:
    root = Roots().put("/prog", PROGRAM.build(), 0o644)
    assert root.judge("/prog").errno == "EACCES"
    assert root.judge(GLIBC, "/prog").stage is Stage.OK
    verdict = root.put("/dir/file", b"").judge(GLIBC, "/dir")
    assert verdict.message == "/dir: error while loading shared libraries: /dir: cannot read file data: Error 21"
    libraries = root.put("/l/libx.so.1", LIBRARY).put("/needs", program(), 0o644)
    assert libraries.judge(GLIBC, "/needs").cause == "missing-library"
    assert libraries.judge(GLIBC, "--library-path", "/l", "/needs").stage is Stage.OK
