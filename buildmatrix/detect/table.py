"""What a release's programs are and need, as a detection script has to know it. Pure, from facts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from buildmatrix import arch
from buildmatrix.arch import Architecture
from buildmatrix.checks.alignment import mappable
from buildmatrix.checks.floor import version_key
from buildmatrix.facts import ElfFacts, Facts, GoInfo

_V2 = ("cx16", "lahf_lm", "popcnt", "sse4_1", "sse4_2", "ssse3")
_V3 = (*_V2, "abm", "avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "movbe", "xsave")
_V4 = (*_V3, "avx512bw", "avx512cd", "avx512dq", "avx512f", "avx512vl")
X86_WORDS = {"v1": (), "v2": _V2, "v3": _V3, "v4": _V4}
"""Words of /proc/cpuinfo behind each x86-64 level (psABI; abm stands for LZCNT)."""

ORIGIN = "%ORIGIN"
"""The loader's $ORIGIN, as scripts write it: they hold no dollar sign that their shell does not mean."""

_MULTIARCH = {"386": "i386-linux-gnu"}
_ISA_1 = {2: "v2", 4: "v3", 8: "v4"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """One program of a release: `cell` is its name in reports, `paths` are where hosts have it."""

    cell: str
    name: str
    sha256: str
    size: int
    facts: Facts
    elf: ElfFacts
    level: str = ""
    paths: tuple[str, ...] = ()

    @property
    def row(self) -> Architecture | None:
        """The architecture that its bytes name."""
        return arch.by_machine(self.elf.machine, self.elf.bits, self.elf.little_endian)


def line(program: Program, row: Architecture) -> str:
    """The program's line of the script's table; see detect.sh for the fields."""
    elf = program.elf
    fields = (
        program.cell,
        f"{elf.bits // 32} {elf.machine}",
        program.sha256,
        str(program.size),
        elf.build_id or "",
        elf.go_build_id or "",
        " ".join(arch.kernels(row, program.level)),
        " ".join(arch.compatible_kernels(row)),
        " ".join(str(size) for size in mappable(elf)),
        " ".join(cpu_words(program.facts.go, elf, row)),
        " ".join(needs(elf)),
        " ".join(folders(elf, row)),
    )
    return "|".join(fields)


def cpu_words(go: GoInfo | None, elf: ElfFacts, row: Architecture) -> tuple[str, ...]:
    """The words of /proc/cpuinfo that the CPU has to have."""
    if row.goarch == "amd64":
        level = (go.setting("GOAMD64") if go else None) or "v1"
        levels = [level, *(name for bit, name in _ISA_1.items() if elf.x86_isa_needed & bit)]
        return X86_WORDS[max(levels)]
    if row.goarch == "arm64":
        # Go's atomics use LSE without asking from v8.1 on (runtime, GOARM64).
        base, features = arch.split_level((go.setting("GOARM64") if go else None) or "v8.0")
        return ("atomics",) if base != "v8.0" or "lse" in features else ()
    return ()


def needs(elf: ElfFacts) -> tuple[str, ...]:
    """``library:VERSION`` for the highest version of each kind that is needed; ``library:`` where none is named."""
    musl = elf.interp is not None and "ld-musl" in elf.interp
    found: dict[tuple[str, str], str] = {(name, ""): "" for name in elf.needed if not (musl and "libc." in name)}
    for need in elf.version_needs:
        kind, _, number = need.version.rpartition("_")
        if need.weak or not number.replace(".", "").isdigit():
            continue
        found.pop((need.library, ""), None)
        old = found.get((need.library, kind), "")
        if not old or _key(need.version) > _key(old):
            found[need.library, kind] = need.version
    return tuple(sorted(f"{library}:{version}" for (library, _), version in found.items()))


def _key(version: str) -> tuple[int, ...]:
    return version_key("GLIBC_" + version.rpartition("_")[2]) or ()


def folders(elf: ElfFacts, row: Architecture) -> tuple[str, ...]:
    """Where the machine's libraries lie: the file's own run path, then the folders of the usual systems."""
    return tuple(dict.fromkeys(_folders(elf, row)))


def _folders(elf: ElfFacts, row: Architecture) -> Iterator[str]:
    for path in (elf.runpath or elf.rpath or "").split(":"):
        if path and " " not in path:
            yield path.replace("${ORIGIN}", ORIGIN).replace("$ORIGIN", ORIGIN)
    multiarch = _MULTIARCH.get(row.goarch, row.triple)
    yield from (f"/lib/{multiarch}", f"/usr/lib/{multiarch}", row.glibc_loader.rpartition("/")[0])
    yield from ("/lib64", "/usr/lib64", "/lib", "/usr/lib", "/usr/local/lib")
