"""A few threads for many transfers: the first failure ends them all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import TypeVar

from buildmatrix.oci.http import Cancel

Value = TypeVar("Value")


def each(functions: Sequence[Callable[[], Value]], threads: int, cancel: Cancel | None = None) -> list[Value]:
    """Call every function, `threads` at a time; their results in order.

    The first exception is raised once what runs has ended; what has not begun never does. An interrupt sets
    `cancel`, so that running transfers end at once.
    """
    if threads <= 1 or len(functions) <= 1:
        return [function() for function in functions]
    with ThreadPoolExecutor(max_workers=min(threads, len(functions))) as pool:
        futures = [pool.submit(function) for function in functions]
        try:
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
        except KeyboardInterrupt:
            if cancel is not None:
                cancel.set()
            pool.shutdown(wait=True, cancel_futures=True)
            raise
        failed = next((future for future in futures if future in done and future.exception() is not None), None)
        if failed is not None:
            pool.shutdown(wait=True, cancel_futures=True)
        return [future.result() for future in ((failed,) if failed is not None else futures)]
