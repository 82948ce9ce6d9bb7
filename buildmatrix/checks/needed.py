"""BM506 unexpected shared library.

Every DT_NEEDED entry must be found by the loader before main runs; a missing one ends the program
with status 127. The target's libc brings its own set; anything else must be declared with `needed`.
"""

import fnmatch
from collections.abc import Iterator

from buildmatrix.checks.rule import Check, Subject, Violation
from buildmatrix.target import Target

_GLIBC = (
    "libc.so.6",
    "libpthread.so.0",
    "libdl.so.2",
    "libm.so.6",
    "libresolv.so.2",
    "librt.so.1",
    "ld-linux*.so.*",
    "ld64.so.*",
)
_OPENBSD = ("libc.so*", "libpthread.so*")
_LIBC = {"none": (), "glibc": _GLIBC, "musl": ("libc.so", "libc.musl-*.so.1")}


def _own(target: Target) -> tuple[str, ...]:
    """The libraries that come with the target's C library."""
    if target.goos == "openbsd":
        return _OPENBSD
    if target.static and target.cgo:
        return ()
    return _LIBC["glibc" if target.pie and not target.cgo else target.libc]


def _run(subject: Subject) -> Iterator[Violation]:
    if subject.elf is None:
        return
    target = subject.target
    allowed = (*_own(target), *target.needed)
    for library in subject.elf.needed:
        if not any(fnmatch.fnmatchcase(library, glob) for glob in allowed):
            yield Violation(
                what=f"needs {library} (got DT_NEEDED {library}, expected {', '.join(allowed) or 'no library at all'})",
                why="where that library is missing, the loader ends the program with status 127",
                fix=f'link it statically, or ship it and add "{library}" to targets.{target.name}.needed',
            )


CHECK = Check(code="BM506", title="unexpected shared library", run=_run)
