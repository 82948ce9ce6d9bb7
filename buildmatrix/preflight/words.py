"""A verdict in words: what happens, what the user would see, why, and what to change."""

from __future__ import annotations

from collections.abc import Iterator

from buildmatrix.preflight.context import STRERROR
from buildmatrix.preflight.verdict import Evidence, Needed, Stage, Verdict

GO_ERRORS = {
    "ENOEXEC": "exec format error", "ENOENT": "no such file or directory", "EACCES": "permission denied",
    "ELIBBAD": "accessing a corrupted shared library", "EIO": "input/output error",
    "ELOOP": "too many levels of symbolic links",
    "ENOTDIR": "not a directory", "ENAMETOOLONG": "file name too long", "E2BIG": "argument list too long",
    "ETXTBSY": "text file busy", "EINVAL": "invalid argument",
}  # fmt: skip
"""Go's texts (syscall/zerrors_linux_*.go)."""

SIGNAL_NUMBERS = {"SIGILL": 4, "SIGBUS": 7, "SIGFPE": 8, "SIGKILL": 9, "SIGSEGV": 11}
SIGNAL_WORDS = {"SIGILL": "illegal instruction", "SIGBUS": "bus error", "SIGSEGV": "segmentation fault"}


def sentence(verdict: Verdict) -> str:
    """The verdict in one sentence."""
    likely = "" if verdict.certain else "likely "
    if verdict.stage is Stage.OK:
        if verdict.cause != "none":
            return f"{verdict.path}: starts, but not as meant ({verdict.cause})"
        return f"{verdict.path}: executes" + ("" if verdict.certain else ", as far as its bytes tell")
    if verdict.stage is Stage.EXECVE:
        how = f"execve fails with {verdict.errno}" if verdict.errno else f"the kernel kills it with {verdict.signal}"
    elif verdict.stage is Stage.LOADER:
        how = "the dynamic loader gives up" if verdict.signal is None else f"the loader dies of {verdict.signal}"
    elif verdict.stage is Stage.RUNTIME_EXIT:
        how = f"it starts, then exits with status {verdict.exit}"
    else:
        how = f"it starts, then dies of {verdict.signal}"
    return f"{verdict.path}: does not execute: {likely}{how} ({verdict.cause})"


def shown(verdict: Verdict) -> Iterator[tuple[str, str]]:
    """What different callers would show, as label and text."""
    if verdict.errno is not None:
        text = GO_ERRORS.get(verdict.errno, STRERROR.get(verdict.errno, verdict.errno).lower())
        yield "Go", f"fork/exec {verdict.path}: {text}"
        status = 127 if verdict.errno in ("ENOENT", "ENOTDIR") else 126
        yield "shell", f"{_shell(verdict)}; status {status}"
    elif verdict.signal is not None:
        yield "Go", f"signal: {SIGNAL_WORDS.get(verdict.signal, verdict.signal)}"
        yield "shell", f"status {128 + SIGNAL_NUMBERS.get(verdict.signal, 0)} ({verdict.signal})"
    elif verdict.exit:
        yield "Go", f"exit status {verdict.exit}"
        yield "shell", f"status {verdict.exit}"
    if verdict.message:
        yield "printed", verdict.message


def _shell(verdict: Verdict) -> str:
    if verdict.errno == "ENOEXEC":
        return f"bash: {verdict.path}: cannot execute binary file: Exec format error"
    if verdict.errno == "ENOENT" and verdict.cause in ("missing-interpreter", "wrong-libc", "wrong-os", "bad-shebang"):
        return f"bash: {verdict.path}: cannot execute: required file not found"
    return f"bash: {verdict.path}: {STRERROR.get(verdict.errno or '', verdict.errno)}"


def where(item: Evidence) -> str:
    """One link of the chain of evidence."""
    at = "" if item.offset is None else f" at byte {item.offset:#x}"
    return f"{item.place}{at}: {item.text}"


def lines(verdict: Verdict) -> Iterator[str]:
    """The whole verdict for a person."""
    yield sentence(verdict)
    for label, text in shown(verdict):
        yield f"  {label}: {text}"
    for item in verdict.evidence:
        yield f"  because: {where(item)}"
    for text in verdict.depends:
        yield f"  depends on: {text}"
    for text in verdict.warnings:
        yield f"  warning: {text}"
    if verdict.fix:
        yield f"  fix: {verdict.fix}"


def tree(verdict: Verdict) -> Iterator[str]:
    """The dependency tree: every library, where it was found and by which rule."""
    by: dict[str, list[Needed]] = {}
    for edge in verdict.needed:
        by.setdefault(edge.by, []).append(edge)
    yield verdict.path
    roots = [name for name in by if name not in {edge.path for edge in verdict.needed}]
    for root in roots:
        yield from _branch(root, by, "  ", set())


def _branch(name: str, by: dict[str, list[Needed]], indent: str, above: set[str]) -> Iterator[str]:
    for edge in by.get(name, ()):
        if edge.path is None:
            yield f"{indent}{edge.name}: not found ({edge.problem})"
            continue
        yield f"{indent}{edge.name} => {edge.path} ({edge.rule})"
        if edge.path not in above:
            yield from _branch(edge.path, by, indent + "  ", above | {edge.path})
