"""One verdict: the kernel, then the loader, then what the bytes say of the program's own start."""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import TYPE_CHECKING

from buildmatrix import arch
from buildmatrix.host import Handler, Host
from buildmatrix.preflight import confined, libc
from buildmatrix.preflight.context import Libraries, Start
from buildmatrix.preflight.covered import lost_rights
from buildmatrix.preflight.dynobj import DynamicObject
from buildmatrix.preflight.elfimage import EM_AARCH64, PT_INTERP, PT_LOAD
from buildmatrix.preflight.elfload import Image, Mapped, entry_elsewhere, entry_fault
from buildmatrix.preflight.kernel import execve
from buildmatrix.preflight.memory import Fault
from buildmatrix.preflight.openexec import Command, Emulated, Process
from buildmatrix.preflight.rootfs import FileBlob, Unreadable
from buildmatrix.preflight.verdict import Evidence, Stage, Stop, Verdict
from buildmatrix.preflight.walk import View

if TYPE_CHECKING:
    from buildmatrix.facts import Facts, GoInfo

MAX_DEPTH = 8

_BEYOND = (RecursionError, MemoryError, ArithmeticError, LookupError, ValueError, struct.error)
"""What a structure that nobody thought of may raise; it becomes a verdict that says so."""


class Judge:
    """Judges commands in one root on one host; libraries are read once."""

    def __init__(self, view: View, host: Host, libraries: Libraries | None = None) -> None:
        self.view = view
        self.host = host
        self.libraries = libraries or Libraries()
        self._loaders: dict[tuple[int, int], libc.Loader | None] = {}

    def judge(self, command: Command, depth: int = 0) -> Verdict:
        """The verdict on one execve. Never raises on anything that the root holds."""
        trail = _Trail(command.path)
        try:
            self._follow(command, trail, depth)
        except Stop as stop:
            return trail.verdict(self._refine(stop))
        except Unreadable as error:
            return trail.verdict(_unreadable(error))
        except (Fault, *_BEYOND) as error:
            return trail.verdict(_lost(command.path, error))
        return trail.verdict(Stop(trail.stage, trail.cause))

    def _follow(self, command: Command, trail: _Trail, depth: int) -> None:
        confined.may_execute(self.host)
        process, host = execve(self.view, self.host, command), self.host
        trail.evidence = list(process.evidence)
        if isinstance(process, Emulated):
            trail.emulated = process.handler.name
            host, process = self._emulate(process, command, trail)
        trail.depends = list(process.depends)
        self._started(process, host, command, trail)
        if not process.scripts:
            return
        from buildmatrix.preflight.script_run import after_start

        follow_up = after_start(process, self.view, command.env.get("PATH"))
        if follow_up is not None and depth < MAX_DEPTH:
            inner = Command(path=follow_up.path, argv=follow_up.argv, env=command.env, held_open=command.held_open)
            trail.adopt(self.judge(inner, depth + 1), process)

    def _emulate(self, process: Emulated, command: Command, trail: _Trail) -> tuple[Host, Process]:
        """The guest's side of an emulator that takes the file (qemu-user's own loader)."""
        handler = process.handler
        trail.warnings.append(f"runs under emulation by {handler.name}: its success proves nothing about the target")
        row = next((row for row in arch.ARCHITECTURES if f"qemu-{row.qemu}" == handler.name), None)
        if row is None:
            raise Stop(Stage.OK, "none", depends=(f"what {handler.name} does with the file",))
        guest = Host(name=handler.name, arch=row.goarch, kernel=self.host.kernel, features=None)
        inner = Command(path=process.executable.path, argv=process.argv, env=command.env)
        try:
            started = execve(self.view, guest, inner)
        except Stop as stop:
            raise _emulator_refuses(stop, handler, row) from stop
        if isinstance(started, Emulated):
            raise Stop(Stage.OK, "none", depends=(f"what {handler.name} does with the file",))
        return guest, started

    def _started(self, process: Process, host: Host, command: Command, trail: _Trail) -> None:
        main = process.main
        start = Start(
            view=replace(self.view, who=process.who),
            host=host,
            process=process,
            env=command.env,
            libraries=self.libraries,
        )
        trail.start = start
        if process.interpreter is not None:
            self._dynamic(start, process.interpreter)
        else:
            own = self._loader(main) if _is_shared(main.image) and len(process.argv) > 1 else None
            if own is not None:
                from buildmatrix.preflight.ldso import run_loader

                run_loader(start, own, trail.shared)
                return
        self._entry(main, host)
        trail.depends.extend(lost_rights(main))
        self._program(main.image, host, trail)

    def _dynamic(self, start: Start, mapped: Mapped) -> None:
        self._entry(mapped, start.host, loader=True)
        loader = self._loader(mapped)
        if isinstance(loader, libc.Glibc):
            self._under_glibc(start, loader, mapped)
        elif isinstance(loader, libc.Musl):
            from buildmatrix.preflight.musl import MuslStart

            path = start.process.executable.path
            start.depends += confined.may_start(start.host, confined.MUSL, path, printer="musl", loader=True)
            MuslStart(start, loader, mapped).run()
        else:
            self._no_loader(mapped)

    def _under_glibc(self, start: Start, loader: libc.Glibc, mapped: Mapped) -> None:
        from buildmatrix.preflight.glibc import GlibcStart
        from buildmatrix.preflight.lazy import lazy_calls
        from buildmatrix.preflight.opened import imports

        path = start.process.executable.path
        start.depends += confined.may_start(start.host, confined.GLIBC, path, printer="glibc", loader=True)
        glibc = GlibcStart(start, loader, mapped)
        glibc.run()
        if (
            glibc.version >= (2, 34)
            and imports(glibc.main.object, b"pthread_create")
            and go_info(start.process.main.image)
        ):
            confined.go_threads(start.host, path)
        self._program_system(start)
        lazy_calls(glibc)
        if any(".so" in word for word in start.process.argv[1:]):
            from buildmatrix.preflight.opened import dlopen_argument

            dlopen_argument(glibc)

    def _program_system(self, start: Start) -> None:
        main = start.process.main
        go = go_info(main.image)
        if go is not None:
            from buildmatrix.preflight.startup import go_system

            go_system(main.image.path, go)

    def _loader(self, mapped: Mapped) -> libc.Loader | None:
        image = mapped.image
        key = (id(image.blob), image.blob.size)
        if key not in self._loaders:
            self._loaders[key] = libc.identify(image.blob, image.path)
        return self._loaders[key]

    def _no_loader(self, mapped: Mapped) -> None:
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

    def _entry(self, mapped: Mapped, host: Host, loader: bool = False) -> None:
        fault = entry_fault(host, mapped)
        if fault is None:
            return
        area = mapped.space.find(mapped.entry)
        cause, fix = "bad-interpreter" if loader else "bad-elf", "link the file again"
        text = "lies in no PT_LOAD" if area is None else "lies in a segment without PF_X"
        if fault == "SIGBUS" and mapped.image.header.machine == EM_AARCH64 and mapped.entry & 3:
            text = "is no multiple of four"
        elif fault == "SIGBUS":
            cause, fix = "truncated", "copy the file again and compare its SHA-256"
            text = "lies on a page past the end of the file"
        raise Stop(
            Stage.RUNTIME_SIGNAL,
            cause,
            Evidence(place=mapped.image.path, offset=24, text=f"entry {mapped.image.header.entry:#x} {text}"),
            signal=fault,
            fix=fix,
            depends=("what the kernel happens to map there",) if entry_elsewhere(mapped) else (),
        )

    def _program(self, image: Image, host: Host, trail: _Trail) -> None:
        self._missing_pages(image, host)
        go = go_info(image)
        static = trail.start is None or trail.start.process.interpreter is None
        calls = confined.GO if go is not None else confined.STATIC
        if static:
            trail.depends.extend(confined.may_start(host, calls, image.path, printer="", loader=False))
        if go is not None:
            from buildmatrix.preflight import rundata, startup

            startup.go_system(image.path, go)
            trail.depends.extend(startup.go_level(image.path, go, host))
            trail.depends.extend(rundata.go_data(image, self.view))
            self._spawned(image, trail)
        elif static:
            from buildmatrix.preflight.rundata import arm64_code

            trail.depends.extend(arm64_code(image, host))

    def _spawned(self, image: Image, trail: _Trail) -> None:
        """A Go program that can start others, and is told a path: what would come of starting that."""
        from buildmatrix.preflight import rundata

        start = trail.start
        words = start.process.argv[1:2] if start is not None else ()
        if start is None or not words or "/" not in words[0] or not rundata.starts_programs(image):
            return
        inner = Judge(self.view, self.host, self.libraries).judge(Command(path=words[0], argv=words, env=start.env), 1)
        if inner.stage is Stage.OK:
            return
        raise Stop(
            Stage.RUNTIME_EXIT,
            inner.cause,
            *inner.evidence,
            exit_status=1,
            fix=inner.fix,
            depends=(f"whether the program starts {words[0]}, and what it does when that fails", *inner.depends),
        )

    def _missing_pages(self, image: Image, host: Host) -> None:
        for phdr in image.phdrs:
            end = phdr.offset + phdr.filesz
            if phdr.type == PT_LOAD and phdr.filesz and (end - 1) // host.page_size * host.page_size >= image.blob.size:
                raise Stop(
                    Stage.RUNTIME_SIGNAL,
                    "truncated",
                    Evidence(
                        place=image.path,
                        offset=image.blob.size,
                        text=f"the file ends here; a PT_LOAD goes on to {end:#x}",
                    ),
                    signal="SIGBUS",
                    fix="copy the file again and compare its SHA-256",
                    depends=("whether the program reaches the pages that are missing",),
                )

    def _refine(self, stop: Stop) -> Stop:
        """Name what a missing interpreter's name tells."""
        if stop.cause != "missing-interpreter" or stop.stage is not Stage.EXECVE:
            return stop
        name = next(
            (
                item.text.removeprefix("PT_INTERP is ").strip("'\"")
                for item in stop.evidence
                if item.text.startswith("PT_INTERP is ")
            ),
            None,
        )
        if name is None:
            return stop
        from buildmatrix.preflight.absent import interpreter_cause

        cause, text, fix = interpreter_cause(self.view, self.host, name)
        return Stop(
            stop.stage,
            cause,
            *stop.evidence,
            Evidence(place=name, text=text),
            errno=stop.errno,
            fix=fix,
            depends=stop.depends,
        )


class _Trail:
    """What was learnt on the way to a verdict."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.stage = Stage.OK
        self.cause = "none"
        self.evidence: list[Evidence] = []
        self.depends: list[str] = []
        self.warnings: list[str] = []
        self.emulated = ""
        self.start: Start | None = None
        self.shared: list[str] = []

    def verdict(self, stop: Stop) -> Verdict:
        """The verdict that ends the way here."""
        start = self.start
        return stop.verdict(
            self.path,
            evidence=(*self.evidence, *(start.evidence if start else ())),
            depends=(*self.depends, *self.shared, *(start.depends if start else ())),
            warnings=(*self.warnings, *(start.warnings if start else ())),
            needed=tuple(start.needed) if start else (),
            emulated=self.emulated,
        )

    def adopt(self, inner: Verdict, process: Process) -> None:
        """The verdict on what env executes, as env reports it."""
        self.evidence.extend(inner.evidence)
        self.depends.extend(inner.depends)
        self.warnings.extend(inner.warnings)
        if inner.stage is Stage.OK:
            self.cause = inner.cause
            return
        if inner.stage is Stage.EXECVE and inner.errno is not None:
            status = 127 if inner.errno == "ENOENT" else 126
            raise Stop(
                Stage.RUNTIME_EXIT,
                inner.cause,
                exit_status=status,
                fix=inner.fix,
                message=f"{process.argv[0]}: '{inner.path}': ",
            )
        raise Stop(
            inner.stage,
            inner.cause,
            errno=inner.errno,
            exit_status=inner.exit,
            signal=inner.signal,
            message=inner.message,
            fix=inner.fix,
        )


def _unreadable(error: Unreadable) -> Stop:
    return Stop(
        Stage.EXECVE,
        "unreadable",
        Evidence(place=error.place, text=str(error)),
        errno="EIO",
        fix="make the file readable to the one who asks",
        depends=(f"{error.place}: could not be read",),
    )


def _lost(path: str, error: BaseException) -> Stop:
    return Stop(
        Stage.EXECVE,
        "bad-elf",
        Evidence(place=path, text=f"cannot be followed: {error}"),
        fix="link the file again",
        depends=("a structure in the file that this model does not follow",),
    )


def _is_shared(image: Image) -> bool:
    return image.header.type == 3


def _emulator_refuses(stop: Stop, handler: Handler, row: arch.Architecture) -> Stop:
    """qemu-user says it itself, and exits with 255."""
    name = next(
        (
            item.text.removeprefix("PT_INTERP is ").strip("'\"")
            for item in stop.evidence
            if item.text.startswith("PT_INTERP is ")
        ),
        None,
    )
    message = f"Could not open '{name}': No such file or directory" if stop.errno == "ENOENT" and name else None
    return Stop(
        Stage.RUNTIME_EXIT,
        stop.cause,
        *stop.evidence,
        exit_status=255,
        message=message,
        fix=stop.fix,
        depends=(f"how {handler.name} for {row.uname} loads files",) if message is None else (),
    )


def facts_of(image: Image) -> Facts:
    """The native reader's facts of a file."""
    from buildmatrix import elf

    if isinstance(image.blob, FileBlob):
        return elf.read_facts(image.blob.path)
    return elf.facts_of_bytes(image.blob.read(0, image.blob.size))


GO_MAGIC = b"\xff Go buildinf:"
SEARCHED = 64 << 20
"""Files up to this size in bytes are searched for Go's mark before the native reader is loaded for them."""


def go_info(image: Image) -> GoInfo | None:
    """Go build info, or None."""
    size = image.blob.size
    if size <= SEARCHED and GO_MAGIC not in image.blob.read(0, size):
        return None
    return facts_of(image).go
