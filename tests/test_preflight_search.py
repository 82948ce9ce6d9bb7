"""Where glibc and musl look for libraries, in the corners that random layouts found real loaders in."""

from __future__ import annotations

import struct

import pytest

from buildmatrix.host import parse
from buildmatrix.preflight import ldcache
from buildmatrix.preflight.context import Libraries
from buildmatrix.preflight.explain import Judge
from buildmatrix.preflight.glibc_hwcaps import capabilities
from buildmatrix.preflight.openexec import Command
from buildmatrix.preflight.verdict import Stage, Verdict
from buildmatrix.preflight.walk import View
from tests.preflight_objects import GLIBC, GLIBC_WORDS, MUSL, MUSL_WORDS, Object, Roots, loader

DEFAULT = "/lib/x86_64-linux-gnu"
LIBRARY = Object(soname="libx.so.1", defines={"x": ""}).build()


def program(**changes: object) -> bytes:
    values = {"interp": GLIBC, "needed": ("libx.so.1",), "wants": {"x": ("", "")}}
    return Object(**{**values, **changes}).build()  # type: ignore[arg-type]


def taken(verdict: Verdict) -> list[str]:
    return [edge.path for edge in verdict.needed if edge.path]


# Directories for the CPU's sake.


def test_older_capability_directories_hang_on_version_and_maker() -> None:
    root = Roots().put("/prog", program())
    for folder in (DEFAULT, f"{DEFAULT}/haswell", f"{DEFAULT}/tls/haswell/x86_64"):
        root.put(f"{folder}/libx.so.1", LIBRARY)
    assert taken(root.judge(host="amd64,cpu=haswell")) == [f"{DEFAULT}/tls/haswell/x86_64/libx.so.1"]
    assert taken(root.judge(host="amd64,cpu=zen3")) == [f"{DEFAULT}/libx.so.1"]
    unknown = root.judge(host="amd64,cpu=v3")
    assert not unknown.certain
    assert "Intel" in unknown.depends[0]
    root.put(GLIBC, loader(GLIBC_WORDS.replace(b"2.36", b"2.37")))
    newer = root.judge(host="amd64,cpu=v3")
    assert (taken(newer), newer.certain) == ([f"{DEFAULT}/libx.so.1"], True)


def test_the_order_of_the_older_directories() -> None:
    arm = parse("arm64,cpu=neoverse-n1")
    assert capabilities(arm, 64, (2, 31)).combinations() == (
        "tls/aarch64/atomics/", "tls/aarch64/", "tls/atomics/", "tls/", "aarch64/atomics/", "aarch64/", "atomics/",
    )  # fmt: skip
    assert capabilities(parse("arm64,cpu=cortex-a53"), 64, (2, 31)).old == ("aarch64", "tls")
    assert capabilities(arm, 64, (2, 41)).combinations() == ()


@pytest.mark.parametrize(("cpu", "folder"), [("haswell", "haswell"), ("zen3", "x86_64"), ("nehalem", "x86_64")])
def test_platform_is_what_glibc_makes_of_the_cpu(cpu: str, folder: str) -> None:
    root = Roots().put("/prog", program(runpath="/p/$PLATFORM"))
    for name in ("haswell", "x86_64"):
        root.put(f"/p/{name}/libx.so.1", LIBRARY)
    assert taken(root.judge(host=f"amd64,cpu={cpu}")) == [f"/p/{folder}/libx.so.1"]


def older_cache(hwcap: int) -> bytes:
    """An ld.so.cache with libx.so.1 in a directory of that capability, then in a plain one."""
    strings = b"libx.so.1\0/c/haswell/libx.so.1\0/c/libx.so.1\0"
    base = ldcache.HEADER_NEW + 2 * ldcache.ENTRY_NEW
    rows = struct.pack("<iIIIQ", 0x303, base, base + 10, 0, hwcap)
    rows += struct.pack("<iIIIQ", 0x303, base, base + strings.index(b"/c/libx"), 0, 0)
    return ldcache.MAGIC_NEW + struct.pack("<IIBBBBIIII", 2, len(strings), 2, 0, 0, 0, 0, 0, 0, 0) + rows + strings


def test_cache_entries_of_older_directories_need_the_capability() -> None:
    root = Roots().put("/prog", program()).put("/etc/ld.so.cache", older_cache(1 << 50))
    root.put("/c/haswell/libx.so.1", LIBRARY).put("/c/libx.so.1", LIBRARY)
    assert taken(root.judge(host="amd64,cpu=haswell")) == ["/c/haswell/libx.so.1"]
    assert taken(root.judge(host="amd64,cpu=zen3")) == ["/c/libx.so.1"]


# Preloading, tokens, odd directories.


def test_a_set_user_id_program_preloads_set_user_id_libraries_alone_and_not_by_the_cache() -> None:
    root = Roots().put("/prog", program(), 0o4755).put(f"{DEFAULT}/libx.so.1", LIBRARY)
    root.put(f"{DEFAULT}/libp.so", Object(soname="libp.so").build())
    env = {"LD_PRELOAD": "libp.so:/lib/x86_64-linux-gnu/libp.so"}
    verdict = root.judge(uid=1000, env=env)
    assert taken(verdict) == [f"{DEFAULT}/libx.so.1"]
    assert verdict.warnings == (
        "ERROR: ld.so: object 'libp.so' from LD_PRELOAD cannot be preloaded (cannot open shared object file): ignored.",
    )
    root.put(f"{DEFAULT}/libp.so", Object(soname="libp.so").build(), 0o4755)
    assert taken(root.judge(uid=1000, env=env)) == [f"{DEFAULT}/libp.so", f"{DEFAULT}/libx.so.1"]


def test_a_needed_name_whose_token_has_no_value_is_left_out() -> None:
    root = Roots().put("/prog", program(needed=("$ORIGIN/libgone.so", "libx.so.1")))
    root.put(f"{DEFAULT}/libx.so.1", LIBRARY)
    assert root.judge().stage is Stage.LOADER
    assert root.judge(proc=False).stage is Stage.OK
    root.put("/prog", program(needed=("$ORIGIN/libgone.so", "libx.so.1")), 0o4755)
    verdict = root.judge(uid=1000)
    assert verdict.cause == "secure-exec"
    assert "$ORIGIN/libgone.so: DST not allowed in SUID/SGID programs" in str(verdict.message)


def test_the_top_directory_is_searched_until_something_is_not_found_there() -> None:
    root = Roots().put("/prog", program(needed=("libc.so.6", "libx.so.1"), runpath="/"))
    root.put("/libx.so.1", LIBRARY)
    assert root.judge().cause == "missing-library"
    root.put("/prog", program(needed=("libx.so.1", "libc.so.6"), runpath="/"))
    assert root.judge().stage is Stage.OK


def test_a_program_that_the_loader_opens_has_an_origin_without_proc() -> None:
    root = Roots().put("/a/prog", program(runpath="$ORIGIN/lib")).put("/a/lib/libx.so.1", LIBRARY)
    assert root.judge("/a/prog", proc=False).stage is Stage.LOADER
    assert root.judge(GLIBC, "/a/prog", proc=False).stage is Stage.OK


def test_musl_forgets_a_path_with_origin_without_proc() -> None:
    root = Roots(glibc=False).put(MUSL, loader(MUSL_WORDS % b"1.2.3", "libc.so"))
    root.put("/a/prog", program(interp=MUSL, rpath="/b:$ORIGIN/lib")).put("/b/libx.so.1", LIBRARY)
    assert root.judge("/a/prog").stage is Stage.OK
    assert root.judge("/a/prog", proc=False, cwd="/a").cause == "origin-without-proc"


# What is remembered from one program to the next.


def test_a_damaged_program_is_asked_for_the_names_that_libraries_look_up() -> None:
    wants = {"y": ("", "")}
    lib = Object(soname="libx.so.1", defines={"x": "", "y": ""}, wants={"z": ("", "")}, needed=("libz.so.1",)).build()
    damaged = bytearray(program(wants={}, defines={"q": ""}))
    at = damaged.index(struct.pack("<III", 1, 2, 1))
    struct.pack_into("<I", damaged, at + 8, 0x7FFFFFF)  # the one bucket leads far out of memory
    root = Roots().put("/sound", program(wants=wants)).put("/damaged", bytes(damaged))
    root.put(f"{DEFAULT}/libx.so.1", lib).put(
        f"{DEFAULT}/libz.so.1", Object(soname="libz.so.1", defines={"z": ""}).build()
    )
    view, libraries = View(root=root.tree.root()), Libraries()

    def judged(path: str) -> Verdict:
        return Judge(view, parse("amd64,cpu=zen3"), libraries).judge(Command(path=path, argv=(path,)))

    assert judged("/sound").stage is Stage.OK
    verdict = judged("/damaged")
    assert (verdict.stage, verdict.signal) == (Stage.LOADER, "SIGSEGV")
    assert root.judge("/damaged").signal == "SIGSEGV"
