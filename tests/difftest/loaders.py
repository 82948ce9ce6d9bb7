"""Mutants of programs and libraries, run under the real glibc or musl loader of this machine.

What is compared is how the loader ends: done, which a breakpoint tells, or an exit status and words, or a
signal. What mutated code does once the loader has given control to it is nobody's prediction, so it is
never run. A verdict that says that it depends on something is counted apart.
"""

from __future__ import annotations

import errno
import random
import re
import shutil
import signal
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from buildmatrix.preflight.explain import Judge
from buildmatrix.preflight.openexec import Command
from buildmatrix.preflight.rootfs import DirectoryRoot
from buildmatrix.preflight.running import running
from buildmatrix.preflight.verdict import Stage, Verdict
from buildmatrix.preflight.walk import Credentials, View
from tests.difftest import changes, objects
from tests.difftest.changes import Change
from tests.difftest.objects import Seed

UID = 1000
BATCH = 200
MOST_MINIMISED = 25


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One change to one seed."""

    seed: Seed
    change: Change


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One mutant with what was predicted and what was seen (a line of the executor); `folders` hold it and its seed."""

    mutant: Mutant
    verdict: Verdict
    observed: str
    folders: tuple[str, str] = ("", "")

    @property
    def story(self) -> str:
        """The disagreement in one line."""
        said = self.verdict
        story = (
            f"{self.mutant.seed.name}: {self.mutant.change.story}: predicted {said.stage} "
            f"{said.errno or said.exit or said.signal or ''} {said.message or ''}, observed {self.observed}"
        )
        return story.encode(errors="backslashreplace").decode()


@dataclass(slots=True)
class Tally:
    """What a run counted. `uncertain` are verdicts that depend on something, `likely` those of them that were right."""

    mutants: int = 0
    uncertain: int = 0
    likely: int = 0
    intact: int = 0
    intact_uncertain: int = 0
    seen: Counter[str] = field(default_factory=Counter)
    why: Counter[str] = field(default_factory=Counter)
    wrong: list[Outcome] = field(default_factory=list)

    def add(self, outcome: Outcome) -> None:
        """Count one outcome."""
        self.mutants += 1
        self.seen[outcome.observed[:1]] += 1
        right = agrees(outcome.verdict, outcome.observed)
        intact = outcome.mutant.change == Change()
        self.intact += intact
        if outcome.verdict.certain:
            if not right:
                self.wrong.append(outcome)
            return
        self.uncertain += 1
        self.likely += right
        self.intact_uncertain += intact
        self.why[re.sub(r"/\S+|[0-9a-f]{4,}", "…", outcome.verdict.depends[0])] += 1

    def words(self) -> str:
        """The summary."""
        share = 100 * self.uncertain / max(self.mutants, 1)
        kinds = {"L": "loaded", "X": "gave up", "D": "died", "E": "not executed", "K": "killed"}
        seen = ", ".join(f"{kinds.get(kind, kind)} {count}" for kind, count in self.seen.most_common())
        why = "; ".join(f"{count} {reason.strip()}" for reason, count in self.why.most_common(6))
        return (
            f"{self.mutants} mutants, {len(self.wrong)} predicted wrongly\n"
            f"{self.uncertain} uncertain ({share:.1f} %), likeliest outcome right in {self.likely}; "
            f"{self.intact_uncertain} of {self.intact} intact ones uncertain\n"
            f"seen: {seen}\nuncertain: {why or 'none'}"
        )


def agrees(verdict: Verdict, observed: str) -> bool:
    """Whether a verdict says what was observed, exit status, signal and words included."""
    what, number, text = (*observed.split(" ", 2), "", "")[:3]
    if verdict.stage is Stage.EXECVE:
        kind, value = ("K", verdict.signal) if verdict.signal else ("E", verdict.errno)
        return what == kind and number == str(getattr(errno, value or "", None) or _signal(value))
    if verdict.stage is not Stage.LOADER:
        return what == "L" and _same_words(verdict.warnings, text)
    if verdict.signal is not None:
        return what == "D" and int(number) == _signal(verdict.signal)
    message = (verdict.message or "").replace("\n", "|").replace("\r", "?")
    return what == "X" and int(number) == verdict.exit and bool(message) and message in text


def _signal(name: str | None) -> int:
    return int(getattr(signal, name or "", 0))


def _same_words(warnings: tuple[str, ...], text: str) -> bool:
    said = [line for line in text.split("|") if line]
    return len(said) == len(warnings) and all(
        warning.replace("\n", "|") in line for warning, line in zip(warnings, said, strict=True)
    )


class Bench:
    """A root with loader, libc and every seed, and the executor inside it."""

    def __init__(self, program: Path, root: Path, stage: str) -> None:
        self.root = root
        self.seeds = objects.make(stage, root.parent / "seeds")
        self.tables = {seed.name: objects.fields(seed.data) for seed in self.seeds}
        self.host = running()
        tools = objects.TOOLCHAINS[stage]
        for name in tools.closure:
            place = root / name.lstrip("/")
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(name, place)
        for seed in self.seeds:
            folder = self._folder(seed)
            if not folder.is_dir():
                folder.mkdir()
                for name, data in seed.files.items():
                    _put(folder / name, data)
        for folder in (root, *[entry for entry in root.rglob("*") if entry.is_dir()]):
            folder.chmod(0o755)
        loader = Path(tools.interpreter)
        offsets = [objects.symbol_offset(loader, "_dl_debug_state")]
        offsets.append(objects.symbol_offset(loader, "_r_debug") if stage == "glibc" else 0)
        words = [str(program), str(root), str(UID), str(UID), "load", *map(str, offsets)]
        self.process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, errors="surrogateescape"
        )

    def _folder(self, seed: Seed) -> Path:
        return self.root / ("s-" + seed.name.partition(" ")[0])

    def close(self) -> None:
        """End the executor."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()

    def mutants(self, rng: random.Random, count: int) -> list[Mutant]:
        """Mutants at random."""
        made = []
        for _ in range(count):
            seed = rng.choice(self.seeds)
            made.append(Mutant(seed=seed, change=changes.change(rng, seed.data, self.tables[seed.name])))
        return made

    def run(self, mutants: list[Mutant]) -> Iterator[Outcome]:
        """Put the mutants into the root, execute each, predict each."""
        with tempfile.TemporaryDirectory(dir=self.root, prefix="m") as name:
            Path(name).chmod(0o755)
            commands = [self._place(Path(name) / str(index), mutant) for index, mutant in enumerate(mutants)]
            view = View(root=DirectoryRoot(self.root), who=Credentials(uid=UID, gid=UID), proc=False)
            judge = Judge(view, self.host)
            for mutant, command in zip(mutants, commands, strict=True):
                here, _, shared = command.env["LD_LIBRARY_PATH"].partition(":")
                yield Outcome(
                    mutant=mutant,
                    verdict=judge.judge(command),
                    observed=self._execute(command),
                    folders=(here, shared),
                )

    def _place(self, folder: Path, mutant: Mutant) -> Command:
        folder.mkdir()
        folder.chmod(0o755)
        place = folder / mutant.seed.target
        _spoilt(place, mutant)
        here = "/" + str(folder.relative_to(self.root))
        shared = "/" + self._folder(mutant.seed).name
        program = f"{here}/prog" if mutant.seed.target == "prog" else f"{shared}/prog"
        return Command(path=program, argv=(program,), env={"LD_LIBRARY_PATH": f"{here}:{shared}"})

    def _execute(self, command: Command) -> str:
        assert self.process.stdin is not None and self.process.stdout is not None
        words = [command.path, *(f"{key}={value}" for key, value in command.env.items())]
        self.process.stdin.write("\t".join(words) + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().rstrip("\n")

    def minimised(self, outcome: Outcome) -> Outcome:
        """The smallest change that is still predicted wrongly."""
        best = outcome

        def still(change: Change) -> bool:
            nonlocal best
            tried = next(self.run([Mutant(seed=outcome.mutant.seed, change=change)]))
            wrong = tried.verdict.certain and not agrees(tried.verdict, tried.observed)
            best = tried if wrong else best
            return wrong

        changes.minimise(outcome.mutant.change, outcome.mutant.seed.data, still)
        return best


def _put(place: Path, data: bytes, mode: int = 0o755) -> None:
    place.write_bytes(data)
    place.chmod(mode)


def _spoilt(place: Path, mutant: Mutant) -> None:
    """The file, or what stands in its place."""
    kind = mutant.change.place
    if kind == "directory":
        place.mkdir(mode=0o755)
    elif kind == "loop":
        place.symlink_to(place.name)
    elif kind in ("link", "absolute link"):
        _put(place.with_name("real"), mutant.seed.data)
        place.symlink_to("real" if kind == "link" else "/" + str(Path(*place.with_name("real").parts[-3:])))
    elif kind in ("text", "empty"):
        _put(place, b"GROUP ( libseed.so.1 )\n" * 20 if kind == "text" else b"")
    elif kind != "missing":
        mode = int(kind.removeprefix("mode "), 8) if kind.startswith("mode") else 0o755
        _put(place, mutant.change.apply(mutant.seed.data), mode)


def fuzz(program: Path, root: Path, stage: str, rng: random.Random, count: int) -> Tally:
    """Run `count` mutants; the disagreements are made as small as they get."""
    bench = Bench(program, root, stage)
    tally = Tally()
    try:
        while tally.mutants < count:
            for outcome in bench.run(bench.mutants(rng, min(BATCH, count - tally.mutants))):
                tally.add(outcome)
        tally.wrong = [
            bench.minimised(outcome) if index < MOST_MINIMISED else outcome for index, outcome in enumerate(tally.wrong)
        ]
    finally:
        bench.close()
    return tally
