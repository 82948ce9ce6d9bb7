"""BM508 libc floor.

A version need such as GLIBC_2.34 makes the loader of an older glibc end the program with status 1
and "version `GLIBC_2.34' not found". The highest version needed must not exceed `libc-floor`.
Weak needs only warn at run time, and so they do here.
"""

from collections.abc import Iterator

from buildmatrix.checks.rule import Check, Subject, Violation
from buildmatrix.facts import VersionNeed
from buildmatrix.finding import Severity

_PREFIX = "GLIBC_"


def version_key(version: str) -> tuple[int, ...] | None:
    """``GLIBC_2.34`` as (2, 34); None for names without numbers, such as GLIBC_PRIVATE."""
    parts = version.removeprefix(_PREFIX).split(".")
    return tuple(int(part) for part in parts) if all(part.isdigit() for part in parts) else None


def highest(needs: tuple[VersionNeed, ...]) -> VersionNeed | None:
    """The highest glibc version that is needed, or None."""
    numbered = [need for need in needs if need.version.startswith(_PREFIX) and version_key(need.version)]
    return max(numbered, key=lambda need: version_key(need.version) or (), default=None)


def _run(subject: Subject) -> Iterator[Violation]:
    if subject.elf is None or not subject.target.libc_floor:
        return
    floor = tuple(int(part) for part in subject.target.libc_floor.split("."))
    for weak in (False, True):
        need = highest(tuple(item for item in subject.elf.version_needs if item.weak is weak))
        if need is None or (version_key(need.version) or ()) <= floor:
            continue
        yield Violation(
            what=f"needs a newer glibc than promised (got {need.version}, expected at most {_PREFIX}"
            f"{subject.target.libc_floor})",
            evidence=f"version need of {need.library}",
            why="the C compiler linked against a newer glibc than libc-floor allows",
            fix=f'set targets.{subject.target.name}.cc = "zig", which links against the floor itself',
            severity=Severity.WARNING if weak else Severity.ERROR,
        )


CHECK = Check(code="BM508", title="libc floor", run=_run)
