"""What many tests start from: a small valid matrix, facts of a good executable, a toolchain that is not real."""

from __future__ import annotations

import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import tomli_w

from buildmatrix import arch, matrix
from buildmatrix.checks.rule import Subject
from buildmatrix.facts import (
    PF_R,
    PF_W,
    PF_X,
    ElfFacts,
    ElfType,
    Facts,
    Format,
    GoInfo,
    GoModule,
    MachoFacts,
    PeFacts,
    Segment,
    SegmentType,
)
from buildmatrix.matrix import Cell, Matrix
from buildmatrix.target import Target
from buildmatrix.toolchain import CCompiler, GoToolchain

ROOT = Path(__file__).resolve().parent.parent
GO_VERSION = "1.26.8"
_ARM_EABI5, _RISCV_RVC_DOUBLE, _POWER_ELFV2 = 0x05000400, 0x5, 0x2


def document(**tables: Any) -> dict[str, Any]:
    """A minimal valid matrix.toml as parsed TOML; `tables` replace its top-level keys."""
    return {
        "schema": 1,
        "project": {"name": "app", "version": "1.2.3"},
        "binaries": {"app": {"package": "./cmd/app"}},
        "targets": {"amd64": {"goarch": "amd64"}},
        **tables,
    }


def parse(value: dict[str, Any] | str | bytes, root: Path = Path("/project")) -> Matrix:
    """The matrix of a document, text or bytes, as if it lay in `root`."""
    if isinstance(value, dict):
        value = tomli_w.dumps(value)
    data = value.encode() if isinstance(value, str) else value
    return matrix.parse(data, root / matrix.FILE_NAME)


def cell(name: str = "amd64", *, binary: str = "app", go: dict[str, Any] | None = None, **settings: Any) -> Cell:
    """One cell of a matrix with one target; underscores in `settings` stand for dashes."""
    return matrix_of(name, binary=binary, go=go, **settings).cells[0]


def matrix_of(
    name: str = "amd64", *, binary: str = "app", go: dict[str, Any] | None = None, root: Path | None = None,
    **settings: Any,
) -> Matrix:  # fmt: skip
    """A matrix with one binary and one target."""
    values = {"goarch": "amd64", **{key.replace("_", "-"): value for key, value in settings.items()}}
    tables = document(targets={name: values}, binaries={binary: {"package": "./cmd/app"}}, go=go or {})
    return parse(tables, root or Path("/project"))


def target(name: str = "amd64", **settings: Any) -> Target:
    """The target of `cell`."""
    return cell(name, **settings).target


def segment(kind: int, **values: int) -> Segment:
    """A program header of 4 KiB at 64 KiB alignment."""
    zeros = {"flags": PF_R, "offset": 0, "vaddr": 0, "paddr": 0, "filesz": 4096, "memsz": 4096, "align": 0x10000}
    return Segment(**{**zeros, "type": kind, **values})


def elf_facts(goarch: str = "amd64", libc: str = "none", **overrides: Any) -> ElfFacts:
    """Facts of a good executable: static where libc is ``none``, else with its loader and libraries."""
    row = arch.BY_GOARCH[goarch]
    flags = {"arm": _ARM_EABI5, "riscv64": _RISCV_RVC_DOUBLE, "ppc64le": _POWER_ELFV2}.get(goarch, 0)
    dynamic = libc == "glibc"
    values: dict[str, Any] = {
        "bits": row.bits, "little_endian": row.little_endian, "elf_class": row.bits // 32,
        "elf_data": 1 if row.little_endian else 2, "ident_version": 1, "osabi": 0, "abiversion": 0,
        "ident_pad_set": False, "class_by_layout": row.bits, "type": int(ElfType.EXEC), "machine": row.machine,
        "machine_le": row.machine, "machine_be": row.machine, "version": 1, "flags": flags, "entry": 0x10000,
        "ehsize": 64, "phoff": 64, "phentsize": 56, "phnum": 2, "phnum_raw": 2, "shoff": 0, "shentsize": 0,
        "shnum": 0, "shstrndx": 0,
        "segments": (segment(SegmentType.LOAD, flags=PF_R | PF_X), segment(SegmentType.GNU_STACK, flags=PF_R | PF_W)),
        "page_incongruent": (False, False, False), "page_overlap": (False, False, False),
        "max_align_common": 0x10000, "load_low": 0x10000, "load_high": 0x11000,
        "interp": row.glibc_loader if dynamic else None, "interp_offset": 0x200 if dynamic else 0,
        "interp_count": int(dynamic), "dynamic": dynamic, "needed": ("libc.so.6",) if dynamic else (), "soname": None,
        "rpath": None, "runpath": None, "dt_flags": 0, "dt_flags_1": 0, "version_needs": (),
        "version_definitions": (), "symbol_count": 0, "symbols": None, "has_gnu_hash": dynamic,
        "has_sysv_hash": False, "has_relr": False, "notes": (), "build_id": None, "go_build_id": f"{goarch}/a/b/c",
        "abi_tag": None, "x86_isa_needed": 0, "x86_isa_used": 0, "x86_features": 0, "aarch64_features": 0,
        "property_present": False, "property_unsorted": False, "stack_flags": PF_R | PF_W, "relro": dynamic,
        "bind_now": False, "textrel": False, "pie": False, "static_pie": False, "has_sections": True,
        "has_symtab": False, "has_debug": False, "has_tls": False, "described_end": 4096, "truncated": False,
    }  # fmt: skip
    return ElfFacts(**{**values, **overrides})


def go_info(planned: Cell, **overrides: Any) -> GoInfo:
    """Build info that agrees with a cell; `settings` in `overrides` replace single ones (None drops one)."""
    row = planned.target.architecture
    settings = {
        "GOOS": planned.target.goos,
        "GOARCH": planned.target.goarch,
        "CGO_ENABLED": "1" if planned.target.cgo else "0",
        **({row.level_variable: planned.target.level} if row.level_variable else {}),
        **overrides.pop("settings", {}),
    }
    values: dict[str, Any] = {
        "version": f"go{GO_VERSION}",
        "path": "example.org/app/cmd/app",
        "main": GoModule(path="example.org/app", version="(devel)"),
        "settings": tuple((name, value) for name, value in settings.items() if value is not None),
    }
    return GoInfo(**{**values, **overrides})


def facts(planned: Cell, *, elf: dict[str, Any] | None = None, go: dict[str, Any] | None = None) -> Facts:
    """Facts of the file that building `planned` should give."""
    row, kind = planned.target.architecture, planned.target.format
    libc = planned.target.libc if not planned.target.static else "none"
    common: dict[str, Any] = {"size": 4096, "go": go_info(planned, **(go or {}))}
    if kind == "elf":
        common["elf"] = elf_facts(row.goarch, libc, **(elf or {}))
    elif kind == "pe":
        common["pe"] = PeFacts(machine=row.pe_machine, bits=row.bits, subsystem=3, characteristics=0x0022)
    else:
        common["macho"] = MachoFacts(cputype=row.macho_cputype, cpusubtype=0, bits=row.bits, filetype=2, flags=0)
    return Facts(format=Format(kind), **common)


def subject(
    name: str = "amd64", *, elf: dict[str, Any] | None = None, go: dict[str, Any] | None = None,
    changed: dict[str, Any] | None = None, sums: frozenset[tuple[str, str, str]] | None = None, **settings: Any,
) -> Subject:  # fmt: skip
    """What the checks see of a good artifact, with `elf`, `go` and other facts (`changed`) replaced."""
    planned = cell(name, **settings)
    made = replace(facts(planned, elf=elf, go=go), **(changed or {}))
    return Subject(cell=planned, facts=made, go_version=GO_VERSION, sums=sums)


def toolchain() -> GoToolchain:
    """A Go that nothing runs."""
    return GoToolchain(program=Path("/opt/go/bin/go"), version=GO_VERSION)


def compiler(**overrides: Any) -> CCompiler:
    """A C compiler that nothing runs."""
    values: dict[str, Any] = {
        "command": ("/opt/cross/bin/aarch64-linux-gnu-gcc",),
        "cxx": ("/opt/cross/bin/aarch64-linux-gnu-g++",),
        "dialect": "gcc",
        "flags": ("-march=armv8-a",),
        "label": "aarch64-linux-gnu-gcc",
    }
    return CCompiler(**{**values, **overrides})


def program(path: Path, text: str = "#!/bin/sh\nexit 0\n") -> Path:
    """An executable file, its folders made as needed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
    return path


def go_root(folder: Path, version: str) -> Path:
    """A fake GOROOT; returns its bin folder."""
    program(folder / "bin" / "go")
    (folder / "VERSION").write_text(f"{version}\ntime 2026-01-01T00:00:00Z\n")
    return folder / "bin"


def module(folder: Path, go: str = "1.26", **files: str) -> Path:
    """A Go module; `files` are further files by path."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "go.mod").write_text(f"module example.org/app\n\ngo {go}\n")
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder
