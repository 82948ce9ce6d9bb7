"""The architecture table agrees with itself, with Go and with ELF."""

from __future__ import annotations

import shutil
import subprocess
from collections import Counter

import pytest

from buildmatrix import arch

ROWS = pytest.mark.parametrize("row", arch.ARCHITECTURES, ids=lambda row: row.goarch)


def test_elf_identities_are_unique() -> None:
    counts = Counter((row.machine, row.bits, row.little_endian) for row in arch.ARCHITECTURES)
    assert max(counts.values()) == 1


@pytest.mark.parametrize("name", ["goarch", "uname", "oci", "glibc_loader_and_bits", "musl_loader", "zig", "triple"])
def test_names_are_unique(name: str) -> None:
    if name == "glibc_loader_and_bits":  # MIPS and x86 share loader names between widths or byte orders
        values: list[object] = [(row.glibc_loader, row.machine, row.bits) for row in arch.ARCHITECTURES]
    else:
        values = [getattr(row, name) for row in arch.ARCHITECTURES]
    assert len(set(values)) == len(values)


@ROWS
def test_by_machine_finds_every_row_again(row: arch.Architecture) -> None:
    assert arch.by_machine(row.machine, row.bits, row.little_endian) is row
    assert arch.by_machine(row.machine, row.bits, not row.little_endian) is not row
    assert "e_machine" not in arch.machine_name(row.machine)


def test_by_machine_knows_what_it_does_not_know() -> None:
    assert arch.by_machine(9999, 64, True) is None
    assert arch.machine_name(9999) == "e_machine 0x270f"


@ROWS
def test_normalise_takes_every_vocabulary(row: arch.Architecture) -> None:
    for name in (row.goarch, row.oci, row.uname, row.goarch.upper()):
        if name in ("mips64", "mips"):  # uname(2) does not tell the byte order
            continue
        assert arch.normalise(name) == row.goarch


@pytest.mark.parametrize("name", ["", "vax", "arm65", "amd64 ", "x86_64_v3"])
def test_normalise_invents_nothing(name: str) -> None:
    assert arch.normalise(name) is None


@ROWS
def test_rows_are_plausible(row: arch.Architecture) -> None:
    assert row.bits in (32, 64)
    assert row.page_sizes == tuple(sorted(set(row.page_sizes)))
    assert set(row.page_sizes) <= {4096, 16384, 65536}
    assert row.glibc_loader.startswith("/lib")
    assert row.musl_loader.startswith("/lib/ld-musl-")
    assert row.default_level == row.levels[0]
    assert len(set(row.levels)) == len(row.levels)
    assert bool(row.level_variable) == (row.levels != ("",))


@ROWS
def test_every_level_is_valid_and_no_other_is(row: arch.Architecture) -> None:
    assert all(arch.level_valid(row, level) for level in row.levels)
    for feature in row.level_features:
        assert arch.level_valid(row, f"{row.default_level},{feature}")
    for wrong in ("v0", "V1", f"{row.default_level},nonsense", f"{row.default_level},", f" {row.default_level}"):
        assert not arch.level_valid(row, wrong)
    assert all(level in arch.level_choices(row) for level in row.levels)


def test_level_suffixes() -> None:
    assert arch.level_suffix(arch.BY_GOARCH["amd64"], "v1") == ""
    assert arch.level_suffix(arch.BY_GOARCH["amd64"], "v3") == "_v3"
    assert arch.level_suffix(arch.BY_GOARCH["arm64"], "v8.2,crypto") == "_v8.2_crypto"


def test_ports_name_rows_and_formats() -> None:
    assert set(arch.PORTS) == set(arch.FORMATS)
    for goos, goarches in arch.PORTS.items():
        assert set(goarches) <= set(arch.BY_GOARCH), goos
        assert len(set(goarches)) == len(goarches)
    for goarch in arch.PORTS["windows"]:
        assert arch.BY_GOARCH[goarch].pe_machine
    for goarch in arch.PORTS["darwin"]:
        assert arch.BY_GOARCH[goarch].macho_cputype


@pytest.mark.skipif(shutil.which("go") is None, reason="no Go on PATH to compare with")
def test_go_knows_every_port() -> None:
    listed = subprocess.run(["go", "tool", "dist", "list"], capture_output=True, text=True, check=True).stdout.split()
    ours = {f"{goos}/{goarch}" for goos, goarches in arch.PORTS.items() for goarch in goarches}
    assert ours <= set(listed)
