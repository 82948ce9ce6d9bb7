"""BM509 run path.

DT_RUNPATH and DT_RPATH decide where the loader looks first. They must hold exactly what `rpath` of
the target says: an empty or relative entry lets whoever controls the working directory supply the
library, and a build machine's path does so for whoever can create that path.
"""

from collections.abc import Iterator

from buildmatrix.checks.rule import Check, Subject, Violation


def _shown(value: str | None) -> str:
    return "nothing" if value is None else value or "with an empty value"


def _run(subject: Subject) -> Iterator[Violation]:
    if subject.elf is None:
        return
    expected = subject.target.rpath
    for tag, value in (("DT_RPATH", subject.elf.rpath), ("DT_RUNPATH", subject.elf.runpath)):
        got = () if value is None else tuple(value.split(":"))
        if tag == "DT_RPATH" and value is None:
            continue
        if tag == "DT_RUNPATH" and value is None and subject.elf.rpath is not None:
            continue
        if got != expected:
            yield Violation(
                what=f"wrong run path (got {tag} {_shown(value)}, expected {':'.join(expected) or 'nothing'})",
                why="the loader searches these folders before its cache and its default folders",
                fix=f"set targets.{subject.target.name}.rpath, and drop -rpath from ldflags and extldflags",
            )


CHECK = Check(code="BM509", title="run path", run=_run)
