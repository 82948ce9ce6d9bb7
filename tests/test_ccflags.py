"""C compiler flags of every level: what they are, and that real compilers take them."""

from __future__ import annotations

import os
import shutil
import subprocess
from importlib import metadata
from pathlib import Path

import pytest

from buildmatrix import arch, ccflags, elf, toolchain
from tests import factory

SOURCE = "double half(double a) { return a / 2; }\n"


def variants(row: arch.Architecture) -> tuple[str, ...]:
    """Every base level, and the lowest one with each feature."""
    return (*row.levels, *(f"{row.default_level},{feature}" for feature in row.level_features))


@pytest.mark.parametrize(
    ("goarch", "level", "gcc", "zig"),
    [
        ("amd64", "v1", "-march=x86-64", "-mcpu=x86_64"),
        ("amd64", "v3", "-march=x86-64-v3", "-mcpu=x86_64_v3"),
        ("arm64", "v8.0", "-march=armv8-a", "-mcpu=generic+v8a"),
        ("arm64", "v8.2,crypto", "-march=armv8.2-a+crypto", "-mcpu=generic+v8_2a+crypto"),
        ("arm64", "v8.0,lse", "-march=armv8-a+lse", "-mcpu=generic+v8a+lse"),
        ("arm64", "v8.9", "-march=armv8.8-a", "-mcpu=generic+v8_9a"),
        ("arm64", "v9.0", "-march=armv9-a", "-mcpu=generic+v9a"),
        ("arm64", "v9.3", "-march=armv9-a", "-mcpu=generic+v9_3a"),
        ("arm", "7", "-march=armv7-a+fp", "-mcpu=generic+v7a"),
        ("arm", "6", "-march=armv6+fp -marm", "-mcpu=generic+v6"),
        ("386", "sse2", "-march=pentium4", "-mcpu=pentium4"),
        ("386", "softfloat", "-march=i486", "-mcpu=i486"),
        ("riscv64", "rva22u64", "-march=rv64gc_zba_zbb_zbs", "-mcpu=generic_rv64+m+a+f+d+c+zba+zbb+zbs"),
        ("ppc64le", "power9", "-mcpu=power9", "-mcpu=pwr9"),
        ("s390x", "", "", ""),
        ("loong64", "", "", ""),
    ],
)
def test_flags_of_a_level(goarch: str, level: str, gcc: str, zig: str) -> None:
    row = arch.BY_GOARCH[goarch]
    assert " ".join(ccflags.level_flags(row, level, "gcc")) == gcc
    assert " ".join(ccflags.level_flags(row, level, "zig")) == zig


@pytest.mark.parametrize("row", arch.ARCHITECTURES, ids=lambda row: row.goarch)
@pytest.mark.parametrize("dialect", ["gcc", "zig"])
def test_every_level_has_flags_or_its_architecture_has_none(row: arch.Architecture, dialect: str) -> None:
    found = [ccflags.level_flags(row, level, dialect) for level in variants(row)]
    assert all(found) or not any(found)
    assert all(flag.startswith("-m") and not set(flag) & set(" '\"$;") for flags in found for flag in flags)


def compiled_machine(command: tuple[str, ...], folder: Path) -> tuple[int, int, bool]:
    """Compile a function and read the object's identity back."""
    source, output = folder / "half.c", folder / "half.o"
    source.write_text(SOURCE)
    cache = str(folder / "cache")
    environment = {**os.environ, "ZIG_GLOBAL_CACHE_DIR": cache, "ZIG_LOCAL_CACHE_DIR": cache}
    argv = (*command, "-c", str(source), "-o", str(output))
    done = subprocess.run(argv, env=environment, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (argv, done.stderr)
    facts = elf.read_facts(output).elf
    assert facts is not None
    return facts.machine, facts.bits, facts.little_endian


CROSS = [row for row in arch.ARCHITECTURES if shutil.which(f"{row.triple}-gcc")]


@pytest.mark.parametrize("row", CROSS, ids=lambda row: row.goarch)
def test_cross_gcc_takes_every_level(row: arch.Architecture, tmp_path: Path) -> None:
    for level in variants(row):
        command = (f"{row.triple}-gcc", *ccflags.level_flags(row, level, "gcc"))
        assert compiled_machine(command, tmp_path) == (row.machine, row.bits, row.little_endian)


def zig() -> Path | None:
    """The zig of the ziglang wheel, where it is installed."""
    try:
        found = metadata.distribution("ziglang").locate_file("ziglang/zig")
    except metadata.PackageNotFoundError:
        return None
    return Path(str(found))


@pytest.mark.skipif(zig() is None, reason="the ziglang wheel is not installed")
@pytest.mark.parametrize("row", arch.ARCHITECTURES, ids=lambda row: row.goarch)
@pytest.mark.parametrize("libc", ["glibc", "musl"])
def test_zig_takes_every_level_and_target(row: arch.Architecture, libc: str, tmp_path: Path) -> None:
    levels = variants(row) if libc == "glibc" else (row.default_level,)
    name = toolchain.zig_target(factory.target(goarch=row.goarch, cgo=True, libc=libc))
    for level in levels:
        command = (str(zig()), "cc", "-target", name, *ccflags.level_flags(row, level, "zig"))
        assert compiled_machine(command, tmp_path) == (row.machine, row.bits, row.little_endian)
