"""What is learnt on the way to one verdict, and the verdicts of those who never get far."""

from __future__ import annotations

from typing import TYPE_CHECKING

from buildmatrix import arch
from buildmatrix.host import Handler, Host
from buildmatrix.preflight.context import STRERROR
from buildmatrix.preflight.rootfs import Unreadable
from buildmatrix.preflight.verdict import Evidence, Stage, Stop, Verdict

if TYPE_CHECKING:
    from buildmatrix.preflight.context import Start
    from buildmatrix.preflight.walk import View


class Trail:
    """Collects evidence, and what a verdict depends on."""

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

    def adopt(self, inner: Verdict, blamed: str) -> None:
        """The verdict on what env executes, as env reports it; `blamed` is how it begins to."""
        self.evidence.extend(inner.evidence)
        self.depends.extend(inner.depends)
        self.warnings.extend(inner.warnings)
        if inner.stage is Stage.OK:
            self.cause = inner.cause
            return
        if inner.stage is Stage.EXECVE and inner.errno is not None:
            to_shell = inner.errno == "ENOEXEC"  # execvp then has /bin/sh read the file
            raise Stop(
                Stage.RUNTIME_EXIT,
                inner.cause,
                exit_status=127 if inner.errno == "ENOENT" else 126,
                fix=inner.fix,
                message=None if to_shell else blamed + STRERROR.get(inner.errno, inner.errno),
                depends=(f"what /bin/sh makes of {inner.path}, which env hands to it",) if to_shell else (),
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


def unreadable(error: Unreadable) -> Stop:
    """A file that cannot be read here says nothing of what happens there."""
    return Stop(
        Stage.EXECVE,
        "unreadable",
        Evidence(place=error.place, text=str(error)),
        errno="EIO",
        fix="make the file readable to the one who asks",
        depends=(f"{error.place}: could not be read",),
    )


def lost(path: str, error: BaseException) -> Stop:
    """A structure that nobody thought of."""
    return Stop(
        Stage.EXECVE,
        "bad-elf",
        Evidence(place=path, text=f"cannot be followed: {error}"),
        fix="link the file again",
        depends=("a structure in the file that this model does not follow",),
    )


def refined(stop: Stop, view: View, host: Host) -> Stop:
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

    cause, text, fix = interpreter_cause(view, host, name)
    return Stop(
        stop.stage,
        cause,
        *stop.evidence,
        Evidence(place=name, text=text),
        errno=stop.errno,
        fix=fix,
        depends=stop.depends,
    )


def emulator_refuses(stop: Stop, handler: Handler, row: arch.Architecture) -> Stop:
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
