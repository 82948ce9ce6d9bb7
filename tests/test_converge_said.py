"""Messages of real runs, whose cause is known because it was planted (tests/converge_runs.py)."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from buildmatrix.converge import conclusion, gather, join, reader
from tests import converge_runs, factory

FIXTURE = factory.ROOT / "tests/fixtures/converge/said.jsonl"


def judged(row: dict[str, Any], folder: Path) -> str:
    """What is wrong with what is made of one run's messages; empty where nothing is."""
    log = folder / "log"
    log.write_text("\n".join(row["lines"]) + "\n")
    problems: list[Any] = []
    gathered = gather.gather(reader.everything((str(log),), reader.Count(), problems))
    found = conclusion.conclude(join.join(gathered), gathered)
    if all(re.search(r"exit status (1|127)$", line) for line in row["lines"]):  # which dozens of causes share
        return f"{found.causes}" if found.causes else ""
    causes = [(item.cause, item.sure, [name for name, _ in item.candidates]) for item in found.causes]
    if problems or found.unknown or len(found.causes) != 1:
        return f"{problems} {causes} unknown: {[item.text for item in found.unknown]}"
    cause, sure, candidates = causes[0]
    if row["cause"] not in candidates or (sure != "open" and cause != row["cause"]):
        return f"{causes}"
    return ""


def rows() -> Iterator[dict[str, Any]]:
    yield from map(json.loads, FIXTURE.read_text().splitlines())


def test_every_message_leads_to_its_cause_and_to_no_wrong_one(tmp_path: Path) -> None:
    read = list(rows())
    wrong = [(row["by"], row["cause"], text, row["lines"]) for row in read if (text := judged(row, tmp_path))]
    assert {"bash", "dash", "busybox ash", "go", "runc", "qemu", "strace", "env"} <= {row["by"] for row in read}
    assert not wrong


@pytest.mark.integration
def test_this_machine_says_what_is_known(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        read = [row for row in converge_runs.everything(Path(folder)) if row["lines"]]
    wrong = [(row["by"], row["cause"], text, row["lines"]) for row in read if (text := judged(row, tmp_path))]
    assert {"bash", "dash", "busybox ash", "strace"} <= {row["by"] for row in read}
    assert not wrong
