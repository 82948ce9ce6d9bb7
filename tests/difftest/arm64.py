"""`python -m tests.difftest.arm64`: the preflight against real arm64 kernels with 4K and 16K pages.

Mutants, and cases that are not left to chance, are predicted for the host that a virtual machine describes,
then really executed in it, some thousands for each boot. Disagreements are made smaller as long as they
disagree, printed, and kept as records. Exit status 1 where a prediction was wrong, 2 where a kernel or a
program cannot be had.
"""

from __future__ import annotations

import argparse
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from buildmatrix.host import Host
from tests.difftest import kernels
from tests.difftest.arm64_cases import cases
from tests.difftest.guest import CPU, Entry, GuestFailed, Run, boot
from tests.difftest.outcome import agrees
from tests.difftest.records import Record, write
from tests.difftest.samples import Sample, any_sample, furnished, smaller, tree_of

BATCH = 2500
NAMES = re.compile(rb"/([\w.-]+(?:/[\w.-]+)*)", re.ASCII)
ROUNDS = 8
SHOWN = 40


@dataclass(slots=True, kw_only=True)
class Tally:
    """What one kernel said: all records, those that the model got wrong, and how many it could not know."""

    count: int = 0
    unsure: int = 0
    wrong: list[tuple[Sample | None, Record]] = field(default_factory=list)
    sampled: list[Record] = field(default_factory=list)

    def take(self, sample: Sample | None, record: Record) -> None:
        """Count one record."""
        predicted = record.predicted()
        self.count += 1
        self.unsure += predicted is None
        if not agrees(predicted, record.observed):
            self.wrong.append((sample, record))


class Machine:
    """One kernel, and the first process for it."""

    def __init__(self, flavour: str, folder: Path, cpu: str = CPU) -> None:
        self.flavour = flavour
        self.cpu = cpu
        self.kernel = kernels.fetch(flavour)
        self.folder = folder
        self.init = build_init(folder)

    def records(self, run: Run, stories: Sequence[str]) -> list[Record]:
        """Boot once; a record for each path of the run."""
        told = boot(self.kernel, self.init, run, self.folder)
        plain = furnished()
        own = {name: entry for name, entry in run.tree.items() if plain.get(name) != entry}
        rows = zip(stories, run.paths, told.outcomes, strict=True)
        return [record_of(story, told.host, own, path, observed, run.noexec) for story, path, observed in rows]

    def execute(self, samples: Sequence[Sample]) -> list[Record]:
        """Execute mutants in one boot."""
        tree, paths = tree_of(samples)
        return self.records(Run(tree=tree, paths=paths, cpu=self.cpu), [sample.story for sample in samples])

    def minimised(self, sample: Sample, record: Record) -> Record:
        """The smallest mutant found that the model is wrong about in the same way."""
        told = (record.predicted(), record.observed)
        for _ in range(ROUNDS):
            candidates = smaller(sample)
            found = self.execute(candidates) if candidates else []
            still = [pair for pair in zip(candidates, found, strict=True)
                     if (pair[1].predicted(), pair[1].observed) == told]  # fmt: skip
            if not still:
                break
            sample, record = still[0]
        return record


def record_of(
    story: str, host: Host, own: dict[str, Entry], path: str, observed: str, noexec: tuple[str, ...]
) -> Record:
    """One execution with the files, handlers and mounts of a run that it can have to do with."""
    files = needed(own, path)
    heads = [entry.data[:256].ljust(256, b"\0") for entry in files.values()]
    handlers = tuple(one for one in host.handlers if any(one.matches(head, "") for head in heads))
    files = needed(own, path, [handler.interpreter for handler in handlers])
    mounts = tuple(folder for folder in noexec if folder.lstrip("/") in files)
    host = replace(host, handlers=handlers)
    return Record(story=story, host=host, files=files, path=path, observed=observed, noexec=mounts)


def needed(files: dict[str, Entry], path: str, emulators: Sequence[str] = ()) -> dict[str, Entry]:
    """Of a run's own files those that one path can reach: it, emulators, and what bytes and links name."""
    found: dict[str, Entry] = {}
    pending = [name.lstrip("/") for name in (path, *emulators)]
    while pending:
        name = pending.pop()
        if name in files and name not in found:
            entry = found[name] = files[name]
            named = (word.decode() for word in NAMES.findall(entry.data[:4096]))
            pending += [name.rpartition("/")[0], entry.link, *(word for word in named if word in files)]
    return dict(sorted(found.items()))


def build_init(folder: Path) -> Path:
    """Compile the guest's first process."""
    program = folder / "init"
    if not program.is_file():
        source = Path(__file__).with_name("guest_init.c")
        command = ["aarch64-linux-gnu-gcc", "-static", "-O2", "-Wall", "-Wextra", "-Werror", "-o", str(program)]
        subprocess.run([*command, str(source)], check=True)
    return program


def explicit(machine: Machine) -> list[Record]:
    """The cases of arm64_cases.py; once more without 32-bit user code where the kernel can be told so."""
    run = replace(cases(), cpu=machine.cpu)
    names = [path.lstrip("/") for path in run.paths]
    found = machine.records(run, names)
    overridable = found[0].host.kernel >= (6, 12)
    narrow = replace(run, options="arm64.no32bit_el0") if overridable else replace(run, cpu="a64fx")
    return found + machine.records(narrow, [f"{name}, no 32-bit EL0" for name in names])


def hold(machine: Machine, count: int, seed: int, every: int = 0) -> Tally:
    """Explicit cases and `count` mutants on one kernel; each `every`-th mutant's record is handed back too."""
    tally = Tally()
    for record in explicit(machine):
        tally.take(None, record)
        if (record.path, record.observed) not in {(one.path, one.observed) for one in tally.sampled}:
            tally.sampled.append(record)
    rng = random.Random(seed)
    while count > 0:
        sys.stderr.write(f"{machine.flavour}: {count} mutants to go\n")
        samples = [any_sample(rng) for _ in range(min(count, BATCH))]
        count -= len(samples)
        for index, (sample, record) in enumerate(zip(samples, machine.execute(samples), strict=True)):
            tally.take(sample, record)
            if every and index % every == 0:
                tally.sampled.append(record)
    return tally


def report(machine: Machine, tally: Tally, seconds: float) -> list[Record]:
    """Print what came out; the wrong ones, minimised."""
    small = []
    for index, (sample, first) in enumerate(tally.wrong):
        least = machine.minimised(sample, first) if sample is not None and index < SHOWN else first
        record = replace(least, story=first.story)
        small.append(record)
        if index < SHOWN:
            sys.stdout.write(f"{record.story}: predicted {record.predicted()}, observed {record.observed}\n")
    sys.stdout.write(
        f"{machine.flavour}: {machine.kernel.release}: {tally.count} executed, {tally.unsure} left open by the model, "
        f"{len(tally.wrong)} predicted wrongly, {seconds:.0f} s\n"
    )
    sys.stdout.flush()
    return small


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.difftest.arm64", description=__doc__)
    parser.add_argument("--mutants", type=int, default=10000, help="for each kernel")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kernels", default="4k,16k", help=f"of {', '.join(kernels.FLAVOURS)}")
    parser.add_argument("--cpu", default=CPU, help="a CPU model of qemu-system-aarch64, such as max")
    parser.add_argument("--keep", type=Path, help="a folder for records of what was predicted wrongly")
    parser.add_argument("--record", type=int, default=0, metavar="N", help="with --keep: also each N-th mutant")
    arguments = parser.parse_args()
    failed = False
    with tempfile.TemporaryDirectory() as name:
        kernels.provide_programs()
        for flavour in arguments.kernels.split(","):
            begun = time.monotonic()
            machine = Machine(flavour, Path(name), arguments.cpu)
            tally = hold(machine, arguments.mutants, arguments.seed, arguments.record)
            wrong = report(machine, tally, time.monotonic() - begun)
            failed = failed or bool(wrong)
            if arguments.keep and (wrong or arguments.record):
                kept = tally.sampled if arguments.record else []
                write(arguments.keep / f"{flavour}-{arguments.seed}.jsonl", [*wrong, *kept])
    return 1 if failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (kernels.Unavailable, GuestFailed) as problem:
        sys.stderr.write(f"difftest-arm64: {problem}\n")
        sys.exit(2)
