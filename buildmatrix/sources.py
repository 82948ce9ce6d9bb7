"""Which files a Go module is built from, and one digest over them.

Every file below the module counts, and below the local folders that `replace` lines of go.mod point
at: it is simpler to be right with too many files than with too few, and hashing them costs less
than asking the compiler. Left out are version control, dist/, and nested modules (folders with a
go.mod of their own), which go build does not see either.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from buildmatrix import errors
from buildmatrix.matrix import Matrix

_LEFT_OUT = frozenset({".git", ".hg", ".svn", ".nox", ".venv", "__pycache__", "node_modules"})
_LOCAL_REPLACE = re.compile(r"=>\s*(\.{1,2}/[^\s/][^\s]*|\.{1,2}/?|/[^\s]+)\s*(?://.*)?$", re.MULTILINE)
_SUM_LINE = re.compile(r"^(\S+) (\S+) (h1:\S+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Files and folders of a build, absolute and sorted; `roots` are the modules they lie in."""

    roots: tuple[Path, ...]
    files: tuple[Path, ...]
    folders: tuple[Path, ...]


def find(matrix: Matrix, dist: Path) -> Sources:
    """The sources of a matrix; raises SourceMissing where the module or a replaced one is not there."""
    roots = _roots(matrix.module_dir)
    files: list[Path] = []
    folders: list[Path] = []
    for root in roots:
        for folder, names in _walk(root, dist):
            folders.append(folder)
            files += [folder / name for name in names]
    return Sources(roots=roots, files=tuple(sorted(set(files))), folders=tuple(sorted(set(folders))))


def _roots(module: Path) -> tuple[Path, ...]:
    found: list[Path] = []
    queue = [module]
    while queue:
        root = Path(os.path.normpath(queue.pop(0)))
        if root in found:
            continue
        try:
            text = (root / "go.mod").read_text(encoding="utf-8")
        except OSError as error:
            raise errors.SourceMissing(
                f"{root / 'go.mod'}: cannot be read",
                why=error.strerror or str(error),
                fix="set go.module in matrix.toml to the folder of go.mod, and correct its replace lines",
            ) from error
        found.append(root)
        queue += [root / path for path in _LOCAL_REPLACE.findall(text)]
    return tuple(found)


def _walk(root: Path, dist: Path) -> Iterator[tuple[Path, list[str]]]:
    for folder, names, files in os.walk(root):
        here = Path(folder)
        names[:] = sorted(
            name
            for name in names
            if name not in _LEFT_OUT and here / name != dist and not (here / name / "go.mod").exists()
        )
        links = [name for name in names if (here / name).is_symlink()]
        yield here, sorted([*files, *links])


def digest(sources: Sources) -> str:
    """SHA-256 over every source file's SHA-256 and path, and over every link's target.

    Paths are relative to their module, so that the digest does not depend on where a checkout lies.
    Raises SourceMissing for a file that cannot be read in full.
    """
    from buildmatrix import elf

    regular = [path for path in sources.files if not path.is_symlink()]
    digests: dict[str, str] = {}
    for scan in elf.scan(regular, hashes=("sha256",), facts=False):
        if scan.digests.sha256 is None:
            raise errors.SourceMissing(f"{scan.path}: cannot be read ({scan.status})", fix="make it readable")
        digests[scan.path] = scan.digests.sha256
    total = hashlib.sha256()
    for index, root in enumerate(sources.roots):
        for path in sources.files:
            if path.is_relative_to(root):
                content = f"link {path.readlink()}" if path.is_symlink() else digests[str(path)]
                name = os.fsencode(path.relative_to(root))
                total.update(b"%d %s %s\0" % (index, os.fsencode(content), name))
    return total.hexdigest()


def module_sums(matrix: Matrix) -> frozenset[tuple[str, str, str]] | None:
    """The (path, version, h1) triples of go.sum, or None where there is none (vendored builds)."""
    try:
        text = (matrix.module_dir / "go.sum").read_text(encoding="utf-8")
    except OSError:
        return None
    return frozenset((path, version, total) for path, version, total in _SUM_LINE.findall(text))
