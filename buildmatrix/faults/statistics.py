"""Rates and times from few runs, each with the interval that it lies in. Pure.

Rates: Wilson's score interval (Wilson 1927), and Newcombe's for the difference of two (Newcombe 1998, method 10),
which hold for few runs and for rates of 0 and 1. Times: the median, with the percentile bootstrap (Efron 1979),
since recovery times are skewed and a mean's interval would lie.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist, median

CONFIDENCE = 0.95
_RESAMPLES = 2000
_Z = NormalDist().inv_cdf(0.5 + CONFIDENCE / 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A value with the interval that holds the true one in 95 of 100 such campaigns."""

    value: float
    low: float
    high: float


def rate(failures: int, runs: int) -> Estimate:
    """The share of runs that fail, from 0 to 1. Raises ValueError where there are no runs: nothing is known then."""
    if not 0 <= failures <= runs or not runs:
        raise ValueError(f"got {failures} failures in {runs} runs, expected at least one run")
    share, square = failures / runs, _Z * _Z
    middle = (share + square / (2 * runs)) / (1 + square / runs)
    half = _Z * math.sqrt(share * (1 - share) / runs + square / (4 * runs * runs)) / (1 + square / runs)
    low = 0.0 if failures == 0 else max(0.0, middle - half)
    high = 1.0 if failures == runs else min(1.0, middle + half)
    return Estimate(value=share, low=low, high=high)


def difference(first: Estimate, second: Estimate) -> Estimate:
    """How much higher the first rate is than the second; the interval holds 0 where they may be the same."""
    gap = first.value - second.value
    below = math.hypot(first.value - first.low, second.high - second.value)
    above = math.hypot(first.high - first.value, second.value - second.low)
    return Estimate(value=gap, low=max(-1.0, gap - below), high=min(1.0, gap + above))


def middle(times: Sequence[float], seed: int) -> Estimate | None:
    """The median of times; None where there are none. The same times and seed give the same interval."""
    if not times:
        return None
    ordered, source = sorted(times), random.Random(seed)  # noqa: S311 (a repeatable resampling, no secret)
    medians = sorted(median(source.choices(ordered, k=len(ordered))) for _ in range(_RESAMPLES))
    edge = int(_RESAMPLES * (1 - CONFIDENCE) / 2)
    return Estimate(value=median(ordered), low=medians[edge], high=medians[-1 - edge])
