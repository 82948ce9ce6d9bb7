"""strace's output: failed execs, deaths, and what a loader wrote before it gave up.

A shell or execvp tries one directory of PATH after the other, and each miss is a failed execve that means nothing:
a failure counts once its process ends, or does something else than trying the same name again.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, replace

from buildmatrix.converge import context, matcher, weights
from buildmatrix.converge.symptom import Context, Fact, Item, Role, Symptom

LITERALS = (b"execve", b"+++ killed by", b"+++ exited with", b"st_mode=S_IFREG", b"X_OK", b"write(2, ", b"writev(2, ",
            b"= -1 ENOSYS")  # fmt: skip

_LINE = re.compile(
    r"^(?:\[pid +(?P<pid>\d+)\] |(?P<number>\d+) +)?(?:\d\d:\d\d:\d\d(?:\.\d+)? |(?P<time>\d{9,}\.\d+) )?"
    r"(?P<rest>(?:(?P<call>[a-z_][a-z_0-9]*)\(|<\.\.\. (?P<resumed>\w+) resumed|\+\+\+ |--- SIG).*)$"
)
_TEXT = r'"((?:[^"\\]|\\.)*)"'
_EXEC = re.compile(rf"^execve(?:at)?\((?:[^\",]+, )?{_TEXT}")
_RESULT = re.compile(r"\) += (?P<value>-?\d+|0x[0-9a-f]+|\?)(?: (?P<errno>E[A-Z0-9]+))?[^=]*$")
_DEATH = re.compile(r"^\+\+\+ killed by (?P<signal>SIG[A-Z]+)")
_EXIT = re.compile(r"^\+\+\+ exited with (?P<exit>\d+)")
_PIECE = re.compile(r'iov_base="((?:[^"\\]|\\.)*)"(\.\.\.)?, iov_len=\d+')
_ENOUGH = 10
"""Characters by which the loader's words are known."""
_EXISTS = re.compile(rf"^(?:newfstatat|stat|lstat|statx|access|faccessat2?)\((?:AT_FDCWD, )?{_TEXT}")
_PROCESSES = 4096
"""Processes and files whose state is kept; the ones longest unheard of are forgotten."""


@dataclass(slots=True)
class _Process:
    program: str = ""
    starting: str = ""
    failed: tuple[str, str, str, Context] | None = None


class Strace:
    """Follows the processes of one trace."""

    def __init__(self) -> None:
        self._processes: OrderedDict[str, _Process] = OrderedDict()
        self._there: OrderedDict[str, None] = OrderedDict()
        self._asked: OrderedDict[str, None] = OrderedDict()

    def feed(self, text: str, at: Context) -> Iterator[Item] | None:
        """What a line tells; None where it is no line of strace."""
        match = _LINE.match(text)
        if match is None or not (match["call"] is None or "(" in text):
            return None
        if match["call"] and not _looks_like_call(text):
            return None
        pid = match["pid"] or match["number"] or ""
        at = replace(at, pid=pid or at.pid, time=context.moment(match["time"]) if match["time"] else at.time)
        return self._line(match["rest"], match["resumed"] or match["call"] or "", at)

    def finish(self) -> Iterator[Item]:
        """What is left when the trace ends."""
        for process in self._processes.values():
            yield from _told(process)

    def _process(self, pid: str) -> _Process:
        found = self._processes.setdefault(pid, _Process())
        self._processes.move_to_end(pid)
        if len(self._processes) > _PROCESSES:
            self._processes.popitem(last=False)
        return found

    def _line(self, rest: str, call: str, at: Context) -> Iterator[Item]:
        process = self._process(at.pid)
        if call in ("execve", "execveat"):
            yield from self._exec(rest, process, at)
        elif call in ("write", "writev"):
            yield from _written(rest, process, at)
        elif death := _DEATH.match(rest):
            yield from _died(death["signal"], rest, process, at)
        elif ended := _EXIT.match(rest):
            yield from self._exited(int(ended["exit"]), rest, process, at)
        elif (seen := _EXISTS.match(rest)) and rest.rstrip().endswith("= 0"):
            yield from self._exists(seen[1])
        elif "= -1 ENOSYS" in rest:
            yield Symptom(
                pattern="strace-enosys", stage="system call", role=Role.WARNING, text=rest[: matcher.KEEP_TEXT],
                candidates=weights.normal(weights.EXECVE["ENOSYS"]), program=process.program, detail=call, context=at,
            )  # fmt: skip

    def _exec(self, rest: str, process: _Process, at: Context) -> Iterator[Item]:
        started = _EXEC.match(rest)
        path = started[1] if started else process.starting
        result = _RESULT.search(rest)
        if "<unfinished" in rest or result is None:
            process.starting = path
            return
        earlier = process.failed
        same = earlier is not None and earlier[0].rpartition("/")[2] == path.rpartition("/")[2]
        if not same:
            yield from _told(process)
        process.failed = None
        if result["errno"]:
            # of one name's failures along PATH, the one that says more than "not here" counts
            kept = earlier if same and earlier and result["errno"] == "ENOENT" else None
            process.failed = kept or (path, result["errno"], rest[: matcher.KEEP_TEXT], at)
            self._asked[path] = None
            if path in self._there:
                yield _known(path)
            if len(self._asked) > _PROCESSES:
                self._asked.popitem(last=False)
        elif result["value"] == "0":
            process.program = path

    def _exited(self, status: int, rest: str, process: _Process, at: Context) -> Iterator[Item]:
        program = process.failed[0] if process.failed else process.program
        yield from _told(process)
        self._processes.pop(at.pid, None)
        if status in (126, 127):
            yield Symptom(
                pattern="strace-exit", stage="exit", role=Role.CONSEQUENCE, text=rest, program=program,
                candidates=weights.normal(weights.exit_status(status)), detail=str(status), context=at,
            )  # fmt: skip

    def _exists(self, path: str) -> Iterator[Item]:
        if path in self._there:
            return
        self._there[path] = None
        if len(self._there) > _PROCESSES:
            self._there.popitem(last=False)
        if path in self._asked:
            yield _known(path)


def _looks_like_call(text: str) -> bool:
    return bool(_RESULT.search(text)) or "<unfinished" in text


def _known(path: str) -> Fact:
    return Fact(
        text=f"the trace shows {path} to be there (stat or access succeeded)", program=path,
        excludes=frozenset({"missing-file"}), level=2,
    )  # fmt: skip


def _told(process: _Process) -> Iterator[Item]:
    if process.failed is None:
        return
    path, errno, text, at = process.failed
    process.failed = None
    causes = weights.EXECVE.get(errno)
    yield Symptom(
        pattern="strace-execve", stage="execve", role=Role.UNKNOWN if causes is None else Role.PRIMARY, text=text,
        candidates=weights.normal(causes or {}), program=path, detail=errno, context=at,
    )  # fmt: skip


def _died(signal: str, rest: str, process: _Process, at: Context) -> Iterator[Item]:
    if process.failed is not None and signal == "SIGSEGV":
        path, errno, text, at = process.failed
        process.failed = None
        yield Symptom(
            pattern="strace-killed-in-execve", stage="execve", role=Role.PRIMARY, text=f"{text} {rest}", program=path,
            candidates=weights.normal(weights.KILLED_IN_EXEC), detail=errno, context=at,
        )  # fmt: skip
        return
    yield from _told(process)
    causes = weights.SIGNALS.get(signal)
    yield Symptom(
        pattern="strace-killed", stage="signal", role=Role.UNKNOWN if causes is None else Role.CONSEQUENCE, text=rest,
        candidates=weights.normal(causes or {}), program=process.program, detail=signal, context=at,
    )  # fmt: skip


def _written(rest: str, process: _Process, at: Context) -> Iterator[Item]:
    """What was written to standard error, put together again."""
    if rest.startswith("writev"):
        text = "".join(_whole(piece, cut, process.program) for piece, cut in _PIECE.findall(rest))
    else:
        found = re.search(_TEXT, rest)
        text = _plain(found[1]) if found else ""
    for line in text.splitlines():
        symptom = matcher.recognise(line, at)
        if symptom is not None:
            yield replace(symptom, program=symptom.program or process.program)


def _plain(text: str) -> str:
    return text.replace('\\"', '"').replace("\\n", "\n").replace("\\t", "\t").replace("\\\\", "\\")


def _whole(text: str, cut: str, program: str) -> str:
    """One piece of a writev; strace cuts after 32 characters, and the loader's own words are known by their start."""
    if not cut:
        return _plain(text)
    if program.startswith(text):
        return program
    for anchor in matcher.anchors():
        for size in range(min(len(anchor), len(text)), _ENOUGH - 1, -1):
            if text.endswith(anchor[:size]):
                named = f" {program})" if anchor.endswith("(required by") else ""
                return _plain(text[:-size]) + anchor + named
    return _plain(text) + "..."
