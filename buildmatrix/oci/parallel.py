"""A few threads for many transfers: the first failure ends them all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import TypeVar

from buildmatrix.oci.http import Cancel

Value = TypeVar("Value")
_POLL_SECONDS = 0.2


def each(functions: Sequence[Callable[[], Value]], threads: int, stores: Sequence[object] = ()) -> list[Value]:
    """Call every function, `threads` at a time; their results in order.

    The first exception is raised once what runs has ended; what has not begun never does. An interrupt ends
    the running transfers of the registries that the `stores` belong to at once.
    """
    if threads <= 1 or len(functions) <= 1:
        return [function() for function in functions]
    with ThreadPoolExecutor(max_workers=min(threads, len(functions))) as pool:
        try:  # from the first submit on: an interrupt may come while the last are still being handed over
            futures = [pool.submit(function) for function in functions]
            done, left = wait(futures, timeout=_POLL_SECONDS, return_when=FIRST_EXCEPTION)
            while left and not any(future.exception() is not None for future in done):
                # Short waits, so that the main thread hears of an interrupt.
                done, left = wait(futures, timeout=_POLL_SECONDS, return_when=FIRST_EXCEPTION)
        except KeyboardInterrupt:
            for cancel in _cancels(stores):
                cancel.set()
            pool.shutdown(wait=True, cancel_futures=True)
            raise
        failed = next((future for future in futures if future in done and future.exception() is not None), None)
        if failed is not None:
            pool.shutdown(wait=True, cancel_futures=True)
        return [future.result() for future in ((failed,) if failed is not None else futures)]


def _cancels(stores: Sequence[object]) -> tuple[Cancel, ...]:
    """The switches of the stores that are repositories of a registry."""
    found = (getattr(getattr(store, "registry", None), "cancel", None) for store in stores)
    return tuple(item for item in found if isinstance(item, Cancel))
