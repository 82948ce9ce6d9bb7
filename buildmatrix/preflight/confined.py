"""What a seccomp filter does to a start: to execve itself, to the loader and to the runtime's first calls.

The calls that are made, and what their refusal leads to, were observed by refusing each of them to real
programs (tests/test_preflight_seccomp.py does so again): Go's runtime (runtime/sys_linux_*.s, os_linux.go),
glibc's ld.so (elf/rtld.c, dl-load.c) and musl's (ldso/dynlink.c, src/env/__init_tls.c).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from buildmatrix import seccomp
from buildmatrix.host import Host
from buildmatrix.preflight.context import MUSL_STRERROR, STRERROR, rtld_strerror
from buildmatrix.preflight.verdict import Evidence, Stage, Stop, refused
from buildmatrix.seccomp import Answer

FIX = "allow the call in the seccomp profile"
GO_ABORTS = 2
"""Go's runtime handles its own SIGABRT: it prints every stack and exits with this."""

THREAD = {0: 0x50F00}
"""clone(2)'s flags of Go's newosproc: VM, FS, FILES, SIGHAND, SYSVSEM, THREAD."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call of a start, and what its refusal with an errno leads to; with neither exit nor signal it is tolerated.

    `text` is printed, ``{error}`` standing for the errno in the printer's words. `always` says that every
    start makes the call; `spares` are errnos that are tolerated.
    """

    name: str
    arches: tuple[str, ...] = ()
    exit: int | None = None
    signal: str = ""
    text: str = ""
    always: bool = True
    spares: tuple[str, ...] = ()
    arguments: Mapping[int, int] | None = None


GO = (
    Call(name="arch_prctl", arches=("amd64",), signal="SIGSEGV"),
    Call(name="sched_getaffinity"),
    Call(name="openat"),
    Call(name="mmap", exit=2, text="fatal error: runtime: cannot allocate memory"),
    Call(name="madvise", always=False),
    Call(name="rt_sigprocmask", signal="SIGSEGV"),
    Call(name="fcntl", exit=2, text="runtime: unexpected error while checking standard file descriptor 0, errno="),
    Call(name="sigaltstack", signal="SIGSEGV"),
    Call(name="gettid"),
    Call(name="rt_sigaction", exit=2, text="fatal error: sigaction failed"),
    Call(name="clone", exit=2, text="runtime: failed to create new OS thread", arguments=THREAD),
    Call(name="futex", exit=2, text="futexwakeup addr=", always=False),
)
"""The calls of Go's runtime in their order, of a program without cgo."""

GLIBC = (
    Call(name="brk"),
    Call(name="mmap", signal="SIGSEGV"),
    Call(name="openat", exit=127, text="cannot open shared object file: {error}"),
    Call(name="read", exit=127, text="cannot read file data: {error}"),
    Call(name="newfstatat", exit=127, text="cannot stat shared object: {error}"),
    Call(name="close", exit=127, text="cannot close file descriptor: {error}"),
    Call(name="arch_prctl", arches=("amd64",), exit=127, text="cannot set up thread-local storage: "),
    Call(name="set_tid_address"),
    Call(name="set_robust_list", always=False),
    Call(name="rseq", always=False),
    Call(name="mprotect", exit=127, text="cannot apply additional memory protection after relocation: {error}"),
    Call(name="prlimit64", always=False),
)
"""The calls of ld.so of glibc 2.33 and later, of a program that needs libc.so.6."""

MUSL = (
    Call(name="arch_prctl", arches=("amd64",), signal="SIGSEGV"),
    Call(name="set_tid_address"),
    Call(name="brk", always=False),
    Call(name="mprotect", exit=127, text="RELRO protection failed: {error}", spares=("ENOSYS",)),
)
"""The calls of musl's loader for a program that needs nothing but libc."""

STATIC = (Call(name="arch_prctl", arches=("amd64",), signal="SIGSEGV", always=False), Call(name="set_tid_address"))
"""What static programs of either C library call; how they end is their own affair."""


def may_execute(host: Host) -> None:
    """The filter's answer to execve itself. Raises Stop."""
    profile = seccomp.load(host.seccomp)
    if profile is None:
        return
    answer = profile.answer("execve", host.arch, host.kernel)
    if answer.allowed:
        return
    depends = (f"what the seccomp profile {profile.name} makes of execve's arguments",) if answer.open else ()
    evidence = Evidence(place=profile.name, text=f"the seccomp profile answers execve with {answer.name}")
    if answer.signal:
        raise Stop(Stage.EXECVE, "seccomp", evidence, signal=answer.signal, fix=FIX, depends=depends)
    raise refused(answer.name, "seccomp", evidence, fix=FIX, depends=depends)


def may_start(host: Host, calls: tuple[Call, ...], path: str, *, printer: str, loader: bool) -> tuple[str, ...]:
    """The start's calls in their order: what the verdict depends on. Raises Stop at the first that is fatal.

    `printer` is who says it: ``glibc``, ``musl``, or nobody in particular.
    """
    profile = seccomp.load(host.seccomp)
    depends: list[str] = []
    for call in calls if profile is not None else ():
        if profile is None or (call.arches and host.arch not in call.arches):
            continue
        answer = profile.answer(call.name, host.arch, host.kernel, call.arguments)
        if answer.allowed or (not answer.signal and _tolerated(call, answer)):
            continue
        question = (
            f"whether {path} calls {call.name}, which the seccomp profile {profile.name} answers with {answer.name}"
        )
        if answer.open or not call.always:
            depends.append(question)
            continue
        raise _ends(profile.name, call, answer, printer, loader, tuple(depends))
    return tuple(depends)


def _tolerated(call: Call, answer: Answer) -> bool:
    return (call.exit is None and not call.signal) or answer.name in call.spares


def _ends(profile: str, call: Call, answer: Answer, printer: str, loader: bool, depends: tuple[str, ...]) -> Stop:
    evidence = Evidence(place=profile, text=f"the seccomp profile answers {call.name} with {answer.name}")
    signal = answer.signal or call.signal
    if signal:
        stage = Stage.LOADER if loader else Stage.RUNTIME_SIGNAL
        return Stop(stage, "seccomp", evidence, signal=signal, fix=FIX, depends=depends)
    words = {"glibc": rtld_strerror(answer.name) if loader else "", "musl": MUSL_STRERROR.get(answer.name, answer.name)}
    text = call.text.replace("{error}", words.get(printer) or STRERROR.get(answer.name, answer.name))
    stage = Stage.LOADER if loader else Stage.RUNTIME_EXIT
    return Stop(stage, "seccomp", evidence, exit_status=call.exit, message=text, fix=FIX, depends=depends)


def go_threads(host: Host, path: str) -> None:
    """pthread_create of glibc 2.34 and later: clone3, and clone only where that gives ENOSYS. Raises Stop."""
    profile = seccomp.load(host.seccomp)
    if profile is None:
        return
    answer = profile.answer("clone3", host.arch, host.kernel)
    if answer.allowed or answer.name == "ENOSYS":
        return
    evidence = Evidence(place=profile.name, text=f"the seccomp profile answers clone3 with {answer.name}")
    depends = (f"whether {path} starts a thread",) if answer.open else ()
    fix = "let the profile answer clone3 with ENOSYS, so that clone is tried"
    if answer.signal:
        raise Stop(Stage.RUNTIME_SIGNAL, "seccomp", evidence, signal=answer.signal, fix=fix, depends=depends)
    words = STRERROR.get(answer.name, answer.name)
    message = f"runtime/cgo: pthread_create failed: {words}"
    raise Stop(
        Stage.RUNTIME_EXIT, "seccomp", evidence, exit_status=GO_ABORTS, message=message, fix=fix, depends=depends
    )
