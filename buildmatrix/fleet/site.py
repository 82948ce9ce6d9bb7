"""One root with the artifacts of one target in it: verdicts on them and on what they start, as findings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from buildmatrix import errors
from buildmatrix.deployment import RootImage
from buildmatrix.facts import Kind
from buildmatrix.finding import Finding, Severity
from buildmatrix.fleet.installed import Installed
from buildmatrix.host import Host
from buildmatrix.matrix import Cell, Matrix
from buildmatrix.oci.marker import is_layout
from buildmatrix.preflight import rundata, tarfs, words
from buildmatrix.preflight.context import Libraries
from buildmatrix.preflight.explain import Judge
from buildmatrix.preflight.openexec import Command
from buildmatrix.preflight.rootfs import DirectoryRoot, Root, Unreadable
from buildmatrix.preflight.verdict import Verdict
from buildmatrix.preflight.walk import MAY_EXEC, Credentials, Failed, View, permitted, resolve
from buildmatrix.schema import ROOT

_DEFAULTS = {key.name: key.default for key in ROOT}
_UNDECLARED = RootImage(
    name="", path="", targets=("*",), path_env=_DEFAULTS["path-env"], uid=0, gid=0, where=_DEFAULTS["where"]
)
_ROLES = {"BM601": "", "BM603": "starts ", "BM858": "its entrypoint is "}
"""How a program came to be judged, by the rule that it may break."""

_NEVER_LIKELY = frozenset({"unreadable"})
"""Causes that fail although they are not certain: nobody has looked."""


class Site:
    """`root` says how things are run there; `files` is the root itself with the artifacts in it."""

    def __init__(
        self, root: RootImage, files: Root, libraries: Libraries, env: Mapping[str, str] | None = None, cwd: str = "/"
    ) -> None:
        self._root = root
        self._env = {**(env or {}), "PATH": root.path_env}
        self._cwd = cwd
        self._files = files
        self._libraries = libraries
        self._who = Credentials(uid=root.uid, gid=root.gid)
        self._judges: dict[Host, Judge] = {}
        self._verdicts: dict[tuple[Host, str], Verdict] = {}
        self.words = f"root {root.name}" if root.name else "an empty root"

    def artifact(self, cell: Cell, machines: tuple[Host, ...]) -> Iterator[Finding]:
        """The findings about a cell's artifact."""
        path = self._path(cell)
        yield from self._judged(cell, "BM601", path, path, machines)

    def verdict(self, cell: Cell, machine: Host) -> Verdict:
        """What happens to a cell's artifact on one machine."""
        return self._verdict(machine, self._path(cell), self._path(cell))

    def _path(self, cell: Cell) -> str:
        return f"{self._root.where.rstrip('/')}/{cell.file_name}"

    def program(
        self, cell: Cell, name: str, machines: tuple[Host, ...], rule: str = "BM603", fix: str = ""
    ) -> Iterator[Finding]:
        """The findings about a program that the cell's artifact, or whoever starts the root's container, starts."""
        try:
            found, tried = self._look_up(name)
        except Unreadable as error:
            yield _unreadable_root(cell.id, self._root.name, str(error))
            return
        if found is None:
            yield Finding(
                rule=rule,
                cell=cell.id,
                what=f"{_ROLES[rule]}{name}, which is not in {self.words}",
                evidence="; ".join(tried),
                why=_go_says(name) if rule == "BM603" else "",
                fix=fix or f"put {name} into the root, or remove it from binaries.{cell.binary.name}.exec",
            )
            return
        yield from self._judged(cell, rule, found, name, machines)

    def _look_up(self, name: str) -> tuple[str | None, list[str]]:
        """A program's path as Go's os/exec finds it, and what was tried (os/exec/lp_unix.go)."""
        view = View(root=self._files, who=self._who)
        folders = [""] if "/" in name else self._root.path_env.split(":")
        tried = []
        for folder in folders:
            path = f"{folder.rstrip('/')}/{name}" if folder else name
            found = resolve(view, path)
            if isinstance(found, Failed):
                tried.append(f"{path}: {found.at} {found.why}")
            elif found.inode.kind is not Kind.REGULAR or not permitted(found.inode, self._who, MAY_EXEC):
                tried.append(f"{path}: is no executable file ({found.inode.kind}, mode {found.inode.mode:04o})")
            else:
                return path, tried
        return None, tried

    def _judged(self, cell: Cell, rule: str, path: str, name: str, machines: tuple[Host, ...]) -> Iterator[Finding]:
        """One finding for each kind of verdict that is not plainly good, with the machines that it holds for."""
        groups: dict[tuple[object, ...], tuple[Verdict, list[str]]] = {}
        for machine in machines:
            verdict = self._verdict(machine, path, name)
            if not (verdict.runs and verdict.certain and not verdict.warnings):
                key = (verdict.stage, verdict.cause, verdict.errno, verdict.signal, verdict.certain, verdict.depends)
                groups.setdefault(key, (verdict, []))[1].append(machine.name)
        for verdict, names in groups.values():
            place = f"in {self.words} on {', '.join(names)}"
            subject = f"{_ROLES[rule]}{name}; " if _ROLES[rule] else ""
            yield from _findings(cell.id, rule, subject, verdict, place)

    def _verdict(self, machine: Host, path: str, name: str) -> Verdict:
        key = (machine, path)
        if key not in self._verdicts:
            command = Command(path=path, argv=(name,), env=self._env)
            self._verdicts[key] = self._judge(machine).judge(command)
        return self._verdicts[key]

    def _judge(self, machine: Host) -> Judge:
        if machine not in self._judges:
            view = View(root=self._files, who=self._who, cwd=self._cwd, protected_symlinks=machine.protected_symlinks)
            self._judges[machine] = Judge(view, machine, self._libraries)
        return self._judges[machine]


def _go_says(name: str) -> str:
    if "/" in name:
        return f"Go: fork/exec {name}: no such file or directory"
    return f'Go: exec: "{name}": executable file not found in $PATH'


def _findings(cell: str, rule: str, subject: str, verdict: Verdict, place: str) -> Iterator[Finding]:
    chain = "; ".join(map(words.where, verdict.evidence))
    seen = "; ".join(f"{label}: {text}" for label, text in words.shown(verdict))
    what = f"{subject}{words.sentence(verdict)}, {place}"
    fails = not verdict.runs and (verdict.certain or verdict.cause in _NEVER_LIKELY)
    if fails:
        yield Finding(rule=rule, cell=cell, what=what, evidence=chain, why=seen, fix=verdict.fix)
    elif not verdict.certain:
        yield _warning(cell, what, words.plain(f"depends on {'; '.join(verdict.depends)}"), seen, verdict.fix)
    if verdict.warnings and not fails:
        yield _warning(cell, words.plain(f"{subject}{'; '.join(verdict.warnings)}, {place}"), chain, seen, verdict.fix)


def _warning(cell: str, what: str, evidence: str, why: str, fix: str) -> Finding:
    return Finding(rule="BM602", cell=cell, what=what, evidence=evidence, why=why, fix=fix, severity=Severity.WARNING)


class Roots:
    """Opens roots, each once, with the libraries that were read in it."""

    def __init__(self, matrix: Matrix) -> None:
        self._matrix = matrix
        self._opened: dict[tuple[str, str], tuple[Root, Libraries]] = {}

    def site(self, root: RootImage | None, cell: Cell, files: dict[str, Path]) -> Site | Finding:
        """A root, or a sensible empty one for None, with `files` in it; a finding where it cannot be read."""
        if root is None:
            return Site(_UNDECLARED, Installed(_empty(), _UNDECLARED.where, files), Libraries())
        try:
            base, libraries = self._open(root, cell)
            return Site(root, Installed(base, root.where, files), libraries)
        except errors.BuildmatrixError as error:
            return _unreadable_root(cell.id, root.name, f"{error.what}: {error.why}" if error.why else error.what)
        except (Unreadable, OSError) as error:
            return _unreadable_root(cell.id, root.name, str(error))

    def _open(self, root: RootImage, cell: Cell) -> tuple[Root, Libraries]:
        path = self._matrix.root / root.path
        platform = f"linux/{cell.target.architecture.oci}" if is_layout(path) else ""
        key = (root.name, platform)
        if key not in self._opened:
            self._opened[key] = (self._read(path, platform), Libraries())
        return self._opened[key]

    def _read(self, path: Path, platform: str) -> Root:
        if not path.resolve().is_relative_to(self._matrix.root.resolve()):
            raise errors.UsageError(f"{path} leads out of the project")
        if platform:
            return tarfs.image_root(path, platform)
        if path.exists() and not (path.is_dir() or path.is_file()):
            raise errors.UsageError(f"{path}: got a special file, expected a directory, a tar archive or an OCI layout")
        return DirectoryRoot(path) if path.is_dir() else tarfs.tar_root(path)


def _empty() -> Root:
    """Nothing but the data files that Go programs look for: whether the real root has them, nobody has said."""
    builder = tarfs.TreeBuilder("scratch")
    for _function, _instead, alternatives, _words in rundata.GO_DATA:
        builder.put(alternatives[0], b"", mode=0o644)
    return builder.root()


def _unreadable_root(cell: str, name: str, why: str) -> Finding:
    return Finding(
        rule="BM604",
        cell=cell,
        what=f"root {name} cannot be read",
        why=why,
        fix=f"correct roots.{name}.path, or make that root before this step",
    )
