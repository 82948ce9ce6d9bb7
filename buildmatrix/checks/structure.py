"""BM503 damaged structure.

A header, segment or table points outside the file or contradicts another. Truncated files are
caught here: execve answers EIO or the process dies by SIGBUS at the first touch of the missing
bytes. Misaligned or unsorted program headers and unusable symbol tables are reported as well.
"""

from collections.abc import Iterator

from buildmatrix.checks.rule import Check, Subject, Violation

_SHOWN = 8


def _run(subject: Subject) -> Iterator[Violation]:
    issues = subject.facts.issues
    for issue in issues[:_SHOWN]:
        yield Violation(
            what=f"damaged structure: {issue.code}",
            evidence=f"offset {issue.offset:#x}, detail {issue.detail:#x}, file size {subject.facts.size}",
            why="the file was cut, patched, or written by a broken linker",
            fix=f"build the cell again: buildmatrix build --target {subject.target.name} --force",
        )
    if len(issues) > _SHOWN:
        yield Violation(what=f"damaged structure: {len(issues) - _SHOWN} further defects")


CHECK = Check(code="BM503", title="damaged structure", run=_run)
