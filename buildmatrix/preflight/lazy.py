"""References that glibc binds on their first call: whether that call comes, bytes tell only in part."""

from __future__ import annotations

from buildmatrix.preflight.binding import Undefined, Unversioned
from buildmatrix.preflight.glibc import GlibcStart
from buildmatrix.preflight.verdict import Evidence, Stage, Stop


def lazy_calls(started: GlibcStart) -> None:
    """Note every function of the program that cannot be bound lazily. Raises Stop where one is surely called."""
    if not started.lazy:
        return
    from buildmatrix.preflight.reach import surely_called

    errors = {error.symbol: error for _, error in started.lazy}
    program = started.main.object
    called = surely_called(program, len(started.start.process.argv), set(errors))
    if called is None:
        names = ", ".join(sorted(errors))
        started.start.depends.append(f"whether the program calls {names}, which nothing that is loaded defines")
        return
    raise _fails(started, errors[called])


def _fails(started: GlibcStart, error: Undefined | Unversioned) -> Stop:
    name = started.start.program
    if isinstance(error, Unversioned):
        return started.unversioned(error, Stage.RUNTIME_EXIT)
    return Stop(
        Stage.RUNTIME_EXIT,
        "missing-symbol",
        Evidence(place=started.main.object.path, text=f"calls {error.symbol}, which nothing that is loaded defines"),
        exit_status=127,
        message=f"{name}: symbol lookup error: {name}: {error.text}",
        fix="ship the library version that defines it, or build against the one in the root",
    )
