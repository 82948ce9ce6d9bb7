"""Root causes of the messages of recorded executions, alone and joined with the preflight's verdicts.

Runs where BUILDMATRIX_LAB names the folder that tests/test_preflight_lab.py describes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from buildmatrix.converge import conclusion, gather, join, reader, settle
from buildmatrix.host import parse
from buildmatrix.preflight.lab import Batch, as_json
from buildmatrix.preflight.words import GO_ERRORS, SIGNAL_WORDS

LAB = os.environ.get("BUILDMATRIX_LAB", "")
needs_lab = pytest.mark.skipif(not LAB, reason="BUILDMATRIX_LAB is not set")


def cases() -> list[dict[str, Any]]:
    read: list[dict[str, Any]] = json.loads((Path(LAB) / "cases.json").read_text())["cases"]
    return [case for case in read if case["cause"] != "none" and case["observed"]["stage"] != "ok"]


def messages(case: dict[str, Any]) -> Iterator[str]:
    """What Go's os/exec and the program itself say of the case."""
    seen = case["observed"]
    yield from seen.get("stderr", "").splitlines()
    if "errno" in seen:
        yield f"fork/exec {case['command']['path']}: {GO_ERRORS[seen['errno']]}"
    if "signal" in seen:
        yield f"signal: {SIGNAL_WORDS[seen['signal']]}"


def log(case: dict[str, Any]) -> Iterator[str]:
    for second, line in enumerate(messages(case)):
        at = f"2026-01-01T00:00:{second:02d}Z"
        yield json.dumps({"time": at, "host": case["id"], "exe": case["command"]["path"], "msg": line})


def concluded(folder: Path, *files: tuple[str, list[str]]) -> tuple[conclusion.RootCause, ...]:
    for name, lines in files:
        (folder / name).write_text("\n".join(lines) + "\n")
    problems: list[Any] = []
    gathered = gather.gather(reader.everything((str(folder),), reader.Count(), problems))
    assert not problems
    return conclusion.conclude(join.join(gathered), gathered).causes


@needs_lab
def test_messages_alone_never_name_a_wrong_cause(tmp_path: Path) -> None:
    """Where the words decide, the cause is the recorded one; where they do not, it is among the candidates."""
    wrong = {}
    for case in cases():
        folder = tmp_path / case["id"]
        folder.mkdir()
        found = concluded(folder, ("app.log", list(log(case))))
        right = [item for item in found if case["cause"] in dict(item.candidates)]
        forced = [item for item in found if item.sure != "open" and item.cause != case["cause"]]
        if len(found) != 1 or not right or forced:
            wrong[case["id"]] = (case["cause"], [(item.cause, item.sure, item.candidates) for item in found])
    assert not wrong


@needs_lab
def test_with_the_preflight_every_case_has_its_cause_and_no_other(tmp_path: Path) -> None:
    batch = Batch(Path(LAB) / "roots")
    wrong = {}
    for case in cases():
        folder = tmp_path / case["id"]
        folder.mkdir()
        verdict = {**as_json(batch.answer(case)), "host": case["id"]}
        found = concluded(folder, ("app.log", list(log(case))), ("explain.jsonl", [json.dumps(verdict)]))
        got = [(item.cause, item.sure) for item in found]
        named = case["cause"] == found[0].cause and found[0].sure in ("likely", "certain")
        if verdict["certain"]:
            named = named and found[0].sure == "certain"
        elif not case["statically_predictable"]:
            named = named or (found[0].sure == "open" and case["cause"] in dict(found[0].candidates))
        if len(found) != 1 or not named:
            wrong[case["id"]] = (case["cause"], got, verdict["certain"])
    assert not wrong


@needs_lab
def test_a_library_for_another_machine_is_found_in_the_root(tmp_path: Path) -> None:
    """dlopen's message says that the file is not there; the root shows that it is, for another machine."""
    case = next(item for item in cases() if item["id"] == "dlopen-wrong-machine.amd64")
    (tmp_path / "app.log").write_text("\n".join(log(case)))
    problems: list[Any] = []
    gathered = gather.gather(reader.everything((str(tmp_path),), reader.Count(), problems))
    settle.settle(gathered, settle.asked(gathered, Path(LAB) / "roots" / case["rootfs"], parse("amd64")))
    (found,) = conclusion.conclude(join.join(gathered), gathered).causes
    assert (found.cause, found.sure) == ("wrong-library-arch", "certain")
