"""Real servers for integration tests, each on a free loopback port with a folder of its own."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

STARTUP = 30.0
"""Seconds that a server may take until it answers."""

_REGISTRY = """\
version: 0.1
log: {{level: error, accesslog: {{disabled: true}}}}
storage:
  filesystem: {{rootdirectory: {folder}/data}}
  delete: {{enabled: true}}
http: {{addr: "{host}"}}
{more}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class DockerRegistry:
    """Debian's docker-registry (distribution 2.8.2, which has no referrers API). `host` is ``127.0.0.1:PORT``."""

    host: str
    folder: Path


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def docker_registry(folder: Path, more: str = "") -> Iterator[DockerRegistry]:
    """Run docker-registry; `more` is added to its configuration (YAML at the top level)."""
    host = f"127.0.0.1:{free_port()}"
    config = folder / "registry.yml"
    config.write_text(_REGISTRY.format(folder=folder, host=host, more=more))
    with (folder / "registry.log").open("wb") as log:
        process = subprocess.Popen(["docker-registry", "serve", str(config)], stdout=log, stderr=log)
        try:
            _wait(f"http://{host}/", process, folder / "registry.log")
            yield DockerRegistry(host=host, folder=folder)
        finally:
            process.terminate()
            process.wait(timeout=STARTUP)


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + STARTUP
    while time.monotonic() < end and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=1):
                return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError(f"{url}: no answer within {STARTUP:g} s\n{log.read_text()}")
