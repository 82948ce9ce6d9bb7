"""What is settled for all programs of a root at once is what binding them one by one comes to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from buildmatrix.preflight.explain import Judge
from buildmatrix.preflight.glibc_settled import Settled
from buildmatrix.preflight.openexec import Command
from buildmatrix.preflight.rootfs import DirectoryRoot
from buildmatrix.preflight.running import running
from buildmatrix.preflight.verdict import Stage, Verdict
from buildmatrix.preflight.walk import View

TRIED = ("/bin/true", "/bin/bash", "/usr/bin/env", "/usr/bin/perl", "/usr/bin/apt-get", "/usr/bin/gpgv")


def judged(root: Path, paths: list[str]) -> list[Verdict]:
    judge = Judge(View(root=DirectoryRoot(root)), running())
    return [judge.judge(Command(path=path, argv=(path,))) for path in paths]


@pytest.fixture
def outcomes(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each process that was looked at was settled."""
    seen: list[bool] = []
    real = Settled.relocations

    def noted(self: Settled, *arguments: object) -> object:
        found = real(self, *arguments)  # type: ignore[arg-type]
        seen.append(found is not None)
        return found

    monkeypatch.setattr(Settled, "relocations", noted)
    return seen


def one_by_one(root: Path, paths: list[str]) -> list[Verdict]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Settled, "relocations", lambda *_: None)
        return judged(root, paths)


def test_programs_of_this_machine_are_settled_and_come_to_the_same(outcomes: list[bool]) -> None:
    paths = [path for path in TRIED if Path(path).exists()]
    together = judged(Path("/"), paths)
    assert len(outcomes) == len(paths) and all(outcomes)
    assert together == one_by_one(Path("/"), paths)


def files_of(path: str) -> Iterator[tuple[str, bytes]]:
    """A program of this machine with all that it loads, by path."""
    verdict = judged(Path("/"), [path])[0]
    interpreter = next(item.text for item in verdict.evidence if item.text.startswith("PT_INTERP is "))
    places = [path, interpreter.split("'")[1], *(edge.path for edge in verdict.needed if edge.path)]
    for place in places:
        yield place, Path(place).read_bytes()


def copied(root: Path, path: str, old: bytes, new: bytes, *, within: str) -> None:
    """A root with one program, in which a name is changed in the files whose path ends with `within`."""
    for place, data in files_of(path):
        target = root / place.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        assert not place.endswith(within) or old in data
        target.write_bytes(data.replace(old, new) if place.endswith(within) else data)
        target.chmod(0o755)


@pytest.mark.parametrize(
    ("old", "new", "within"),
    [
        (b"\0setlocale\0", b"\0setlocalx\0", "/env"),  # the program asks for what nobody has
        (b"\0setlocale\0", b"\0setlocalx\0", "libc.so.6"),  # the library no longer has what the program asks for
        (b"\0GLIBC_2.34\0", b"\0GLIBC_2.99\0", "/env"),  # nor the version
    ],
)
def test_what_is_not_there_is_not_settled(
    tmp_path: Path, outcomes: list[bool], old: bytes, new: bytes, within: str
) -> None:
    copied(tmp_path, "/usr/bin/env", old, new, within=within)
    outcomes.clear()
    verdict = judged(tmp_path, ["/usr/bin/env"])[0]
    assert not any(outcomes)
    assert verdict.stage is not Stage.OK or not verdict.certain
    assert [verdict] == one_by_one(tmp_path, ["/usr/bin/env"])


def test_an_interpreter_is_started_once_for_all_its_scripts(tmp_path: Path, outcomes: list[bool]) -> None:
    copied(tmp_path, "/bin/sh", b"", b"", within="/no-such-file")
    outcomes.clear()
    for name in "abc":
        script = tmp_path / name
        script.write_text("#!/bin/sh\n")
        script.chmod(0o755)
    verdicts = judged(tmp_path, ["/bin/sh", "/a", "/b", "/c"])
    assert [verdict.stage for verdict in verdicts] == [Stage.OK] * 4
    assert len({verdict.needed for verdict in verdicts}) == 1
    assert outcomes == [True]
