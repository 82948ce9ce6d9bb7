"""HTTP to one registry: retries, redirects, authorisation, TLS. The only module that knows httpx.

Threads share one Transport. What is retried is what may be repeated without harm; a wait between attempts
doubles, is jittered, and gives way to Retry-After. Redirects to another host carry no Authorization and no
client certificate.
"""

from __future__ import annotations

import contextlib
import email.utils
import random
import socket
import ssl
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import httpx

from buildmatrix._version import __version__
from buildmatrix.errors import UsageError
from buildmatrix.oci import problems
from buildmatrix.oci.auth import Auth
from buildmatrix.oci.credentials import CredentialSource
from buildmatrix.oci.http import Access, Answer, Call, Cancel, Interrupted, NotSent
from buildmatrix.oci.reference import api_host, is_loopback

_AGAIN = frozenset((408, 429, 500, 502, 503, 504))
_MAX_REDIRECTS = 5
DOCKER_CERTIFICATES = Path("/etc/docker/certs.d")
"""Where Docker keeps ``HOST[:PORT]/*.crt``, ``*.cert`` and ``*.key``."""


Result = TypeVar("Result", Answer, "Stream")


class Stream:
    """A response whose body is read piece by piece. Close it, or read it to its end."""

    def __init__(self, response: httpx.Response, deadline: float, cancel: Cancel) -> None:
        self.status = response.status_code
        self.headers: Mapping[str, str] = response.headers
        self.url = str(response.url)
        self.challenges = response.headers.get_list("www-authenticate")
        self._response = response
        self._deadline = deadline
        self._cancel = cancel

    def pieces(self) -> Iterator[bytes]:
        """The body's bytes as they were sent. Raises Interrupted where the connection ends early or stalls."""
        try:
            for piece in self._response.iter_raw():
                self._cancel.check()
                yield piece
                if time.monotonic() > self._deadline:
                    raise Interrupted("the answer comes too slowly")
        except httpx.TransportError as cause:
            self._cancel.check()
            raise Interrupted(_reason(cause)) from cause
        finally:
            self.close()

    def answer(self, limit: int) -> Answer:
        """Read the body whole. Raises RegistryFailed past `limit` bytes, Interrupted."""
        pieces, total = [], 0
        for piece in self.pieces():
            pieces.append(piece)
            total += len(piece)
            if total > limit:
                self.close()
                raise problems.garbled(self.url, "an answer", f"got more than {limit} bytes, expected at most {limit}")
        return Answer(status=self.status, headers=self.headers, body=b"".join(pieces), url=self.url)

    def close(self) -> None:
        """Give the connection back, or end it where something is left unread."""
        self._response.close()


class Transport:
    """Requests to one registry. `close` it, or use it as a context manager."""

    def __init__(self, registry: str, access: Access, source: CredentialSource, cancel: Cancel) -> None:
        self.registry = registry
        self.access = access
        self.cancel = cancel
        self.secure = not speaks_plain_http(registry, access)
        self.base = f"{'https' if self.secure else 'http'}://{api_host(registry)}"
        self._origin = _origin(httpx.URL(self.base))
        self._random = random.Random()  # noqa: S311  (jitter)
        self._sockets: weakref.WeakSet[Any] = weakref.WeakSet()
        # a plain registry's own client never speaks TLS: reading the system's certificates would only take time
        blank = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._own = self._client(_context(registry, access, own=True) if self.secure else blank)
        self._other: httpx.Client | None = None
        self._lock = threading.Lock()
        self.auth = Auth(registry, secure=self.secure, source=source, fetch=self._fetch_token)
        self._uncancel = cancel.on_set(self._shut)

    def _foreign(self) -> httpx.Client:
        """The client for hosts that the registry sends us to: no client certificate."""
        with self._lock:
            if self._other is None:
                self._other = self._client(_context(self.registry, self.access, own=False))
            return self._other

    def _client(self, context: ssl.SSLContext) -> httpx.Client:
        access = self.access
        return httpx.Client(
            verify=context,
            trust_env=not is_loopback(self.registry),
            timeout=httpx.Timeout(access.read_timeout, connect=access.connect_timeout, pool=None),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=max(8, access.threads * 2)),
            headers={"User-Agent": f"buildmatrix/{__version__}", "Accept-Encoding": "identity"},
        )

    def close(self) -> None:
        """End every connection."""
        self._uncancel()
        self._own.close()
        if self._other is not None:
            self._other.close()

    def __enter__(self) -> Transport:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def call(self, call: Call) -> Answer:
        """Send one request and read the answer whole, whatever its status.

        Raises RegistryUnreachable; Interrupted where the request may not be repeated.
        """
        return self._persist(call, lambda: self._authorised(call).answer(call.limit))

    def stream(self, call: Call) -> Stream:
        """Send one request; the caller reads and closes the answer. Raises RegistryUnreachable."""
        return self._persist(call, lambda: self._authorised(call))

    def _persist(self, call: Call, attempt: Callable[[], Result]) -> Result:
        attempts = call.attempts or self.access.attempts
        for number in range(1, attempts + 1):
            self.cancel.check()
            try:
                result = attempt()
            except Interrupted as cause:
                if not call.idempotent and not isinstance(cause, NotSent):
                    raise
                if number == attempts:
                    raise problems.unreachable(self.registry, call.method, call.url, str(cause), number) from cause
                self.cancel.wait(self._delay(number))
                continue
            wait = self._wait_after(result, call, number)
            if wait is None or number == attempts:
                return result
            if isinstance(result, Stream):
                result.close()
            self.cancel.wait(wait)
        raise AssertionError("attempts is at least 1")

    def pause(self, number: int) -> None:
        """Wait before attempt `number` + 1. Raises KeyboardInterrupt where it is cancelled."""
        self.cancel.wait(self._delay(number))

    def pause_for(self, seconds: float) -> None:
        """Wait about as long: jittered upwards by half. Raises KeyboardInterrupt where it is cancelled."""
        self.cancel.wait(seconds * self._random.uniform(1.0, 1.5))

    def _delay(self, number: int) -> float:
        grown: float = min(self.access.backoff * 2.0 ** (number - 1), self.access.longest_wait)
        return grown * self._random.uniform(0.5, 1.0)

    def _wait_after(self, result: Answer | Stream, call: Call, number: int) -> float | None:
        """Seconds until the request may be repeated; None where it may not, or where that is too long."""
        if result.status not in _AGAIN or not (call.idempotent or result.status == 429):
            return None
        asked = _retry_after(result.headers.get("retry-after", ""))
        if asked is None:
            return self._delay(number)
        return asked if asked <= self.access.longest_wait else None

    def _fetch_token(self, call: Call) -> Answer:
        return self._persist(call, lambda: self._send(call, "").answer(call.limit))

    def _authorised(self, call: Call) -> Stream:
        header = self.auth.header(call.scopes)
        stream = self._send(call, header)
        if stream.status != 401 or _origin(httpx.URL(stream.url)) != self._origin:
            return stream
        again = self.auth.answer(stream.challenges, call.scopes, header)
        if not again:
            return stream
        stream.close()
        return self._send(call, self.auth.header(call.scopes))

    def _send(self, call: Call, authorization: str) -> Stream:
        """One attempt, redirects included."""
        start = url = _url(call.url)
        headers = dict(call.headers) | ({"Authorization": authorization} if authorization else {})
        for _ in range(_MAX_REDIRECTS + 1):
            if _origin(url) != _origin(start) or (authorization and _origin(url) != self._origin):
                headers.pop("Authorization", None)
            stream = self._once(call, url, headers)
            repeatable = stream.status in (307, 308) or (
                stream.status in (301, 302, 303) and call.method in ("GET", "HEAD")
            )
            if not repeatable:
                return stream
            stream.close()
            url = _next(url, stream.headers.get("location", ""), self.registry)
        raise problems.garbled(call.url, f"{self.registry}: {call.method}", f"more than {_MAX_REDIRECTS} redirects")

    def _once(self, call: Call, url: httpx.URL, headers: dict[str, str]) -> Stream:
        deadline = time.monotonic() + max(self.access.total_timeout, (call.length or 0) / self.access.slowest)
        client = self._own if _origin(url) == self._origin else self._foreign()
        content = call.body if isinstance(call.body, bytes) else self._sent(call.body, deadline)
        length = len(call.body) if isinstance(call.body, bytes) else call.length
        if call.method not in ("GET", "HEAD") and length is not None:
            headers = headers | {"Content-Length": str(length)}
        try:
            request = client.build_request(
                call.method, url, headers=headers, content=content, extensions={"trace": self._trace}
            )
            response = client.send(request, stream=True, auth=None, follow_redirects=False)
        except httpx.TransportError as cause:
            self.cancel.check()
            raise self._lost(cause, call) from cause
        return Stream(response, deadline, self.cancel)

    def _sent(self, body: Callable[[], Iterable[bytes]], deadline: float) -> Iterator[bytes]:
        for piece in body():
            self.cancel.check()
            if time.monotonic() > deadline:
                raise Interrupted("the registry takes too slowly")
            yield piece

    def _lost(self, cause: httpx.TransportError, call: Call) -> Exception:
        found = _tls_error(cause)
        if found is not None:
            return problems.unreachable(self.registry, call.method, call.url, _tls_reason(found), 1)
        if isinstance(cause, httpx.UnsupportedProtocol):
            return problems.garbled(call.url, f"{self.registry}: {call.method}", str(cause))
        unsent = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)
        return (NotSent if isinstance(cause, unsent) else Interrupted)(_reason(cause))

    def _trace(self, name: str, info: Mapping[str, Any]) -> None:
        """Remember every connection, so that `Cancel.set` can end reads that wait."""
        if name.endswith(("connect_tcp.complete", "start_tls.complete")):
            self._sockets.add(info["return_value"])
            self.cancel.check()  # `_shut` may have looked before this connection was there

    def _shut(self) -> None:
        for stream in tuple(self._sockets):
            with contextlib.suppress(OSError):
                stream.get_extra_info("socket").shutdown(socket.SHUT_RDWR)


def speaks_plain_http(registry: str, access: Access) -> bool:
    """Whether a registry is spoken to without TLS: by explicit choice, or on loopback without certificates."""
    if registry in access.plain_http:
        return True
    if not is_loopback(registry) or registry in access.https or access.ca or access.client_cert:
        return False
    return not (DOCKER_CERTIFICATES / registry).is_dir()


def _context(registry: str, access: Access, *, own: bool) -> ssl.SSLContext:
    """Trust: the system's store (certifi's where there is none), Docker's certs.d, and what `access` names."""
    context = ssl.create_default_context()
    paths = ssl.get_default_verify_paths()
    if not paths.cafile and not paths.capath:
        import certifi

        context.load_verify_locations(certifi.where())
    folder = DOCKER_CERTIFICATES / registry
    try:
        for path in (*sorted(folder.glob("*.crt")), *((access.ca,) if access.ca else ())):
            context.load_verify_locations(path)
        if own:
            _present(context, folder, access)
    except (OSError, ssl.SSLError) as cause:
        raise UsageError(
            f"{registry}: a certificate or its key cannot be loaded",
            why=str(cause),
            fix="give PEM files that belong together",
        ) from cause
    return context


def _present(context: ssl.SSLContext, folder: Path, access: Access) -> None:
    if access.client_cert:
        context.load_cert_chain(access.client_cert, access.client_key)
        return
    for path in sorted(folder.glob("*.cert")):
        context.load_cert_chain(path, path.with_suffix(".key"))


def _url(text: str) -> httpx.URL:
    try:
        return httpx.URL(text)
    except (httpx.InvalidURL, ValueError) as cause:
        raise problems.garbled("", text[:200], f"it is not a URL: {cause}") from cause


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port or {"http": 80, "https": 443}.get(url.scheme)


def _next(url: httpx.URL, location: str, registry: str) -> httpx.URL:
    if not location:
        raise problems.garbled(str(url), f"{registry}: a redirect", "it names no location")
    following = url.join(_url(location))
    if url.scheme == "https" and following.scheme != "https":
        raise problems.garbled(
            str(url), f"{registry}: a redirect", f"got {problems.place(str(following))}, expected https again"
        )
    return following


def _retry_after(text: str) -> float | None:
    """Seconds out of a Retry-After header (RFC 9110, 10.2.3); None where there is none."""
    if text.strip().isdigit():
        return float(text)
    try:
        moment = email.utils.parsedate_to_datetime(text)
    except (ValueError, TypeError):
        return None
    return max(0.0, moment.timestamp() - time.time())


def _reason(cause: httpx.TransportError) -> str:
    kinds: dict[type[httpx.TransportError], str] = {
        httpx.ConnectTimeout: "no connection within the time-out",
        httpx.ReadTimeout: "nothing came within the time-out",
        httpx.WriteTimeout: "nothing could be sent within the time-out",
    }
    return kinds.get(type(cause)) or str(cause) or type(cause).__name__


def _tls_error(cause: BaseException | None) -> ssl.SSLError | None:
    """The TLS error behind an exception, where trying again cannot help."""
    while cause is not None:
        if isinstance(cause, ssl.SSLError) and not isinstance(cause, (ssl.SSLEOFError, ssl.SSLZeroReturnError)):
            return cause
        cause = cause.__cause__ or cause.__context__
    return None


def _tls_reason(cause: ssl.SSLError) -> str:
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {cause.verify_message}"
    if cause.reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE"):
        return "it does not speak TLS"
    return f"TLS failed: {cause.reason or cause}"
