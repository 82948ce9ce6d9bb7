"""BM510 CPU level of the Go code.

Go records GOAMD64, GOARM64 and so on in its build info. A program of a higher level than the
target's stops at start-up on older CPUs: on amd64 with a message, on arm64 with SIGILL and no
message at all. A lower level wastes what the target promises.
"""

from collections.abc import Iterator

from buildmatrix import arch
from buildmatrix.checks.rule import Check, Subject, Violation

_IMPLIED = {"hardfloat": ("7", "6"), "softfloat": ("5",), "lse": ()}


def same_level(row: arch.Architecture, one: str, other: str) -> bool:
    """Whether two spellings of a level mean the same: Go writes out what a base implies."""
    return _normal(row, one) == _normal(row, other)


def _normal(row: arch.Architecture, level: str) -> tuple[str, frozenset[str]]:
    base, features = arch.split_level(level)
    kept = {item for item in features if base not in _IMPLIED.get(item, ())}
    if row.goarch == "arm64" and base != "v8.0":
        kept.discard("lse")
    return base, frozenset(kept)


def _run(subject: Subject) -> Iterator[Violation]:
    row, go = subject.architecture, subject.facts.go
    if go is None or not row.level_variable:
        return
    got, expected = go.setting(row.level_variable), subject.target.level
    if got is None or not same_level(row, got, expected):
        yield Violation(
            what=f"wrong CPU level (got {row.level_variable}={got or 'nothing'}, expected {expected})",
            evidence="Go build info",
            why="the program needs another CPU than the target promises",
            fix=f"set targets.{subject.target.name}.level, and build the cell again",
        )


CHECK = Check(code="BM510", title="CPU level of the Go code", run=_run)
