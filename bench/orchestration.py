"""What the orchestration costs: our build against a plain loop over the same commands, and a no-change run.

Both sides of a pair run in turn in one process, on the same machine and from caches that are equally
cold or warm; only ratios mean anything.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
_EMPTY = """\
import nox

@nox.session(python=False)
def empty(session: nox.Session) -> None:
    pass
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """A measured pair: medians in seconds, and the bound that ours / theirs should keep."""

    name: str
    ours: float
    theirs: float
    at_most: float

    @property
    def ratio(self) -> float:
        """ours / theirs."""
        return self.ours / self.theirs


def _seconds(argv: list[str], cwd: Path, environment: Mapping[str, str]) -> float:
    began = time.perf_counter()
    done = subprocess.run(argv, cwd=cwd, env=dict(environment), capture_output=True, text=True, check=False)
    elapsed = time.perf_counter() - began
    if done.returncode:
        raise SystemExit(f"{' '.join(argv)}: got exit status {done.returncode}\n{done.stdout}{done.stderr}")
    return elapsed


def cold_build(targets: tuple[str, ...], runs: int = 1) -> Ratio:
    """`buildmatrix build` with a cold Go cache against the plan's own commands, one after the other."""
    ours, theirs = [], []
    for _ in range(runs):
        with tempfile.TemporaryDirectory(prefix="bench-loop-") as folder:
            theirs.append(_plain_loop(targets, Path(folder)))
        with tempfile.TemporaryDirectory(prefix="bench-ours-") as folder:
            ours.append(_ours(targets, Path(folder)))
    return Ratio(
        name=f"cold build of {len(targets)} targets / plain loop",
        ours=statistics.median(ours),
        theirs=statistics.median(theirs),
        at_most=1.05,
    )


def _selection(targets: tuple[str, ...]) -> list[str]:
    return [word for target in targets for word in ("--target", target)]


def _command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "buildmatrix", *arguments]


def _plain_loop(targets: tuple[str, ...], folder: Path) -> float:
    environment = {**os.environ, "GOCACHE": str(folder / "cache")}
    dist = folder / "dist"
    text = subprocess.run(
        _command("plan", "--json", "--dist", str(dist), *_selection(targets)),
        cwd=ROOT, env=environment, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    cells = json.loads(text)["cells"]
    return sum(_seconds(_default_parallel(cell["argv"]), Path(cell["cwd"]), cell["environment"]) for cell in cells)


def _default_parallel(argv: list[str]) -> list[str]:
    """Without our -p: a plain loop gives every core to its one build."""
    return [word for word in argv if not word.startswith("-p=")]


def _ours(targets: tuple[str, ...], folder: Path) -> float:
    environment = {**os.environ, "GOCACHE": str(folder / "cache"), "CI": "1"}
    return _seconds(
        _command("build", "--dist", str(folder / "dist"), *_selection(targets)), cwd=ROOT, environment=environment
    )


def no_change(runs: int = 9) -> Ratio:
    """`nox -s build-all` when nothing changed, over all cells, against one empty nox session."""
    nox = [sys.executable, "-m", "nox", "--script-mode", "none"]
    _seconds([*nox, "-s", "build-all"], ROOT, os.environ)
    ours, theirs = [], []
    with tempfile.TemporaryDirectory(prefix="bench-nox-") as folder:
        (Path(folder) / "noxfile.py").write_text(_EMPTY)
        for _ in range(runs):
            theirs.append(_seconds([*nox, "-s", "empty"], Path(folder), os.environ))
            ours.append(_seconds([*nox, "-s", "build-all"], ROOT, os.environ))
    return Ratio(
        name="nox -s build-all, nothing changed / an empty nox session",
        ours=statistics.median(ours),
        theirs=statistics.median(theirs),
        at_most=2.0,
    )


def run() -> Iterator[Ratio]:
    """Every pair, the quick one last, since it needs the whole matrix built."""
    yield cold_build(("amd64", "arm64"))
    yield no_change()
