"""Which files a Go module is built from, and one digest over them.

A file counts when go build can see it: Go, C, assembly and the like by extension, go.mod and go.sum,
vendor/modules.txt, a PGO profile. A package that embeds files, or has C code, may read any file below
its folder: there, every file counts. The rule errs on the side of too many files, so that nothing
which decides an artifact is missed, and costs less than asking the compiler. The same goes for the
local folders that `replace` lines of go.mod point at. Tests, version control, dist/ and nested modules
are left out, as go build leaves them out.
"""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

from buildmatrix import errors
from buildmatrix.matrix import Matrix

EXTENSIONS = (
    ".go", ".c", ".cc", ".cpp", ".cxx", ".m", ".h", ".hh", ".hpp", ".hxx", ".f", ".F", ".for", ".f90", ".s", ".S",
    ".sx", ".swig", ".swigcxx", ".syso",
)  # fmt: skip
"""What go build takes up by its extension (go help packages, go/build)."""

NAMES = ("go.mod", "go.sum", "modules.txt", "default.pgo")
TEST_SUFFIX = "_test.go"
_LEFT_OUT = frozenset({".git", ".hg", ".svn", ".nox", ".venv", "__pycache__", "node_modules"})
_READS_ANYTHING = re.compile(rb'^//go:embed\s|^\s*(?:import\s+)?(?:_\s+)?"C"\s*$', re.MULTILINE)
_LOCAL_REPLACE = re.compile(r"=>\s*(\.{1,2}/[^\s/][^\s]*|\.{1,2}/?|/[^\s]+)\s*(?://.*)?$", re.MULTILINE)
_SUM_LINE = re.compile(r"^(\S+) (\S+) (h1:\S+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Files and folders of a build, absolute and sorted.

    `roots` are the modules they lie in, `folders` those whose files are chosen by name, `whole` those
    whose every file counts, and `subfolders` every folder, or link to
    one, right below one of them.
    """

    roots: tuple[Path, ...]
    files: tuple[Path, ...]
    folders: tuple[Path, ...]
    whole: tuple[Path, ...]
    subfolders: tuple[Path, ...]


def is_source(name: str) -> bool:
    """Whether go build can take up a file by its name alone."""
    return name in NAMES or (name.endswith(EXTENSIONS) and not name.endswith(TEST_SUFFIX))


def find(matrix: Matrix, dist: Path) -> Sources:
    """The sources of a matrix; raises SourceMissing where the module or a replaced one is not there."""
    walker = _Walker(dist)
    roots = _roots(matrix.module_dir)
    for root in roots:
        walker.walk(root, whole=False)
    return Sources(
        roots=roots,
        files=tuple(sorted(walker.files)),
        folders=tuple(sorted(walker.folders - walker.whole)),
        whole=tuple(sorted(walker.whole)),
        subfolders=tuple(sorted(walker.subfolders)),
    )


class _Walker:
    """Collects what go build can see, folder by folder."""

    def __init__(self, dist: Path) -> None:
        self.dist = dist
        self.files: set[Path] = set()
        self.folders: set[Path] = set()
        self.whole: set[Path] = set()
        self.subfolders: set[Path] = set()

    def walk(self, folder: Path, *, whole: bool) -> None:
        """Add a folder and what is below it; `whole` where a folder above may read any file in it."""
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            raise errors.SourceMissing(
                f"{folder}: cannot be listed", why=error.strerror or str(error), fix="make the folder readable"
            ) from error
        files = [entry for entry in entries if not entry.is_dir(follow_symlinks=False)]
        whole = whole or any(_reads_anything(Path(entry.path)) for entry in files if entry.name.endswith(".go"))
        self.folders.add(folder)
        if whole:
            self.whole.add(folder)
        self.files.update(Path(entry.path) for entry in files if whole or is_source(entry.name))
        self.subfolders.update(
            Path(entry.path) for entry in entries if entry.is_dir() and Path(entry.path) != self.dist
        )
        for entry in entries:
            if entry.is_dir(follow_symlinks=False) and self._enter(Path(entry.path), whole):
                self.walk(Path(entry.path), whole=whole)

    def _enter(self, path: Path, whole: bool) -> bool:
        if path == self.dist or path.name in _LEFT_OUT:
            return False
        hidden = path.name.startswith((".", "_")) or path.name == "testdata"
        return (whole or not hidden) and not (path / "go.mod").exists()


def _reads_anything(path: Path) -> bool:
    try:
        return _READS_ANYTHING.search(path.read_bytes()) is not None
    except OSError:
        return True  # hashing it will say why it cannot be read


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
