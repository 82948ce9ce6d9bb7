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
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

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

    def _finish(
        self, argv: tuple[str, ...], process: subprocess.Popen[str], text: str | None, timeout: float | None
    ) -> Completed:
        try:
            stdout, stderr = process.communicate(text, timeout=timeout)
        except subprocess.TimeoutExpired:
            _kill_group(process)
            process.communicate()
            raise errors.CommandTimeout(
                f"{argv[0]}: still running after {timeout:g} s", fix="raise the limit, or find out what it waits for"
            ) from None
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
