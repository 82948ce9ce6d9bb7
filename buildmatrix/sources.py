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
_READS_ANYTHING = re.compile(rb'^\s*//go:embed\s|["`]C["`]', re.MULTILINE)
_GO_MOD_WORD = re.compile(r'"(?:[^"\\\n]|\\.)*"|`[^`\n]*`|//.*|(?:(?!//)[^\s()\[\]{},])+')
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
    """The module and the local ones that it replaces others with; replaced modules' own lines do not count."""
    found = [Path(os.path.normpath(module))]
    for path in local_replacements(_go_mod(found[0])):
        root = Path(os.path.normpath(found[0] / path))
        if root not in found:
            _go_mod(root)
            found.append(root)
    return tuple(found)


def _go_mod(root: Path) -> str:
    try:
        return (root / "go.mod").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise errors.SourceMissing(
            f"{root / 'go.mod'}: cannot be read",
            why=getattr(error, "strerror", None) or str(error),
            fix="set go.module in matrix.toml to the folder of go.mod, and correct its replace lines",
        ) from error


def local_replacements(text: str) -> tuple[str, ...]:
    """The folders that replace lines of a go.mod point at (https://go.dev/ref/mod#go-mod-file-replace)."""
    found = []
    for line in text.splitlines():
        words = [word for word in _GO_MOD_WORD.findall(line) if not word.startswith("//")]
        if "=>" in words[:-1]:
            path = words[words.index("=>") + 1]
            path = path[1:-1] if path[0] in '"`' else path
            if path in (".", "..") or path.startswith(("./", "../", "/")):
                found.append(path)
    return tuple(found)


def digest(sources: Sources) -> str:
    """SHA-256 over every source file's SHA-256 and path, and over every link's target.

    A link to a file counts with that file's content as well, since compilers read through it. Paths
    are relative to their module, so that the digest does not depend on where a checkout lies. Raises
    SourceMissing for a file that cannot be read in full.
    """
    from buildmatrix import elf

    regular = [path for path in sources.files if not path.is_symlink() or path.is_file()]
    digests: dict[str, str] = {}
    for scan in elf.scan(regular, hashes=("sha256",), facts=False):
        if scan.digests.sha256 is None:
            raise errors.SourceMissing(f"{scan.path}: cannot be read ({scan.status})", fix="make it readable")
        digests[scan.path] = scan.digests.sha256
    total = hashlib.sha256()
    for index, root in enumerate(sources.roots):
        for path in sources.files:
            if path.is_relative_to(root):
                link = f"link {path.readlink()}" if path.is_symlink() else "file"
                parts = (str(index), link, digests.get(str(path), ""), str(path.relative_to(root)))
                total.update(b"".join(os.fsencode(part) + b"\0" for part in parts))
    return total.hexdigest()


def module_sums(matrix: Matrix) -> frozenset[tuple[str, str, str]] | None:
    """The (path, version, h1) triples of go.sum, or None where there is none (vendored builds)."""
    try:
        text = (matrix.module_dir / "go.sum").read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise errors.SourceMissing(
            f"{matrix.module_dir / 'go.sum'}: cannot be read",
            why=getattr(error, "strerror", None) or str(error),
            fix="restore it from version control, or write it again with go mod tidy",
        ) from error
    return frozenset((path, version, total) for path, version, total in _SUM_LINE.findall(text))
