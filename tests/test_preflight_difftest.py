"""A short run of the differential fuzzer against the running kernel; `python -m tests.difftest` runs long ones."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

import pytest

from buildmatrix.preflight.running import running
from tests.difftest import __main__ as difftest
from tests.difftest import changes, fixtures, loaders
from tests.difftest.mutate import any_mutant

ABLE = os.geteuid() == 0 and os.uname().machine == "x86_64" and shutil.which("cc") is not None


def test_mutants_are_reproducible_and_of_every_kind() -> None:
    once, again = ([any_mutant(random.Random(seed)).story for seed in range(300)] for _ in range(2))
    assert once == again
    words = " ".join(once)
    assert all(kind in words for kind in ("static", "static-pie", "dynamic", "script", "mode", "size=", "phnum="))


@pytest.mark.integration
@pytest.mark.skipif(not ABLE, reason="needs root for chroot, x86-64 and a C compiler")
def test_the_running_kernel_agrees(tmp_path: Path) -> None:
    for folder in (tmp_path, *list(tmp_path.parents)[:2]):
        folder.chmod(0o755)
    program = difftest.build_executor(tmp_path)
    root = tmp_path / "root"
    root.mkdir()
    assert running().arch == "amd64"
    assert difftest.fuzz_execve(program, root, random.Random(4711), 1500).wrong == []


@pytest.mark.integration
@pytest.mark.skipif(not ABLE, reason="needs root for chroot, x86-64 and a C compiler")
@pytest.mark.parametrize("stage", ["glibc", "musl"])
def test_the_loaders_of_this_machine_agree(tmp_path: Path, stage: str) -> None:
    for folder in (tmp_path, *list(tmp_path.parents)[:2]):
        folder.chmod(0o755)
    program = difftest.build_executor(tmp_path)
    root = tmp_path / "root"
    root.mkdir()
    tally = loaders.fuzz(program, root, stage, random.Random(4711), 1000)
    assert [outcome.story for outcome in tally.wrong] == []
    assert tally.intact and not tally.intact_uncertain
    assert tally.uncertain < tally.mutants / 10


FIXTURES = sorted(fixtures.FOLDER.glob("*.json"))


@pytest.mark.parametrize("place", FIXTURES, ids=lambda place: place.stem)
def test_recorded_mutants_are_predicted(place: Path) -> None:
    fixture = fixtures.read(place)
    verdict = fixtures.predict(fixture)
    assert not verdict.certain or loaders.agrees(verdict, fixture.observed), (fixture.story, verdict)


def test_there_are_recorded_mutants_of_both_loaders() -> None:
    assert {place.name.partition("-")[0] for place in FIXTURES} == {"glibc", "musl"}


def test_a_mutant_is_made_smaller_while_it_matters() -> None:
    seed = bytes(64)
    patches = [changes.Patch(at=at, data=b"\x01\x02", what=str(at)) for at in (0, 8, 16)]
    made = changes.Change(patches=tuple(patches), size=40)
    least = changes.minimise(made, seed, lambda change: change.apply(seed)[8:9] == b"\x01")
    assert least == changes.Change(patches=(changes.Patch(at=8, data=b"\x01\x00", what="8"),))
