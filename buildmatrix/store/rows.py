"""One row of the store, what makes it the same row, and how it is written as JSON."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from typing import Any

from buildmatrix import arch as architectures
from buildmatrix import errors

SCHEMA = 1
_DIGEST = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    """One measurement: `runs` starts of one artifact under one fault.

    Rates in percent, with the bounds of their 95 % interval; times in milliseconds, None where nothing recovered;
    `artifact_digest` is the SHA-256 in hexadecimal; `fault` is ``none`` for the runs beside it. `glibc_version` is
    empty where no glibc is involved, `release` where none is being made. `started_at` has a time zone.
    """

    arch: str
    kernel_version: str
    glibc_version: str
    failure_rate_percent: float
    failure_rate_low: float
    failure_rate_high: float
    recovery_time_ms: float | None
    artifact_digest: str
    artifact: str
    fault: str
    runs: int
    emulated: bool
    started_at: datetime
    tool_version: str
    release: str = ""

    @property
    def identity(self) -> str:
        """What was measured, when and with what, but not the result: SHA-256 over the JSON of those values."""
        told = [self.arch, self.kernel_version, self.glibc_version, self.artifact_digest, self.artifact, self.fault,
                self.emulated, moment(self.started_at), self.tool_version, self.release]  # fmt: skip
        return hashlib.sha256(json.dumps(told, separators=(",", ":")).encode()).hexdigest()

    @property
    def failures(self) -> int:
        """How many of the runs failed."""
        return round(self.failure_rate_percent * self.runs / 100)


def moment(when: datetime) -> str:
    """A time as it is stored: UTC, microseconds."""
    return when.astimezone(UTC).isoformat(timespec="microseconds")


def problems(row: Validation) -> list[str]:
    """What is wrong with a row; empty where nothing is."""
    found = []
    if architectures.normalise(row.arch) != row.arch:
        found.append(f"arch: got {row.arch!r}, expected a name of Go's such as amd64")
    if row.runs <= 0:
        found.append(f"runs: got {row.runs}, expected at least 1")
    rates = (row.failure_rate_low, row.failure_rate_percent, row.failure_rate_high)
    if not all(map(math.isfinite, rates)) or not 0 <= rates[0] <= rates[1] <= rates[2] <= 100:
        found.append(f"failure rate: got {rates}, expected low ≤ rate ≤ high within 0 and 100")
    if row.recovery_time_ms is not None and not 0 <= row.recovery_time_ms < math.inf:
        found.append(f"recovery_time_ms: got {row.recovery_time_ms}, expected a time, or none")
    if len(row.artifact_digest) != _DIGEST or not set(row.artifact_digest) <= set("0123456789abcdef"):
        found.append(f"artifact_digest: got {row.artifact_digest!r}, expected a SHA-256 in lower-case hexadecimal")
    if row.started_at.tzinfo is None:
        found.append("started_at: got a time without a zone, expected one with it")
    found += [f"{name}: got nothing, expected a value" for name in ("kernel_version", "fault", "tool_version")
              if not getattr(row, name)]  # fmt: skip
    return found


def checked(row: Validation) -> Validation:
    """The row. Raises RowInvalid with everything that is wrong."""
    found = problems(row)
    if found:
        raise errors.RowInvalid(f"{row.artifact or 'row'}: {len(found)} problems", why="; ".join(found))
    return row


def encode(row: Validation) -> dict[str, Any]:
    """A row as JSON values."""
    return {"schema": SCHEMA, **asdict(row), "started_at": moment(row.started_at)}


def decode(item: Mapping[str, Any]) -> Validation:
    """A row out of JSON values. Raises RowInvalid for one that is no row."""
    values = {name: value for name, value in item.items() if name != "schema"}
    known = {field.name for field in fields(Validation)}
    if item.get("schema") != SCHEMA or values.keys() - known or (known - {"release"}) - values.keys():
        wrong = sorted(values.keys() ^ known)
        raise errors.RowInvalid(
            f"row: got schema {item.get('schema')} with {', '.join(wrong) or 'all keys'} differing, "
            f"expected schema {SCHEMA} and exactly its keys"
        )
    _typed(values)
    try:
        values["started_at"] = datetime.fromisoformat(values["started_at"])
    except ValueError as error:
        raise errors.RowInvalid(f"started_at: got {values['started_at']!r}, expected ISO 8601") from error
    return checked(Validation(**values))


_NUMBERS = ("failure_rate_percent", "failure_rate_low", "failure_rate_high", "recovery_time_ms")


def _typed(values: dict[str, Any]) -> None:
    for name, value in values.items():
        if name in _NUMBERS:
            fits = (isinstance(value, int | float) and not isinstance(value, bool)) or (
                value is None and name == "recovery_time_ms"
            )
        elif name == "runs":
            fits = isinstance(value, int) and not isinstance(value, bool)
        elif name == "emulated":
            fits = isinstance(value, bool)
        else:
            fits = isinstance(value, str)
        if not fits:
            raise errors.RowInvalid(f"{name}: got {value!r}, expected another type")
