"""The only caller of subprocesses: every program runs through a Runner, which tests replace.

A program runs in its own process group, so that an interrupt or a time limit ends it with all that
it started. Output is captured whole; nothing is interpreted by a shell.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from buildmatrix import errors


@dataclass(frozen=True, slots=True, kw_only=True)
class Completed:
    """How a program ended: exit status (negative: the signal that ended it) and its output."""

    argv: tuple[str, ...]
    status: int
    stdout: str
    stderr: str

    @property
    def ok(self) -> bool:
        """Whether it exited with 0."""
        return self.status == 0


class Runner(Protocol):
    """Runs one program to its end."""

    def run(
        self, argv: tuple[str, ...], *, env: Mapping[str, str], cwd: Path, timeout: float | None = None
    ) -> Completed:
        """Run `argv` with exactly `env` in `cwd`; `timeout` in seconds."""


class Feeder(Protocol):
    """Runs one program that reads a secret, or anything else that may not stand in its arguments."""

    def feed(
        self, argv: tuple[str, ...], text: str, *, env: Mapping[str, str], cwd: Path, timeout: float | None = None
    ) -> Completed:
        """Run `argv` as Runner does, with `text` on its standard input."""


class Streamer(Protocol):
    """Runs one program whose progress is worth hearing of while it runs."""

    def stream(
        self,
        argv: tuple[str, ...],
        told: Callable[[str], None],
        *,
        env: Mapping[str, str],
        cwd: Path,
        timeout: float | None = None,
    ) -> Completed:
        """Run `argv` as Runner does, and hand each line of its standard error to `told` as it comes."""


class Watcher(Runner, Streamer, Protocol):
    """A Runner that can also stream."""


class SubprocessRunner:
    """The real Runner. `cancel` ends everything that runs through it, from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[str]] = set()
        self._cancelled = False

    def run(
        self, argv: tuple[str, ...], *, env: Mapping[str, str], cwd: Path, timeout: float | None = None
    ) -> Completed:
        """Run `argv` with exactly `env` in `cwd`.

        Raises ToolMissing where the program cannot be started, CommandTimeout past `timeout`
        seconds, and KeyboardInterrupt once `cancel` was called.
        """
        return self._finish(argv, self._start(argv, env, cwd, subprocess.DEVNULL), None, timeout)

    def feed(
        self, argv: tuple[str, ...], text: str, *, env: Mapping[str, str], cwd: Path, timeout: float | None = None
    ) -> Completed:
        """Run `argv` as `run` does, with `text` on its standard input."""
        return self._finish(argv, self._start(argv, env, cwd, subprocess.PIPE), text, timeout)

    def stream(
        self,
        argv: tuple[str, ...],
        told: Callable[[str], None],
        *,
        env: Mapping[str, str],
        cwd: Path,
        timeout: float | None = None,
    ) -> Completed:
        """Run `argv` as `run` does, and hand each line of its standard error to `told` as it comes.

        What `told` raises ends the program and goes on to the caller.
        """
        process = self._start(argv, env, cwd, subprocess.DEVNULL)
        late = threading.Event()
        stdout: list[str] = []
        timer = threading.Timer(timeout or 0.0, _expire, (process, late))
        reader = threading.Thread(target=_drain, args=(process.stdout, stdout.append), daemon=True)
        reader.start()
        if timeout is not None:
            timer.start()
        try:
            lines = _told(process.stderr, told)
            process.wait()
        except BaseException:
            _kill_group(process)
            process.wait()
            raise
        finally:
            timer.cancel()
            reader.join()
            _close(process)
            with self._lock:
                self._running.discard(process)
        if late.is_set():
            raise _too_late(argv, timeout or 0.0)
        self.check()
        return Completed(argv=argv, status=process.returncode, stdout="".join(stdout), stderr="".join(lines))

    def _finish(
        self, argv: tuple[str, ...], process: subprocess.Popen[str], text: str | None, timeout: float | None
    ) -> Completed:
        try:
            stdout, stderr = process.communicate(text, timeout=timeout)
        except subprocess.TimeoutExpired:
            _kill_group(process)
            process.communicate()
            raise _too_late(argv, timeout or 0.0) from None
        except BaseException:
            _kill_group(process)
            process.wait()
            raise
        finally:
            with self._lock:
                self._running.discard(process)
        self.check()
        return Completed(argv=argv, status=process.returncode, stdout=stdout, stderr=stderr)

    def _start(self, argv: tuple[str, ...], env: Mapping[str, str], cwd: Path, stdin: int) -> subprocess.Popen[str]:
        with self._lock:
            self.check()
            try:
                process = subprocess.Popen(
                    argv,
                    env=dict(env),
                    cwd=cwd,
                    stdin=stdin,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                    errors="replace",
                    start_new_session=True,
                )
            except OSError as error:
                raise errors.ToolMissing(
                    f"{argv[0]}: cannot be started in {cwd}",
                    why=error.strerror or str(error),
                    fix="install it, or correct the path in matrix.toml",
                ) from error
            self._running.add(process)
            return process

    def check(self) -> None:
        """Raise KeyboardInterrupt once `cancel` was called."""
        if self._cancelled:
            raise KeyboardInterrupt

    def cancel(self) -> None:
        """End every running program and refuse to start another."""
        with self._lock:
            self._cancelled = True
            for process in self._running:
                _kill_group(process)


def _kill_group(process: subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def _too_late(argv: tuple[str, ...], seconds: float) -> errors.CommandTimeout:
    return errors.CommandTimeout(
        f"{argv[0]}: still running after {seconds:g} s", fix="raise the limit, or find out what it waits for"
    )


def _expire(process: subprocess.Popen[str], late: threading.Event) -> None:
    late.set()
    _kill_group(process)


def _drain(stream: IO[str] | None, keep: Callable[[str], None]) -> None:
    for line in stream or ():
        keep(line)


def _told(stream: IO[str] | None, told: Callable[[str], None]) -> list[str]:
    """Every line, each handed on first."""
    kept: list[str] = []
    for line in stream or ():
        kept.append(line)
        told(line.rstrip("\n"))
    return kept


def _close(process: subprocess.Popen[str]) -> None:
    for stream in (process.stdout, process.stderr):
        if stream is not None:
            stream.close()
