"""BM511 CPU level of the C code.

GNU property notes say which x86-64 ISA level a file needs (x86-64 psABI, GNU_PROPERTY_X86_ISA_1_NEEDED);
glibc ends the program with "CPU ISA level is lower than required" where the CPU has less. The
level of linked C code must not exceed the target's.
"""

from collections.abc import Iterator

from buildmatrix.checks.rule import Check, Subject, Violation

_LEVELS = ("v1", "v2", "v3", "v4")


def _run(subject: Subject) -> Iterator[Violation]:
    if subject.elf is None or subject.architecture.goarch != "amd64":
        return
    needed = subject.elf.x86_isa_needed
    if not needed:
        return
    got = _LEVELS[min(needed.bit_length(), len(_LEVELS)) - 1]
    expected = subject.target.level
    if _LEVELS.index(got) > _LEVELS.index(expected):
        yield Violation(
            what=f"C code needs a higher CPU level (got x86-64-{got}, expected at most x86-64-{expected})",
            evidence=f"GNU_PROPERTY_X86_ISA_1_NEEDED {needed:#x}",
            why="glibc refuses to start it: CPU ISA level is lower than required",
            fix=f"drop -march and -mcpu from targets.{subject.target.name}.cflags, or raise its level",
        )


CHECK = Check(code="BM511", title="CPU level of the C code", run=_run)
