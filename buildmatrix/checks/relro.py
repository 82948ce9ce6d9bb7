"""BM514 writable relocations.

A dynamically linked program without PT_GNU_RELRO keeps its relocation tables writable, and one with
DT_TEXTREL makes the loader write into its code, which SELinux and some kernels forbid. Static
programs have no such tables.
"""

from collections.abc import Iterator

from buildmatrix.checks.rule import Check, Subject, Violation
from buildmatrix.finding import Severity


def _run(subject: Subject) -> Iterator[Violation]:
    elf = subject.elf
    if elf is None or elf.interp is None:
        return
    extldflags = f"targets.{subject.target.name}.extldflags"
    if elf.textrel:
        yield Violation(
            what="text relocations (got DT_TEXTREL, expected none)",
            why="the loader must make code pages writable, which hardened systems forbid",
            fix=f'compile with -fPIC, and add "-Wl,-z,text" to {extldflags}',
        )
    if not elf.relro and subject.target.cgo:
        yield Violation(
            what="no RELRO (got no PT_GNU_RELRO, expected one in a dynamically linked program)",
            why="the tables that decide which function is called stay writable",
            fix=f'add "-Wl,-z,relro" to {extldflags}',
            severity=Severity.WARNING,
        )


CHECK = Check(code="BM514", title="writable relocations", run=_run)
