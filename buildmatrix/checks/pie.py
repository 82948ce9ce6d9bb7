"""BM515 position independence.

A target with `pie = true` must give an ET_DYN executable, so that the kernel can place it at a
random address. One without may be either: some C compilers link position-independent by default.
"""

from collections.abc import Iterator

from buildmatrix.checks.rule import Check, Subject, Violation


def _run(subject: Subject) -> Iterator[Violation]:
    elf = subject.elf
    if elf is None or not subject.target.pie or elf.pie or elf.static_pie:
        return
    yield Violation(
        what=f"not position-independent (got e_type {elf.type}, expected ET_DYN)",
        evidence="e_type at offset 16",
        why="-buildmode=pie was overridden by a later flag",
        fix=f"drop -buildmode from targets.{subject.target.name}.flags",
    )


CHECK = Check(code="BM515", title="position independence", run=_run)
