"""Debian roots of two architectures: nothing that their own loaders load is called broken, and closures are equal."""

import shutil
import subprocess
from pathlib import Path

import pytest

from buildmatrix import arch
from buildmatrix.host import parse
from buildmatrix.preflight.explain import Judge
from buildmatrix.preflight.openexec import Command
from buildmatrix.preflight.rootfs import DirectoryRoot
from buildmatrix.preflight.walk import View
from tests.debianroots import loader, make
from tests.debianroots.compare import Model, Tally, compare

pytestmark = pytest.mark.integration

LEAST = {"files": 500, "programs": 200, "edges": 1000}
"""A root that holds less than this was not made as meant, and proves nothing."""


@pytest.mark.parametrize("goarch", ["amd64", "arm64"])
def test_no_false_alarm_over_a_whole_root(goarch: str) -> None:
    root = make.root(goarch, make.packages(make.SMALL))
    make.made(root)
    model, tally = Model(root), Tally()
    files = list(model.files())
    answers = loader.ask_all(root, [file.path for file in files], workers=2)
    for file, said in zip(files, answers, strict=True):
        compare(model, file, said, tally)
    assert tally.disagreements == []
    assert tally.files > LEAST["files"]
    assert tally.programs > LEAST["programs"]
    assert tally.libraries > LEAST["edges"]
    assert 0 < tally.refused < tally.load


@pytest.mark.parametrize("goarch", ["amd64", "arm64"])
def test_a_sample_really_runs(goarch: str) -> None:
    root = make.root(goarch, make.packages(make.SMALL))
    make.made(root)
    model = Model(root)
    programs = {file.path: file for file in model.files() if file.program}
    for path in loader.sample(list(programs), 12):
        ran = loader.run(root, path, programs[path].static)
        assert ran.started == model.executed(path).runs, (path, ran)


CROSS = {"arm64": "aarch64-linux-gnu", "s390x": "s390x-linux-gnu", "ppc64le": "powerpc64le-linux-gnu",
         "riscv64": "riscv64-linux-gnu"}  # fmt: skip


@pytest.mark.parametrize("goarch", CROSS)
def test_a_function_that_is_bound_lazily_stops_no_library(goarch: str, tmp_path: Path) -> None:
    """On machines whose relocation types were not known, every lazy slot was held to be bound at start."""
    row, triple = arch.BY_GOARCH[goarch], CROSS[goarch]
    library = tmp_path / "plugin.so"
    source = "void later(void); void now(void) { later(); }"
    command = [f"{triple}-gcc", "-shared", "-fPIC", "-nostdlib", "-Wl,-z,lazy", "-x", "c", "-", "-o", str(library)]
    subprocess.run(command, input=source, text=True, check=True)
    loader_file = tmp_path / row.glibc_loader.lstrip("/")
    loader_file.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(Path("/usr", triple, "lib", loader_file.name), loader_file)
    emulator = f"qemu-{row.qemu}-static"
    env = [word for pair in loader.TRACE.items() for word in ("-E", "=".join(pair))]
    done = subprocess.run([emulator, *env, str(loader_file), str(library)], capture_output=True, text=True, check=False)
    assert loader.said(str(loader_file), done.returncode, done.stdout, done.stderr).loads, done
    judge = Judge(View(root=DirectoryRoot(tmp_path)), parse(goarch))
    verdict = judge.judge(Command(path=row.glibc_loader, argv=(row.glibc_loader, "/plugin.so")))
    assert verdict.runs, verdict
