"""explain over a whole Debian root beside lddtree, which resolves closures and judges nothing."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from bench import measure, peers
from bench.measure import Result
from buildmatrix.preflight.memory import Blob
from buildmatrix.preflight.rootfs import DirectoryRoot, Inode
from buildmatrix.preflight.sweep import is_command, walk


def _root() -> Path:
    from tests.debianroots import make

    try:
        return make.made(make.root("amd64", make.packages()))
    except make.CannotMake as error:
        raise peers.PeerMissing(f"no Debian root to measure on: {error}") from error


def _is_program(inode: Inode, blob: Blob) -> bool:
    return bool(inode.mode & 0o111) and blob.read(0, 4) == b"\x7fELF" and is_command(blob)


def programs(place: Path) -> list[str]:
    """Every ELF program of a root, by its path there."""
    root = DirectoryRoot(place)
    found = []
    for path, inode in walk(root, root.top):
        if isinstance(inode, Inode) and inode.kind == "regular" and _is_program(inode, root.data(inode)):
            found.append(path)
    return found


def lddtree() -> str:
    """pax-utils' lddtree; needs pyelftools, which the Python that runs this has."""
    peers.scanelf()  # comes in the same package
    found = shutil.which("lddtree")
    if found is None:
        raise peers.PeerMissing("lddtree is not installed; on Debian: apt-get install pax-utils")
    return found


def closures() -> Iterator[Result]:
    """`explain --all`, which also binds every symbol and follows scripts, against lddtree -l in one process."""
    place = _root()
    listed = programs(place)
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": ""}
    run = functools.partial(subprocess.run, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    ours = [sys.executable, "-m", "buildmatrix", "explain", "--all", "--root", str(place)]
    theirs = [sys.executable, lddtree(), "-l", "-R", str(place), *listed]
    yield measure.compare(
        "closures of a Debian root",
        "lddtree -l",
        functools.partial(run, ours, env=environment),
        functools.partial(run, theirs, env=environment),
        unit="programs",
        amount=len(listed),
        target=5,
        rounds=3,
    )


def start() -> Iterator[Result]:
    """One verdict as a process, beside the start of Python itself."""
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": ""}
    run = functools.partial(subprocess.run, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    ours = [sys.executable, "-m", "buildmatrix", "explain", "/bin/true"]
    yield measure.compare(
        "explain /bin/true, as a process",
        "python -c pass",
        functools.partial(run, ours, env=environment),
        functools.partial(run, [sys.executable, "-c", "pass"], env=environment),
        unit="starts",
        amount=1,
        target=6,
        rounds=15,
        most=True,
    )
