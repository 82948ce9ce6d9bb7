"""What tests of faults share: a small project with the example service, and what a campaign may have left behind."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli_w

from buildmatrix.faults import cgroup
from tests import factory

MARK = "BUILDMATRIX_FAULTS_TEST"
"""A variable that the guard inherits: whose value tells one test's processes from any others'."""

SERVICE: dict[str, Any] = {
    "binary": "archprobe",
    "args": ["-listen", "127.0.0.1:8080", "-exec", "/usr/bin/true"],
    "health": "/healthz",
    "probes": ["GET /arch", 'POST /exec?path=/usr/bin/true "ok": true'],
}


def project(folder: Path, *, workloads: dict[str, Any], faults: dict[str, Any], **tables: Any) -> Path:
    """A project in `folder` with archprobe for amd64 and arm64; returns its matrix.toml."""
    for name in ("archprobe", "execguard"):
        shutil.copytree(factory.ROOT / "examples" / name, folder / name)
    path = folder / "matrix.toml"
    document = {
        "schema": 1,
        "project": {"name": "lab", "version": "1.2.3"},
        "go": {"module": "archprobe"},
        "binaries": {"archprobe": {"package": "./cmd/archprobe"}},
        "targets": {"amd64": {"goarch": "amd64"}, "arm64": {"goarch": "arm64"}},
        "workloads": workloads,
        "faults": faults,
        **tables,
    }
    path.write_text(tomli_w.dumps(document))
    return path


def command(matrix: Path, *words: str) -> list[str]:
    """A command of buildmatrix for a project."""
    return [sys.executable, "-m", "buildmatrix", *words, "--matrix", str(matrix)]


def call(matrix: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run one command to its end."""
    return subprocess.run(command(matrix, *words), capture_output=True, text=True, check=False, timeout=300)


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A campaign that runs, and what tells its processes: its own id and the mark in their environment."""

    process: subprocess.Popen[str]
    mark: str

    @classmethod
    def start(cls, matrix: Path, *words: str, mark: str) -> Running:
        process = subprocess.Popen(
            command(matrix, *words), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**os.environ, MARK: mark}, start_new_session=True,
        )  # fmt: skip
        return cls(process=process, mark=mark)

    def guards(self) -> list[int]:
        """The guards that live: processes 1 of namespaces below us."""
        return [pid for pid in processes() if marked(pid, self.mark) and "buildmatrix.faults.guard" in words(pid)
                and "unshare" not in words(pid)]  # fmt: skip

    def spaces(self) -> set[int]:
        """The process id namespaces of the guards that live."""
        return {space for pid in self.guards() if (space := space_of(pid)) != space_of(os.getpid())}

    def left(self, spaces: set[int]) -> list[str]:
        """The processes that are marked, or in one of the namespaces."""
        return [words(pid) for pid in processes() if marked(pid, self.mark) or space_of(pid) in spaces]

    def kill(self, number: int = signal.SIGKILL) -> int:
        """Send the campaign, and nobody else, a signal, and wait for its end."""
        self.process.send_signal(number)
        self.process.communicate(timeout=60)
        return self.process.returncode


def processes() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()]


def words(pid: int) -> str:
    """A process's command line, empty where it is gone or a zombie."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def marked(pid: int, mark: str) -> bool:
    try:
        return f"{MARK}={mark}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False


def space_of(pid: int) -> int:
    try:
        return Path(f"/proc/{pid}/ns/pid").stat().st_ino
    except OSError:
        return 0


def cgroups(pid: int) -> list[str]:
    """The cgroups of a campaign, wherever they can be made."""
    place = cgroup.here()
    found = place.folder.glob(f"{cgroup.PREFIX}-*-{pid}-*") if place else ()
    return sorted(path.name for path in found)


def mounts() -> set[str]:
    """Everything mounted in our namespace."""
    return set(Path("/proc/self/mounts").read_text().splitlines())


def eventually(seconds: float, what: Any) -> Any:
    """The first falsy value of `what()`, or its last one after `seconds`."""
    until = time.monotonic() + seconds
    while (value := what()) and time.monotonic() < until:
        time.sleep(0.02)
    return value
