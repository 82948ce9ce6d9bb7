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
from dataclasses import dataclass, field, replace
from pathlib import Path

from buildmatrix.host import Host
from buildmatrix.preflight.elfload import entry_elsewhere, entry_fault
from buildmatrix.preflight.kernel import execve
from buildmatrix.preflight.openexec import Command, Process
from buildmatrix.preflight.rootfs import DirectoryRoot
from buildmatrix.preflight.running import running
from buildmatrix.preflight.verdict import Stop
from buildmatrix.preflight.walk import Credentials, View
from tests.difftest import fixtures, loaders, seeds
from tests.difftest.mutate import Mutant, any_mutant

BATCH = 500
MOST_SHOWN = 40
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


def run_batch(
    program: Path, root: Path, host: Host, mutants: list[Mutant]
) -> tuple[int, list[tuple[Mutant, str, str]]]:
    """Predict and execute; how many are uncertain, and the disagreements as mutant, prediction, observation."""
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
    wrong, uncertain = [], 0
    for name, mutant, observed in zip(names, mutants, seen, strict=True):
        predicted = predict(view, host, name)
        uncertain += predicted is None
        if predicted is not None and not (observed == predicted or (predicted == "S" and observed.startswith("S "))):
            wrong.append((mutant, predicted, observed))
    return uncertain, wrong


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
        if arguments.stage != "execve":
            return loader_stage(program, root, rng, arguments)
        tally = fuzz_execve(program, root, rng, arguments.mutants)
    for index, (mutant, story) in enumerate(tally.wrong):
        if index < MOST_SHOWN:
            sys.stdout.write(story + "\n")
        if arguments.keep:
            arguments.keep.mkdir(parents=True, exist_ok=True)
            (arguments.keep / f"execve-{arguments.seed}-{index}.bin").write_bytes(mutant.data)
    sys.stdout.write(tally.words() + "\n")
    return 1 if tally.wrong else 0


def loader_stage(program: Path, root: Path, rng: random.Random, arguments: argparse.Namespace) -> int:
    """The glibc or musl stage; the exit status."""
    tally = loaders.fuzz(program, root, arguments.stage, rng, arguments.mutants)
    for outcome in tally.wrong[:MOST_SHOWN]:
        sys.stdout.write(outcome.story + "\n")
        fixture = fixtures.recorded(arguments.stage, outcome)
        if arguments.keep and fixture is not None:
            sys.stdout.write(f"kept: {fixtures.keep(arguments.keep, fixture)}\n")
    sys.stdout.write(tally.words() + "\n")
    return 1 if tally.wrong else 0


@dataclass(slots=True)
class ExecveTally:
    """What a run of the execve stage counted; `wrong` holds the smallest mutants found, and their stories."""

    mutants: int = 0
    uncertain: int = 0
    wrong: list[tuple[Mutant, str]] = field(default_factory=list)

    def words(self) -> str:
        """The summary."""
        share = 100 * self.uncertain / max(self.mutants, 1)
        return (
            f"{self.mutants} mutants, {len(self.wrong)} predicted wrongly\n{self.uncertain} uncertain ({share:.1f} %)"
        )


def fuzz_execve(program: Path, root: Path, rng: random.Random, count: int) -> ExecveTally:
    """Mutants of executables and scripts."""
    host = running()
    furnish(root)
    tally = ExecveTally()
    while tally.mutants < count:
        mutants = [any_mutant(rng) for _ in range(min(count - tally.mutants, BATCH))]
        tally.mutants += len(mutants)
        uncertain, wrong = run_batch(program, root, host, mutants)
        tally.uncertain += uncertain
        for mutant, predicted, observed in wrong:
            least = minimised(program, root, host, mutant)
            tally.wrong.append((least, f"{least.story}: predicted {predicted}, observed {observed}"))
    return tally


def minimised(program: Path, root: Path, host: Host, mutant: Mutant) -> Mutant:
    """The mutant with as many bytes as possible set to those of the seed it is nearest to, still predicted wrongly."""
    plain = [seeds.static().build(), seeds.static_pie().build(), seeds.dynamic().build()]
    seed = min(plain, key=lambda data: sum(one != two for one, two in zip(data, mutant.data, strict=False)))
    size = 64
    while size:
        at = 0
        while at < min(len(seed), len(mutant.data)):
            data = mutant.data[:at] + seed[at : at + size] + mutant.data[at + size :]
            smaller = replace(mutant, data=data[: len(mutant.data)])
            if smaller.data != mutant.data and run_batch(program, root, host, [smaller])[1]:
                mutant = smaller
            at += size
        size //= 4
    left = [at for at, (one, two) in enumerate(zip(seed, mutant.data, strict=False)) if one != two]
    return replace(mutant, story=f"{mutant.story} (bytes that matter: {[hex(at) for at in left[:16]]})")


if __name__ == "__main__":
    sys.exit(main())
