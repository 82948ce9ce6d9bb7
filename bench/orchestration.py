"""What orchestration costs: our build against a plain loop over the same commands, and a no-change run.

Both sides run in turn on the same machine, from caches that are equally cold or warm; only ratios mean
anything. The cold pair runs once: each side compiles the standard library for every target.
"""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from bench import measure
from bench.measure import Result

ROOT = Path(__file__).resolve().parent.parent
TARGETS = ("amd64", "arm64")
_EMPTY = """\
import nox

@nox.session(python=False)
def empty(session: nox.Session) -> None:
    pass
"""


def _run(argv: list[str], cwd: Path, environment: Mapping[str, str]) -> str:
    done = subprocess.run(argv, cwd=cwd, env=dict(environment), capture_output=True, text=True, check=False)
    if done.returncode:
        message = f"{' '.join(argv)}: got exit status {done.returncode}\n{done.stdout}{done.stderr}"
        raise SystemExit(message)
    return done.stdout


def _command(*arguments: str) -> list[str]:
    selection = [word for target in TARGETS for word in ("--target", target)]
    return [sys.executable, "-m", "buildmatrix", *arguments, *selection]


def _plain_loop() -> None:
    """The plan's own commands, one after the other, each with every core."""
    with tempfile.TemporaryDirectory(prefix="bench-loop-") as folder:
        environment = {**os.environ, "GOCACHE": f"{folder}/cache"}
        plan = json.loads(_run(_command("plan", "--json", "--dist", f"{folder}/dist"), ROOT, environment))
        for cell in plan["cells"]:
            argv = [word for word in cell["argv"] if not word.startswith("-p=")]
            _run(argv, Path(cell["cwd"]), cell["environment"])


def _ours() -> None:
    with tempfile.TemporaryDirectory(prefix="bench-ours-") as folder:
        environment = {**os.environ, "GOCACHE": f"{folder}/cache", "CI": "1"}
        _run(_command("build", "--dist", f"{folder}/dist"), ROOT, environment)


def cold() -> Iterator[Result]:
    """`buildmatrix build` from a cold Go cache."""
    ours, theirs = measure.once(_ours), measure.once(_plain_loop)
    yield Result(
        name="cold build of two targets",
        peer="a loop over go build",
        unit="builds",
        amount=len(TARGETS),
        ours=ours,
        theirs=theirs,
        median=ours / theirs,
        target=1.05,
        most=True,
    )


def build(cells: tuple[str, ...]) -> None:
    """Build cells of this repository into its own dist/."""
    selection = [word for cell in cells for word in ("--target", cell.partition("_")[2])]
    _run([sys.executable, "-m", "buildmatrix", "build", *selection], ROOT, os.environ)


def unchanged() -> Iterator[Result]:
    """`nox -s build-all` over the whole matrix when nothing changed; builds it first."""
    nox = [sys.executable, "-m", "nox", "--script-mode", "none", "-s"]
    with tempfile.TemporaryDirectory(prefix="bench-nox-") as folder:
        (Path(folder) / "noxfile.py").write_text(_EMPTY)
        yield measure.compare(
            "nox -s build-all, no change",
            "an empty nox session",
            functools.partial(_run, [*nox, "build-all"], ROOT, os.environ),
            functools.partial(_run, [*nox, "empty"], Path(folder), os.environ),
            unit="runs",
            amount=1,
            target=2,
            rounds=15,
            most=True,
        )
