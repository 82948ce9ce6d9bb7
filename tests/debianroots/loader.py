"""What a root's own ld.so says of a file, asked for real: LD_TRACE_LOADED_OBJECTS, with every relocation of the start.

With LD_WARN the loader also relocates what it has loaded and lists every symbol that it does not find
(elf/rtld.c), so that more than the closure is told. Nothing of the file's own code is executed.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.debianroots.make import Root, inside

LINE = re.compile(r"^\t(?:(.+?) => )?(.+?) \(0x[0-9a-f]+\)$")
MISSING = re.compile(r"^\t(.+) => not found$")
UNDEFINED = re.compile(r"^undefined symbol: ([^,\t]+)(?:, version ([^\t]+))?\t\((.*)\)$")
VERSION = re.compile(r"version `(.+)' not found \(required by (.+)\)$")
TRACE = {"LD_TRACE_LOADED_OBJECTS": "1", "LD_WARN": "yes"}
FATAL = "error while loading shared libraries: "
ASSERTED = "Inconsistency detected by ld.so: "
TIME_LIMIT = 120.0


@dataclass(frozen=True, kw_only=True)
class Said:
    """The loader's answer. `closure` holds SONAME and path of every library but itself."""

    status: int
    closure: frozenset[tuple[str, str]]
    missing: tuple[str, ...]
    undefined: tuple[str, ...]
    versions: tuple[str, ...]
    fatal: str

    @property
    def loads(self) -> bool:
        """Whether the file would get to its entry."""
        return not (self.status or self.missing or self.undefined or self.versions or self.fatal)

    @property
    def words(self) -> str:
        """In a few words why it does not load."""
        kept = (self.fatal, *(f"{name} not found" for name in self.missing), *self.versions, *self.undefined)
        return next((word for word in kept if word), f"status {self.status}")


def said(loader: str, status: int, out: str, err: str) -> Said:
    """The answer behind one run's output."""
    closure = set()
    for line in out.splitlines():
        found = LINE.match(line)
        if found and found[2] != loader and not (found[1] or found[2]).startswith("linux-vdso"):
            closure.add((found[1] or found[2], found[2]))
    missing = tuple(match[1] for match in map(MISSING.match, out.splitlines()) if match)
    undefined = tuple(match[1] for match in map(UNDEFINED.match, err.splitlines()) if match)
    versions = tuple(match[1] for match in map(VERSION.search, err.splitlines()) if match)
    fatal = next((line.strip() for line in err.splitlines() if FATAL in line or ASSERTED in line), "")
    return Said(
        status=status, closure=frozenset(closure), missing=missing, undefined=undefined, versions=versions, fatal=fatal
    )


def ask(root: Root, path: str) -> Said:
    """Ask about one file of the root, by its path there."""
    loader = root.row.glibc_loader
    command = inside(root, root.path, [loader, path], TRACE)
    done = subprocess.run(
        command, capture_output=True, text=True, errors="surrogateescape", timeout=TIME_LIMIT, check=False
    )
    return said(loader, done.returncode, done.stdout, done.stderr)


def ask_all(root: Root, paths: Sequence[str], workers: int) -> list[Said]:
    """Ask about many, in order."""
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(partial(ask, root), paths))


SANDBOX = (
    "unshare", "--mount", "--pid", "--fork", "--kill-child", "--net", "--ipc", "--uts",
    "sh", "-c", 'mount -t proc proc "$0/proc" && mount -o bind,remount,ro / 2>/dev/null; exec "$@"',
)  # fmt: skip
"""Namespaces of its own and a /proc, so that what is run can neither reach nor end anything outside."""


@dataclass(frozen=True, kw_only=True)
class Ran:
    """One real execution: whether the program's own code was reached, and how it ended."""

    started: bool
    status: int
    told: str


def run(root: Root, path: str, static: bool) -> Ran:
    """Really execute a program of the root with --version, as nobody and without new rights."""
    place = str(root.path)
    env = {"LD_DEBUG": "files", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/"}
    pairs = [f"{key}={value}" for key, value in env.items()]
    program = ["/usr/bin/env", "-i", *pairs, path, "--version"]
    if root.emulator is not None:
        program = ["/qemu-user", *(word for pair in pairs for word in ("-E", pair)), path, "--version"]
    command = [*SANDBOX, place, "setpriv", "--no-new-privs", "chroot", "--userspec=65534:65534", place, *program]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=20, check=False
        )
        status, err = done.returncode, done.stderr
    except subprocess.TimeoutExpired as error:
        status, err = 0, (error.stderr or b"").decode(errors="replace")
    started = f"transferring control: {path}" in err
    if static:
        started = status not in (126, 127, 128 + 11, 128 + 7, 128 + 4, -11, -7, -4)
    told = next((line for line in reversed(err.splitlines()) if "\t" not in line), "")
    return Ran(started=started, status=status, told=told)


def sample(paths: Sequence[str], count: int) -> list[str]:
    """As many of the paths, chosen by their digests: the same ones on every run."""
    return sorted(sorted(paths, key=lambda path: hashlib.sha256(path.encode()).digest())[:count])


def readable(path: Path) -> bool:
    """Whether there is an ELF file behind a path."""
    try:
        with path.open("rb") as stream:
            return stream.read(4) == b"\x7fELF"
    except OSError:
        return False
