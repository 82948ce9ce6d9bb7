"""Basic and bearer authentication of one registry; tokens are fetched on demand and renewed in time.

Sources: RFC 9110 section 11 (challenges), the distribution project's token specification (token and
oauth2 endpoints). Only the registry itself may challenge: a host that it redirects to gets nothing.
"""

from __future__ import annotations

import base64
import json
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlencode, urlsplit

from buildmatrix.errors import RegistryDenied
from buildmatrix.oci import problems
from buildmatrix.oci.credentials import Credentials, CredentialSource
from buildmatrix.oci.http import Answer, Call

_PART = re.compile(r'([A-Za-z0-9!#$%&\'*+.^_`|~-]+)(?:\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+)))?')
_CLIENT = "buildmatrix"
_DEFAULT_LIFE = 60.0
"""Seconds that a token lives where the answer does not say (token specification)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge:
    """One challenge of a WWW-Authenticate header: the scheme in lower case and its parameters."""

    scheme: str
    parameters: Mapping[str, str]


def challenges(headers: Sequence[str]) -> tuple[Challenge, ...]:
    """Every challenge of the WWW-Authenticate headers, in order."""
    found: list[tuple[str, dict[str, str]]] = []
    for header in headers:
        for part in _PART.finditer(header):
            name, quoted, plain = part.groups()
            if quoted is None and plain is None:
                found.append((name.lower(), {}))
            elif found:
                found[-1][1][name.lower()] = re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else plain
    return tuple(Challenge(scheme=scheme, parameters=parameters) for scheme, parameters in found)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Token:
    value: str
    expires: float


class Auth:
    """What a registry is authorised with. `fetch` sends one request without authorisation."""

    def __init__(
        self, registry: str, *, secure: bool, source: CredentialSource, fetch: Callable[[Call], Answer]
    ) -> None:
        self.registry = registry
        self.secure = secure
        self._source = source
        self._fetch = fetch
        self._lock = threading.Lock()
        self._credentials: Credentials | None = None
        self._basic = False
        self._bearer: Challenge | None = None
        self._tokens: dict[tuple[str, ...], _Token] = {}

    def header(self, scopes: tuple[str, ...]) -> str:
        """The Authorization header for these scopes; empty until the registry asked for one."""
        with self._lock:
            if self._basic:
                return _basic(self._known())
            if self._bearer is None:
                return ""
            return f"Bearer {self._token(scopes, self._bearer)}"

    def answer(self, headers: Sequence[str], scopes: tuple[str, ...], used: str) -> bool:
        """Take up a challenge; whether another attempt with a new header makes sense.

        `used` is the header that was refused. Raises RegistryDenied where the token server refuses.
        """
        with self._lock:
            for challenge in challenges(headers):
                if challenge.scheme == "bearer" and challenge.parameters.get("realm"):
                    return self._take_bearer(challenge, scopes, used)
                if challenge.scheme == "basic":
                    self._basic = bool(self._known().username)
                    return self._basic and used != _basic(self._known())
        return False

    def _take_bearer(self, challenge: Challenge, scopes: tuple[str, ...], used: str) -> bool:
        self._basic = False
        self._bearer = challenge
        held = self._tokens.get(scopes)
        if held is None or used == f"Bearer {held.value}":
            self._tokens.pop(scopes, None)
        return f"Bearer {self._token(scopes, challenge)}" != used

    def _known(self) -> Credentials:
        if self._credentials is None:
            self._credentials = self._source.find(self.registry)
        return self._credentials

    def _token(self, scopes: tuple[str, ...], challenge: Challenge) -> str:
        credentials = self._known()
        if credentials.registry_token:
            return credentials.registry_token
        held = self._tokens.get(scopes)
        if held is None or held.expires <= time.monotonic():
            held = self._tokens[scopes] = self._obtain(scopes, challenge, credentials)
        return held.value

    def _obtain(self, scopes: tuple[str, ...], challenge: Challenge, credentials: Credentials) -> _Token:
        realm = challenge.parameters["realm"]
        if self.secure and urlsplit(realm).scheme != "https":
            raise RegistryDenied(
                f"{self.registry}: sends clients for a token to {problems.place(realm)}, expected https",
                why="credentials would cross the network in the clear",
                fix="correct the registry's realm",
            )
        asked = scopes or tuple(challenge.parameters.get("scope", "").split())
        started = time.monotonic()
        answer = self._fetch(_token_call(realm, challenge.parameters.get("service", ""), asked, credentials))
        if answer.status != 200:
            raise _refused(self.registry, answer, credentials)
        return _parse(answer, started, self.registry)


def _basic(credentials: Credentials) -> str:
    pair = f"{credentials.username}:{credentials.password}".encode()
    return f"Basic {base64.b64encode(pair).decode()}"


def _token_call(realm: str, service: str, scopes: tuple[str, ...], credentials: Credentials) -> Call:
    fields = [("service", service)] if service else []
    if credentials.identity_token:
        fields += [
            ("grant_type", "refresh_token"),
            ("client_id", _CLIENT),
            ("refresh_token", credentials.identity_token),
            ("scope", " ".join(scopes)),
        ]
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return Call(method="POST", url=realm, headers=headers, body=urlencode(fields).encode())
    fields += [("scope", scope) for scope in scopes]
    headers = {"Authorization": _basic(credentials)} if credentials.username else {}
    glue = "&" if urlsplit(realm).query else "?"
    return Call(method="GET", url=f"{realm}{glue}{urlencode(fields)}" if fields else realm, headers=headers)


def _refused(registry: str, answer: Answer, credentials: Credentials) -> Exception:
    if answer.status not in (400, 401, 403):
        return problems.refused(answer, f"{registry}: a token")
    who = "without credentials" if credentials.anonymous else "with the credentials found"
    return RegistryDenied(
        f"{registry}: no token {who}",
        why=f"{problems.place(answer.url)} answered {answer.status}",
        fix=f"docker login {registry}",
    )


def _parse(answer: Answer, started: float, registry: str) -> _Token:
    try:
        value = json.loads(answer.body)
        token = value.get("token") or value.get("access_token")
        life = float(value.get("expires_in") or _DEFAULT_LIFE)
    except (ValueError, AttributeError, TypeError, RecursionError) as cause:
        raise problems.garbled(answer.url, f"{registry}: a token", f"it is not JSON with a token: {cause}") from cause
    if not isinstance(token, str) or not token or not token.isascii() or not token.isprintable():
        raise problems.garbled(answer.url, f"{registry}: a token", "there is no token in it")
    return _Token(value=token, expires=started + max(1.0, life * 0.8))
