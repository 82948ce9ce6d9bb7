"""BM513 executable stack.

A PT_GNU_STACK with PF_X, or none at all on x86, gives the process an executable stack; hardened
kernels and newer glibc refuse it. Go's own linker always writes the header without PF_X; assembly
files without a .note.GNU-stack section are the usual cause.
"""

from collections.abc import Iterator

from buildmatrix.checks.rule import Check, Subject, Violation
from buildmatrix.facts import PF_X

_MISSING_MEANS_EXECUTABLE = ("amd64", "386", "arm")


def _run(subject: Subject) -> Iterator[Violation]:
    if subject.elf is None:
        return
    flags = subject.elf.stack_flags
    missing = (
        flags is None
        and subject.target.goos == "linux"
        and subject.elf.interp is not None
        and subject.architecture.goarch in _MISSING_MEANS_EXECUTABLE
    )
    if missing or (flags is not None and flags & PF_X):
        yield Violation(
            what=f"executable stack (got {'no PT_GNU_STACK' if flags is None else f'flags {flags:#x}'}, "
            "expected PT_GNU_STACK without PF_X)",
            why="an object without .note.GNU-stack was linked in, often hand-written assembly",
            fix=f'add "-Wl,-z,noexecstack" to targets.{subject.target.name}.extldflags',
        )


CHECK = Check(code="BM513", title="executable stack", run=_run)
