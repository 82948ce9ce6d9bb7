"""BM519 ABI flags.

Some machines have several ABIs that e_flags tells apart, and code of one cannot use libraries of
another: hard and soft float on ARM and RISC-V, ELFv1 and ELFv2 on POWER. An ARM file without an
EABI version is refused by 64-bit kernels (arch/arm64, compat_elf_check_arch).
"""

from collections.abc import Iterator

from buildmatrix.checks.rule import Check, Subject, Violation

_EABI_MASK = 0xFF000000
_ARM_SOFT, _ARM_HARD = 0x200, 0x400
_RISCV_FLOAT_MASK, _RISCV_DOUBLE = 0x6, 0x4
_POWER_ABI_MASK, _POWER_ELFV2 = 0x3, 0x2


def _run(subject: Subject) -> Iterator[Violation]:
    if subject.elf is None or subject.elf.machine != subject.architecture.machine:
        return
    flags, goarch = subject.elf.flags, subject.architecture.goarch
    expected = ""
    if goarch == "arm" and not flags & _EABI_MASK:
        expected = "an EABI version in the highest byte"
    elif goarch == "arm" and subject.target.cgo and flags & _ARM_SOFT:
        expected = "hard float (0x400)"
    elif goarch == "riscv64" and subject.target.cgo and flags & _RISCV_FLOAT_MASK != _RISCV_DOUBLE:
        expected = "double float (0x4)"
    elif goarch == "ppc64le" and flags & _POWER_ABI_MASK != _POWER_ELFV2:
        expected = "ELFv2 (0x2)"
    if expected:
        yield Violation(
            what=f"wrong ABI flags (got e_flags {flags:#x}, expected {expected})",
            why="the file follows another ABI than the target's libraries and kernel",
            fix=f"use a C compiler for {subject.architecture.triple} in targets.{subject.target.name}.cc",
        )


CHECK = Check(code="BM519", title="ABI flags", run=_run)
