"""Finds buildx, and runs it in an environment that is known.

Docker's plugin is a program that also runs by itself: it is started without the docker command, which
would add nothing but its own configuration.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from buildmatrix import errors
from buildmatrix.process import Watcher

PLUGIN = "docker-buildx"

_SYSTEM = (
    "/usr/local/lib/docker/cli-plugins",
    "/usr/local/libexec/docker/cli-plugins",
    "/usr/lib/docker/cli-plugins",
    "/usr/libexec/docker/cli-plugins",
)
"""Where Docker looks for plugins on Linux, after the user's own folder (docker/cli, cli-plugins/manager)."""

PASSED_THROUGH = (
    "PATH", "HOME", "TMPDIR", "DOCKER_CONFIG", "DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CERT_PATH",
    "DOCKER_TLS_VERIFY", "KUBECONFIG", "XDG_RUNTIME_DIR", "SSH_AUTH_SOCK", "SSL_CERT_FILE", "SSL_CERT_DIR",
    "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy", "BUILDX_CONFIG",
    "BUILDX_BUILDER",
)  # fmt: skip
"""Variables that say where things are; those that would change a build (BUILDX_BAKE_FILE …) are left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Buildx:
    """buildx and how it is run. `environment` is the caller's, `state` the folder of our own builders."""

    program: Path
    runner: Watcher
    environment: Mapping[str, str]
    state: Path

    def variables(self, more: Mapping[str, str]) -> dict[str, str]:
        """The variables that a run of buildx gets."""
        passed = {name: self.environment[name] for name in PASSED_THROUGH if name in self.environment}
        return {**passed, **more}


def find(environment: Mapping[str, str]) -> Path:
    """The plugin that docker would start, else `buildx` or `docker-buildx` on PATH. Raises ToolMissing."""
    for place in _plugins(environment):
        if place.is_file():
            return place
    for name in ("buildx", PLUGIN):
        found = shutil.which(name, path=environment.get("PATH", ""))
        if found is not None:
            return Path(found)
    raise errors.ToolMissing(
        "buildx: got neither a Docker plugin nor a program on PATH, expected one of them",
        why="an image with a Dockerfile is built by BuildKit, which buildx speaks to",
        fix="install Docker's buildx plugin, or put the buildx program on PATH",
    )


def _plugins(environment: Mapping[str, str]) -> Iterator[Path]:
    config = environment.get("DOCKER_CONFIG") or (f"{environment['HOME']}/.docker" if "HOME" in environment else "")
    for folder in (*((f"{config}/cli-plugins",) if config else ()), *_SYSTEM):
        yield Path(folder) / PLUGIN
