"""How long the steps of a cell took when it was last built: kept beside its lock, and no part of a release.

Progress takes its expectation from it, and the report shows it. It decides nothing: what is damaged is not there.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping

from buildmatrix.dist import Dist

_WHAT = "timings"
_DIGITS = 3


def remember(dist: Dist, cell: str, steps: Mapping[str, float]) -> None:
    """Note the seconds of each step of a cell that was built just now."""
    path = dist.state(cell, _WHAT)
    scratch = path.with_name(f"{path.name}.{os.getpid()}")
    rounded = [[name, round(seconds, _DIGITS)] for name, seconds in steps.items()]
    with contextlib.suppress(OSError):
        scratch.write_text(json.dumps({"steps": rounded}), encoding="ascii")
        scratch.replace(path)


def recall(dist: Dist, cell: str) -> tuple[tuple[str, float], ...]:
    """The steps with their seconds, in their order; none where nothing is known."""
    try:
        value = json.loads(dist.state(cell, _WHAT).read_bytes())
        return tuple((str(name), float(seconds)) for name, seconds in value["steps"])
    except (OSError, ValueError, KeyError, TypeError):
        return ()


def expected(dist: Dist, cell: str) -> float | None:
    """How many seconds a cell is likely to take, or None where it was never built here."""
    steps = recall(dist, cell)
    return sum(seconds for _, seconds in steps) if steps else None
