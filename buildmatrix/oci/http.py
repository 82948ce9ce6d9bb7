"""What the registry client and its transport tell each other; knows no HTTP library."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from buildmatrix.oci.content import MAX_MANIFEST

Body = bytes | Callable[[], Iterable[bytes]]
"""What a request sends: bytes, or a function that starts the stream anew for every attempt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """How registries are reached.

    Loopback registries speak plain HTTP unless they are named in `https` or have certificates; all others
    speak HTTPS unless they are named in `plain_http`, as ``host`` or ``host:port``. Times are in seconds.
    """

    plain_http: tuple[str, ...] = ()
    https: tuple[str, ...] = ()
    ca: Path | None = None
    client_cert: Path | None = None
    client_key: Path | None = None
    connect_timeout: float = 10.0
    read_timeout: float = 60.0
    total_timeout: float = 300.0
    slowest: int = 16 << 10
    """Bytes a second below which the transfer of a blob is given up, once `total_timeout` is over."""
    attempts: int = 5
    backoff: float = 0.5
    longest_wait: float = 60.0
    threads: int = 4
    chunk: int = 16 << 20
    """Bytes that an upload sends, and can resend, at a time."""
    monolithic: int = 32 << 20
    """Blobs up to this size in bytes are sent in one request."""
    settle: float = 0.25
    """How long another writer of a referrers tag may take between reading and writing it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request. `scopes` are what a token must allow (``repository:name:pull``)."""

    method: str
    url: str
    scopes: tuple[str, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Body = b""
    length: int | None = None
    idempotent: bool = True
    limit: int = MAX_MANIFEST
    attempts: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One response, read whole. `headers` are in lower case; `url` is where it came from, after redirects."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: str


class Interrupted(Exception):
    """A connection ended, or stalled, before all was sent or received."""


class NotSent(Interrupted):
    """A connection could not be made: nothing reached the registry."""


class Cancel:
    """A switch that ends transfers from any thread; waits end at once."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._lock = threading.Lock()
        self._callbacks: dict[int, Callable[[], None]] = {}

    @property
    def is_set(self) -> bool:
        """Whether `set` was called."""
        return self._event.is_set()

    def set(self) -> None:
        """End what runs; nothing new starts."""
        self._event.set()
        with self._lock:
            callbacks = tuple(self._callbacks.values())
        for callback in callbacks:
            callback()

    def on_set(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call `callback` when the switch is set; returns what takes it back."""
        with self._lock:
            self._callbacks[id(callback)] = callback
        return lambda: self._forget(id(callback))

    def _forget(self, key: int) -> None:
        with self._lock:
            self._callbacks.pop(key, None)

    def check(self) -> None:
        """Raise KeyboardInterrupt once `set` was called."""
        if self._event.is_set():
            raise KeyboardInterrupt

    def wait(self, seconds: float) -> None:
        """Sleep; raises KeyboardInterrupt as soon as `set` is called."""
        if self._event.wait(max(0.0, seconds)):
            raise KeyboardInterrupt
