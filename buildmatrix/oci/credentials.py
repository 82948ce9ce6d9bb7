"""Credentials out of Docker's config.json: plain ones, and those that helpers keep.

Format: docker/cli, configfile; docker/docker-credential-helpers, "get". A helper gets the server's name on
its standard input and prints JSON; secrets never stand in an argument list.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from buildmatrix.errors import RegistryDenied, ToolMissing, UsageError
from buildmatrix.oci.reference import DOCKER_HUB
from buildmatrix.process import Feeder

HUB_SERVER = "https://index.docker.io/v1/"
_TOKEN_USER = "<token>"  # noqa: S105  (what helpers print in place of a user name)
_NOT_FOUND = "credentials not found"
HELPER_TIMEOUT = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """What one registry is given. Empty members are absent; nothing of it is ever printed."""

    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)
    registry_token: str = field(default="", repr=False)

    @property
    def anonymous(self) -> bool:
        """Whether there are none."""
        return not (self.username or self.identity_token or self.registry_token)


class CredentialSource(Protocol):
    """Finds credentials for a registry."""

    def find(self, registry: str) -> Credentials:
        """The credentials for a registry, as its references name it; anonymous where there are none."""


class Anonymous:
    """No credentials for anyone."""

    def find(self, registry: str) -> Credentials:  # noqa: ARG002  (the protocol's)
        """No credentials."""
        return Credentials()


class DockerConfig:
    """Docker's config.json: DOCKER_CONFIG names its folder, ``~/.docker`` where it does not."""

    def __init__(self, environment: Mapping[str, str], feeder: Feeder) -> None:
        self._environment = environment
        self._feeder = feeder
        folder = environment.get("DOCKER_CONFIG") or str(Path(environment.get("HOME") or "/") / ".docker")
        self.path = Path(folder) / "config.json"

    def find(self, registry: str) -> Credentials:
        """The registry's credentials: its own helper's, else the general helper's, else those in the file.

        Raises UsageError where the file is not what Docker writes, RegistryDenied where a helper fails.
        """
        config = self._read()
        helpers = _table(config, "credHelpers", self.path)
        for server in _servers(registry):
            if server in helpers:
                return self._ask(str(helpers[server]), server)
        if store := config.get("credsStore"):
            for server in _servers(registry):
                found = self._ask(str(store), server)
                if not found.anonymous:
                    return found
        return self._plain(_table(config, "auths", self.path), registry)

    def _read(self) -> dict[str, Any]:
        try:
            text = self.path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return {}
        except (OSError, UnicodeDecodeError) as cause:
            raise UsageError(
                f"{self.path}: cannot be read", why=str(cause), fix="correct it, or set DOCKER_CONFIG"
            ) from cause
        try:
            value = json.loads(text)
        except ValueError as cause:
            raise UsageError(f"{self.path}: is not JSON", why=str(cause), fix="log in again: docker login") from cause
        if not isinstance(value, dict):
            raise UsageError(f"{self.path}: got {type(value).__name__}, expected an object", fix="docker login")
        return value

    def _plain(self, auths: dict[str, Any], registry: str) -> Credentials:
        by_host = {_host_of(key): value for key, value in reversed(auths.items())}
        entry = next((auths[server] for server in _servers(registry) if server in auths), by_host.get(registry))
        if registry == DOCKER_HUB and entry is None:
            entry = by_host.get("index.docker.io")
        if entry is None:
            return Credentials()
        if not isinstance(entry, dict):
            raise UsageError(f"{self.path}: auths: got {type(entry).__name__} for {registry}, expected an object")
        username, password = self._basic(entry, registry)
        return Credentials(
            username=username,
            password=password,
            identity_token=str(entry.get("identitytoken") or ""),
            registry_token=str(entry.get("registrytoken") or ""),
        )

    def _basic(self, entry: dict[str, Any], registry: str) -> tuple[str, str]:
        encoded = str(entry.get("auth") or "")
        if not encoded:
            return str(entry.get("username") or ""), str(entry.get("password") or "")
        try:
            text = base64.b64decode(encoded, validate=True).decode().rstrip("\0")
        except (binascii.Error, UnicodeDecodeError):
            text = ""
        username, colon, password = text.partition(":")
        if not colon:
            raise UsageError(
                f"{self.path}: auths: got something else for {registry}, expected user:password in base64",
                fix=f"log in again: docker login {registry}",
            )
        return username, password

    def _ask(self, helper: str, server: str) -> Credentials:
        program = f"docker-credential-{helper}"
        try:
            done = self._feeder.feed(
                (program, "get"), server, env=self._environment, cwd=Path("/"), timeout=HELPER_TIMEOUT
            )
        except ToolMissing as cause:
            raise ToolMissing(
                f"{program}: cannot be started, but {self.path} names it",
                why=cause.why,
                fix=f"install it, or remove it from {self.path}",
            ) from cause
        if not done.ok:
            text = (done.stdout + done.stderr).strip()
            if _NOT_FOUND in text.lower():
                return Credentials()
            raise RegistryDenied(
                f"{program}: gave no credentials for {server}", why=text[:500], fix=f"docker login {server}"
            )
        return _helper_answer(done.stdout, program, server)


def _helper_answer(text: str, program: str, server: str) -> Credentials:
    try:
        value = json.loads(text)
        username, secret = str(value["Username"]), str(value["Secret"])
    except (ValueError, KeyError, TypeError) as cause:
        raise RegistryDenied(
            f"{program}: got something else for {server}, expected JSON with Username and Secret",
            fix="try the helper by hand, or log in again",
        ) from cause
    if username == _TOKEN_USER:
        return Credentials(identity_token=secret)
    return Credentials(username=username, password=secret)


def _servers(registry: str) -> tuple[str, ...]:
    """The names under which config.json may know a registry."""
    if registry == DOCKER_HUB:
        return (HUB_SERVER, "index.docker.io", "docker.io", "registry-1.docker.io")
    return (registry, f"https://{registry}", f"https://{registry}/v1/", f"https://{registry}/v2/", f"http://{registry}")


def _host_of(key: str) -> str:
    return key.removeprefix("https://").removeprefix("http://").partition("/")[0]


def _table(config: dict[str, Any], key: str, path: Path) -> dict[str, Any]:
    value = config.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise UsageError(f"{path}: {key}: got {type(value).__name__}, expected an object", fix="docker login")
    return value


def from_environment(feeder: Feeder, environment: Mapping[str, str] | None = None) -> DockerConfig:
    """Docker's config.json as this process's environment names it."""
    return DockerConfig(os.environ if environment is None else environment, feeder)
