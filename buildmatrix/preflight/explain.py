"""One verdict: the kernel, then the loader, then what the bytes say of the program's own start."""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import TYPE_CHECKING

from buildmatrix import arch
from buildmatrix.host import Host
from buildmatrix.preflight import confined
from buildmatrix.preflight.context import Libraries, Start
from buildmatrix.preflight.covered import lost_rights
from buildmatrix.preflight.dynamic import Interpreters
from buildmatrix.preflight.elfimage import ET_DYN
from buildmatrix.preflight.elfload import Image
from buildmatrix.preflight.kernel import execve
from buildmatrix.preflight.memory import Blob, Fault
from buildmatrix.preflight.openexec import Command, Emulated, Process
from buildmatrix.preflight.program import check_entry, check_pages, go_info
from buildmatrix.preflight.rootfs import Unreadable
from buildmatrix.preflight.trail import Trail, emulator_refuses, lost, refined, unreadable
from buildmatrix.preflight.verdict import Stage, Stop, Verdict
from buildmatrix.preflight.walk import View

if TYPE_CHECKING:
    from buildmatrix.facts import GoInfo

MAX_DEPTH = 8

_BEYOND = (RecursionError, MemoryError, ArithmeticError, LookupError, ValueError, struct.error)
"""What a structure that nobody thought of may raise; it becomes a verdict that says so."""


class Judge:
    """Judges commands in one root on one host; libraries are read once."""

    def __init__(self, view: View, host: Host, libraries: Libraries | None = None) -> None:
        self.view = view
        self.host = host
        self.libraries = libraries or Libraries()
        self._go: dict[Blob, GoInfo | None] = {}
        self._interpreters = Interpreters(self._go_info)

    def judge(self, command: Command, depth: int = 0) -> Verdict:
        """The verdict on one execve. Never raises on anything that the root holds."""
        trail = Trail(command.path)
        try:
            self._follow(command, trail, depth)
        except Stop as stop:
            return trail.verdict(refined(stop, self.view, self.host))
        except Unreadable as error:
            return trail.verdict(unreadable(error))
        except (Fault, *_BEYOND) as error:
            return trail.verdict(lost(command.path, error))
        return trail.verdict(Stop(trail.stage, trail.cause))

    def _follow(self, command: Command, trail: Trail, depth: int) -> None:
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
            trail.adopt(self.judge(inner, depth + 1), follow_up.blamed)

    def _emulate(self, process: Emulated, command: Command, trail: Trail) -> tuple[Host, Process]:
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
            raise emulator_refuses(stop, handler, row) from stop
        if isinstance(started, Emulated):
            raise Stop(Stage.OK, "none", depends=(f"what {handler.name} does with the file",))
        return guest, started

    def _started(self, process: Process, host: Host, command: Command, trail: Trail) -> None:
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
            self._interpreters.start(start, process.interpreter)
        else:
            shared = main.image.header.type == ET_DYN
            own = self._interpreters.identify(main) if shared and len(process.argv) > 1 else None
            if own is not None:
                from buildmatrix.preflight.ldso import run_loader

                run_loader(start, own, trail.shared)
                return
        check_entry(main, host)
        trail.depends.extend(lost_rights(main))
        self._program(main.image, host, trail)

    def _go_info(self, image: Image) -> GoInfo | None:
        if image.blob not in self._go:
            self._go[image.blob] = go_info(image)
        return self._go[image.blob]

    def _program(self, image: Image, host: Host, trail: Trail) -> None:
        check_pages(image, host)
        go = self._go_info(image)
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

    def _spawned(self, image: Image, trail: Trail) -> None:
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
