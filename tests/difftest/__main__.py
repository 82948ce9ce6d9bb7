"""`python -m tests.difftest --mutants N`: predict each mutant, execute it, report every disagreement.

Needs root (for chroot), a C compiler, and an x86-64 machine. Mutants live in a root of their own, are
executed by uid 1000, and are stopped after one instruction. Exit status 1 where a prediction was wrong.
"""

from __future__ import annotations

import argparse
import errno
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from buildmatrix.host import Host
from buildmatrix.preflight.elfload import entry_elsewhere, entry_fault
from buildmatrix.preflight.kernel import execve
from buildmatrix.preflight.openexec import Command, Process
from buildmatrix.preflight.rootfs import DirectoryRoot
from buildmatrix.preflight.running import running
from buildmatrix.preflight.verdict import Stop
from buildmatrix.preflight.walk import Credentials, View
from tests.difftest import loaders, seeds
from tests.difftest.mutate import Mutant, any_mutant

BATCH = 500
UID = 1000


def predict(root: DirectoryRoot, host: Host, path: str) -> str | None:
    """What the executor should print, or None where the model says that it cannot know."""
    view = View(root=root, who=Credentials(uid=UID, gid=UID), protected_symlinks=host.protected_symlinks)
    try:
        process = execve(view, host, Command(path=path, argv=(path,)))
    except Stop as stop:
        if stop.depends:
            return None
        if stop.errno is not None:
            return f"E {getattr(errno, stop.errno)}"
        return f"K {getattr(signal, str(stop.signal)).value}"
    if not isinstance(process, Process) or process.depends:
        return None
    mapped = process.interpreter or process.main
    if entry_elsewhere(mapped):
        return None
    fault = entry_fault(host, mapped)
    if fault is not None:
        return f"S {getattr(signal, fault).value}"
    page_end = mapped.entry % host.page_size == host.page_size - 1
    first = b"" if page_end else mapped.space.fetch(mapped.entry, 1)
    return f"S {signal.SIGTRAP.value}" if first == seeds.NOP else "S"


def furnish(root: Path) -> None:
    """What scripts and PT_INTERP of mutants may name."""
    files = {
        "loader": seeds.static_pie().build(),
        "static": seeds.static().build(),
        "text": b"text\n" * 20,
        "short": b"\x7fELF",
        "noexec": seeds.static_pie().build(),
        "script": b"#!/static\n",
        "mutant-loader": seeds.static_pie()
        .with_segment(2, seeds.Segment(flags=6, offset=0x2E01, vaddr=0x3E00, filesz=16, memsz=16))
        .build(),
    }
    (root / "deep").mkdir()
    for name, data in files.items():
        (root / name).write_bytes(data)
        (root / name).chmod(0o644 if name == "noexec" else 0o755)
    (root / "loop").symlink_to("loop")
    root.chmod(0o755)


def build_executor(folder: Path) -> Path:
    """Compile the executor."""
    source = Path(__file__).with_name("executor.c")
    program = folder / "executor"
    compiler = shutil.which("cc") or shutil.which("gcc") or "cc"
    subprocess.run([compiler, "-O2", "-Wall", "-Wextra", "-o", str(program), str(source)], check=True)
    return program


def run_batch(program: Path, root: Path, host: Host, mutants: list[Mutant]) -> list[tuple[Mutant, str, str]]:
    """Predict and execute; the disagreements as mutant, prediction, observation."""
    names = []
    for index, mutant in enumerate(mutants):
        place = root / f"m{index}"
        place.unlink(missing_ok=True)
        place.write_bytes(mutant.data)
        os.chown(place, mutant.owner, mutant.owner)
        place.chmod(mutant.mode)
        names.append(f"/m{index}")
    done = subprocess.run(
        [str(program), str(root), str(UID), str(UID)],
        input="\n".join(names) + "\n",
        capture_output=True,
        text=True,
        check=True,
    )
    seen = done.stdout.splitlines()
    view = DirectoryRoot(root)
    wrong = []
    for name, mutant, observed in zip(names, mutants, seen, strict=True):
        predicted = predict(view, host, name)
        if predicted is not None and not (observed == predicted or (predicted == "S" and observed.startswith("S "))):
            wrong.append((mutant, predicted, observed))
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.difftest", description=__doc__)
    parser.add_argument("--mutants", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--stage", choices=("execve", "glibc", "musl"), default="execve")
    parser.add_argument("--keep", type=Path, help="keep mutants that were predicted wrongly in this folder")
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        program = build_executor(folder)
        root = folder / "root"
        root.mkdir()
        if arguments.stage == "execve":
            wrong = fuzz_execve(program, root, rng, arguments.mutants)
        else:
            setting = loaders.furnish(root, arguments.stage)
            wrong = loaders.run_batch(program, setting, rng, arguments.mutants)
    for index, (data, story) in enumerate(wrong):
        if index < 40:
            sys.stdout.write(story + "\n")
        if arguments.keep:
            arguments.keep.mkdir(parents=True, exist_ok=True)
            (arguments.keep / f"{arguments.stage}-{arguments.seed}-{index}.bin").write_bytes(data)
    sys.stdout.write(f"{arguments.mutants} mutants, {len(wrong)} predicted wrongly\n")
    return 1 if wrong else 0


def fuzz_execve(program: Path, root: Path, rng: random.Random, count: int) -> list[tuple[bytes, str]]:
    """Mutants of executables and scripts; the disagreements as bytes and a story."""
    host = running()
    furnish(root)
    wrong = []
    while count > 0:
        mutants = [any_mutant(rng) for _ in range(min(count, BATCH))]
        count -= len(mutants)
        for mutant, predicted, observed in run_batch(program, root, host, mutants):
            wrong.append((mutant.data, f"{mutant.story}: predicted {predicted}, observed {observed}"))
    return wrong


if __name__ == "__main__":
    sys.exit(main())
