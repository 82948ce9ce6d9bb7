"""Holds the preflight's verdicts on every ELF file of a root against the root's own loader."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from buildmatrix.facts import Kind
from buildmatrix.host import Host, parse
from buildmatrix.preflight.elfimage import MAGIC
from buildmatrix.preflight.explain import Judge
from buildmatrix.preflight.openexec import Command
from buildmatrix.preflight.rootfs import DirectoryRoot, Inode, Unreadable
from buildmatrix.preflight.running import running
from buildmatrix.preflight.sweep import is_command, walk
from buildmatrix.preflight.verdict import Verdict
from buildmatrix.preflight.walk import View
from tests.debianroots.loader import Said
from tests.debianroots.make import Root

Part = Literal["false alarm", "missed", "closure differs", "other reason"]
SYMBOL = re.compile(r"undefined symbol: ([^,]+)")


@dataclass(frozen=True, kw_only=True)
class File:
    """One ELF file of the root: path, and whether it is a program that may be executed."""

    path: str
    program: bool
    static: bool


@dataclass(frozen=True, kw_only=True)
class Disagreement:
    """Where the model and the loader part."""

    part: Part
    path: str
    model: str
    loader: str

    def __str__(self) -> str:
        return f"{self.part}: {self.path}\n    the model:  {self.model}\n    the loader: {self.loader}"


@dataclass(kw_only=True)
class Tally:
    """Counts over one root."""

    files: int = 0
    programs: int = 0
    static: int = 0
    load: int = 0
    refused: int = 0
    conditional: int = 0
    compared: int = 0
    libraries: int = 0
    disagreements: list[Disagreement] = field(default_factory=list)

    def of(self, part: Part) -> int:
        """How many disagreements of one kind."""
        return sum(item.part == part for item in self.disagreements)


class Model:
    """The preflight on one root, as its programs are executed and as its loader is run by hand."""

    def __init__(self, root: Root) -> None:
        host: Host = running() if root.native else parse(root.goarch)
        self.loader = root.row.glibc_loader
        self.judge = Judge(View(root=DirectoryRoot(root.path)), host)

    def files(self) -> Iterator[File]:
        """Every regular ELF file, hard links once."""
        known: set[tuple[int, int]] = set()
        root = self.judge.view.root
        for path, inode in walk(root, root.top):
            if isinstance(inode, Unreadable):
                raise inode
            if inode.kind is Kind.REGULAR and inode.key not in known and path != "/qemu-user":
                known.add(inode.key)
                if root.data(inode).read(0, 4) == MAGIC:
                    yield self._file(path, inode)

    def _file(self, path: str, inode: Inode) -> File:
        command = is_command(self.judge.view.root.data(inode)) and bool(inode.mode & 0o111)
        static = command and self._static(path)
        return File(path=path, program=command, static=static)

    def _static(self, path: str) -> bool:
        verdict = self.executed(path)
        return verdict.runs and not any(item.text.startswith("PT_INTERP") for item in verdict.evidence)

    def by_loader(self, path: str) -> Verdict:
        """The verdict on `ld.so FILE`."""
        return self.judge.judge(Command(path=self.loader, argv=(self.loader, path)))

    def executed(self, path: str) -> Verdict:
        """The verdict on FILE itself."""
        return self.judge.judge(Command(path=path, argv=(path,)))


def closure(verdict: Verdict) -> frozenset[tuple[str, str]]:
    """SONAME and path of every library of a verdict."""
    return frozenset((item.name, item.path) for item in verdict.needed if item.path is not None)


def compare(model: Model, file: File, said: Said, tally: Tally) -> None:
    """Count one file, and note where model and loader part."""
    tally.files += 1
    tally.programs += file.program
    tally.static += file.static
    views = [model.by_loader(file.path)]
    if file.program and not file.static:
        views.append(model.executed(file.path))
    tally.load += said.loads
    tally.refused += not said.loads
    tally.conditional += not views[-1].certain
    if file.static:
        _static(model, file, tally)
        return
    tally.compared += 1
    tally.libraries += len(said.closure)
    for verdict in views:
        tally.disagreements.extend(_parts(file, verdict, said))


def _static(model: Model, file: File, tally: Tally) -> None:
    """A program without a loader is held against its execution alone."""
    verdict = model.executed(file.path)
    if not verdict.runs:
        tally.disagreements.append(
            Disagreement(part="false alarm", path=file.path, model=str(verdict.message or verdict.cause), loader="-")
        )


def _parts(file: File, verdict: Verdict, said: Said) -> Iterator[Disagreement]:
    told = verdict.message or f"{verdict.stage}: {verdict.cause}" + "".join(f"; {item}" for item in verdict.depends)
    if verdict.runs != said.loads:
        part: Part = "false alarm" if said.loads else "missed"
        yield Disagreement(part=part, path=file.path, model=told, loader=said.words)
    mine = closure(verdict)
    if mine - said.closure or (verdict.runs and said.closure - mine):
        only = "; ".join(f"only the model: {name} => {path}" for name, path in sorted(mine - said.closure))
        other = "; ".join(f"only the loader: {name} => {path}" for name, path in sorted(said.closure - mine))
        yield Disagreement(part="closure differs", path=file.path, model=only or "-", loader=other or "-")
    if not verdict.runs and not said.loads and not _same_reason(verdict, said):
        yield Disagreement(part="other reason", path=file.path, model=told, loader=said.words)


def _same_reason(verdict: Verdict, said: Said) -> bool:
    lost = [item.name for item in verdict.needed if item.path is None]
    if lost:
        return said.missing[:1] == (lost[0],)
    symbol = SYMBOL.search(verdict.message or "")
    if symbol:
        return said.undefined[:1] == (symbol[1],)
    return not said.fatal or said.fatal.split(": ", 1)[-1].startswith((verdict.message or "?").split(": ", 1)[-1])
