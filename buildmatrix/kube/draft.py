"""A copy of a source to try changes on: nothing of the user's is touched before the check passes on the copy."""

from __future__ import annotations

import difflib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from buildmatrix.errors import DistUnwritable, FixRefused
from buildmatrix.finding import Finding, Severity
from buildmatrix.kube import check, yamlread
from buildmatrix.kube.check import Checked, Job
from buildmatrix.kube.render import KUSTOMIZATIONS, Source
from buildmatrix.kube.yamledit import Editor

PLACEMENT = frozenset(("BM923", "BM924", "BM925", "BM928"))
DIGEST = frozenset(("BM926", "BM927"))
MENDABLE = PLACEMENT | DIGEST | {"BM929"}
"""Findings that a change to the source can end."""

_MOST_BYTES = 64 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One file before and after; `name` is what people call it."""

    path: Path
    name: str
    before: str
    after: str

    def diff(self) -> str:
        """The unified difference."""
        before, after = (text.splitlines(keepends=True) for text in (self.before, self.after))
        lines = difflib.unified_diff(before, after, f"a/{self.name}", f"b/{self.name}")
        return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)


@dataclass(slots=True)
class Draft:
    """The copy: `source` is what is rendered, `home` the folder that was copied to `folder`."""

    job: Job
    source: Source
    home: Path
    folder: Path
    before: dict[Path, str] = field(default_factory=dict)
    _checked: Checked | None = None

    def check(self) -> Checked:
        """The check's result on the copy as it stands; one that nothing was written after is not made again."""
        if self._checked is None:
            self._checked = check.check(self.job, (self.source,))[0]
        return self._checked

    def read(self, place: Path) -> str:
        """A file's text; nothing where there is none yet. Raises FixRefused."""
        path = self.folder / place
        try:
            with path.open(encoding="utf-8", newline="") as stream:
                return stream.read(yamlread.MAX_BYTES)
        except FileNotFoundError:
            return ""
        except (OSError, UnicodeDecodeError) as error:
            raise FixRefused(f"{self.home / place}: cannot be read", why=str(error), fix="correct it") from error

    def write(self, place: Path, text: str) -> None:
        """Put a file's new text into the copy."""
        self._checked = None
        self.before.setdefault(place, self.read(place))
        with (self.folder / place).open("w", encoding="utf-8", newline="") as stream:
            stream.write(text)

    def edit(self, place: Path, change: Callable[[Editor], None]) -> None:
        """Change a YAML file."""
        editor = Editor(self.read(place), str(place))
        change(editor)
        self.write(place, editor.text)

    def better(self, change: Callable[[], None], rules: frozenset[str]) -> bool:
        """Try a change: it stays where findings of `rules` grow fewer and no other error comes up."""
        was = self.check()
        saved = {place: self.read(place) for place in self.before}
        try:
            change()
            now = self.check()
            good = count(now, rules) < count(was, rules) and errors(now) < errors(was)
        except FixRefused:
            good = False
        if not good:
            for place in list(self.before):
                self.write(place, saved.get(place, self.before[place]))
            self._checked = was
        return good

    def changes(self) -> Iterator[Change]:
        """The files that differ from the user's."""
        for place, before in sorted(self.before.items()):
            after = self.read(place)
            if after != before:
                name = str(Path(self.source.name).parent / place) if self.source.kind == "manifests" else str(
                    Path(self.source.name) / place)  # fmt: skip
                yield Change(path=self.home / place, name=os.path.normpath(name), before=before, after=after)


def count(checked: Checked, rules: frozenset[str]) -> int:
    """How many findings are of these rules."""
    return sum(item.rule in rules for item in checked.findings)


def errors(checked: Checked) -> int:
    """How many findings are errors; a source that cannot be rendered is worse than any that can."""
    broken = 0 if checked.items else 1_000_000
    return broken + sum(item.severity is Severity.ERROR for item in checked.findings)


@contextmanager
def drafted(job: Job, source: Source) -> Iterator[Draft]:
    """A copy of a source that goes away in the end. Raises FixRefused for what cannot be copied."""
    if source.path.suffix == ".tgz":
        raise FixRefused(
            f"{source.name}: got a packed chart, expected its folder", fix="name the folder it is packed from"
        )
    home = source.path if source.kind == "chart" else source.path.parent
    top = _reach(source.path) if source.kind == "kustomization" else home
    with tempfile.TemporaryDirectory(prefix="buildmatrix-fix-") as scratch:
        folder = Path(scratch) / (top.name or "root")
        _copy(source, top, folder)
        path = folder / source.path.relative_to(top)
        place = path if source.kind != "manifests" else path.parent
        own = source.path if source.kind != "manifests" else home
        yield Draft(job=job, source=replace(source, path=path), home=own, folder=place)


def _copy(source: Source, top: Path, folder: Path) -> None:
    if source.kind == "manifests":
        folder.mkdir()
        shutil.copyfile(source.path, folder / source.path.name)
        return
    size = sum(path.lstat().st_size for path in top.rglob("*") if path.is_file() and ".git" not in path.parts)
    if size > _MOST_BYTES:
        raise FixRefused(
            f"{top}: got {size} bytes, expected at most {_MOST_BYTES}", fix="keep charts in a folder of their own"
        )
    shutil.copytree(top, folder, symlinks=True, ignore=shutil.ignore_patterns(".git"))


def kustomization_file(folder: Path) -> Path | None:
    """The kustomization's file in a folder, if there is one."""
    return next((folder / name for name in KUSTOMIZATIONS if (folder / name).is_file()), None)


def _reach(folder: Path) -> Path:
    """The folder that holds a kustomization and every local one that it builds on."""
    found, waiting = {folder}, [folder]
    while waiting:
        inside = waiting.pop()
        for place in _bases(inside):
            if place.is_dir() and place not in found:
                found.add(place)
                waiting.append(place)
    return Path(os.path.commonpath(found))


def _bases(folder: Path) -> Iterator[Path]:
    file = kustomization_file(folder)
    value = check.values_of(file) if file is not None else {}
    for key in ("resources", "bases", "components"):
        entries = value.get(key)
        for entry in entries if isinstance(entries, list) else ():
            yield Path(os.path.normpath(folder / str(entry)))


def write(changes: tuple[Change, ...]) -> None:
    """Put all changes in their places: each file is whole at any time, old or new. Raises DistUnwritable."""
    staged: list[tuple[Path, Path]] = []
    try:
        for item in changes:
            handle, name = tempfile.mkstemp(prefix=f".{item.path.name}-", dir=item.path.parent)
            staged.append((Path(name), item.path))
            with os.fdopen(handle, "w", encoding="utf-8", newline="") as stream:
                stream.write(item.after)
                stream.flush()
                os.fsync(stream.fileno())
            mode = item.path.stat().st_mode & 0o7777 if item.path.exists() else 0o644
            Path(name).chmod(mode)
        while staged:
            scratch, path = staged[0]
            scratch.replace(path.resolve())
            staged.pop(0)
    except OSError as error:
        raise DistUnwritable(
            f"{error.filename or 'a file'}: cannot be written", why=error.strerror or str(error), fix="make it writable"
        ) from error
    finally:
        for scratch, _ in staged:
            scratch.unlink(missing_ok=True)


def refused(source: Source, left: tuple[Finding, ...]) -> FixRefused:
    """The error for what no change could end."""
    return FixRefused(
        f"{source.name}: cannot be mended here, and was left as it is",
        why="; ".join(f"{item.rule} {item.cell}: {item.what}" for item in left[:5]),
        fix="correct that by hand, then run it again",
    )
