"""Subdirectories that glibc's search tries for the CPU's sake, and what $PLATFORM stands for.

glibc-hwcaps since 2.33 (sysdeps/x86_64/dl-hwcaps_subdirs.c); before 2.37 besides, or instead, every combination
of the older names: "tls", the platform, and the capabilities that count (elf/dl-hwcaps.c _dl_important_hwcaps,
sysdeps/x86/cpu-features.c, sysdeps/unix/sysv/linux/{aarch64,arm}/dl-procinfo.h).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import compress, product

from buildmatrix.host import Host

NAMED_SINCE, OLD_UNTIL, OLD_ENTRIES_UNTIL = (2, 33), (2, 37), (2, 40)
TLS_BIT = 1 << 63
INTEL = "whether the CPU is Intel's: glibc looks into directories of other names then"
LSE = "whether the CPU has LSE atomics: glibc looks into directories named atomics then"


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """`named` are glibc-hwcaps subdirectories, best first; `old` the older names, best last.

    `platform` is what $PLATFORM stands for. `bits` are those that an old entry of ld.so.cache may carry. `open` are
    those of the old names that nobody said the CPU has, and `question` says so.
    """

    named: tuple[str, ...] = ()
    old: tuple[str, ...] = ()
    platform: str | None = None
    bits: int = TLS_BIT
    open: tuple[str, ...] = ()
    question: str = ""

    def combinations(self) -> tuple[str, ...]:
        """The older subdirectories in the order of the search, each with a slash at its end."""
        names = self.old[::-1]
        chosen = product((True, False), repeat=len(names))
        return tuple("".join(f"{name}/" for name in compress(names, row)) for row in chosen if any(row))


def capabilities(host: Host, bits: int, version: tuple[int, int] | None) -> Capabilities:
    """What a process of that many bits finds on that host under that glibc."""
    version = version or (2, 36)
    found = _capabilities(host, bits)
    named: tuple[str, ...] = ()
    if host.arch == "amd64" and bits == 64 and version >= NAMED_SINCE:
        named = tuple(f"x86-64-v{number}" for number in range(host.x86_level() or 0, 1, -1))
    if version >= OLD_UNTIL:
        return Capabilities(named=named, platform=found.platform, question=found.question,
                            bits=found.bits if version < OLD_ENTRIES_UNTIL else 0)  # fmt: skip
    return Capabilities(named=named, old=found.old, platform=found.platform, bits=found.bits, open=found.open,
                        question=found.question)  # fmt: skip


def _capabilities(host: Host, bits: int) -> Capabilities:
    if host.arch in ("amd64", "386"):
        return _x86_64(host) if bits == 64 else _i386()
    if host.arch == "arm64" and bits == 64:
        lse = host.has("lse")
        names = ("aarch64", "tls") if lse is False else ("atomics", "aarch64", "tls")
        return Capabilities(old=names, platform="aarch64", bits=TLS_BIT | (0 if lse is False else 1 << 8),
                            open=("atomics",) if lse is None else (), question=LSE if lse is None else "")  # fmt: skip
    if host.arch == "arm64":
        return Capabilities(old=("vfp", "neon", "v8l", "tls"), platform="v8l", bits=TLS_BIT | 1 << 6 | 1 << 12)
    return Capabilities(old=("tls",), platform=host.row.uname)


def _x86_64(host: Host) -> Capabilities:
    """Intel's CPUs have a platform of glibc's own and the capability avx512_1; others keep the kernel's platform."""
    level, intel = host.x86_level(), host.intel
    if intel is False or (level is not None and level < 3):
        return Capabilities(old=("x86_64", "x86_64", "tls"), platform="x86_64", bits=TLS_BIT | 2)
    names = ("x86_64", "avx512_1", "haswell", "tls") if level != 3 else ("x86_64", "haswell", "tls")
    sure = bool(intel) and level is not None
    return Capabilities(old=names, platform="haswell" if sure else "x86_64",
                        bits=TLS_BIT | 2 | (4 if level != 3 else 0) | 1 << 50,
                        open=() if sure else ("avx512_1", "haswell"), question="" if sure else INTEL)  # fmt: skip


def _i386() -> Capabilities:
    return Capabilities(old=("sse2", "i686", "tls"), platform="i686", bits=TLS_BIT | 1 | 1 << 49)
