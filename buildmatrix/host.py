"""The machine that a file is to run on, as far as execution depends on it.

A host is described by words (``arm64,page=64k,cpu=v8.2,kernel=5.10``), by a preset's name, or read
from the running machine (`running.py`). What nobody said stays None, and a verdict that hangs on it
says so.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from buildmatrix import errors
from buildmatrix.arch import ARCHITECTURES, BY_GOARCH, Architecture, normalise

KIB = 1024
STACK_LIMIT = 8 << 20

X86_LEVELS = {"v1": 1, "v2": 2, "v3": 3, "v4": 4}

ARM_LEVEL_FEATURES = {
    "v8.0": frozenset(),
    "v8.1": frozenset({"lse"}),
    "v8.2": frozenset({"lse"}),
    "v8.3": frozenset({"lse", "pauth"}),
    "v8.4": frozenset({"lse", "pauth"}),
    "v8.5": frozenset({"lse", "pauth", "bti"}),
    "v9.0": frozenset({"lse", "pauth", "bti", "sve", "sve2"}),
}
"""Features that a level makes mandatory (Arm Architecture Reference Manual, A2)."""


class Cpu(NamedTuple):
    """One CPU model: x86-64 level or Arm level, features, and whether 32-bit user code runs."""

    arch: str
    level: str
    features: frozenset[str] = frozenset()
    compat32: bool = True
    intel: bool | None = None


CPUS = {
    # x86-64: psABI micro-architecture levels; models by the features that vendors document.
    "qemu64": Cpu(arch="amd64", level="v1"),
    "kvm64": Cpu(arch="amd64", level="v1"),
    "core2duo": Cpu(arch="amd64", level="v1", intel=True),
    "nehalem": Cpu(arch="amd64", level="v2", intel=True),
    "westmere": Cpu(arch="amd64", level="v2", intel=True),
    "sandybridge": Cpu(arch="amd64", level="v2", intel=True),
    "ivybridge": Cpu(arch="amd64", level="v2", intel=True),
    "haswell": Cpu(arch="amd64", level="v3", intel=True),
    "broadwell": Cpu(arch="amd64", level="v3", intel=True),
    "zen": Cpu(arch="amd64", level="v3", intel=False),
    "epyc": Cpu(arch="amd64", level="v3", intel=False),
    "zen3": Cpu(arch="amd64", level="v3", intel=False),
    "skylake-server": Cpu(arch="amd64", level="v4", intel=True),
    "icelake-server": Cpu(arch="amd64", level="v4", intel=True),
    "sapphirerapids": Cpu(arch="amd64", level="v4", intel=True),
    "zen4": Cpu(arch="amd64", level="v4", intel=False),
    # Arm: technical reference manuals of the cores.
    "cortex-a53": Cpu(arch="arm64", level="v8.0"),
    "cortex-a57": Cpu(arch="arm64", level="v8.0"),
    "cortex-a72": Cpu(arch="arm64", level="v8.0"),
    "cortex-a76": Cpu(arch="arm64", level="v8.2", features=frozenset({"lse"})),
    "neoverse-n1": Cpu(arch="arm64", level="v8.2", features=frozenset({"lse"})),
    "neoverse-v1": Cpu(arch="arm64", level="v8.4", features=frozenset({"lse", "pauth", "sve"}), compat32=False),
    "neoverse-n2": Cpu(arch="arm64", level="v9.0", features=frozenset({"lse", "pauth", "bti", "sve", "sve2"}),
                       compat32=False),
    "neoverse-v2": Cpu(arch="arm64", level="v9.0", features=frozenset({"lse", "pauth", "bti", "sve", "sve2"}),
                       compat32=False),
    "a64fx": Cpu(arch="arm64", level="v8.2", features=frozenset({"lse", "sve"}), compat32=False),
    "ftc663": Cpu(arch="arm64", level="v8.0"),
    "apple-m1": Cpu(arch="arm64", level="v8.5", features=frozenset({"lse", "pauth"}), compat32=False),
    "max": Cpu(arch="arm64", level="v9.0", features=frozenset({"lse", "pauth", "bti", "sve", "sve2"})),
}  # fmt: skip
"""CPU models by lower-case name."""


class Handler(NamedTuple):
    """One binfmt_misc entry (Documentation/admin-guide/binfmt-misc.rst). `flags` such as ``POCF``."""

    name: str
    interpreter: str
    flags: str = "F"
    offset: int = 0
    magic: bytes = b""
    mask: bytes = b""
    extension: str = ""

    def matches(self, head: bytes, filename: str) -> bool:
        """Whether this entry takes a file that begins with `head` (zero padded, 256 bytes)."""
        if self.extension:
            return filename.rpartition(".")[2] == self.extension and "." in filename
        piece = head[self.offset : self.offset + len(self.magic)]
        mask = self.mask or b"\xff" * len(self.magic)
        return len(piece) == len(self.magic) and all(
            (got ^ want) & bits == 0 for got, want, bits in zip(piece, self.magic, mask, strict=True)
        )


def qemu_handler(row: Architecture) -> Handler:
    """The entry that Debian's qemu-user-static registers for an architecture (binfmt-update)."""
    order: Literal["little", "big"] = "little" if row.little_endian else "big"
    ident = b"\x7fELF" + bytes((2 if row.bits == 64 else 1, 1 if row.little_endian else 2, 1)) + bytes(9)
    magic = ident + (2).to_bytes(2, order) + row.machine.to_bytes(2, order)
    mask = b"\xff" * 7 + b"\x00" + b"\xff" * 8 + (0xFFFE).to_bytes(2, order) + b"\xff\xff"
    return Handler(
        name=f"qemu-{row.qemu}",
        interpreter=f"/usr/libexec/qemu-binfmt/{row.qemu}-binfmt-P",
        flags="POCF",
        magic=magic,
        mask=mask,
    )


HANDLERS = {handler.name: handler for handler in (qemu_handler(row) for row in ARCHITECTURES if row.qemu)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """A target machine. Sizes in bytes; None means that it was not said.

    `level` is a psABI level (``v1``…``v4``) or an Arm level (``v8.2``). `kernel` is (major, minor).
    `intel` says whether an x86 CPU calls itself GenuineIntel. `mmap_min_addr` is the sysctl of that name;
    `stack_limit` the soft RLIMIT_STACK; `memory` RAM and swap, more than which one private mapping never gets
    (mm/util.c __vm_enough_memory, OVERCOMMIT_GUESS).
    """

    name: str
    arch: str
    kernel: tuple[int, int] = (6, 12)
    kernel_known: bool = False
    page_size: int = 4096
    level: str | None = None
    features: frozenset[str] | None = None
    cpu: str | None = None
    intel: bool | None = None
    compat32: bool = True
    x32: bool = False
    va_bits: int = 48
    mmap_min_addr: int = 65536
    stack_limit: int = STACK_LIMIT
    memory: int | None = None
    seccomp: str = "unconfined"
    handlers: tuple[Handler, ...] = ()
    protected_symlinks: bool = True

    @property
    def row(self) -> Architecture:
        """The architecture's row of the table."""
        return BY_GOARCH[self.arch]

    def has(self, feature: str) -> bool | None:
        """Whether the CPU has a feature; None where that is not known."""
        if self.features is not None:
            return feature in self.features
        return None

    def x86_level(self) -> int | None:
        """The psABI level as a number, or None where it is not known."""
        return X86_LEVELS.get(self.level or "")


PRESETS: dict[str, str] = {
    # AWS: EC2 documentation names the cores; Amazon Linux and Debian kernels use 4K pages there.
    "graviton2": "arm64,cpu=neoverse-n1",
    "graviton3": "arm64,cpu=neoverse-v1,compat32=no",
    "graviton4": "arm64,cpu=neoverse-v2,compat32=no",
    # Ampere Altra: Neoverse N1; RHEL 8 kernels use 64K pages, others 4K.
    "altra": "arm64,cpu=neoverse-n1",
    "altra-64k": "arm64,cpu=neoverse-n1,page=64k,compat32=no,kernel=4.18",
    # Phytium D2000: FTC663 cores, Armv8.0.
    "d2000": "arm64,cpu=ftc663",
    # Apple M series under Asahi Linux: 16K pages, no 32-bit EL0.
    "apple-m": "arm64,cpu=apple-m1,page=16k,compat32=no",
    # Raspberry Pi 5: Cortex-A76; Raspberry Pi OS runs kernel_2712.img with 16K pages.
    "rpi5": "arm64,cpu=cortex-a76,page=16k,compat32=no",
    "rpi5-4k": "arm64,cpu=cortex-a76",
    "rpi4": "arm64,cpu=cortex-a72",
    "rpi3": "arm64,cpu=cortex-a53",
    "a64fx": "arm64,cpu=a64fx,page=64k,compat32=no",
    "x86-64-v1": "amd64,cpu=v1",
    "x86-64-v2": "amd64,cpu=v2",
    "x86-64-v3": "amd64,cpu=v3",
    "x86-64-v4": "amd64,cpu=v4",
}
"""Named machines, each in the words of `--host`."""

_SIZES = {"4k": 4096, "4096": 4096, "16k": 16384, "16384": 16384, "64k": 65536, "65536": 65536}
_KEYS = ("page", "cpu", "kernel", "compat32", "x32", "binfmt", "seccomp", "stack", "mmap-min-addr", "features", "va")


def with_cpu(host: Host, name: str) -> Host:
    """The host with a CPU given as a model or a level. Raises UsageError."""
    lowered = name.lower()
    model = CPUS.get(lowered)
    if model is None and "-" in lowered:
        model = CPUS.get(lowered.rpartition("-")[0])
    if model is not None and model.arch == host.arch:
        return replace(
            host,
            cpu=name,
            level=model.level,
            features=model.features,
            intel=model.intel,
            compat32=host.compat32 and model.compat32,
        )
    level = lowered.removeprefix("x86-64-").removeprefix("armv").removesuffix("-a")
    level = level if level.startswith("v") else f"v{level}"
    if host.arch == "amd64" and level in X86_LEVELS:
        return replace(host, cpu=name, level=level, intel=None)
    if host.arch == "arm64" and level in host.row.levels:
        below = [key for key in ARM_LEVEL_FEATURES if _order(key) <= _order(level)]
        return replace(host, cpu=name, level=level, features=ARM_LEVEL_FEATURES[max(below, key=_order)])
    known = ", ".join(sorted(key for key, cpu in CPUS.items() if cpu.arch == host.arch))
    raise errors.UsageError(
        f"--host: got cpu={name}, expected a level or a model of {host.arch}", fix=f"a level such as v8.2, or: {known}"
    )


def _order(level: str) -> tuple[int, int]:
    major, _, minor = level.removeprefix("v").partition(".")
    return int(major), int(minor or 0)


def parse(text: str) -> Host:
    """A host from ``arch,key=value,…`` or a preset, with keys after it. Raises UsageError."""
    first, *rest = [word.strip() for word in text.split(",") if word.strip()] or [""]
    if first in PRESETS:
        host = replace(parse(PRESETS[first]), name=first)
    else:
        goarch = normalise(first)
        if goarch is None:
            names = ", ".join((*sorted(PRESETS), *BY_GOARCH))
            raise errors.UsageError(
                f"--host: got {first!r}, expected an architecture or a preset", fix=f"one of {names}"
            )
        host = Host(name=text, arch=goarch)
        if goarch == "arm64":
            host = replace(host, kernel=(6, 1))
    for word in rest:
        key, _, value = word.partition("=")
        host = _set(host, key, value)
    return host


def _yes(value: str) -> bool:
    return value.lower() in ("", "1", "yes", "on", "true")


def _set(host: Host, key: str, value: str) -> Host:  # noqa: PLR0911  (one return for each key)
    if key == "page" and value.lower() in _SIZES:
        return with_page_size(host, _SIZES[value.lower()])
    if key == "cpu":
        return with_cpu(host, value)
    if key == "kernel":
        return with_kernel(host, value)
    if key in ("compat32", "x32"):
        return replace(host, **{key: _yes(value)})  # type: ignore[arg-type]
    if key == "binfmt" and all(name in HANDLERS for name in value.split("+")):
        return replace(host, handlers=tuple(HANDLERS[name] for name in value.split("+")))
    if key == "features":
        return replace(host, features=(host.features or frozenset()) | frozenset(value.split("+")))
    numbers = {"stack": "stack_limit", "mmap-min-addr": "mmap_min_addr", "va": "va_bits"}
    if key in numbers and value.isdecimal():
        return replace(host, **{numbers[key]: int(value)})  # type: ignore[arg-type]
    if key == "seccomp" and value:
        return replace(host, seccomp=value)
    raise errors.UsageError(f"--host: got {key}={value}, expected one of {', '.join(_KEYS)} with a fitting value")


def with_page_size(host: Host, size: int) -> Host:
    """The host with another page size; arm64 kernels with large pages are newer ones where nobody said."""
    kernel = host.kernel if host.kernel_known or size == 4096 else max(host.kernel, (6, 12))
    return replace(host, page_size=size, kernel=kernel)


def with_kernel(host: Host, text: str) -> Host:
    """The host with a kernel release such as ``5.10`` or ``6.1.0-50-arm64``. Raises UsageError."""
    major, _, rest = text.partition(".")
    minor = rest.partition(".")[0].partition("-")[0]
    if not (major.isdecimal() and minor.isdecimal()):
        raise errors.UsageError(f"--host: got kernel={text}, expected a release such as 5.10")
    return replace(host, kernel=(int(major), int(minor)), kernel_known=True)
