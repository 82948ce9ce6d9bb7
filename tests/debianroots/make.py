"""Debian root file systems, made with mmdebstrap from the sources that this machine's apt is configured with.

Packages are unpacked, not configured: no program of a foreign architecture has to run for that, and what the
loader reads is there but for ld.so.cache, which the root's own ldconfig then writes (under qemu-user where it
must). A root is kept by what it is made of: release, architecture, packages.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from buildmatrix import arch
from buildmatrix.toolchain import cache_dir

DEBIAN = {"amd64": "amd64", "arm64": "arm64", "arm": "armhf", "s390x": "s390x", "ppc64le": "ppc64el", "386": "i386"}
"""Debian's names of the architectures, by GOARCH."""

INDEXES = ("apt-get", "indextargets", "--format", "$(ORIGIN)|$(REPO_URI)|$(CODENAME)|$(COMPONENT)")
LIST = Path(__file__).with_name("packages.txt")
SMALL = LIST.with_name("packages-small.txt")


class CannotMake(Exception):
    """A root cannot be made here, and why."""


@dataclass(frozen=True, kw_only=True)
class Root:
    """One root: GOARCH, packages asked for, and where it lies."""

    goarch: str
    packages: tuple[str, ...]
    sources: tuple[str, ...]

    @cached_property
    def row(self) -> arch.Architecture:
        """The architecture's row."""
        return arch.BY_GOARCH[self.goarch]

    @property
    def key(self) -> str:
        """What the root is kept by: the release, the architecture and a digest of the packages' names."""
        suites = sorted(line.split()[2] for line in self.sources)
        text = "\n".join([*suites, self.goarch, *sorted(self.packages)])
        return f"{suites[0]}-{self.goarch}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"

    @property
    def path(self) -> Path:
        """The root directory."""
        return cache_dir(os.environ) / "roots" / self.key

    @property
    def native(self) -> bool:
        """Whether this machine runs its programs without an emulator."""
        return arch.normalise(platform.machine()) == self.goarch

    @property
    def emulator(self) -> str | None:
        """The static qemu-user of a foreign architecture. Raises CannotMake where it is not installed."""
        if self.native:
            return None
        found = shutil.which(f"qemu-{self.row.qemu}-static")
        if found is None:
            raise CannotMake(f"qemu-{self.row.qemu}-static is not installed; on Debian: qemu-user-static")
        return found


def sources() -> tuple[str, ...]:
    """apt's own Debian sources of this machine as one-line entries."""
    done = subprocess.run([*INDEXES, "Created-By: Packages"], capture_output=True, text=True, check=False)
    rows = {tuple(line.split("|")) for line in done.stdout.splitlines()}
    found = sorted(
        f"deb {uri} {codename} {component}" for origin, uri, codename, component in rows if origin == "Debian"
    )
    if not found:
        raise CannotMake(f"apt knows no Debian source here: {done.stderr.strip() or 'run apt-get update'}")
    return tuple(found)


def packages(path: Path = LIST) -> tuple[str, ...]:
    """The names in a list, one to a line, comments left out."""
    lines = (line.partition("#")[0].split() for line in path.read_text(encoding="ascii").splitlines())
    return tuple(word for line in lines for word in line)


def root(goarch: str, names: tuple[str, ...]) -> Root:
    """The description of a root."""
    return Root(goarch=goarch, packages=names, sources=sources())


def made(wanted: Root) -> Path:
    """The root directory, made where it is not there yet. Raises CannotMake."""
    if os.geteuid():
        raise CannotMake("roots are made and entered with chroot: run it as root")
    if not wanted.path.is_dir():
        partial = wanted.path.with_name(f"{wanted.key}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.parent.mkdir(parents=True, exist_ok=True)
        _unpack(wanted, partial)
        _cache(wanted, partial)
        partial.rename(wanted.path)
    return wanted.path


def _unpack(wanted: Root, place: Path) -> None:
    command = [
        "mmdebstrap", "--quiet", "--mode=root", "--variant=extract", "--format=directory",
        f"--architectures={DEBIAN[wanted.goarch]}", f"--include={','.join(wanted.packages)}",
        "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr", "--skip=check/qemu",
        wanted.sources[0].split()[2], str(place), "-",
    ]  # fmt: skip
    if shutil.which(command[0]) is None:
        raise CannotMake("mmdebstrap is not installed; on Debian: apt-get install mmdebstrap")
    text = "\n".join(wanted.sources) + "\n"
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CannotMake(f"mmdebstrap exits with {done.returncode}: {done.stderr.strip()[-2000:]}")


def _cache(wanted: Root, place: Path) -> None:
    """ld.so.cache by the root's own ldconfig."""
    done = subprocess.run(inside(wanted, place, ["/sbin/ldconfig"]), capture_output=True, text=True, check=False)
    if done.returncode or not (place / "etc/ld.so.cache").is_file():
        raise CannotMake(f"ldconfig of the {wanted.goarch} root exits with {done.returncode}: {done.stderr.strip()}")


def inside(wanted: Root, place: Path, command: list[str], env: dict[str, str] | None = None) -> list[str]:
    """The command that runs `command` in the root with exactly `env`, under the emulator where it must be."""
    pairs = [f"{key}={value}" for key, value in (env or {}).items()]
    if wanted.emulator is None:
        return ["chroot", str(place), "/usr/bin/env", "-i", *pairs, *command]
    emulator = place / "qemu-user"
    if not emulator.exists():
        shutil.copyfile(wanted.emulator, emulator)
        emulator.chmod(0o755)
    words = [word for pair in pairs for word in ("-E", pair)]
    return ["env", "-i", "/usr/sbin/chroot", str(place), "/qemu-user", *words, *command]
