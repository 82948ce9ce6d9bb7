"""BM502 wrong file format.

Linux executes ELF, macOS Mach-O, Windows PE. The format is read from the first bytes; a script or
an empty file where a program was expected is named as such.
"""

from collections.abc import Iterator

from buildmatrix.checks.rule import Check, Subject, Violation


def _run(subject: Subject) -> Iterator[Violation]:
    got, expected = str(subject.facts.format), subject.target.format
    if got != expected:
        yield Violation(
            what=f"wrong file format (got {got}, expected {expected})",
            evidence=f"the first bytes of {subject.facts.size}",
            why=f"goos {subject.target.goos} runs {expected} files only",
            fix=f"build the cell again: buildmatrix build --target {subject.target.name} --force",
        )


CHECK = Check(code="BM502", title="wrong file format", run=_run)
