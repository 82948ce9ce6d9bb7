"""The preflight against recorded executions.

Runs where BUILDMATRIX_LAB names a folder with `cases.json` (commands, targets and what was observed) and
`roots/` (the root file systems); docs/preflight.md describes both. Without it, the recorded mutants of
tests/difftest and the small roots of the other tests are the measure.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from buildmatrix.preflight.lab import Batch, as_json

LAB = os.environ.get("BUILDMATRIX_LAB", "")


def _expected(case: dict[str, Any]) -> dict[str, Any]:
    seen = case["observed"]
    keys = {"execve": ("errno", "signal"), "ok": ()}.get(seen["stage"], ("exit", "signal"))
    return {"stage": seen["stage"], "cause": case["cause"], **{key: seen[key] for key in keys if key in seen}}


@pytest.mark.skipif(not LAB, reason="BUILDMATRIX_LAB is not set")
def test_every_recorded_execution_is_predicted() -> None:
    folder = Path(LAB)
    cases = json.loads((folder / "cases.json").read_text())["cases"]
    batch = Batch(folder / "roots")
    wrong = {}
    for case in cases:
        verdict = as_json(batch.answer(case))
        want = _expected(case)
        got = {key: verdict[key] for key in want}
        open_question = not case["statically_predictable"] and not verdict["certain"]
        spoken = not verdict["message"] or verdict["message"] in case["observed"].get("stderr", "")
        if (got != want and not open_question) or (want["stage"] == "loader" and not spoken):
            wrong[case["id"]] = (want, got, verdict["message"])
    assert cases
    assert not wrong
