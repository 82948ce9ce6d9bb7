"""A verdict in words: what happens, what the user would see, why, and what to change."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

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


def plain(text: str) -> str:
    """Text out of files as terminals and reports can take it: what is no UTF-8, or controls something, is escaped."""
    text = text.encode(errors="surrogateescape").decode(errors="backslashreplace")
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def sentence(verdict: Verdict) -> str:
    """The verdict in one sentence."""
    return plain(_sentence(verdict))


def _sentence(verdict: Verdict) -> str:
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
    for label, text in _shown(verdict):
        yield label, plain(text)


def _shown(verdict: Verdict) -> Iterator[tuple[str, str]]:
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
    return plain(f"{item.place}{at}: {item.text}")


def lines(verdict: Verdict) -> Iterator[str]:
    """The whole verdict for a person."""
    yield plain(sentence(verdict))
    for label, text in shown(verdict):
        yield f"  {label}: {plain(text)}"
    for item in verdict.evidence:
        yield f"  because: {where(item)}"
    for text in verdict.depends:
        yield f"  depends on: {plain(text)}"
    for text in verdict.warnings:
        yield f"  warning: {plain(text)}"
    if verdict.fix:
        yield f"  fix: {plain(verdict.fix)}"


def lacking(verdict: Verdict) -> str | None:
    """The library for want of which the loader gives up, or None."""
    if verdict.stage is not Stage.LOADER or verdict.signal is not None:
        return None
    return next((edge.name for edge in verdict.needed if edge.path is None), None)


def grouped(verdicts: Iterable[Verdict]) -> Iterator[str]:
    """Each library that is lacking once, with the programs that want it."""
    groups: dict[tuple[str, str, str], list[Verdict]] = {}
    for verdict in verdicts:
        groups.setdefault((lacking(verdict) or "", verdict.cause, verdict.fix), []).append(verdict)
    for (name, cause, _), group in groups.items():
        if len(group) == 1:
            yield from lines(group[0])
            continue
        yield plain(f"{name}: lacking: {len(group)} programs do not execute ({cause})")
        for verdict in group:
            asker = next((edge.by for edge in verdict.needed if edge.path is None), verdict.path)
            yield plain(f"  wanted by: {verdict.path}" + ("" if asker == verdict.path else f", through {asker}"))
        yield from _alike(group)


def _alike(group: list[Verdict]) -> Iterator[str]:
    """What is to be said of several verdicts, each thing once."""
    first = group[0]
    if first.message:
        yield f"  printed: {plain(first.message)}"
    for label, texts in (
        ("because", [verdict.evidence[-1].text for verdict in group if verdict.evidence]),
        ("depends on", [text for verdict in group for text in verdict.depends]),
        ("warning", [text for verdict in group for text in verdict.warnings]),
    ):
        for text in dict.fromkeys(texts):
            yield f"  {label}: {plain(text)}"
    if first.fix:
        yield f"  fix: {plain(first.fix)}"


def folded(lines: Iterable[str], width: int) -> Iterator[str]:
    """Lines that are too long go on below themselves; paths and names stay whole."""
    import textwrap

    for line in lines:
        indent = " " * (len(line) - len(line.lstrip()) + 4)
        yield from textwrap.wrap(
            line, max(width, 40), subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
        ) or [line]


def tree(verdict: Verdict) -> Iterator[str]:
    """The dependency tree: every library, where it was found and by which rule."""
    by: dict[str, list[Needed]] = {}
    for edge in verdict.needed:
        by.setdefault(edge.by, []).append(edge)
    yield plain(verdict.path)
    roots = [name for name in by if name not in {edge.path for edge in verdict.needed}]
    seen: set[str] = set()
    stack = [(edge, "  ") for root in reversed(roots) for edge in reversed(by[root])]
    while stack:
        edge, indent = stack.pop()
        if edge.path is None:
            yield plain(f"{indent}{edge.name}: not found ({edge.problem})")
            continue
        yield plain(f"{indent}{edge.name} => {edge.path} ({edge.rule})")
        if edge.path not in seen:
            seen.add(edge.path)
            stack += [(below, indent + "  ") for below in reversed(by.get(edge.path, []))]
