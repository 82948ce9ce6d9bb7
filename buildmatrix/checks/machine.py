"""BM501 wrong machine.

The kernel compares e_machine (and only e_machine) with its own and answers ENOEXEC, "exec format
error", where they differ (fs/binfmt_elf.c, elf_check_arch). Class and byte order of the file are
held against the architecture as well, since the program headers are read by them. For Mach-O the
CPU type and for PE the COFF machine are compared.
"""

from collections.abc import Iterator

from buildmatrix import arch
from buildmatrix.checks.rule import Check, Subject, Violation


def _run(subject: Subject) -> Iterator[Violation]:
    row = subject.architecture
    facts = subject.facts
    why = f"GOARCH of targets.{subject.target.name} is {row.goarch}, and this file was built for something else"
    fix = f"build the cell again: buildmatrix build --target {subject.target.name} --force"
    if facts.elf is not None and subject.target.format == "elf":
        elf = facts.elf
        got = f"{arch.machine_name(elf.machine)} {elf.bits}-bit {_order(elf.little_endian)}"
        expected = f"{arch.machine_name(row.machine)} {row.bits}-bit {_order(row.little_endian)}"
        evidence = f"e_machine {elf.machine} at offset 18, EI_CLASS {elf.elf_class}, EI_DATA {elf.elf_data}"
    elif facts.macho is not None and subject.target.format == "macho":
        got, expected = f"{facts.macho.cputype:#x}", f"{row.macho_cputype:#x}"
        evidence = "cputype at offset 4"
    elif facts.pe is not None and subject.target.format == "pe":
        got, expected = f"{facts.pe.machine:#x}", f"{row.pe_machine:#x}"
        evidence = "COFF machine"
    else:
        return
    if got != expected:
        yield Violation(what=f"wrong machine (got {got}, expected {expected})", evidence=evidence, why=why, fix=fix)


def _order(little_endian: bool) -> str:
    return "little-endian" if little_endian else "big-endian"


CHECK = Check(code="BM501", title="wrong machine", run=_run)
