"""One digest over a build context: every file that BuildKit may be sent.

What .dockerignore leaves out is left out here (moby/patternmatcher), and so is dist/, which the Dockerfile
gets as a context of its own.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from buildmatrix import elf, errors


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rule:
    pattern: re.Pattern[str]
    leaves_out: bool


def rules(text: str) -> tuple[_Rule, ...]:
    """The rules of a .dockerignore, in order: the last one that matches decides."""
    found = []
    for row in text.splitlines():
        word = row.strip()
        if not word or row.startswith("#"):
            continue
        leaves_out = not word.startswith("!")
        plain = os.path.normpath(word.removeprefix("!").strip()).lstrip("/")
        if plain != ".":
            found.append(_Rule(pattern=_pattern(plain), leaves_out=leaves_out))
    return tuple(found)


def _pattern(glob: str) -> re.Pattern[str]:
    """A pattern of patternmatcher: `**` is any number of folders, `*` stops at a slash."""
    out, at = [], 0
    while at < len(glob):
        if glob.startswith("**", at):
            at += 2
            if glob.startswith("/", at):
                at += 1
                out.append("(?:.*/)?")
            else:
                out.append(".*")
            continue
        char = glob[at]
        end = glob.find("]", at + 2) if char == "[" else -1
        if end > 0:
            out.append(f"[{glob[at + 1 : end]}]")
            at = end + 1
            continue
        if char == "\\" and at + 1 < len(glob):
            at += 1
            char = re.escape(glob[at])
        out.append({"*": "[^/]*", "?": "[^/]"}.get(glob[at], re.escape(glob[at])) if len(char) == 1 else char)
        at += 1
    return re.compile("".join(out), re.DOTALL)


def left_out(path: PurePosixPath, ignore: tuple[_Rule, ...]) -> bool:
    """Whether a path, or a folder above it, is left out."""
    names = [str(path), *(str(parent) for parent in path.parents if parent.name)]
    found = False
    for rule in ignore:
        if rule.leaves_out != found and any(rule.pattern.fullmatch(name) for name in names):
            found = rule.leaves_out
    return found


def digest(root: Path, dockerfile: Path, dist: Path) -> str:
    """SHA-256 in hexadecimal over the files of a context: their paths, modes, links' targets and content.

    Raises ImageInputInvalid for what cannot be read.
    """
    rows = dict(sorted(_files(root, _ignore(root, dockerfile), dist)))
    regular = [path for path in rows.values() if path.is_file() and not path.is_symlink()]
    sums: dict[str, str] = {}
    for scan in elf.scan(regular, hashes=("sha256",), facts=False):
        if scan.digests.sha256 is None:
            raise errors.ImageInputInvalid(f"{scan.path}: cannot be read ({scan.status})", fix="make it readable")
        sums[scan.path] = scan.digests.sha256
    total = hashlib.sha256()
    for name, path in rows.items():
        kind = f"link {path.readlink()}" if path.is_symlink() else f"{path.lstat().st_mode & 0o777:o}"
        for part in (name, kind, sums.get(str(path), "")):
            total.update(os.fsencode(part) + b"\0")
    return total.hexdigest()


def _ignore(root: Path, dockerfile: Path) -> tuple[_Rule, ...]:
    """The Dockerfile's own ignore file comes before the context's."""
    for path in (dockerfile.with_name(f"{dockerfile.name}.dockerignore"), root / ".dockerignore"):
        if path.is_file():
            return rules(path.read_text(encoding="utf-8", errors="surrogateescape"))
    return ()


def _files(root: Path, ignore: tuple[_Rule, ...], dist: Path) -> Iterator[tuple[str, Path]]:
    def refuse(error: OSError) -> None:
        raise errors.ImageInputInvalid(
            f"{error.filename}: cannot be listed", why=error.strerror or str(error), fix="make the folder readable"
        ) from error

    exceptions = any(not rule.leaves_out for rule in ignore)
    for folder, names, files in os.walk(root, onerror=refuse):
        here = Path(folder)
        below = PurePosixPath(here.relative_to(root).as_posix())
        links = [name for name in names if (here / name).is_symlink()]
        names[:] = [
            name
            for name in names
            if name not in links
            and here / name != dist
            and (exceptions or not left_out(below / name, ignore))  # a later rule may take something in again
        ]
        for name in (*files, *links):
            if not left_out(below / name, ignore):
                yield str(below / name), here / name
