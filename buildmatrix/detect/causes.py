"""The root causes that a script on a host can tell, by the slugs of the preflight; and which codes stand for them."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from buildmatrix.errors import Undetectable

RELEASE = "bad-release"
"""Not a cause of the preflight: the program itself is bad, wherever it runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """A cause, what it means in a clause, and the codes of findings that foretell it."""

    slug: str
    means: str
    codes: tuple[str, ...] = ()


CAUSES = (
    Cause(slug=RELEASE, means="the program itself is bad, wherever it runs", codes=("BM503", "BM516", "BM517")),
    Cause(slug="wrong-machine", means="the program is for another machine", codes=("BM501", "BM502")),
    Cause(slug="missing-interpreter", means="the loader that it asks for is not there", codes=("BM505",)),
    Cause(slug="bad-interpreter", means="its loader is no ELF file, or for another machine"),
    Cause(slug="wrong-libc", means="the host has another C library than it was linked for", codes=("BM507",)),
    Cause(slug="missing-library", means="a library that it names is not there", codes=("BM506", "BM509")),
    Cause(slug="glibc-too-old", means="the host's glibc lacks a version that it needs", codes=("BM508",)),
    Cause(slug="libstdcxx-too-old", means="the host's libstdc++ lacks a version that it needs"),
    Cause(slug="symbol-version-missing", means="a library lacks a version that it needs"),
    Cause(slug="page-size", means="it cannot be mapped with the kernel's pages", codes=("BM512",)),
    Cause(slug="isa-level", means="it needs a newer CPU", codes=("BM510", "BM511")),
    Cause(slug="truncated", means="the installed file is cut short"),
    Cause(slug="no-exec-permission", means="nobody may execute the installed file"),
    Cause(slug="noexec-mount", means="it lies on a file system that is mounted noexec"),
)
"""Every cause that a script can tell. The others hang on what only an execution or the whole preflight sees."""


def find(word: str) -> Cause:
    """A cause by its slug or by a code such as BM508. Raises Undetectable."""
    for cause in CAUSES:
        if word == cause.slug or word.upper() in cause.codes:
            return cause
    slugs = [cause.slug for cause in CAUSES]
    close = difflib.get_close_matches(word, slugs, n=1)
    raise Undetectable(
        f"got the cause {word}, expected one that a script on a host can tell: {', '.join(slugs)}",
        why="other causes hang on what only the whole preflight sees, or have no such slug or code",
        fix=f"did you mean {close[0]}?" if close else "buildmatrix explain FILE --root DIR, with a copy of the root",
    )
