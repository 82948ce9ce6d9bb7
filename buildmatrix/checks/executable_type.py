"""BM504 not an executable.

Only ET_EXEC and ET_DYN files can be executed; the kernel answers ENOEXEC to relocatable objects and
core files. What `go build` makes of a package that is not `main` is such an object or an archive.
"""

from collections.abc import Iterator

from buildmatrix.checks.rule import Check, Subject, Violation
from buildmatrix.facts import ElfType

_NAMES: dict[int, str] = {ElfType.NONE: "ET_NONE", ElfType.REL: "ET_REL", ElfType.CORE: "ET_CORE"}
_MH_EXECUTE = 2
_IMAGE_FILE_EXECUTABLE = 0x0002


def _run(subject: Subject) -> Iterator[Violation]:
    facts = subject.facts
    got = ""
    if subject.elf is not None and subject.elf.type not in (ElfType.EXEC, ElfType.DYN):
        got = _NAMES.get(subject.elf.type, f"e_type {subject.elf.type:#x}")
    elif facts.macho is not None and facts.macho.filetype != _MH_EXECUTE:
        got = f"Mach-O file type {facts.macho.filetype}"
    elif facts.pe is not None and not facts.pe.characteristics & _IMAGE_FILE_EXECUTABLE:
        got = "a PE object"
    if got:
        yield Violation(
            what=f"not an executable (got {got}, expected ET_EXEC or ET_DYN)",
            why=f"{subject.cell.binary.package} may not be a main package",
            fix=f"point binaries.{subject.cell.binary.name}.package at a package main",
        )


CHECK = Check(code="BM504", title="not an executable", run=_run)
