"""BuildKit daemons on loopback ports, with mutual TLS, each in a folder of its own."""

from __future__ import annotations

import contextlib
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import trustme

from tests.integration.services import STARTUP, free_port
from tests.integration.tools import go_module_tool

BUILDKIT = ("github.com/moby/buildkit", "v0.34.2")
BUILDX = ("github.com/docker/buildx", "v0.38.2")


def buildkitd() -> Path:
    return go_module_tool("buildkitd", BUILDKIT[0], "./cmd/buildkitd", BUILDKIT[1])


def buildx() -> Path:
    return go_module_tool("buildx", BUILDX[0], "./cmd/buildx", BUILDX[1])


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """A certificate authority of a test; what it issues lies in its folder."""

    folder: Path
    ca: trustme.CA = field(default_factory=trustme.CA)

    @property
    def certificate(self) -> Path:
        return self.folder / "ca.pem"

    def write(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.ca.cert_pem.write_to_path(str(self.certificate))

    def issue(self, name: str) -> tuple[Path, Path]:
        """A certificate for loopback and its key, for servers and clients alike."""
        made = self.ca.issue_cert("127.0.0.1", common_name=name)
        certificate, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        certificate.write_bytes(b"".join(part.bytes() for part in made.cert_chain_pems))
        made.private_key_pem.write_to_path(str(key))
        return certificate, key


@dataclass(slots=True, kw_only=True)
class Daemon:
    """One buildkitd. It answers only to certificates of its authority."""

    folder: Path
    platform: str
    authority: Authority
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        return f"tcp://127.0.0.1:{self.port}"

    def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        certificate, key = self.authority.issue(f"node-{self.port}")
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    str(buildkitd()), "--addr", self.endpoint, "--root", str(self.folder / "root"),
                    "--tlscacert", str(self.authority.certificate), "--tlscert", str(certificate), "--tlskey", str(key),
                    "--oci-worker-platform", self.platform, "--oci-worker-snapshotter", "native",
                    "--containerd-worker=false", "--oci-worker-net", "host",
                ],
                stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        self._wait()

    def _wait(self) -> None:
        """Until it finishes a handshake."""
        context = ssl.create_default_context(cafile=str(self.authority.certificate))
        context.load_cert_chain(*self.authority.issue(f"probe-{self.port}"))
        end = time.monotonic() + STARTUP
        while time.monotonic() < end and self.process is not None and self.process.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as plain:
                context.wrap_socket(plain, server_hostname="127.0.0.1").close()
                return
            time.sleep(0.05)
        raise RuntimeError(f"buildkitd does not answer:\n{(self.folder / 'log').read_text()}")

    def kill(self) -> None:
        """End it as a crash would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(STARTUP)
            except subprocess.TimeoutExpired:
                self.kill()
            self.process = None


@contextlib.contextmanager
def cluster(folder: Path) -> Iterator[tuple[Authority, dict[str, Daemon]]]:
    """Two nodes, one told that it is amd64 and one that it is arm64; the machine is the same."""
    authority = Authority(folder=folder / "pki")
    authority.write()
    daemons = {
        platform: Daemon(folder=folder / platform.replace("/", "-"), platform=platform, authority=authority)
        for platform in ("linux/amd64", "linux/arm64")
    }
    try:
        for daemon in daemons.values():
            daemon.start()
        yield authority, daemons
    finally:
        for daemon in daemons.values():
            daemon.stop()
