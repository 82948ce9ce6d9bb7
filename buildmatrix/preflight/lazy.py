"""References that glibc binds on their first call: whether that call comes, bytes tell only in part."""

from __future__ import annotations

from buildmatrix.preflight.glibc import GlibcStart


def lazy_calls(started: GlibcStart) -> None:
    """Note every undefined function of the program that is bound lazily. Raises Stop where one is surely called."""
    for _, error in started.lazy:
        started.start.depends.append(f"whether the program calls {error.symbol}, which nothing defines")
