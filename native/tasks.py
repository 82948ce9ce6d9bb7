"""Compiles and runs the C tests and the fuzzer: what noxfile.py and the tests call.

Every function returns what was printed, and ends with SystemExit and a sentence where a tool is missing or
a run fails.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NATIVE = ROOT / "native"
CORPUS = NATIVE / "fuzz/corpus"
FIXTURES = ROOT / "tests/fixtures/elf"

WARNINGS = ("-std=c11", "-Wall", "-Wextra", "-Wshadow", "-Wconversion", "-Werror", "-D_GNU_SOURCE")
SANITIZERS = ("-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer")

READER = ("block.c", "gobuildinfo.c", "macho.c", "pe.c", "reader.c", "source.c")
"""The reader without what makes system calls; the ELF parts are added by pattern."""

DEBIAN_PACKAGES = {
    "gcc": "gcc",
    "clang": "clang libclang-rt-dev",
    "aarch64-linux-gnu-gcc": "gcc-aarch64-linux-gnu",
    "s390x-linux-gnu-gcc": "gcc-s390x-linux-gnu",
    "qemu-aarch64-static": "qemu-user-static",
    "qemu-s390x-static": "qemu-user-static",
}


def require(tool: str) -> str:
    """The path of a tool; ends with what to install where it is missing."""
    found = shutil.which(tool)
    if found is None:
        message = f"{tool} is not on PATH; on Debian: apt-get install {DEBIAN_PACKAGES.get(tool, tool)}"
        raise SystemExit(message)
    return found


def run(arguments: Sequence[str | Path], timeout: float | None = None) -> str:
    """Run a command from the root and return what it printed; ends with its output where it fails."""
    done = subprocess.run(
        [str(argument) for argument in arguments],
        cwd=ROOT, text=True, errors="replace", stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        check=False, timeout=timeout,
    )  # fmt: skip
    if done.returncode:
        message = f"{arguments[0]}: got exit status {done.returncode}, expected 0\n{done.stdout[-8000:]}"
        raise SystemExit(message)
    return done.stdout


def reader_sources() -> list[Path]:
    """The files of the reader that need nothing but a C library."""
    return [*(NATIVE / name for name in READER), *sorted(NATIVE.glob("elf*.c"))]


def compile_reader(output: Path, program: Path, *, compiler: str = "gcc", flags: Sequence[str] = ("-O2",)) -> Path:
    """Link a test program with the reader and the invariants; returns `output`."""
    command: list[str | Path] = [
        require(compiler),
        *WARNINGS,
        *flags,
        f"-I{NATIVE}",
        f"-I{NATIVE / 'fuzz'}",
        "-o",
        output,
    ]
    run([*command, program, NATIVE / "fuzz/invariants.c", *reader_sources()], timeout=300)
    return output


def fixtures() -> list[Path]:
    """The committed executables, without the script that made them."""
    return sorted(path for path in FIXTURES.iterdir() if path.suffix != ".py" and path.is_file())


def corpus() -> list[Path]:
    """The committed seeds of the fuzzer."""
    return sorted(path for path in CORPUS.iterdir() if path.is_file())


def test_reader(scratch: Path, *, compiler: str = "gcc", flags: Sequence[str] = ("-O2",), emulator: str = "") -> str:
    """Compile test_reader.c and run it over the fixtures, under an emulator where one is named."""
    program = compile_reader(scratch / "test_reader", NATIVE / "tests/test_reader.c", compiler=compiler, flags=flags)
    before: list[str | Path] = [require(emulator)] if emulator else []
    return run([*before, program, *fixtures()], timeout=1800)


def replay(scratch: Path) -> str:
    """Run fixtures and corpus through every check of the fuzz target, with sanitizers."""
    program = compile_reader(scratch / "replay", NATIVE / "fuzz/replay.c", flags=SANITIZERS)
    return run([program, *fixtures(), *corpus()], timeout=1800)


def sanitizers() -> str:
    """The reader's C tests and the corpus under AddressSanitizer and UndefinedBehaviorSanitizer."""
    with tempfile.TemporaryDirectory() as scratch:
        return test_reader(Path(scratch), flags=SANITIZERS) + replay(Path(scratch))


def fuzz(seconds: int, *, runs: int = -1, max_len: int = 2048) -> str:
    """Fuzz the reader for so long, or for so many runs; starts from the corpus and the small fixtures.

    Ends with the report of a crash.
    """
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        seeds = scratch / "seeds"
        seeds.mkdir()
        for path in [*corpus(), *fixtures()]:
            if path.stat().st_size <= 2 * max_len:
                shutil.copy(path, seeds / path.name)
        program = compile_reader(
            scratch / "fuzz_elf",
            NATIVE / "fuzz/fuzz_elf.c",
            compiler="clang",
            flags=("-g", "-O2", "-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=all"),
        )
        options = [
            f"-max_total_time={seconds}",
            f"-runs={runs}",
            f"-max_len={max_len}",
            "-print_final_stats=1",
            "-artifact_prefix=crash-",
        ]
        return run([program, *options, seeds], timeout=seconds + 300)[-2000:]
