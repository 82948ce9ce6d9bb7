"""BM518 one build under two architectures.

Two artifacts for different architectures never have the same bytes, the same GNU build id or the
same Go build id. Where they do, one of them is mislabelled: a copy, a cache that forgot the
architecture in its key, or a swapped upload.
"""

from collections.abc import Iterable, Iterator

from buildmatrix.checks.rule import Subject
from buildmatrix.finding import Finding

CODE = "BM518"
TITLE = "one build under two architectures"


def run(subjects: Iterable[tuple[Subject, str]]) -> Iterator[Finding]:
    """Findings over all artifacts together; each comes with its SHA-256 in hexadecimal."""
    seen: dict[tuple[str, str], Subject] = {}
    for subject, sha256 in subjects:
        for kind, value in _identities(subject, sha256):
            first = seen.setdefault((kind, value), subject)
            if (first.target.goos, first.target.goarch) == (subject.target.goos, subject.target.goarch):
                continue
            yield Finding(
                rule=CODE,
                cell=subject.cell.id,
                what=f"same {kind} as {first.cell.id} (got {_platform(first)} and {_platform(subject)}, "
                "expected different builds)",
                evidence=value,
                why="one of the two is a copy of the other under a wrong name",
                fix="build both cells again: buildmatrix build --force "
                f"--target {first.target.name} --target {subject.target.name}",
            )


def _platform(subject: Subject) -> str:
    return f"{subject.target.goos}/{subject.target.goarch}"


def _identities(subject: Subject, sha256: str) -> Iterator[tuple[str, str]]:
    yield "content", sha256
    elf = subject.facts.elf
    if elf is not None and elf.build_id:
        yield "GNU build id", elf.build_id
    if elf is not None and elf.go_build_id:
        yield "Go build id", elf.go_build_id
