"""C compiler flags that follow a target's level, so that Go code and C code agree about the CPU.

Pure. Two vocabularies: gcc's (GCC manual, "x86 Options", "AArch64 Options" …) and zig's, whose
`-mcpu` takes LLVM's CPU and feature names. Where gcc 12 has no name for a level, the next lower one is
used: C code may ask less of the CPU than the target promises, never more.
"""

from __future__ import annotations

from collections.abc import Callable

from buildmatrix import arch


def level_flags(row: arch.Architecture, level: str, dialect: str) -> tuple[str, ...]:
    """Flags for one architecture's level; `dialect` is ``gcc`` or ``zig``."""
    base, features = arch.split_level(level)
    table = _ZIG if dialect == "zig" else _GCC
    make = table.get(row.goarch)
    return () if make is None else tuple(make(base, features).split())


def _gcc_amd64(base: str, _features: tuple[str, ...]) -> str:
    return "-march=x86-64" if base == "v1" else f"-march=x86-64-{base}"


def _zig_amd64(base: str, _features: tuple[str, ...]) -> str:
    return "-mcpu=x86_64" if base == "v1" else f"-mcpu=x86_64_{base}"


_GCC_ARM64_LOWER = {"v8.9": "v8.8"}


def _gcc_arm64(base: str, features: tuple[str, ...]) -> str:
    name = _GCC_ARM64_LOWER.get(base, "v9" if base.startswith("v9.") else base.removesuffix(".0"))
    return "-march=" + "+".join((f"arm{name}-a", *features))


def _zig_arm64(base: str, features: tuple[str, ...]) -> str:
    extension = base.replace(".", "_") + "a" if base not in ("v8.0", "v9.0") else base.removesuffix(".0") + "a"
    return "-mcpu=" + "+".join(("generic", extension, *features))


def _gcc_arm(base: str, _features: tuple[str, ...]) -> str:
    # The C library is hard-float (gnueabihf), which Thumb-1 has no code for: below 7, ARM state is asked for.
    return {"7": "-march=armv7-a+fp", "6": "-march=armv6+fp -marm", "5": "-march=armv5te+fp -marm"}[base]


def _zig_arm(base: str, _features: tuple[str, ...]) -> str:
    return {"7": "-mcpu=generic+v7a", "6": "-mcpu=generic+v6", "5": "-mcpu=generic+v5te"}[base]


def _power(prefix: str, base: str) -> str:
    return "-mcpu=" + base.replace("power", prefix)


_RISCV_EXTENSIONS = {
    "rva20u64": ("rv64gc", ""),
    "rva22u64": ("rv64gc_zba_zbb_zbs", "+zba+zbb+zbs"),
    "rva23u64": ("rv64gcv_zba_zbb_zbs", "+v+zba+zbb+zbs"),
}

_Maker = Callable[[str, tuple[str, ...]], str]

_GCC: dict[str, _Maker] = {
    "amd64": _gcc_amd64,
    "arm64": _gcc_arm64,
    "arm": _gcc_arm,
    "386": lambda base, _features: "-march=pentium4" if base == "sse2" else "-march=i486",
    "riscv64": lambda base, _features: f"-march={_RISCV_EXTENSIONS[base][0]}",
    "ppc64le": lambda base, _features: _power("power", base),
    "ppc64": lambda base, _features: _power("power", base),
}
_ZIG: dict[str, _Maker] = {
    "amd64": _zig_amd64,
    "arm64": _zig_arm64,
    "arm": _zig_arm,
    "386": lambda base, _features: "-mcpu=pentium4" if base == "sse2" else "-mcpu=i486",
    "riscv64": lambda base, _features: f"-mcpu=generic_rv64+m+a+f+d+c{_RISCV_EXTENSIONS[base][1]}",
    "ppc64le": lambda base, _features: _power("pwr", base),
    "ppc64": lambda base, _features: _power("pwr", base),
}
