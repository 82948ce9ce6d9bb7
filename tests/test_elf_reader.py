"""Facts of real executables, one per architecture and linker feature, against how they were built."""

from __future__ import annotations

import os
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from buildmatrix.elf import View, facts_of_bytes, read_facts
from buildmatrix.errors import ScanFailed
from buildmatrix.facts import AbiTag, ElfFacts, Facts, Format, GoInfo, GoModule, MachoFacts, PeFacts
from tests import differential
from tests.elf_image import Seg, image

HERE = Path(__file__).parent / "fixtures/elf"
NAMES = sorted(path.name for path in HERE.iterdir() if path.suffix != ".py" and path.is_file())
ELF_NAMES = [name for name in NAMES if not name.startswith(("windows", "macos"))]


def elf_of(name: str) -> ElfFacts:
    elf = read_facts(HERE / name, symbols=True).elf
    assert elf is not None
    return elf


@pytest.mark.parametrize("name", NAMES)
def test_fixtures_are_sound(name: str) -> None:
    facts = read_facts(HERE / name, symbols=True)
    assert facts.issues == ()
    assert facts.size == (HERE / name).stat().st_size
    assert facts == facts_of_bytes((HERE / name).read_bytes(), symbols=True)


@pytest.mark.parametrize("name", ELF_NAMES)
def test_pyelftools_agrees_about_fixtures(name: str) -> None:
    assert differential.compare_file(HERE / name) == []


@pytest.mark.parametrize(
    ("arch", "bits", "little", "machine"),
    [
        ("amd64", 64, True, 62),
        ("386", 32, True, 3),
        ("arm64", 64, True, 183),
        ("arm", 32, True, 40),
        ("riscv64", 64, True, 243),
        ("ppc64le", 64, True, 21),
        ("ppc64", 64, False, 21),
        ("s390x", 64, False, 22),
        ("mips", 32, False, 8),
        ("mipsle", 32, True, 8),
        ("mips64", 64, False, 8),
        ("loong64", 64, True, 258),
    ],
)
def test_static_executables_of_every_architecture(arch: str, bits: int, little: bool, machine: int) -> None:
    elf = elf_of(f"static-{arch}")
    assert (elf.bits, elf.little_endian, elf.machine, elf.type) == (bits, little, machine, 2)
    assert (elf.class_by_layout, elf.elf_class, elf.elf_data) == (bits, bits // 32, 1 if little else 2)
    assert (elf.machine_le if little else elf.machine_be) == machine
    swapped = int.from_bytes(machine.to_bytes(2, "little"), "big")
    assert (elf.machine_be if little else elf.machine_le) == swapped
    assert (elf.interp, elf.needed, elf.pie, elf.static_pie, elf.dynamic) == (None, (), False, False, False)
    assert elf.build_id is not None
    assert len(elf.build_id) == 40
    assert elf.stack_flags == 6
    assert elf.load_low < elf.entry < elf.load_high


def test_flags_that_name_an_abi() -> None:
    assert elf_of("static-arm").flags == 0x05000400  # EABI5, hard float
    assert elf_of("static-ppc64le").flags == 2  # ELFv2
    assert elf_of("static-mips").flags & 0x1000  # o32


@pytest.mark.parametrize(
    ("name", "interp", "needs", "tag"),
    [
        ("pie-glibc-amd64", "/lib64/ld-linux-x86-64.so.2", {"GLIBC_2.2.5", "GLIBC_2.34"}, (3, 2, 0)),
        ("pie-glibc-arm64", "/lib/ld-linux-aarch64.so.1", {"GLIBC_2.17", "GLIBC_2.34"}, (3, 7, 0)),
        ("exec-glibc-s390x", "/lib/ld64.so.1", {"GLIBC_2.2", "GLIBC_2.34"}, (3, 2, 0)),
    ],
)
def test_dynamic_executables(name: str, interp: str, needs: set[str], tag: tuple[int, int, int]) -> None:
    elf = elf_of(name)
    assert elf.interp == interp
    assert elf.needed == ("libc.so.6",)
    assert {need.version for need in elf.version_needs} == needs
    assert {need.library for need in elf.version_needs} == {"libc.so.6"}
    assert elf.abi_tag == AbiTag(os=0, version=tag)
    assert elf.pie == name.startswith("pie")
    assert not elf.static_pie
    assert elf.symbols is not None
    assert [s.name for s in elf.symbols if s.name in ("puts", "__libc_start_main") and not s.defined] != []


@pytest.mark.parametrize("name", ["library-amd64", "library-arm64", "library-s390x", "small-library-arm",
                                  "small-library-arm64", "small-library-mips"])  # fmt: skip
def test_libraries(name: str) -> None:
    elf = elf_of(name)
    assert (elf.soname, elf.interp, elf.pie, elf.has_tls) == ("libfixture.so.2", None, False, True)
    assert [(d.name, d.base) for d in elf.version_definitions] == [
        ("libfixture.so.2", True), ("FIX_1.0", False), ("FIX_2.0", False)
    ]  # fmt: skip
    assert elf.symbols is not None
    index = {d.index: d.name for d in elf.version_definitions}
    exported = {(s.name, index[s.version], s.hidden) for s in elf.symbols if s.defined and s.type == 2}
    assert exported == {
        ("first", "FIX_1.0", True), ("first", "FIX_2.0", False), ("second", "FIX_2.0", False),
        ("count", "FIX_2.0", False), ("third", "FIX_2.0", False),
    }  # fmt: skip
    weak = next(s for s in elf.symbols if s.name == "elsewhere")
    assert (weak.defined, weak.binding) == (False, 2)
    assert elf.symbol_count == len(elf.symbols)


def test_search_paths() -> None:
    assert elf_of("library-amd64").runpath == "/opt/fixture/lib:$ORIGIN"
    assert elf_of("library-amd64").rpath is None
    assert elf_of("now-rpath-amd64").rpath == "$ORIGIN/../lib"
    assert elf_of("now-rpath-amd64").runpath is None


def test_hardening() -> None:
    assert elf_of("now-rpath-amd64").bind_now
    assert not elf_of("pie-glibc-amd64").bind_now
    assert elf_of("pie-glibc-amd64").relro
    assert not elf_of("static-amd64").relro
    assert elf_of("execstack-amd64").stack_flags == 7
    assert elf_of("textrel-386").textrel
    assert not elf_of("library-amd64").textrel
    assert elf_of("relr-amd64").has_relr
    assert not elf_of("static-pie-amd64").has_relr
    static = elf_of("static-pie-amd64")
    assert (static.pie, static.static_pie, static.interp) == (True, True, None)


def test_properties() -> None:
    v3, bti = elf_of("v3-cet-amd64"), elf_of("bti-pac-arm64")
    assert (v3.x86_isa_needed, v3.x86_features, v3.aarch64_features) == (4, 3, 0)
    assert (bti.x86_isa_needed, bti.x86_features, bti.aarch64_features) == (0, 0, 3)
    assert v3.property_present
    assert not v3.property_unsorted
    assert not elf_of("static-amd64").property_present


def test_page_sizes() -> None:
    """A file linked for 4K fails on 16K and 64K; one that is linked for 64K loads on all."""
    small = elf_of("pages-4k-arm64")
    assert small.page_incongruent == (False, True, True)
    assert small.page_overlap == (False, True, True)
    assert small.max_align_common == 4096
    large = elf_of("static-arm64")
    assert large.page_incongruent == large.page_overlap == (False, False, False)
    assert large.max_align_common == 65536


def test_symbols_and_debug_information() -> None:
    debug, stripped = elf_of("debug-amd64"), elf_of("static-amd64")
    assert (debug.has_symtab, debug.has_debug, debug.has_sections) == (True, True, True)
    assert (stripped.has_symtab, stripped.has_debug, stripped.has_sections) == (False, False, True)


def test_objects_have_no_segments() -> None:
    elf = elf_of("object-arm64")
    assert (elf.type, elf.phnum, elf.segments, elf.max_align_common) == (1, 0, (), 0)
    assert elf.has_debug


GO = GoInfo(
    version="",
    path="example.org/tool",
    main=GoModule(path="example.org/tool", version="(devel)"),
    modules=(
        GoModule(path="example.org/dep", version="v1.2.3", sum="h1:abc="),
        GoModule(
            path="example.org/old", version="v0.1.0", replace=GoModule(path="../local", version="(devel)")
        ),
    ),
    settings=(("GOARCH", "arm64"), ("-ldflags", '-X main.v="a b"')),
)  # fmt: skip


@pytest.mark.parametrize(
    ("name", "version"),
    [("go-inline-amd64", "go1.22.3"), ("go-pointers-amd64", "go1.13.5"), ("go-pointers-s390x", "go1.13.5")],
)
def test_go_build_information_of_both_formats(name: str, version: str) -> None:
    go = read_facts(HERE / name).go
    assert go is not None
    assert go.version == version
    assert (go.path, go.main, go.modules, go.settings) == (GO.path, GO.main, GO.modules, GO.settings)
    assert go.setting("GOARCH") == "arm64"
    assert go.setting("GOOS") is None


def without_sections(raw: bytes, bits: int = 64, order: str = "little") -> bytes:
    """The file as a packer leaves it: no section header table, not even its bytes."""
    at, size = (40, 8) if bits == 64 else (32, 4)
    counts = 60 if bits == 64 else 48
    start = int.from_bytes(raw[at : at + size], "little" if order == "little" else "big")
    raw = raw[:start]
    return raw[:at] + bytes(size) + raw[at + size : counts] + bytes(4) + raw[counts + 4 :]


@pytest.mark.parametrize("name", ["library-amd64", "pie-glibc-amd64", "pie-glibc-arm64", "go-inline-amd64",
                                  "go-pointers-amd64", "now-rpath-amd64", "library-arm64"])  # fmt: skip
def test_section_headers_are_not_needed(name: str) -> None:
    with_them = elf_of(name)
    facts = facts_of_bytes(without_sections((HERE / name).read_bytes()), symbols=True)
    assert facts.issues == ()
    assert facts.elf is not None
    assert not facts.elf.has_sections
    for field in ("needed", "soname", "rpath", "runpath", "version_needs", "version_definitions", "notes",
                  "build_id", "segments", "interp", "symbols", "symbol_count"):  # fmt: skip
        assert getattr(facts.elf, field) == getattr(with_them, field), field
    assert facts.go == read_facts(HERE / name).go


def test_windows_and_macos() -> None:
    assert read_facts(HERE / "windows-amd64").pe == PeFacts(
        machine=0x8664, bits=64, subsystem=3, characteristics=0x22
    )  # fmt: skip
    macho = read_facts(HERE / "macos-amd64").macho
    assert macho is not None
    assert macho == MachoFacts(cputype=0x01000007, cpusubtype=3, bits=64, filetype=2, flags=macho.flags)
    assert macho.flags & 0x200004 == 0x200004  # MH_DYLDLINK, MH_PIE


def test_a_kernel_ignores_class_and_byte_order() -> None:
    """The specification's view of a file whose ident lies is useless; the kernel's is as before."""
    raw = bytearray((HERE / "static-arm64").read_bytes())
    honest = facts_of_bytes(bytes(raw)).elf
    raw[4], raw[5] = 1, 2
    assert facts_of_bytes(bytes(raw)).issues != ()
    kernel = facts_of_bytes(bytes(raw), view=View.ELF64_LE)
    assert kernel.issues == ()
    assert kernel.elf is not None
    assert honest is not None
    assert (kernel.elf.bits, kernel.elf.little_endian, kernel.elf.class_by_layout) == (64, True, 64)
    assert (kernel.elf.elf_class, kernel.elf.elf_data) == (1, 2)
    for field in ("machine", "type", "entry", "segments", "build_id", "page_incongruent"):
        assert getattr(kernel.elf, field) == getattr(honest, field)


def test_reading_what_is_not_a_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path, tmp_path / "fifo"):
        with pytest.raises(ScanFailed, match="not-a-regular-file"):
            read_facts(path)
    with pytest.raises(ScanFailed, match="ENOENT"):
        read_facts(tmp_path / "missing")


def test_a_large_file_is_read_in_windows(tmp_path: Path) -> None:
    """Section headers and strings far apart, holes between: the same facts as from memory."""
    raw = (HERE / "library-amd64").read_bytes()
    path = tmp_path / "large"
    path.write_bytes(raw)
    os.truncate(path, 5 << 30)
    assert path.stat().st_size == 5 << 30
    assert stat.S_ISREG(path.stat().st_mode)
    facts = read_facts(path, symbols=True)
    assert facts.elf == elf_of("library-amd64")
    assert facts.size == 5 << 30


@contextmanager
def meanwhile(action: Callable[[], None]) -> Iterator[None]:
    """Repeat an action in another thread."""
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            action()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@pytest.fixture
def long_read(tmp_path: Path) -> Path:
    """A file that takes a while: its data segment of 256 MiB is searched for Go build information."""
    path, size = tmp_path / "long", 256 << 20
    path.write_bytes(image([Seg(filesz=0x200), Seg(flags=6, offset=0x1000, vaddr=0x20000, filesz=size)]))
    os.truncate(path, size + 0x1000)
    assert read_facts(path).issues == ()
    return path


def read_often(path: Path) -> None:
    """Whether one read meets the change is chance; that none of two minutes' does is not."""
    end = time.monotonic() + 120
    while time.monotonic() < end:
        read_facts(path)
        time.sleep(0.001)  # the other thread's turn


def test_a_file_that_changes_while_it_is_read(long_read: Path) -> None:
    with meanwhile(lambda: os.utime(long_read)), pytest.raises(ScanFailed, match="changed-during-scan"):
        read_often(long_read)


def test_a_file_that_shrinks_while_it_is_read(long_read: Path) -> None:
    """Half of a file is no file: there are no facts, and nothing is mapped that could fault."""
    size = long_read.stat().st_size

    def shrink_and_grow() -> None:
        os.truncate(long_read, 0x1000)
        os.truncate(long_read, size)

    with meanwhile(shrink_and_grow), pytest.raises(ScanFailed, match=r"(shrank|changed)-during-scan"):
        read_often(long_read)


def facts_in(raw: bytes) -> Facts:
    return facts_of_bytes(raw, symbols=True)


@pytest.mark.parametrize(
    ("raw", "form", "shebang"),
    [
        (b"", Format.EMPTY, None),
        (b"#", Format.OTHER, None),
        (b"#!", Format.SCRIPT, ""),
        (b"#!/bin/sh\necho", Format.SCRIPT, "/bin/sh"),
        (b"#!/bin/sh\r\n", Format.SCRIPT, "/bin/sh\r"),
        (b"#! /usr/bin/env  python3 -I ", Format.SCRIPT, " /usr/bin/env  python3 -I "),
        (b"#!/\xff\n", Format.SCRIPT, "/\udcff"),
        (b"\xef\xbb\xbf#!/bin/sh\n", Format.OTHER, None),
        (b"!<arch>\n", Format.ARCHIVE, None),
        (b"!<arch>", Format.OTHER, None),
        (b"\x7fEL", Format.OTHER, None),
        (b"MZ" + bytes(100), Format.OTHER, None),
        (bytes.fromhex("cafebabe00000034") + bytes(64), Format.OTHER, None),  # a class file of Java 8
    ],
)
def test_other_formats(raw: bytes, form: Format, shebang: str | None) -> None:
    facts = facts_in(raw)
    assert (facts.format, facts.shebang, facts.issues) == (form, shebang, ())
    assert (facts.elf, facts.pe, facts.macho) == (None, None, None)


def test_an_overlong_interpreter_line_is_capped() -> None:
    facts = facts_in(b"#!" + b"x" * 5000)
    assert facts.shebang == "x" * 4096
    assert [issue.code for issue in facts.issues] == ["capped"]
