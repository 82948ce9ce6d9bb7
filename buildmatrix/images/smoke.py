"""Starts each platform's image on the local engine and asks it whether it lives.

A run says that the image starts there, on this kernel, under this engine. Where the engine's machine is
another one, binfmt_misc starts an emulator; what runs then is the emulator, with its own page size,
instructions and system calls. That proves nothing about the real machine, and is said every time.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, cast

from buildmatrix import arch, errors
from buildmatrix.artifact import Outcome, Status
from buildmatrix.finding import Finding, Severity
from buildmatrix.images import archive
from buildmatrix.imagespec import ImageSpec
from buildmatrix.oci import graph
from buildmatrix.oci.content import Descriptor, parse_json
from buildmatrix.oci.layout import Layout
from buildmatrix.oci.platform import Platform, normalise

if TYPE_CHECKING:
    import docker
    from docker.models.containers import Container

CODES = {
    "BM862": "image ran under emulation, which proves nothing about the real machine",
    "BM863": "image does not start on the local engine, or does not answer",
}
"""Findings of this step, with their meaning."""

WARNINGS = frozenset({"BM862"})
"""Those that do not fail a run."""

_POLL = 0.1
_LOG_LINES = 20
_MEMORY = "512m"


@dataclass(frozen=True, slots=True, kw_only=True)
class Smoke:
    """One image to try: `seconds` is how long a platform may take until it answers."""

    spec: ImageSpec
    layout: Layout
    platforms: tuple[str, ...]
    seconds: float
    check: Callable[[], None]
    told: Callable[[str], None]


def run(job: Smoke) -> tuple[Outcome, ...]:
    """One outcome for each platform. Raises EngineFailed where there is no engine to ask."""
    with _engine() as engine:
        machine = arch.normalise(str(engine.info().get("Architecture", ""))) or ""
        entries = job.layout.index().manifests
        if not entries:
            raise errors.ImageMissing(f"{job.layout.path}: no image in the layout", fix="build the image first")
        images = graph.images_of(job.layout, entries[0])
        chosen = [
            (platform, node.descriptor)
            for platform, node in images
            if not job.platforms or str(normalise(platform)) in job.platforms
        ]
        if not chosen:
            raise errors.NothingSelected(
                f"image {job.spec.name}: got platforms {', '.join(job.platforms)}, "
                f"expected some of {', '.join(str(normalise(platform)) for platform, _ in images)}"
            )
        return tuple(_Run(job, engine, machine, normalise(platform), entry).outcome() for platform, entry in chosen)


@contextlib.contextmanager
def _engine() -> Iterator[docker.DockerClient]:
    import docker
    from docker.errors import DockerException

    try:
        client = docker.from_env(timeout=60)
        client.ping()
    except DockerException as error:
        raise errors.EngineFailed(
            "the Docker engine does not answer",
            why=str(error).partition("\n")[0],
            fix="start it, or set DOCKER_HOST to one that runs",
        ) from error
    try:
        yield client
    finally:
        client.close()


class _Run:
    """One platform's image from loading to removal."""

    def __init__(
        self, job: Smoke, engine: docker.DockerClient, machine: str, platform: Platform, entry: Descriptor
    ) -> None:
        self.job, self.engine, self.platform, self.entry = job, engine, platform, entry
        self.label = f"image {job.spec.name} {platform}"
        self.emulated = machine != platform.architecture
        self.machine = machine

    def outcome(self) -> Outcome:
        """Load, start, ask, remove; whatever happens, nothing stays on the engine."""
        from docker.errors import APIError, DockerException

        started = time.monotonic()
        findings: list[Finding] = []
        try:
            with self._loaded() as image, self._started(image) as container:
                findings += self._asked(container)
        except APIError as error:
            findings.append(
                self._finding(f"the engine cannot start it: {error.explanation or error}", self._hint(error))
            )
        except DockerException as error:
            raise errors.EngineFailed(f"{self.label}: the engine gave up", why=str(error)) from error
        if self.emulated and not findings:
            findings.append(self._under_emulation())
        failed = any(item.severity is Severity.ERROR for item in findings)
        return Outcome(
            cell=self.label,
            status=Status.FAILED if failed else Status.DONE,
            findings=tuple(findings),
            seconds=time.monotonic() - started,
            exit_status=errors.EXIT_FINDINGS if failed else errors.EXIT_OK,
        )

    @contextlib.contextmanager
    def _loaded(self) -> Iterator[str]:
        self.job.told(f"loading {self.platform}")
        tag = f"buildmatrix-run/{self.job.spec.name.lower()}:{uuid.uuid4().hex}"
        manifest = self.job.layout.manifest(self.entry).manifest()
        with cast("IO[bytes]", tempfile.TemporaryFile()) as packed:
            archive.write(self.job.layout, manifest, tag, packed)
            packed.seek(0)
            self.engine.images.load(packed)
        try:
            yield tag
        finally:
            self.engine.images.remove(tag, force=True)

    @contextlib.contextmanager
    def _started(self, image: str) -> Iterator[Container]:
        self.job.told(f"starting {self.platform}")
        ports = dict.fromkeys(self._ports(), ("127.0.0.1", None))
        container = self.engine.containers.create(
            image,
            name=f"buildmatrix-run-{uuid.uuid4().hex[:12]}",
            ports=cast("Any", ports),
            mem_limit=_MEMORY,
            pids_limit=256,
            read_only=False,
            security_opt=["no-new-privileges"],
            platform=str(self.platform),
        )
        try:
            container.start()
            yield container
        finally:
            container.remove(force=True, v=True)

    def _asked(self, container: Container) -> Iterator[Finding]:
        """Ask for every path of `smoke`; without one, live for a moment or end with status 0."""
        self.job.told(f"asking {self.platform}")
        deadline = time.monotonic() + self.job.seconds
        for path in self.job.spec.smoke:
            problem = self._answer(container, path, deadline)
            if problem:
                yield self._finding(problem, "look at what it said; run it by hand: docker run", self._log(container))
                return
        if not self.job.spec.smoke:
            time.sleep(1)
            container.reload()
            state = container.attrs["State"]
            if not state["Running"] and state["ExitCode"]:
                yield self._finding(
                    f"ended with status {state['ExitCode']}", "look at what it said", self._log(container)
                )

    def _answer(self, container: Container, path: str, deadline: float) -> str:
        """Why a path does not answer as it should, or nothing."""
        last = "no port is published"
        while time.monotonic() < deadline:
            self.job.check()
            container.reload()
            state = container.attrs["State"]
            if not state["Running"]:
                return f"ended with status {state['ExitCode']} before it answered {path}"
            address = self._address(container)
            if address:
                try:
                    with urllib.request.urlopen(f"http://{address}{path}", timeout=5) as reply:
                        return self._contradiction(path, reply.read(1 << 20))
                except urllib.error.HTTPError as error:
                    return f"{path} answered {error.code}, expected 200"
                except OSError as error:
                    last = str(error)
            time.sleep(_POLL)
        return f"{path} did not answer within {self.job.seconds:.0f} s ({last})"

    def _ports(self) -> tuple[str, ...]:
        """The ports of the matrix, in its order; else those that the image's config exposes, as a Dockerfile does."""
        if self.job.spec.ports:
            return tuple(port if "/" in port else f"{port}/tcp" for port in self.job.spec.ports)
        config = self.job.layout.manifest(self.entry).manifest().config
        value = parse_json(self.job.layout.read(config), self.label) if config is not None else {}
        return tuple(sorted((value.get("config") or {}).get("ExposedPorts") or {}))

    def _address(self, container: Container) -> str:
        published = container.attrs["NetworkSettings"]["Ports"] or {}
        for port in self._ports():
            bindings = published.get(port)
            if bindings:
                return f"{bindings[0]['HostIp']}:{bindings[0]['HostPort']}"
        return ""

    def _contradiction(self, path: str, body: bytes) -> str:
        """What the service says of its own architecture must be the platform's, where it says anything."""
        try:
            said = json.loads(body)
        except ValueError:
            return ""
        got = _goarch(said)
        if got and arch.normalise(got) != self.platform.architecture:
            return f"{path} says that it was built for {got}, expected {self.platform.architecture}"
        return ""

    def _finding(self, what: str, fix: str, log: str = "") -> Finding:
        return Finding(rule="BM863", cell=self.label, what=what, evidence=log, why=self._where(), fix=fix)

    def _where(self) -> str:
        return f"under emulation on {self.machine}" if self.emulated else ""

    def _hint(self, error: Exception) -> str:
        if "exec format error" in str(error) and self.emulated:
            return "register an emulator: on Debian, apt-get install qemu-user-static binfmt-support"
        return "see the engine's log"

    def _log(self, container: Container) -> str:
        text = container.logs(tail=_LOG_LINES).decode("utf-8", "replace")
        return "; ".join("".join(char if char.isprintable() else " " for char in line) for line in text.splitlines())

    def _under_emulation(self) -> Finding:
        return Finding(
            rule="BM862",
            cell=self.label,
            what=f"ran under emulation on {self.machine}",
            why="page size, instructions and system calls were the emulator's: this proves nothing about a real "
            f"{self.platform.architecture} machine",
            fix="run it on an engine of that machine (DOCKER_HOST); verify's predictions hold for the real kernel",
            severity=Severity.NOTE,
        )


def _goarch(said: object) -> str:
    """The value of ``goarch`` in an answer, at its top or one level below."""
    if not isinstance(said, dict):
        return ""
    rows = [said, *(value for value in said.values() if isinstance(value, dict))]
    return next((str(row["goarch"]) for row in rows if isinstance(row.get("goarch"), str)), "")
