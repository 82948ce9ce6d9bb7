"""One table of architectures and operating systems; the only place that normalises their names.

Sources: `go tool dist list` and cmd/dist (GOARCH and level variables), the System V gABI and the
processor supplements (ELF identity), the OCI image specification (platforms), uname(2), glibc
shlib-versions and musl ldso (loader names), zig's and Debian's target triples.
"""

from __future__ import annotations

from dataclasses import dataclass

# ELF e_flags bits that separate ABIs sharing one machine number.
EF_ARM_ABI_FLOAT_HARD = 0x400
EF_RISCV_FLOAT_ABI_DOUBLE = 0x4


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """One GOARCH: its names in every vocabulary, its ELF identity and its levels.

    `page_sizes` are the sizes in bytes that Linux kernels for it are built with. `level_variable`
    is the environment variable of Go's level; the first of `levels` is the default.
    """

    goarch: str
    machine: int
    bits: int
    little_endian: bool
    uname: str
    oci: str
    level_variable: str
    levels: tuple[str, ...]
    page_sizes: tuple[int, ...]
    glibc_loader: str
    musl_loader: str
    zig: str
    triple: str
    zig_abi: str = ""
    oci_variant: str = ""
    qemu: str = ""
    level_features: tuple[str, ...] = ()
    pe_machine: int = 0
    macho_cputype: int = 0

    @property
    def default_level(self) -> str:
        """The level that Go takes where none is named: the lowest, but 7 for arm."""
        return self.levels[0]


ARCHITECTURES = (
    Architecture(
        goarch="amd64", machine=62, bits=64, little_endian=True, uname="x86_64", oci="amd64",
        level_variable="GOAMD64", levels=("v1", "v2", "v3", "v4"), page_sizes=(4096,),
        glibc_loader="/lib64/ld-linux-x86-64.so.2", musl_loader="/lib/ld-musl-x86_64.so.1",
        zig="x86_64", triple="x86_64-linux-gnu", qemu="x86_64", pe_machine=0x8664, macho_cputype=0x01000007,
    ),
    Architecture(
        goarch="arm64", machine=183, bits=64, little_endian=True, uname="aarch64", oci="arm64", oci_variant="v8",
        level_variable="GOARM64",
        levels=(*(f"v8.{minor}" for minor in range(10)), *(f"v9.{minor}" for minor in range(6))),
        level_features=("lse", "crypto"), page_sizes=(4096, 16384, 65536),
        glibc_loader="/lib/ld-linux-aarch64.so.1", musl_loader="/lib/ld-musl-aarch64.so.1",
        zig="aarch64", triple="aarch64-linux-gnu", qemu="aarch64", pe_machine=0xAA64, macho_cputype=0x0100000C,
    ),
    Architecture(
        goarch="arm", machine=40, bits=32, little_endian=True, uname="armv7l", oci="arm", oci_variant="v7",
        level_variable="GOARM", levels=("7", "6", "5"), level_features=("softfloat", "hardfloat"), page_sizes=(4096,),
        glibc_loader="/lib/ld-linux-armhf.so.3", musl_loader="/lib/ld-musl-armhf.so.1",
        zig="arm", zig_abi="eabihf", triple="arm-linux-gnueabihf", qemu="arm", pe_machine=0x1C4,
    ),
    Architecture(
        goarch="386", machine=3, bits=32, little_endian=True, uname="i686", oci="386",
        level_variable="GO386", levels=("sse2", "softfloat"), page_sizes=(4096,),
        glibc_loader="/lib/ld-linux.so.2", musl_loader="/lib/ld-musl-i386.so.1",
        zig="x86", triple="i686-linux-gnu", qemu="i386", pe_machine=0x14C, macho_cputype=7,
    ),
    Architecture(
        goarch="riscv64", machine=243, bits=64, little_endian=True, uname="riscv64", oci="riscv64",
        level_variable="GORISCV64", levels=("rva20u64", "rva22u64", "rva23u64"), page_sizes=(4096,),
        glibc_loader="/lib/ld-linux-riscv64-lp64d.so.1", musl_loader="/lib/ld-musl-riscv64.so.1",
        zig="riscv64", triple="riscv64-linux-gnu", qemu="riscv64",
    ),
    Architecture(
        goarch="ppc64le", machine=21, bits=64, little_endian=True, uname="ppc64le", oci="ppc64le",
        level_variable="GOPPC64", levels=("power8", "power9", "power10"), page_sizes=(4096, 65536),
        glibc_loader="/lib64/ld64.so.2", musl_loader="/lib/ld-musl-powerpc64le.so.1",
        zig="powerpc64le", triple="powerpc64le-linux-gnu", qemu="ppc64le",
    ),
    Architecture(
        goarch="ppc64", machine=21, bits=64, little_endian=False, uname="ppc64", oci="ppc64",
        level_variable="GOPPC64", levels=("power8", "power9", "power10"), page_sizes=(4096, 65536),
        glibc_loader="/lib64/ld64.so.1", musl_loader="/lib/ld-musl-powerpc64.so.1",
        zig="powerpc64", triple="powerpc64-linux-gnu", qemu="ppc64",
    ),
    Architecture(
        goarch="s390x", machine=22, bits=64, little_endian=False, uname="s390x", oci="s390x",
        level_variable="", levels=("",), page_sizes=(4096,),
        glibc_loader="/lib/ld64.so.1", musl_loader="/lib/ld-musl-s390x.so.1",
        zig="s390x", triple="s390x-linux-gnu", qemu="s390x",
    ),
    Architecture(
        goarch="loong64", machine=258, bits=64, little_endian=True, uname="loongarch64", oci="loong64",
        level_variable="", levels=("",), page_sizes=(4096, 16384, 65536),
        glibc_loader="/lib64/ld-linux-loongarch-lp64d.so.1", musl_loader="/lib/ld-musl-loongarch64.so.1",
        zig="loongarch64", triple="loongarch64-linux-gnu", qemu="loongarch64",
    ),
    Architecture(
        goarch="mips64le", machine=8, bits=64, little_endian=True, uname="mips64", oci="mips64le",
        level_variable="GOMIPS64", levels=("hardfloat", "softfloat"), page_sizes=(4096, 16384, 65536),
        glibc_loader="/lib64/ld.so.1", musl_loader="/lib/ld-musl-mips64el.so.1",
        zig="mips64el", zig_abi="abi64", triple="mips64el-linux-gnuabi64", qemu="mips64el",
    ),
    Architecture(
        goarch="mipsle", machine=8, bits=32, little_endian=True, uname="mips", oci="mipsle",
        level_variable="GOMIPS", levels=("hardfloat", "softfloat"), page_sizes=(4096, 16384, 65536),
        glibc_loader="/lib/ld.so.1", musl_loader="/lib/ld-musl-mipsel.so.1",
        zig="mipsel", zig_abi="eabihf", triple="mipsel-linux-gnu", qemu="mipsel",
    ),
)  # fmt: skip

BY_GOARCH = {row.goarch: row for row in ARCHITECTURES}

FORMATS = {"linux": "elf", "freebsd": "elf", "netbsd": "elf", "openbsd": "elf", "darwin": "macho", "windows": "pe"}
"""Executable format by GOOS, for the systems whose artifacts are checked."""

PORTS: dict[str, tuple[str, ...]] = {
    "linux": tuple(BY_GOARCH),
    "darwin": ("amd64", "arm64"),
    "windows": ("amd64", "arm64", "386"),
    "freebsd": ("amd64", "arm64", "arm", "386"),
    "netbsd": ("amd64", "arm64", "arm", "386"),
    "openbsd": ("amd64", "arm64", "arm", "386", "riscv64", "ppc64"),
}
"""The GOOS/GOARCH pairs of Go 1.26 (`go tool dist list`) that this table describes."""

_ALIASES = {
    "x86_64": "amd64", "x86-64": "amd64", "x64": "amd64", "aarch64": "arm64", "armv8": "arm64", "armv8l": "arm64",
    "armv7": "arm", "armv7l": "arm", "armhf": "arm", "i386": "386", "i686": "386", "x86": "386",
    "ppc64el": "ppc64le", "powerpc64le": "ppc64le", "loongarch64": "loong64", "mips64el": "mips64le",
}  # fmt: skip


def normalise(name: str) -> str | None:
    """The GOARCH for a name in any vocabulary (uname, Debian, OCI, GOARCH), or None."""
    lowered = name.lower()
    lowered = _ALIASES.get(lowered, lowered)
    return lowered if lowered in BY_GOARCH else None


def by_machine(machine: int, bits: int, little_endian: bool) -> Architecture | None:
    """The row whose ELF identity this is, or None."""
    wanted = (machine, bits, little_endian)
    return next((row for row in ARCHITECTURES if (row.machine, row.bits, row.little_endian) == wanted), None)


_KERNELS = {
    "arm64": ("aarch64", "arm64"),
    "386": ("i686", "i586", "i486", "i386"),
    "arm": ("armv7l", "armv8l"),
    "loong64": ("loongarch64", "loong64"),
}
_COMPATIBLE = {"386": ("x86_64",), "arm": ("aarch64",), "mipsle": ("mips64",)}
_OLD_ARM = {"6": ("armv6l",), "5": ("armv6l", "armv5tel", "armv5tejl")}


def kernels(row: Architecture, level: str = "") -> tuple[str, ...]:
    """What uname(2) says on kernels that run programs of this architecture and level, the usual name first.

    armv8l is what a 64-bit kernel tells a process with a 32-bit personality (arch/arm64/include/asm/compat.h).
    """
    extra = _OLD_ARM.get(split_level(level)[0], ()) if row.goarch == "arm" else ()
    return (*_KERNELS.get(row.goarch, (row.uname,)), *extra)


def compatible_kernels(row: Architecture) -> tuple[str, ...]:
    """What uname(2) says on kernels that run such programs where they were configured so, and the CPU can."""
    return _COMPATIBLE.get(row.goarch, ())


_MACHINE_NAMES = {
    0: "none", 2: "SPARC", 3: "Intel 80386", 8: "MIPS", 20: "PowerPC", 21: "PowerPC64", 22: "S/390", 40: "ARM",
    43: "SPARC V9", 62: "x86-64", 183: "AArch64", 243: "RISC-V", 247: "BPF", 258: "LoongArch",
}  # fmt: skip


def machine_name(machine: int) -> str:
    """The common name of an e_machine, with its number where it is an unusual one."""
    return _MACHINE_NAMES.get(machine, f"e_machine {machine:#x}")


def split_level(level: str) -> tuple[str, tuple[str, ...]]:
    """A level such as ``v8.2,crypto`` as its base and its features."""
    base, *features = level.split(",")
    return base, tuple(features)


def level_valid(arch: Architecture, level: str) -> bool:
    """Whether Go accepts this level for the architecture."""
    base, features = split_level(level)
    return base in arch.levels and all(feature in arch.level_features for feature in features)


def level_choices(arch: Architecture) -> str:
    """The levels that Go accepts, for an error message."""
    if not arch.level_variable:
        return "no level (Go has none for this architecture)"
    features = "".join(f"[,{feature}]" for feature in arch.level_features)
    return f"one of {', '.join(arch.levels)}{features}"


def level_suffix(arch: Architecture, level: str) -> str:
    """What tells this level from the default in a name: ``_v3``, ``_v8.2_crypto``, or nothing."""
    return "" if level == arch.default_level else "_" + level.replace(",", "_")
