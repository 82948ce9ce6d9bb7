"""A bare host: a Debian root that scripts run in as they would there, by its own shells and tools."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.debianroots import make

PACKAGES = ("bash", "busybox-static", "coreutils", "dash", "libc-bin", "libcap2-bin", "sed", "util-linux")
SHELLS = {"dash": ("/bin/dash",), "bash": ("/bin/bash", "--posix"), "busybox": ("/bin/busybox", "sh")}
TOOLS = (
    "basename", "cat", "chmod", "chown", "cp", "cut", "dd", "df", "dirname", "du",
    "getcap", "getconf", "head", "ln", "mkdir",
    "mv", "od", "readlink", "rm", "sed", "setcap", "sha256sum", "sort", "stat", "sync", "tail", "tr", "uname", "wc",
)  # fmt: skip
_SOURCE = Path(__file__).with_name("step.c")


@cache
def stepper(compiler: str = "gcc") -> bytes:
    """The static program that stands in for every tool."""
    built = _SOURCE.parent / f".step.{os.getpid()}"
    command = [compiler, "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-O1", "-static", str(_SOURCE), "-o", str(built)]
    subprocess.run(command, check=True)
    try:
        return built.read_bytes()
    finally:
        built.unlink()


@dataclass(frozen=True, kw_only=True)
class Host:
    """A root, and a folder in it that one test may write to."""

    root: make.Root
    place: Path
    inside: str
    emulator: str | None

    def run(
        self,
        shell: str,
        script: str,
        *words: str,
        step: int | None = None,
        proc: bool = True,
        cpuinfo: str | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a script by one of SHELLS, with every external program counted; killed at `step` if one is given.

        `cpuinfo` stands for /proc/cpuinfo, which qemu-user passes through from the real machine.
        """
        (self.place / "counter").unlink(missing_ok=True)
        environment = {"PATH": f"{self.inside}/tools", "COUNTER": f"{self.inside}/counter", "HOME": "/"}
        environment |= {"STEP": str(step)} if step is not None else {}
        command = [*SHELLS[shell], script, *words]
        if self.emulator is not None:
            environment["EMULATOR"] = "/qemu-user"
            command = ["/qemu-user", *command]
        pairs = [f"{name}={value}" for name, value in environment.items()]
        line = ["env", "-i", *pairs, "/usr/sbin/chroot", str(self.root.path), *command]
        mounting = []
        if proc:
            # As on a host, where the root is a mount, and /proc/self/mounts says so.
            mounting += ['mount --rbind "$0" "$0"', 'mkdir -p "$0/proc"', 'mount -t proc proc "$0/proc"']
        if cpuinfo is not None:
            (self.place / "cpuinfo").write_text(cpuinfo)
            mounting.append(f'mount --bind "{self.place}/cpuinfo" "$0/proc/cpuinfo"')
        if mounting:
            inner = " && ".join([*mounting, 'exec "$@"'])
            line = ["unshare", "--mount", "sh", "-c", inner, str(self.root.path), *line]
        return subprocess.run(line, capture_output=True, text=True, check=False, timeout=300, start_new_session=True)

    @property
    def steps(self) -> list[int]:
        """Every moment at which a run like the last one can be killed: see step.c."""
        names = (self.place / "counter").read_text().split()
        return [
            3 * call + phase for call, name in enumerate(names) for phase in (0, 1, 2) if phase != 1 or name == "cp"
        ]


def host(goarch: str, name: str, *, compiler: str = "gcc") -> Host:
    """A host of an architecture with an empty folder of that name in it, and the tools.

    `compiler` makes what stands in for the tools: another word size than the kernel's is another userland.
    """
    root = make.root(goarch, PACKAGES)
    make.made(root)
    emulator = root.emulator
    if root.emulator is not None and not (root.path / "qemu-user").exists():
        shutil.copyfile(root.emulator, root.path / "qemu-user")
        (root.path / "qemu-user").chmod(0o755)
    inside = f"/lab-{os.getpid()}-{name}"
    place = root.path / inside.lstrip("/")
    shutil.rmtree(place, ignore_errors=True)
    (place / "tools").mkdir(parents=True)
    for tool in TOOLS:
        path = place / "tools" / tool
        path.write_bytes(stepper(compiler))
        path.chmod(0o755)
    return Host(root=root, place=place, inside=inside, emulator=emulator)
