"""BM517 module that go.sum does not know.

Build info lists every module that was linked, with its version and h1 sum. Each must stand in
go.sum with the same sum: anything else was not built from the sources that were reviewed. Modules
that a `replace` points at a local folder have no sum; they are part of the source digest instead.
"""

from collections.abc import Iterator

from buildmatrix.checks.rule import Check, Subject, Violation
from buildmatrix.facts import GoModule


def _run(subject: Subject) -> Iterator[Violation]:
    go, sums = subject.facts.go, subject.sums
    if go is None or sums is None:
        return
    for module in go.modules:
        used = module.replace or module
        if _local(used) or (used.path, used.version, used.sum) in sums:
            continue
        known = sorted(version for path, version, _ in sums if path == used.path)
        yield Violation(
            what=f"module not in go.sum (got {used.path} {used.version} {used.sum or 'without a sum'}, "
            f"expected {', '.join(known) or 'no such module'})",
            evidence="Go build info",
            why="the artifact was built from other modules than go.sum records",
            fix="run go mod tidy, review go.sum, and build the cell again",
        )


def _local(module: GoModule) -> bool:
    return not module.sum and (module.version in ("", "(devel)") or module.path.startswith((".", "/")))


CHECK = Check(code="BM517", title="module that go.sum does not know", run=_run)
