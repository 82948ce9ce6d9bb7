"""A program's interpreter takes over: which loader it is, and what comes of it.

A start is followed once: scripts by the hundred begin with the same interpreter, in the same environment.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from buildmatrix.preflight import confined, libc
from buildmatrix.preflight.context import Start
from buildmatrix.preflight.dynobj import DynamicObject
from buildmatrix.preflight.elfimage import PT_INTERP
from buildmatrix.preflight.elfload import Image, Mapped
from buildmatrix.preflight.program import check_entry
from buildmatrix.preflight.verdict import Evidence, Needed, Stage, Stop

if TYPE_CHECKING:
    from buildmatrix.facts import GoInfo
    from buildmatrix.preflight.glibc import GlibcStart

MOST_RUNS = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """What a start that went well has found out."""

    depends: tuple[str, ...]
    warnings: tuple[str, ...]
    needed: tuple[Needed, ...]


class Interpreters:
    """The dynamic loaders of one root. `go_info` tells a program's Go build information."""

    def __init__(self, go_info: Callable[[Image], GoInfo | None]) -> None:
        self._go_info = go_info
        self._loaders: dict[tuple[int, int], libc.Loader | None] = {}
        self._runs: dict[object, _Run] = {}

    def start(self, start: Start, mapped: Mapped) -> None:
        """Follow the interpreter to the program's entry. Raises Stop."""
        check_entry(mapped, start.host, loader=True)
        loader = self.identify(mapped)
        if isinstance(loader, libc.Glibc):
            self._under_glibc(start, loader, mapped)
        elif isinstance(loader, libc.Musl):
            from buildmatrix.preflight.musl import MuslStart

            path = start.process.executable.path
            start.depends += confined.may_start(start.host, confined.MUSL, path, printer="musl", loader=True)
            MuslStart(start, loader, mapped).run()
        else:
            _no_loader(mapped)

    def identify(self, mapped: Mapped) -> libc.Loader | None:
        """The loader that a file is, or None."""
        image = mapped.image
        key = (id(image.blob), image.blob.size)
        if key not in self._loaders:
            self._loaders[key] = libc.identify(image.blob, image.path)
        return self._loaders[key]

    def _under_glibc(self, start: Start, loader: libc.Glibc, mapped: Mapped) -> None:
        from buildmatrix.preflight.glibc import GlibcStart
        from buildmatrix.preflight.lazy import lazy_calls

        path = start.process.executable.path
        start.depends += confined.may_start(start.host, confined.GLIBC, path, printer="glibc", loader=True)
        opens = any(".so" in word for word in start.process.argv[1:])
        key = None if opens else _key(start, mapped)
        known = self._runs.get(key)
        if known is not None:
            start.depends += known.depends
            start.warnings += known.warnings
            start.needed += known.needed
            return
        before = len(start.depends), len(start.warnings), len(start.needed)
        glibc = GlibcStart(start, loader, mapped)
        glibc.run()
        go = self._go_info(start.process.main.image)
        if go is not None:
            _go(start, glibc, go)
        elif key is not None and not glibc.lazy and len(self._runs) < MOST_RUNS:
            self._runs[key] = _Run(
                depends=tuple(start.depends[before[0] :]),
                warnings=tuple(start.warnings[before[1] :]),
                needed=tuple(start.needed[before[2] :]),
            )
        lazy_calls(glibc)
        if opens:
            from buildmatrix.preflight.opened import dlopen_argument

            dlopen_argument(glibc)


def _key(start: Start, mapped: Mapped) -> object:
    """All that a start under glibc hangs on, within one root."""
    process = start.process
    files = (process.main.space.areas, mapped.space.areas, process.executable.path, process.interpreter_name)
    return files, start.program, process.secure, process.who, tuple(start.env.items()), start.host, start.by_hand


def _go(start: Start, glibc: GlibcStart, go: GoInfo) -> None:
    from buildmatrix.preflight.opened import imports
    from buildmatrix.preflight.startup import go_system

    path = start.process.executable.path
    if glibc.version >= (2, 34) and imports(glibc.main.object, b"pthread_create"):
        confined.go_threads(start.host, path)
    go_system(path, go)


def _no_loader(mapped: Mapped) -> None:
    image = mapped.image
    own = DynamicObject(image.path, image.blob, image.layout, image.header, image.phdrs, mapped.space, mapped.bias)
    place = Evidence(
        place=image.path, text="is no dynamic loader: it is started, and never gives control to the program"
    )
    fix = "set PT_INTERP to the loader of the program's libc"
    if any(phdr.type == PT_INTERP for phdr in image.phdrs) or own.needed:
        raise Stop(
            Stage.RUNTIME_SIGNAL,
            "bad-interpreter",
            place,
            signal="SIGSEGV",
            fix=fix,
            depends=("what the file does when it is started as a loader",),
        )
    raise Stop(Stage.OK, "bad-interpreter", place, fix=fix)
