"""A registry in this process, with faults on demand: the OCI distribution API on a free loopback port.

    with RegistryServer() as server:
        server.fail("PUT", "/manifests/", status=500, times=1)
        ...                                     # any client, at server.host
        assert server.seen("PUT", "/manifests/") == 2

It keeps everything in memory and is as strict as a real one: a wrong digest, a manifest whose blobs are
missing and a chunk out of order are refused. Options take abilities away that real registries lack.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
import secrets
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, urlsplit

INDEX = "application/vnd.oci.image.index.v1+json"
_NAME = r"(?P<name>[a-z0-9._/-]+)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request as it came. `path` has no query."""

    method: str
    path: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]

    def one(self, key: str) -> str:
        """The first value of a query parameter, or nothing."""
        return self.query.get(key, [""])[0]


@dataclass(slots=True, kw_only=True)
class Reply:
    """What goes back. `cut` bytes of the body are sent, then the connection ends (-1: not even the headers).

    `drip` sends one byte at a time, so many seconds apart.
    """

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None
    drip: float = 0.0


@dataclass(slots=True, kw_only=True)
class Fault:
    """What happens to requests whose method and path match, `times` times (None: always)."""

    method: str
    pattern: str
    times: int | None
    before: Callable[[Request], Reply | None] = lambda _: None
    after: Callable[[Request, Reply], None] = lambda _, __: None
    swallow: int | None = None

    def matches(self, request: Request) -> bool:
        return request.method == self.method and re.search(self.pattern, request.path) is not None


@dataclass(slots=True, kw_only=True)
class Repo:
    """One repository's content: manifests by digest as (media type, bytes)."""

    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)


def sha256(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


class RegistryServer:
    """The registry. Start it as a context manager; `host` is ``127.0.0.1:PORT``.

    `login` makes it ask for a token ("bearer") or for basic authentication ("basic"), of user ``user`` with
    password ``secret`` where `public` is false.
    """

    def __init__(
        self,
        *,
        referrers: bool = True,
        chunks: bool = True,
        mounts: bool = True,
        nested: bool = True,
        etags: bool = False,
        login: str = "",
        public: bool = False,
        token_life: int = 300,
        page: int = 1000,
        check: bool = True,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.referrers, self.chunks, self.mounts, self.nested = referrers, chunks, mounts, nested
        self.etags, self.login, self.public, self.token_life = etags, login, public, token_life
        self.page, self.check, self.tls = page, check, tls
        self.lock = threading.RLock()
        self.repos: dict[str, Repo] = {}
        self.uploads: dict[str, bytes] = {}
        self.tokens: dict[str, tuple[tuple[str, ...], float]] = {}
        self.log: list[Request] = []
        self.faults: list[Fault] = []
        self.foreign: dict[str, bytes] = {}

    # What tests say and ask

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self._server.server_address[1]}"

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://{self.host}"

    def repo(self, name: str) -> Repo:
        """A repository, made where it is not there."""
        with self.lock:
            return self.repos.setdefault(name, Repo())

    def seen(self, method: str, pattern: str = "") -> int:
        """How many such requests came."""
        with self.lock:
            return sum(item.method == method and re.search(pattern, item.path) is not None for item in self.log)

    def requests(self, method: str, pattern: str = "") -> list[Request]:
        with self.lock:
            return [item for item in self.log if item.method == method and re.search(pattern, item.path)]

    def before(
        self, method: str, pattern: str, hook: Callable[[Request], Reply | None], times: int | None = None
    ) -> Fault:
        """Call `hook` first; what it returns goes back in place of the real answer."""
        fault = Fault(method=method, pattern=pattern, times=times, before=hook)
        self.faults.append(fault)
        return fault

    def fail(
        self,
        method: str,
        pattern: str,
        *,
        status: int = 500,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        times: int | None = 1,
    ) -> None:
        """Answer with a status and do nothing."""
        self.before(method, pattern, lambda _: Reply(status=status, body=body, headers=dict(headers or {})), times)

    def change(self, method: str, pattern: str, hook: Callable[[Request, Reply], None], times: int | None = 1) -> None:
        """Do what is asked, then change the answer."""
        self.faults.append(Fault(method=method, pattern=pattern, times=times, after=hook))

    def cut(self, method: str, pattern: str, *, after: int, times: int | None = 1) -> None:
        """End the connection after so many bytes of the answer's body."""
        self.change(method, pattern, lambda _, reply: setattr(reply, "cut", after), times)

    def swallow(self, method: str, pattern: str, *, after: int, times: int | None = 1) -> None:
        """End the connection after so many bytes of the request's body; a chunk's bytes until there are kept."""
        self.faults.append(Fault(method=method, pattern=pattern, times=times, swallow=after))

    def lose(self, method: str, pattern: str, *, times: int | None = 1) -> None:
        """Do what is asked, and end the connection without an answer."""
        self.cut(method, pattern, after=-1, times=times)

    def corrupt(self, method: str, pattern: str, *, times: int | None = 1) -> None:
        """Flip a bit in the middle of the answer's body."""

        def flip(_: Request, reply: Reply) -> None:
            data = bytearray(reply.body)
            data[len(data) // 2] ^= 1
            reply.body = bytes(data)

        self.change(method, pattern, flip, times)

    def slow(self, method: str, pattern: str, seconds: float, *, times: int | None = 1) -> None:
        """Answer late."""

        def wait(_: Request) -> None:
            time.sleep(seconds)

        self.before(method, pattern, wait, times)

    # Life

    def __enter__(self) -> RegistryServer:
        registry = self

        class Handler(_Handler):
            server_registry = registry

        self._server = _Server(("127.0.0.1", 0), Handler)
        if self.tls is not None:
            self._server.socket = self.tls.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    # The API

    def take(self, request: Request, read: Callable[[int | None], bytes], length: int) -> Reply | None:
        """Handle one request; None ends the connection without an answer."""
        with self.lock:
            self.log.append(request)
            fault = next((item for item in self.faults if item.matches(request) and self._use(item)), None)
        early = fault.before(request) if fault is not None else None
        if early is not None:
            read(None)
            return early
        if fault is not None and fault.swallow is not None:
            self._keep(request, read(min(fault.swallow, length)))
            return None
        body = read(None)
        with self.lock:
            reply = self._route(request, body)
        if fault is not None:
            fault.after(request, reply)
        return reply

    def _use(self, fault: Fault) -> bool:
        """Whether it is not used up; the first fault that matches is the one that happens."""
        if fault.times is None:
            return True
        fault.times -= 1
        return fault.times >= 0

    def _keep(self, request: Request, data: bytes) -> None:
        session = request.path.rpartition("/")[2]
        if request.method == "PATCH":
            with self.lock:
                self.uploads[session] = self.uploads.get(session, b"") + data

    def _route(self, request: Request, body: bytes) -> Reply:
        if request.path == "/token":
            return self._token(request, body)
        if request.path.startswith("/elsewhere/"):
            return self._elsewhere(request)
        if (refusal := self._unauthorised(request)) is not None:
            return refusal
        if request.path == "/v2/":
            return Reply(body=b"{}")
        for pattern, handler in self._ROUTES:
            found = re.fullmatch(rf"/v2/{_NAME}{pattern}", request.path)
            if found is not None:
                reply: Reply = getattr(self, f"_{handler}")(request, body, **found.groupdict())
                return reply
        return _error(404, "NAME_UNKNOWN")

    _ROUTES = (
        (r"/blobs/uploads/", "start"),
        (r"/blobs/uploads/(?P<session>[a-z0-9]+)", "upload"),
        (r"/blobs/(?P<digest>[a-z0-9]+:[a-f0-9]+)", "blob"),
        (r"/manifests/(?P<target>[^/]+)", "manifest"),
        (r"/tags/list", "list_tags"),
        (r"/referrers/(?P<digest>[a-z0-9]+:[a-f0-9]+)", "list_referrers"),
    )

    def _elsewhere(self, request: Request) -> Reply:
        data = self.foreign.get(request.path.rpartition("/")[2])
        return Reply(body=data) if data is not None else _error(404, "BLOB_UNKNOWN")

    def _unauthorised(self, request: Request) -> Reply | None:
        given = request.headers.get("authorization", "")
        if not self.login:
            return None
        if self.login == "basic":
            wanted = "Basic " + base64.b64encode(b"user:secret").decode()
            if secrets.compare_digest(given, wanted):
                return None
            return _error(401, "UNAUTHORIZED", {"WWW-Authenticate": 'Basic realm="a registry"'})
        scope = _scope(request)
        allowed, expires = self.tokens.get(given.removeprefix("Bearer "), ((), 0.0))
        if expires > time.monotonic() and (not scope or _covers(allowed, scope)):
            return None
        challenge = f'Bearer realm="{self.url}/token",service="a, \\"service\\"",scope="{scope}"'
        return _error(401, "UNAUTHORIZED", {"WWW-Authenticate": challenge})

    def _token(self, request: Request, body: bytes) -> Reply:
        form = parse_qs(body.decode()) if request.method == "POST" else request.query
        scopes = tuple(scope for text in form.get("scope", []) for scope in text.split())
        wanted = "Basic " + base64.b64encode(b"user:secret").decode()
        granted = self.public or request.headers.get("authorization") == wanted
        granted = granted or form.get("refresh_token") == ["an-identity-token"]
        if not granted:
            return _error(401, "UNAUTHORIZED")
        token = secrets.token_hex(8)
        self.tokens[token] = (scopes, time.monotonic() + self.token_life)
        return Reply(body=json.dumps({"token": token, "expires_in": self.token_life}).encode())

    def _start(self, request: Request, body: bytes, name: str) -> Reply:
        if request.method != "POST":
            return _error(405, "UNSUPPORTED")
        source, digest = request.one("from"), request.one("mount")
        if self.mounts and digest and digest in self.repos.get(source, Repo()).blobs:
            self.repo(name).blobs[digest] = self.repos[source].blobs[digest]
            return Reply(
                status=201, headers={"Location": f"/v2/{name}/blobs/{digest}", "Docker-Content-Digest": digest}
            )
        session = secrets.token_hex(8)
        self.uploads[session] = b""
        return Reply(
            status=202, headers={"Location": f"/v2/{name}/blobs/uploads/{session}?_state=a%3Db", "Range": "0-0"}
        )

    def _upload(self, request: Request, body: bytes, name: str, session: str) -> Reply:
        held = self.uploads.get(session)
        if held is None or request.one("_state") != "a=b":
            return _error(404, "BLOB_UPLOAD_UNKNOWN")
        where = {"Location": f"/v2/{name}/blobs/uploads/{session}?_state=a%3Db"}
        if request.method == "GET":
            return Reply(status=204, headers=where | {"Range": f"0-{max(0, len(held) - 1)}"})
        if request.method == "PATCH":
            if not self.chunks:
                return _error(405, "UNSUPPORTED")
            start = request.headers.get("content-range", f"{len(held)}-").partition("-")[0]
            if int(start) != len(held):
                return _error(416, "BLOB_UPLOAD_INVALID", where | {"Range": f"0-{max(0, len(held) - 1)}"})
            self.uploads[session] = held + body
            return Reply(status=202, headers=where | {"Range": f"0-{len(held) + len(body) - 1}"})
        if request.method != "PUT":
            return _error(405, "UNSUPPORTED")
        del self.uploads[session]
        data, digest = held + body, request.one("digest")
        if digest != f"{digest.partition(':')[0]}:{hashlib.new(digest.partition(':')[0], data).hexdigest()}":
            return _error(400, "DIGEST_INVALID")
        self.repo(name).blobs[digest] = data
        return Reply(status=201, headers={"Location": f"/v2/{name}/blobs/{digest}", "Docker-Content-Digest": digest})

    def _blob(self, request: Request, body: bytes, name: str, digest: str) -> Reply:
        blobs = self.repos.get(name, Repo()).blobs
        if digest not in blobs:
            return _error(404, "BLOB_UNKNOWN")
        if request.method == "DELETE":
            del blobs[digest]
            return Reply(status=202)
        data, headers = blobs[digest], {"Docker-Content-Digest": digest, "Content-Type": "application/octet-stream"}
        ranged = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("range", ""))
        if ranged is None:
            return Reply(body=data, headers=headers)
        first, last = int(ranged[1]), int(ranged[2] or len(data) - 1)
        headers["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
        return Reply(status=206, body=data[first : last + 1], headers=headers)

    def _manifest(self, request: Request, body: bytes, name: str, target: str) -> Reply:
        if request.method == "PUT":
            return self._put_manifest(request, body, name, target)
        repo = self.repos.get(name, Repo())
        digest = target if ":" in target else repo.tags.get(target, "")
        if digest not in repo.manifests:
            return _error(404, "MANIFEST_UNKNOWN")
        if request.method == "DELETE":
            repo.tags = {tag: held for tag, held in repo.tags.items() if held != digest and tag != target}
            if ":" in target:
                del repo.manifests[digest]
            return Reply(status=202)
        media_type, data = repo.manifests[digest]
        headers = {"Content-Type": media_type, "Docker-Content-Digest": digest}
        return Reply(body=data, headers=headers | ({"ETag": f'"{digest}"'} if self.etags else {}))

    def _put_manifest(self, request: Request, body: bytes, name: str, target: str) -> Reply:
        repo, digest = self.repo(name), sha256(body)
        if ":" in target and not target.startswith("sha256:"):
            digest = f"{target.partition(':')[0]}:{hashlib.new(target.partition(':')[0], body).hexdigest()}"
        if ":" in target and target != digest:
            return _error(400, "DIGEST_INVALID")
        wanted = request.headers.get("if-match")
        if self.etags and wanted is not None and wanted != f'"{repo.tags.get(target, "")}"':
            return _error(412, "UNKNOWN")
        value = json.loads(body)
        if self.check and (refusal := self._missing(repo, value)) is not None:
            return refusal
        repo.manifests[digest] = (request.headers.get("content-type", ""), body)
        if ":" not in target:
            repo.tags[target] = digest
        headers = {"Location": f"/v2/{name}/manifests/{digest}", "Docker-Content-Digest": digest}
        if self.referrers and value.get("subject"):
            headers["OCI-Subject"] = value["subject"]["digest"]
        return Reply(status=201, headers=headers)

    def _missing(self, repo: Repo, value: Mapping[str, Any]) -> Reply | None:
        children = value.get("manifests") or ()
        if not self.nested and any("index" in item["mediaType"] for item in children):
            return _error(400, "MANIFEST_INVALID")
        if any(item["digest"] not in repo.manifests for item in children):
            return _error(404, "MANIFEST_UNKNOWN")
        blobs = [*([value["config"]] if "config" in value else []), *(value.get("layers") or ())]
        if any(item["digest"] not in repo.blobs and not item.get("urls") for item in blobs):
            return _error(400, "MANIFEST_BLOB_UNKNOWN")
        return None

    def _list_tags(self, request: Request, body: bytes, name: str) -> Reply:
        if name not in self.repos:
            return _error(404, "NAME_UNKNOWN")
        tags = sorted(tag for tag in self.repos[name].tags if tag > request.one("last"))
        page = tags[: min(self.page, int(request.one("n") or self.page))]
        more = (
            {"Link": f'</v2/{name}/tags/list?last={page[-1]}&n={len(page)}>; rel="next"'}
            if len(page) < len(tags)
            else {}
        )
        return Reply(body=json.dumps({"name": name, "tags": page}).encode(), headers=more)

    def _list_referrers(self, request: Request, body: bytes, name: str, digest: str) -> Reply:
        if not self.referrers:
            return Reply(status=404, body=b"404 page not found\n")
        found = []
        for own, (media_type, data) in sorted(self.repos.get(name, Repo()).manifests.items()):
            value = json.loads(data)
            if (value.get("subject") or {}).get("digest") == digest:
                kind = value.get("artifactType") or value.get("config", {}).get("mediaType", "")
                entry = {"mediaType": media_type, "digest": own, "size": len(data), "artifactType": kind}
                found.append(entry | ({"annotations": value["annotations"]} if value.get("annotations") else {}))
        first = int(request.one("last") or 0)
        page = found[first : first + self.page]
        headers = {"Content-Type": INDEX}
        if first + self.page < len(found):
            headers["Link"] = f'</v2/{name}/referrers/{digest}?last={first + self.page}>; rel="next"'
        body = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": page}).encode()
        return Reply(body=body, headers=headers)


def _scope(request: Request) -> str:
    found = re.match(rf"/v2/{_NAME}/(?:blobs|manifests|tags|referrers)/", request.path)
    if found is None:
        return ""
    actions = {"GET": "pull", "HEAD": "pull", "DELETE": "delete"}.get(request.method, "pull,push")
    return f"repository:{found['name']}:{actions}"


def _covers(allowed: tuple[str, ...], scope: str) -> bool:
    name, _, actions = scope.rpartition(":")
    held = {
        action for item in allowed if item.rpartition(":")[0] == name for action in item.rpartition(":")[2].split(",")
    }
    return set(actions.split(",")) <= held


def _error(status: int, code: str, headers: Mapping[str, str] | None = None) -> Reply:
    body = json.dumps({"errors": [{"code": code, "message": code.lower().replace("_", " ")}]}).encode()
    return Reply(status=status, body=body, headers=dict(headers or {}))


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Connections that a test ends are no errors."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else each answer waits for an acknowledgement, 40 ms
    server_registry: RegistryServer

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  (the base class's name)
        """Say nothing."""

    def _handle(self) -> None:
        parts = urlsplit(self.path)
        request = Request(
            method=self.command,
            path=parts.path,
            query=parse_qs(parts.query, keep_blank_values=True),
            headers={name.lower(): value for name, value in self.headers.items()},
        )
        reply = self.server_registry.take(request, self._body, int(request.headers.get("content-length", 0)))
        if reply is None:
            self.close_connection = True
            return
        self._send(reply)

    def _body(self, limit: int | None) -> bytes:
        if limit is not None:
            return self.rfile.read(limit)
        if self.headers.get("Transfer-Encoding") == "chunked":
            return b"".join(self._http_chunks())
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _http_chunks(self) -> Iterator[bytes]:
        while size := int(self.rfile.readline(), 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()

    def _send(self, reply: Reply) -> None:
        if reply.cut == -1:
            self.close_connection = True
            return
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            if reply.status != 204 and "Content-Length" not in reply.headers:
                self.send_header("Content-Length", str(len(reply.body)))
            self.end_headers()
            if self.command != "HEAD":
                self._write(reply.body if reply.cut is None else reply.body[: reply.cut], reply.drip)
        if reply.cut is not None:
            self.close_connection = True

    def _write(self, body: bytes, drip: float) -> None:
        if not drip:
            self.wfile.write(body)
            return
        for byte in body:
            self.wfile.write(bytes((byte,)))
            self.wfile.flush()
            time.sleep(drip)

    do_GET = do_HEAD = do_PUT = do_POST = do_PATCH = do_DELETE = _handle  # noqa: N815  (http.server's names)
