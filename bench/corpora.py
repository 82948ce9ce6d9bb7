"""The files that are measured on: made once, in a cache folder outside the checkout."""

from __future__ import annotations

import atexit
import functools
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

TREE_FILES, TREE_EXECUTABLES, TREE_FOLDER = 120_000, 2_700, 20
"""Files of the tree, how many of them are ELF files, and how many files lie in one directory."""

SMALL_FILES, SMALL_BYTES = 4_000, 8_192
LARGE_FILES, LARGE_BYTES = 32, 24 << 20
"""As many and as large as the binaries of a release for every platform that Go knows."""

LIST_FILES = 400
_LARGEST_COPY = 400_000
_LIBRARIES = ("/usr/lib", "/usr/bin", "/usr/sbin", "/usr/libexec")


def cache() -> Path:
    """Where corpora and peers are kept."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "buildmatrix-bench"


def _made(name: str, make: Callable[[Path], None], root: Path) -> Path:
    """The folder `name`, made under another name first so that one that was interrupted is made again."""
    done = root / name
    if not done.exists():
        partial = root / f"{name}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        make(partial)
        partial.rename(done)
    return done


def executables(count: int) -> list[Path]:
    """Regular ELF files of this machine, dynamic ones mostly, the same ones on every run."""
    found: list[Path] = []
    for base in _LIBRARIES:
        for folder, _, names in os.walk(base):
            found += [path for name in sorted(names) if _is_small_elf(path := Path(folder, name))]
            if len(found) >= count:
                return found[:count]
    return found


def _is_small_elf(path: Path) -> bool:
    try:
        if path.is_symlink() or not path.is_file() or path.stat().st_size > _LARGEST_COPY:
            return False
        with path.open("rb") as stream:
            head = stream.read(18)
    except OSError:
        return False
    return head[:4] == b"\x7fELF" and head[16:18] in {b"\x02\0", b"\x03\0"}


def tree() -> Path:
    """A tree like a large root file system: mostly small texts, some executables."""
    return _made(f"tree-{TREE_FILES}-{TREE_EXECUTABLES}", _make_tree, cache())


def _make_tree(root: Path) -> None:
    chooser = random.Random(7)  # noqa: S311  # the same tree on every machine
    sources = executables(TREE_EXECUTABLES)
    every = TREE_FILES // TREE_EXECUTABLES
    for number in range(TREE_FILES):
        folder = root / f"{number // 4000:02}" / f"{number // TREE_FOLDER:05}"
        if number % TREE_FOLDER == 0:
            folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"file-{number}"
        if number % every == 0 and sources:
            shutil.copyfile(sources[(number // every) % len(sources)], path)
        else:
            path.write_bytes(b"text " * chooser.randrange(1, 800))


def small() -> Path:
    """Many files of 8 KiB, where users' files are too: on a disk whose pages are in memory."""

    def make(root: Path) -> None:
        chooser = random.Random(8)  # noqa: S311
        for number in range(SMALL_FILES):
            (root / f"{number:05}").write_bytes(chooser.randbytes(SMALL_BYTES))

    return _made(f"small-{SMALL_FILES}-{SMALL_BYTES}", make, cache())


def large() -> Path:
    """A few large files."""

    def make(root: Path) -> None:
        block = random.Random(9).randbytes(1 << 20)  # noqa: S311
        for number in range(LARGE_FILES):
            with (root / f"{number}").open("wb") as stream:
                for _ in range(LARGE_BYTES >> 20):
                    stream.write(block)

    return _made(f"large-{LARGE_FILES}-{LARGE_BYTES}", make, memory())


@functools.cache
def memory() -> Path:
    """A folder in memory where there is room, so that no disk is measured, gone when this ends; else the cache."""
    place = Path("/dev/shm")  # noqa: S108
    if not place.is_dir():
        return cache()
    remove_abandoned(place)
    if shutil.disk_usage(place).free < 2 * LARGE_FILES * LARGE_BYTES:
        return cache()
    folder = place / f"{_prefix()}{os.getpid()}"
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _prefix() -> str:
    return f"buildmatrix-bench-{os.getuid()}-"


def remove_abandoned(place: Path) -> None:
    """Remove what a run that was killed left behind."""
    for folder in place.glob(f"{_prefix()}*"):
        number = folder.name.removeprefix(_prefix())
        if not (number.isdecimal() and Path("/proc", number).exists()):
            shutil.rmtree(folder, ignore_errors=True)
