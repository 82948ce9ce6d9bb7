"""Blobs to and from a registry: verified while they stream, resumed where a connection breaks.

Upload: OCI distribution specification, "Pushing Blobs". A small blob is one request. A large one goes in
chunks that are kept until the registry has them, so that a break costs one chunk; a registry that takes
no chunks gets one request after all. Memory is bounded by one chunk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlencode, urljoin, urlsplit, urlunsplit

from buildmatrix.errors import BuildmatrixError, RegistryFailed
from buildmatrix.oci import problems
from buildmatrix.oci.content import Blob, Check, checked
from buildmatrix.oci.http import Answer, Call, Interrupted

if TYPE_CHECKING:
    from buildmatrix.oci.transport import Transport

Progress = Callable[[str, int, int], None]
"""Called with a digest, the bytes that were moved, and the bytes in all."""

_NO_CHUNKS = frozenset((400, 404, 405, 411, 413, 416, 501))
_LATER = frozenset((408, 429, 500, 502, 503, 504))


def download(
    transport: Transport,
    url: str,
    *,
    scopes: tuple[str, ...],
    blob: tuple[str, int],
    progress: Progress,
    offset: int = 0,
) -> Iterator[bytes]:
    """The blob (digest, size in bytes) from `offset`, piece by piece; a break is resumed where it happened.

    The digest is checked at the end where the whole blob is read: nothing that came may be published
    before the iterator ends. Raises ContentMismatch, NotInRegistry, RegistryUnreachable.
    """
    digest, size = blob
    pieces = _resumed(transport, url, scopes, digest, size, offset)
    done = offset
    for piece in pieces if offset else checked(pieces, digest, size, f"{transport.registry}: a blob"):
        done += len(piece)
        progress(digest, done, size)
        yield piece


def _resumed(
    transport: Transport, url: str, scopes: tuple[str, ...], digest: str, size: int, offset: int
) -> Iterator[bytes]:
    position, failures = offset, 0
    while True:
        start = position
        try:
            for piece in _ranged(transport, url, scopes, digest, size, position):
                position += len(piece)
                yield piece
            if position >= size:
                return
            raise Interrupted(f"the connection ended after {position} of {size} bytes")
        except Interrupted as cause:
            failures = 1 if position > start else failures + 1  # what brings bytes may go on
            if failures >= transport.access.attempts:
                raise problems.unreachable(transport.registry, "GET", url, str(cause), failures) from cause
            transport.pause(failures)


def _ranged(
    transport: Transport, url: str, scopes: tuple[str, ...], digest: str, size: int, position: int
) -> Iterator[bytes]:
    """One request from `position`; where the registry ignores ranges, what is known already is skipped."""
    headers = {"Range": f"bytes={position}-{size - 1}"} if position else {}
    stream = transport.stream(Call(method="GET", url=url, scopes=scopes, headers=headers, length=size))
    try:
        if stream.status not in (200, 206):
            raise problems.refused(stream.answer(1 << 20), f"{transport.registry}: {digest}")
        skip = position if stream.status == 200 else 0
        if stream.status == 206 and not stream.headers.get("content-range", "").startswith(f"bytes {position}-"):
            got = stream.headers.get("content-range", "nothing")
            raise problems.garbled(stream.url, digest, f"got the range {got}, expected bytes from {position}")
        for piece in stream.pieces():
            yield piece[skip:]
            skip = max(0, skip - len(piece))
    finally:
        stream.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """Sends one blob into one repository. `uploads` is the URL that starts an upload."""

    transport: Transport
    uploads: str
    scopes: tuple[str, ...]
    blob: Blob
    exists: Callable[[], bool]
    progress: Progress

    def run(self, location: str = "") -> None:
        """Send it; `location` is an upload that was already started. Raises what the registry refuses."""
        chunked = self.blob.size > self.transport.access.monolithic
        for attempt in range(1, self.transport.access.attempts + 1):
            try:
                location = location or self._start()
                (self._chunks if chunked else self._whole)(location)
                return
            except _ChunksRefused:
                chunked = False
            except (Interrupted, _Again) as cause:
                if self.exists():  # the answer was lost, the bytes were not
                    return
                if attempt == self.transport.access.attempts:
                    raise self._gave_up(cause) from cause
                self.transport.pause(attempt)
            location = ""
        raise RegistryFailed(f"{self.what}: takes blobs neither in chunks nor in one request")

    @property
    def what(self) -> str:
        """What messages call it."""
        return f"{self.transport.registry}: {self.blob.digest}"

    def _gave_up(self, cause: Exception) -> BuildmatrixError:
        if isinstance(cause, _Again):
            return problems.refused(cause.answer, self.what)
        tries = self.transport.access.attempts
        return problems.unreachable(self.transport.registry, "PUT", self.uploads, str(cause), tries)

    def _start(self) -> str:
        answer = self._call("POST", self.uploads, idempotent=True)  # a second one leaves only an unused session
        if answer.status != 202:
            raise problems.refused(answer, self.what)
        return self.location(answer)

    def location(self, answer: Answer) -> str:
        """Where the upload goes on. Raises RegistryFailed."""
        found = urljoin(answer.url, answer.headers.get("location", ""))
        if not answer.headers.get("location"):
            raise problems.garbled(answer.url, self.what, "got no Location, expected where to upload to")
        if answer.url.startswith("https:") and not found.startswith("https:"):
            raise problems.garbled(answer.url, self.what, f"got {problems.place(found)}, expected https")
        return found

    def _whole(self, location: str) -> None:
        answer = self._call(
            "PUT",
            with_digest(location, self.blob.digest),
            body=lambda: self._counted(
                checked(self.blob.open(0), self.blob.digest, self.blob.size, "the blob to send")
            ),
            length=self.blob.size,
        )
        self._finish(answer)

    def _counted(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        done = 0
        for piece in pieces:
            done += len(piece)
            self.progress(self.blob.digest, done, self.blob.size)
            yield piece

    def _chunks(self, location: str) -> None:
        check = Check(self.blob.digest, self.blob.size, "the blob to send")
        done = 0
        for chunk in _chunked(self.blob.open(0), self.transport.access.chunk):
            check.add(chunk)
            location = self._chunk(location, chunk, done)
            done += len(chunk)
            self.progress(self.blob.digest, done, self.blob.size)
        check.finish()
        self._finish(self._call("PUT", with_digest(location, self.blob.digest), idempotent=False))

    def _chunk(self, location: str, chunk: bytes, offset: int) -> str:
        """Send one chunk, from where the registry has got to after a break. Returns where the next one goes."""
        skip = 0
        for attempt in range(1, self.transport.access.attempts + 1):
            try:
                answer = self._patch(location, chunk[skip:], offset + skip)
            except Interrupted as cause:
                problem: Exception = cause
            else:
                if answer.status in (201, 202, 204):
                    return self.location(answer)
                if answer.status in _NO_CHUNKS and offset + skip == 0:
                    raise _ChunksRefused
                if answer.status not in (*_LATER, 416):
                    raise problems.refused(answer, self.what)
                problem = _Again(answer)
            if attempt == self.transport.access.attempts:
                raise problem
            self.transport.pause(attempt)
            location, received = self._status(location)
            if not offset <= received <= offset + len(chunk):
                raise _Again(Answer(status=416, headers={}, body=b"", url=location))  # begin anew
            skip = received - offset
            if skip == len(chunk):
                return location
        raise AssertionError("attempts is at least 1")

    def _patch(self, location: str, piece: bytes, offset: int) -> Answer:
        headers = {
            "Content-Type": "application/octet-stream",
            "Content-Range": f"{offset}-{offset + len(piece) - 1}",
        }
        return self._call("PATCH", location, body=lambda: (piece,), length=len(piece), headers=headers)

    def _status(self, location: str) -> tuple[str, int]:
        """Where an upload goes on, and how many bytes the registry has."""
        answer = self._call("GET", location, idempotent=True)
        if answer.status not in (202, 204):
            raise _Again(answer)
        end = answer.headers.get("range", "").rpartition("-")[2]
        received = int(end) + 1 if end.isdigit() else 0
        return self.location(answer) if answer.headers.get("location") else location, 0 if received == 1 else received

    def _finish(self, answer: Answer) -> None:
        if answer.status in _LATER or answer.status == 404:
            raise _Again(answer)
        if answer.status not in (201, 202, 204):
            raise problems.refused(answer, self.what)
        got = answer.headers.get("docker-content-digest", "")
        if got and got != self.blob.digest and got.startswith(self.blob.digest.partition(":")[0] + ":"):
            raise problems.garbled(answer.url, self.what, f"got {got} stored, expected {self.blob.digest}")

    def _call(
        self,
        method: str,
        url: str,
        *,
        body: Callable[[], Iterable[bytes]] | None = None,
        length: int = 0,
        headers: dict[str, str] | None = None,
        idempotent: bool = False,
    ) -> Answer:
        common = {"Content-Type": "application/octet-stream"} if body else {}
        return self.transport.call(
            Call(
                method=method,
                url=url,
                scopes=self.scopes,
                headers=common | (headers or {}),
                body=body or b"",
                length=length,
                idempotent=idempotent,
            )
        )


class _ChunksRefused(Exception):
    """The registry takes no chunks."""


class _Again(Exception):
    """An upload has to begin anew."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(f"the registry answered {answer.status}")
        self.answer = answer


def with_digest(location: str, digest: str) -> str:
    """The location with ``digest=`` added to the query that it has."""
    parts = urlsplit(location)
    added = urlencode({"digest": digest})
    # what is there stays byte for byte: registries sign it
    return urlunsplit(parts._replace(query=f"{parts.query}&{added}" if parts.query else added))


def _chunked(pieces: Iterable[bytes], size: int) -> Iterator[bytes]:
    held = bytearray()
    for piece in pieces:
        held += piece
        while len(held) >= size:
            yield bytes(held[:size])
            del held[:size]
    if held:
        yield bytes(held)
