"""A verdict and what it rests on. Types only; `words.py` puts them into sentences.

Causes are stable slugs. A verdict is *certain* when bytes, modes and the host's description decide
it; otherwise `depends` names what is missing, and the verdict is the likeliest outcome.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class Stage(StrEnum):
    """How far execution gets."""

    OK = "ok"
    EXECVE = "execve"
    LOADER = "loader"
    RUNTIME_EXIT = "runtime-exit"
    RUNTIME_SIGNAL = "runtime-signal"


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """One link of the chain: a file of the root, a byte offset in it where there is one, what it says."""

    place: str
    text: str
    offset: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Needed:
    """One edge of the dependency tree: who asked for which name, what answered, by which rule."""

    by: str
    name: str
    path: str | None
    rule: str
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What happens when one command is executed in one root on one host.

    `errno` is a name such as ``ENOEXEC``; `message` the first text that loader or runtime prints;
    `exit` the exit status, `signal` a name such as ``SIGSEGV``.
    """

    path: str
    stage: Stage
    cause: str = "none"
    errno: str | None = None
    exit: int | None = None
    signal: str | None = None
    message: str | None = None
    certain: bool = True
    depends: tuple[str, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    fix: str = ""
    warnings: tuple[str, ...] = ()
    needed: tuple[Needed, ...] = field(default=(), repr=False)
    emulated: str = ""

    @property
    def runs(self) -> bool:
        """Whether the file's own code gets to run to its end, as far as can be told."""
        return self.stage is Stage.OK and self.cause == "none"


class Stop(Exception):
    """Execution ends here: the verdict's fields, raised from where they are known."""

    def __init__(
        self,
        stage: Stage,
        cause: str,
        *evidence: Evidence,
        errno: str | None = None,
        exit_status: int | None = None,
        signal: str | None = None,
        message: str | None = None,
        fix: str = "",
        depends: tuple[str, ...] = (),
    ) -> None:
        super().__init__(f"{stage}: {cause}")
        self.stage = stage
        self.cause = cause
        self.evidence = evidence
        self.errno = errno
        self.exit_status = exit_status
        self.signal = signal
        self.message = message
        self.fix = fix
        self.depends = depends

    def verdict(
        self,
        path: str,
        *,
        evidence: tuple[Evidence, ...] = (),
        depends: tuple[str, ...] = (),
        warnings: tuple[str, ...] = (),
        needed: tuple[Needed, ...] = (),
        emulated: str = "",
    ) -> Verdict:
        """The verdict on `path`; what was learnt on the way stands before what ended it."""
        together = (*depends, *self.depends)
        return Verdict(
            path=path,
            stage=self.stage,
            cause=self.cause,
            errno=self.errno,
            exit=self.exit_status,
            signal=self.signal,
            message=self.message,
            certain=not together,
            depends=together,
            evidence=(*evidence, *self.evidence),
            fix=self.fix,
            warnings=warnings,
            needed=needed,
            emulated=emulated,
        )


def refused(errno: str, cause: str, *evidence: Evidence, fix: str = "", depends: tuple[str, ...] = ()) -> Stop:
    """execve(2) fails with `errno`."""
    return Stop(Stage.EXECVE, cause, *evidence, errno=errno, fix=fix, depends=depends)


def killed(cause: str, *evidence: Evidence, fix: str = "", depends: tuple[str, ...] = ()) -> Stop:
    """The kernel gives up past the point of no return: SIGSEGV, with no message from anyone."""
    return Stop(Stage.EXECVE, cause, *evidence, signal="SIGSEGV", fix=fix, depends=depends)
