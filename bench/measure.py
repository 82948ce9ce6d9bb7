"""Times two contenders alternately, so that a disturbed machine disturbs both."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

Work = Callable[[], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One comparison. Times in seconds for the whole of `amount` units; `target` is the least ratio promised.

    `ratio` is the peer's best time by ours; `median` the median of the ratios round by round. Where
    `most` is set, it is our best time by the peer's, and must not be larger than `target`.
    """

    name: str
    peer: str
    unit: str
    amount: float
    ours: float
    theirs: float
    median: float
    target: float
    most: bool = False

    @property
    def ratio(self) -> float:
        """How many times as fast as the peer; where `most` is set, how many times as long."""
        return self.ours / self.theirs if self.most else self.theirs / self.ours

    @property
    def reached(self) -> bool:
        """Whether the target is met by the best times."""
        return self.ratio <= self.target if self.most else self.ratio >= self.target

    def line(self) -> str:
        """The result in one line."""
        word = "met" if self.reached else "MISSED"
        sign = "<=" if self.most else ">="
        rate, peer_rate = self.amount / self.ours, self.amount / self.theirs
        return (
            f"{self.name:34} {rate:12,.1f} {self.unit}/s  {self.peer:26} {peer_rate:12,.1f}  "
            f"{self.ratio:7.2f}x (median {self.median:.2f}, target {sign} {self.target:g}) {word}"
        )


def once(work: Work) -> float:
    """Seconds that one run takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def compare(
    name: str,
    peer: str,
    ours: Work,
    theirs: Work,
    *,
    unit: str,
    amount: float,
    target: float,
    rounds: int = 7,
    most: bool = False,
) -> Result:
    """Run both once to warm caches, then alternate `rounds` times."""
    ours()
    theirs()
    pairs = []
    for index in range(rounds):
        first, second = (ours, theirs) if index % 2 else (theirs, ours)
        times = {first: once(first), second: once(second)}
        pairs.append((times[ours], times[theirs]))
    ratios = [own / other if most else other / own for own, other in pairs]
    return Result(
        name=name,
        peer=peer,
        unit=unit,
        amount=amount,
        ours=min(own for own, _ in pairs),
        theirs=min(other for _, other in pairs),
        median=statistics.median(ratios),
        target=target,
        most=most,
    )
