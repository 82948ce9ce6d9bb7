"""``python -m tests.debianroots [--arch GOARCH …] [--small]``: no false alarm, by the loaders' own word.

Every ELF file of whole Debian roots is predicted, and its own root's ld.so is asked about it, under qemu-user
where the architecture is foreign. Printed are counts and every disagreement; 0 where there is none.
"""

from __future__ import annotations

import argparse
import os
import sys
import time

from buildmatrix.preflight.openexec import Command
from tests.debianroots import loader, make
from tests.debianroots.compare import Disagreement, File, Model, Part, Tally, compare

ARCHITECTURES = ("amd64", "arm64", "s390x")
SHOWN = 40


def held(root: make.Root, workers: int, runs: int) -> Tally:
    """One root against its loader, and a sample of its programs against their execution."""
    model = Model(root)
    files = list(model.files())
    start = time.monotonic()
    answers = loader.ask_all(root, [file.path for file in files], workers)
    asked = time.monotonic() - start
    tally = Tally()
    for file, said in zip(files, answers, strict=True):
        compare(model, file, said, tally)
    print(f"{root.goarch}: {root.path.name}, {len(root.packages)} packages and what they depend on")  # noqa: T201
    print(f"  {tally.files} ELF files, {tally.programs} of them programs ({tally.static} static)")  # noqa: T201
    print(f"  the loader was asked in {asked:.0f} s, the model in {time.monotonic() - start - asked:.0f} s")  # noqa: T201
    executed(root, model, files, tally, runs)
    return tally


def executed(root: make.Root, model: Model, files: list[File], tally: Tally, runs: int) -> None:
    """Really run a sample."""
    programs = {file.path: file for file in files if file.program}
    chosen = loader.sample(list(programs), runs)
    started = 0
    for path in chosen:
        ran = loader.run(root, path, programs[path].static)
        started += ran.started
        verdict = model.judge.judge(Command(path=path, argv=(path, "--version")))
        if verdict.runs != ran.started:
            words = f"started: {ran.started}, status {ran.status}: {ran.told}"
            told = verdict.message or f"{verdict.stage}: {verdict.cause}"
            part: Part = "missed" if verdict.runs else "false alarm"
            tally.disagreements.append(Disagreement(part=part, path=path, model=told, loader=words))
    print(f"  really executed: {len(chosen)}, of which {started} reached their own code")  # noqa: T201


def report(tally: Tally) -> None:
    """Counts and disagreements."""
    print(  # noqa: T201
        f"  {tally.load} load, {tally.refused} the loader itself refuses; "
        f"{tally.conditional} predicted with a condition"
    )
    print(  # noqa: T201
        f"  false alarms: {tally.of('false alarm')}, missed: {tally.of('missed')}, "
        f"refused for another reason: {tally.of('other reason')}"
    )
    print(  # noqa: T201
        f"  closures compared: {tally.compared} with {tally.libraries} edges, differing: {tally.of('closure differs')}",
        flush=True,
    )
    for item in tally.disagreements[:SHOWN]:
        print(f"  {item}")  # noqa: T201


def main() -> int:
    """Run the comparison; 1 where model and loader part, 3 where a root cannot be made."""
    parser = argparse.ArgumentParser(prog="python -m tests.debianroots", description=__doc__)
    parser.add_argument("--arch", action="append", choices=sorted(make.DEBIAN), help="one architecture; repeatable")
    parser.add_argument("--small", action="store_true", help="the integration test's few packages")
    parser.add_argument("--runs", type=int, default=60, help="programs to execute in each root")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="loaders that run at a time")
    arguments = parser.parse_args()
    names = make.packages(make.SMALL if arguments.small else make.LIST)
    parted = 0
    for goarch in arguments.arch or ARCHITECTURES:
        try:
            root = make.root(goarch, names)
            make.made(root)
            tally = held(root, arguments.workers, arguments.runs)
        except make.CannotMake as error:
            print(f"{goarch}: {error}", file=sys.stderr)  # noqa: T201
            return 3
        report(tally)
        parted += len(tally.disagreements)
    return 1 if parted else 0


if __name__ == "__main__":
    sys.exit(main())
