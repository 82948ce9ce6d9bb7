"""What a probe says. Types only."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from buildmatrix import errors


class Health(StrEnum):
    """OK is there; LATER comes by itself with the first use; WARN may bite; MISSING keeps sessions from working."""

    OK = "ok"
    LATER = "later"
    WARN = "warn"
    MISSING = "missing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """One thing that was looked at: `found` is what is there, `needed_by` the sessions that need it.

    `fix` is one command or one change, `why` what goes wrong without it. `required` says that building or verifying
    depends on it: `doctor` then fails, with `exit_status`.
    """

    name: str
    health: Health
    found: str
    needed_by: tuple[str, ...] = ()
    why: str = ""
    fix: str = ""
    required: bool = False
    exit_status: int = errors.EXIT_MISSING


def failed(name: str, error: errors.BuildmatrixError, needed_by: tuple[str, ...], *, required: bool = True) -> Probe:
    """A probe that ended with an error, in its words."""
    return Probe(
        name=name,
        health=Health.MISSING,
        found=error.what,
        needed_by=needed_by,
        why=error.why,
        fix=error.fix,
        required=required,
        exit_status=error.exit_status,
    )
