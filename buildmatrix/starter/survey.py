"""Looks at a repository: Go modules, main packages, cgo, and what builds and ships it today.

Go itself is asked which packages are programs and what they are made of (`go list`), since build constraints,
vendoring and workspaces decide that. Its answers cost no build.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from buildmatrix import errors
from buildmatrix.process import Completed, Runner

_SKIPPED = frozenset({".git", ".hg", ".svn", ".nox", ".venv", "node_modules", "vendor", "testdata", "dist"})
_SECONDS = 600
_MOST_FOLDERS = 20_000
_MODULE = re.compile(r'^\s*module\s+"?([^\s"]+)"?', re.MULTILINE)
_VALUE = r"([vV]ersion)(?:[ \t]+string[ \t]*$|(?:[ \t]+string)?[ \t]*=[ \t]*[\"`])"
_LONE = re.compile(rf"^var[ \t]+{_VALUE}", re.MULTILINE)
_BLOCK = re.compile(r"^var \($(.*?)^\)", re.MULTILINE | re.DOTALL)
_IN_BLOCK = re.compile(rf"^\t{_VALUE}", re.MULTILINE)
_DOCKERFILE = re.compile(r"(?:Dockerfile|Containerfile)(?:\..+)?|.+\.(?:Dockerfile|dockerfile)")
_PASSED_THROUGH = frozenset(
    {"GOPROXY", "GOSUMDB", "GOMODCACHE", "GOPATH", "GOCACHE", "GOPRIVATE", "GONOSUMDB", "GONOPROXY", "GOINSECURE"}
)
"""Variables that say where modules come from; those that would change an answer are left out."""
_MAKEFILES = ("GNUmakefile", "makefile", "Makefile")
_GOALS = re.compile(r"^([A-Za-z0-9][A-Za-z0-9_./-]*)\s*::?(?!=)", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """One main package: `package` is relative to its module; `cgo` are the packages with C code that it needs.

    `variable` is the string variable that its version goes into, empty where there is none to see.
    """

    package: str
    import_path: str
    cgo: tuple[str, ...] = ()
    variable: str = ""
    incomplete: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    """One go.mod: `folder` relative to the repository, ``.`` for its root."""

    folder: str
    path: str
    vendored: bool
    programs: tuple[Program, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """What there is to see in a repository; paths are relative to it."""

    root: Path
    modules: tuple[Module, ...]
    workspace: bool
    dockerfiles: tuple[str, ...]
    charts: tuple[str, ...]
    makefile: str
    goals: frozenset[str]
    versioned: bool


def folders(root: Path) -> Iterator[tuple[Path, list[str]]]:
    """Every folder that may be the project's own, with its files' names, sorted. Raises UsageError for too many."""
    for count, (folder, names, files) in enumerate(os.walk(root)):
        names[:] = sorted(name for name in names if name not in _SKIPPED and not name.startswith((".", "_")))
        if count >= _MOST_FOLDERS:
            raise errors.UsageError(
                f"{root}: got more than {_MOST_FOLDERS} folders, expected a repository",
                fix="start in the project's own folder",
            )
        yield Path(folder), sorted(files)


def look(root: Path, go: Path, runner: Runner, environment: Mapping[str, str]) -> Survey:
    """Survey a repository. Raises SourceMissing where it has no Go module."""
    modules, docker, charts = [], [], []
    for folder, files in folders(root):
        relative = folder.relative_to(root)
        if "go.mod" in files:
            modules.append(folder)
        docker += [str(relative / name) for name in files if _DOCKERFILE.fullmatch(name)]
        if "Chart.yaml" in files:
            charts.append(str(relative))
    if not modules:
        raise errors.SourceMissing(
            f"{root}: got no go.mod, expected a Go module",
            why="buildmatrix builds Go programs",
            fix="start in the repository's folder, or make a module: go mod init",
        )
    makefile = next((name for name in _MAKEFILES if (root / name).is_file()), "")
    text = (root / makefile).read_text(encoding="utf-8", errors="replace") if makefile else ""
    ask = _Go(go, runner, environment)
    return Survey(
        root=root,
        modules=tuple(_module(root, folder, ask) for folder in modules),
        workspace=(root / "go.work").is_file(),
        dockerfiles=tuple(docker),
        charts=tuple(charts),
        makefile=makefile,
        goals=frozenset(_GOALS.findall(text)),
        versioned=_described(root, runner, environment),
    )


def first_module(root: Path) -> Path:
    """The folder of the first go.mod. Raises SourceMissing."""
    found = next((folder for folder, files in folders(root) if "go.mod" in files), None)
    return found if found is not None else root


def _described(root: Path, runner: Runner, environment: Mapping[str, str]) -> bool:
    argv = ("git", "describe", "--tags", "--always")
    try:
        return runner.run(argv, env=environment, cwd=root, timeout=60).ok
    except errors.ToolMissing:
        return False


class _Go:
    """Asks `go list`."""

    def __init__(self, program: Path, runner: Runner, environment: Mapping[str, str]) -> None:
        self._program, self._runner = program, runner
        kept = {
            name: value
            for name, value in environment.items()
            if not name.startswith(("GO", "CGO_")) or name in _PASSED_THROUGH
        }
        self._environment = {**kept, "GOOS": "linux", "GOARCH": "amd64", "CGO_ENABLED": "1"}

    def list(self, folder: Path, *arguments: str) -> Completed:
        """The answer of one call, on linux/amd64 with cgo."""
        argv = (str(self._program), "list", "-e", *arguments)
        return self._runner.run(argv, env=self._environment, cwd=folder, timeout=_SECONDS)


def _module(root: Path, folder: Path, ask: _Go) -> Module:
    text = (folder / "go.mod").read_text(encoding="utf-8", errors="replace")
    named = _MODULE.search(text)
    done = ask.list(folder, "-find", "-json=Dir,ImportPath,Name,GoFiles,CgoFiles", "./...")
    if not done.ok:
        raise errors.SourceMissing(
            f"{folder}: go list does not understand the module",
            why=done.stderr.strip(),
            fix="make `go list ./...` work",
        )
    mains = [item for item in _objects(done.stdout) if item.get("Name") == "main" and _files(item)]
    return Module(
        folder=str(folder.relative_to(root)),
        path=named[1] if named else "",
        vendored=(folder / "vendor" / "modules.txt").is_file(),
        programs=tuple(_program(folder, item, ask) for item in mains),
    )


def _files(item: dict[str, object]) -> list[str]:
    names: list[str] = []
    for key in ("GoFiles", "CgoFiles"):
        value = item.get(key)
        names += [str(name) for name in value] if isinstance(value, list) else []
    return names


def _objects(text: str) -> Iterator[dict[str, object]]:
    """JSON objects that follow each other without a separator, as `go list -json` prints them."""
    decoder, at = json.JSONDecoder(), 0
    while (at := _after_space(text, at)) < len(text):
        value, at = decoder.raw_decode(text, at)
        yield value


def _after_space(text: str, at: int) -> int:
    while at < len(text) and text[at].isspace():
        at += 1
    return at


def _program(folder: Path, item: dict[str, object], ask: _Go) -> Program:
    place = Path(str(item["Dir"]))
    relative = place.resolve().relative_to(folder.resolve())
    package = "." if str(relative) == "." else f"./{relative}"
    form = "{{if not .Standard}}{{if .CgoFiles}}C {{.ImportPath}}{{else if .Error}}E {{.ImportPath}}{{end}}{{end}}"
    done = ask.list(folder, "-deps", "-f", form, package)
    told = [line.split(" ", 1) for line in done.stdout.splitlines() if line[:2] in ("C ", "E ")]
    unknown = [name for kind, name in told if kind == "E"]
    return Program(
        package=package,
        import_path=str(item["ImportPath"]),
        cgo=tuple(name for kind, name in told if kind == "C"),
        variable=_variable(place, _files(item)),
        incomplete=f"{unknown[0]} cannot be found" if unknown else "" if done.ok else done.stderr.strip(),
    )


def _variable(folder: Path, files: list[str]) -> str:
    """A package-level string variable called version or Version, which -X can set; initialised by a literal or not."""
    for name in files:
        text = (folder / name).read_text(encoding="utf-8", errors="replace")
        found = _LONE.search(text)
        for block in _BLOCK.finditer(text):
            found = found or _IN_BLOCK.search(block[1])
        if found is not None:
            return found[1]
    return ""
