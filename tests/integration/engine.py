"""A Docker engine of the tests' own, and an emulator for foreign images for as long as it runs.

The engine has its folder, socket and bridge to itself and touches no firewall rule. binfmt_misc is mounted
where it is not, and the entry for AArch64 is removed again: it would hide wrong machines from other tests.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

STARTUP = 60.0
"""Seconds that the engine may take until it answers."""

_BINFMT = Path("/proc/sys/fs/binfmt_misc")
_NAME = "buildmatrix-test-aarch64"
_MAGIC = r"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00"
_MASK = r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff"


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """A running engine: DOCKER_HOST for whoever shall use it."""

    host: str

    def docker(self, *arguments: str) -> str:
        """The docker client's answer; fails where it does."""
        done = subprocess.run(
            ["docker", *arguments], env={**os.environ, "DOCKER_HOST": self.host}, capture_output=True, text=True,
            check=False, timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, f"docker {' '.join(arguments)}\n{done.stderr}"
        return done.stdout


@contextlib.contextmanager
def docker_engine(folder: Path) -> Iterator[Engine]:
    """Debian's docker.io, started by hand as root."""
    socket, log = folder / "docker.sock", folder / "dockerd.log"
    argv = [
        "dockerd", "--data-root", str(folder / "data"), "--exec-root", str(folder / "exec"),
        "--pidfile", str(folder / "pid"), "--host", f"unix://{socket}", "--iptables=false", "--ip6tables=false",
        "--ip-masq=false", "--bip", "172.31.251.1/24",
    ]  # fmt: skip
    with log.open("wb") as sink:
        process = subprocess.Popen(argv, stdout=sink, stderr=sink, start_new_session=True)
        try:
            engine = Engine(host=f"unix://{socket}")
            _wait(engine, process, log)
            yield engine
        finally:
            process.terminate()
            process.wait(timeout=STARTUP)
            subprocess.run(["ip", "link", "delete", "docker0"], check=False, capture_output=True)
            shutil.rmtree(folder / "exec", ignore_errors=True)


def _wait(engine: Engine, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + STARTUP
    while time.monotonic() < end and process.poll() is None:
        done = subprocess.run(
            ["docker", "version"], env={**os.environ, "DOCKER_HOST": engine.host}, check=False, capture_output=True
        )
        if done.returncode == 0:
            return
        time.sleep(0.3)
    raise RuntimeError(f"dockerd did not answer within {STARTUP:g} s\n{log.read_text()[-4000:]}")


@contextlib.contextmanager
def aarch64_emulation() -> Iterator[None]:
    """qemu-aarch64-static through binfmt_misc, by its descriptor (flag F), so that it serves in containers too."""
    program = shutil.which("qemu-aarch64-static")
    assert program is not None, "qemu-aarch64-static is not installed; on Debian: qemu-user-static"
    mounted = (_BINFMT / "register").exists()
    if not mounted:
        subprocess.run(["mount", "-t", "binfmt_misc", "binfmt_misc", str(_BINFMT)], check=True)
    try:
        with (_BINFMT / "register").open("w") as entry:
            entry.write(f":{_NAME}:M::{_MAGIC}:{_MASK}:{program}:F")
        yield
    finally:
        with contextlib.suppress(FileNotFoundError):
            (_BINFMT / _NAME).write_text("-1")
        if not mounted:
            subprocess.run(["umount", str(_BINFMT)], check=False)
