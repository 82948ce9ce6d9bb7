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


class Tether(Protocol):
    """Runs one program whose life hangs on this one's: its standard input stays open as long as this one lives."""

    def tether(
        self, argv: tuple[str, ...], line: str, *, env: Mapping[str, str], cwd: Path, timeout: float | None = None
    ) -> Completed:
        """Run `argv` as Runner does, with `line` and then nothing on its standard input, which it finds ended when
        the caller is no more, however that came about."""


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

    def tether(
        self, argv: tuple[str, ...], line: str, *, env: Mapping[str, str], cwd: Path, timeout: float | None = None
    ) -> Completed:
        """Run `argv` as `run` does, with `line` on a standard input that ends when this process does."""
        process = self._start(argv, env, cwd, subprocess.PIPE)
        rope = process.stdin
        process.stdin = None  # communicate would close it
        try:
            if rope is not None:
                with contextlib.suppress(BrokenPipeError):
                    rope.write(f"{line}\n")
                    rope.flush()
            return self._finish(argv, process, None, timeout)
        finally:
            if rope is not None:
                with contextlib.suppress(OSError):
                    rope.close()

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


class Launched:
    """A program that runs while its caller goes on, in a process group of its own."""

    def __init__(self, argv: tuple[str, ...], *, env: Mapping[str, str], cwd: Path, output: Path) -> None:
        """Start `argv`; what it prints is added to the file `output`. Raises ToolMissing where it cannot start."""
        with output.open("ab") as stream:
            try:
                self._process = subprocess.Popen(
                    argv, env=dict(env), cwd=cwd, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream,
                    start_new_session=True,
                )  # fmt: skip
            except OSError as error:
                raise errors.ToolMissing(f"{argv[0]}: cannot be started", why=error.strerror or str(error)) from error

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def status(self) -> int | None:
        """Its exit status, negative for a signal; None while it runs."""
        return self._process.poll()

    def signal(self, number: int) -> None:
        """Send a signal to it alone; nothing happens where it has ended."""
        self._process.send_signal(number)

    def wait(self, seconds: float) -> int | None:
        """Its exit status; None where it still runs after `seconds`."""
        try:
            return self._process.wait(max(seconds, 0.0))
        except subprocess.TimeoutExpired:
            return None

    def end(self) -> None:
        """Kill its process group and reap it."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()


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
