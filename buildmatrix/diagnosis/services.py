"""What lies around the toolchains: engines, builders, emulators, registries, keys and the clock."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from buildmatrix import errors, trust
from buildmatrix.builderspec import BuilderSpec
from buildmatrix.buildx import program
from buildmatrix.diagnosis.probe import Health, Probe, failed
from buildmatrix.matrix import Matrix
from buildmatrix.oci import reference
from buildmatrix.oci.credentials import CredentialSource
from buildmatrix.prepare import Commit, Host
from buildmatrix.signing.keyring import Keyring

_SECONDS = 3.0
_SKEW = 300
"""Seconds that clocks of two machines may differ by without anybody's notice."""
_HANDLERS = Path("/proc/sys/fs/binfmt_misc")


def probes(
    matrix: Matrix, host: Host, keyring: Keyring, source: CredentialSource, commit: Commit | None
) -> Iterator[Probe]:
    """One after the other; only what the matrix has a use for."""
    if matrix.images:
        yield engine(tuple(f"run-{spec.name}" for spec in matrix.images))
        yield handlers(_HANDLERS, tuple(f"run-{spec.name}" for spec in matrix.images))
    clustered = tuple(f"image-{spec.name}" for spec in matrix.images if spec.engine == "buildx")
    if matrix.go.engine == "buildkit":
        clustered = ("build-all", *clustered)
    if clustered:
        yield _buildx(host, clustered)
        for spec in matrix.builders:
            yield from builder(spec, clustered)
    yield from _logins(matrix, source)
    yield _keys(keyring)
    yield clock(time.time(), commit.time if commit is not None else None, matrix.path)


def engine(sessions: tuple[str, ...]) -> Probe:
    """The local container engine; nothing but starting images needs one."""
    import docker
    from docker.errors import DockerException

    try:
        client = docker.from_env(timeout=int(_SECONDS))
        try:
            found = client.version()
        finally:
            client.close()
    except (DockerException, OSError) as error:
        return Probe(
            name="Docker",
            health=Health.MISSING,
            found="no engine answers",
            needed_by=sessions,
            why=str(error).splitlines()[0] if str(error) else type(error).__name__,
            fix="start it: sudo systemctl start docker, or set DOCKER_HOST",
        )
    return Probe(name="Docker", health=Health.OK, found=f"{found['Version']} on {found['Arch']}", needed_by=sessions)


def handlers(folder: Path, sessions: tuple[str, ...]) -> Probe:
    """The emulators of binfmt_misc. None is needed; with them a foreign image starts, which proves nothing."""
    try:
        names = sorted(path.name for path in folder.iterdir() if path.name not in ("register", "status"))
    except OSError:
        names = []
    if not names:
        found = "none registered: images for other architectures do not start here"
        return Probe(name="binfmt handlers", health=Health.OK, found=found, needed_by=sessions)
    return Probe(
        name="binfmt handlers",
        health=Health.WARN,
        found=", ".join(names),
        needed_by=sessions,
        why="what starts by them runs in an emulator: its success proves nothing about the real machine",
        fix="believe `buildmatrix verify`, or run on the architecture itself",
    )


def _buildx(host: Host, sessions: tuple[str, ...]) -> Probe:
    try:
        found = program.find(host.environment)
    except errors.BuildmatrixError as error:
        return failed("buildx", error, sessions)
    return Probe(name="buildx", health=Health.OK, found=str(found), needed_by=sessions)


def builder(spec: BuilderSpec, sessions: tuple[str, ...]) -> Iterator[Probe]:
    """The nodes of a builder, each as far as it can be asked without making the builder."""
    for platform, endpoint in spec.nodes:
        name = f"builder {spec.name} {platform}"
        why = reachable(endpoint) if spec.driver == "remote" else ""
        if why:
            fix = f"start buildkitd there, or correct builders.{spec.name}.nodes"
            yield Probe(
                name=name,
                health=Health.MISSING,
                found=f"{endpoint} does not answer",
                needed_by=sessions,
                why=why,
                fix=fix,
                required=True,
            )
        else:
            found = f"{endpoint} answers" if spec.driver == "remote" else f"made on demand by {spec.driver}: {endpoint}"
            health = Health.OK if spec.driver == "remote" else Health.LATER
            yield Probe(name=name, health=health, found=found, needed_by=sessions)


def reachable(endpoint: str) -> str:
    """Why ``tcp://HOST:PORT`` or ``unix:///PATH`` does not take a connection; empty where it does."""
    parts = urlsplit(endpoint)
    try:
        if parts.scheme == "unix":
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(_SECONDS)
                client.connect(parts.path)
        else:
            socket.create_connection((parts.hostname or "", parts.port or 0), timeout=_SECONDS).close()
    except (OSError, ValueError) as error:
        return str(error)
    return ""


def _logins(matrix: Matrix, source: CredentialSource) -> Iterator[Probe]:
    wanted: dict[str, list[str]] = {}
    for spec in matrix.images:
        if spec.repository:
            wanted.setdefault(reference.parse(spec.repository).registry, []).append(f"push-{spec.name}")
    for registry, sessions in wanted.items():
        yield login(registry, tuple(sessions), source)


def login(registry: str, sessions: tuple[str, ...], source: CredentialSource) -> Probe:
    """Whether there are credentials for a registry; whether they are good is for the registry to say."""
    name = f"login to {registry}"
    try:
        anonymous = source.find(registry).anonymous
    except errors.BuildmatrixError as error:
        return failed(name, error, sessions, required=False)
    if anonymous:
        return Probe(
            name=name,
            health=Health.MISSING,
            found="no credentials",
            needed_by=sessions,
            why="most registries let nobody push without",
            fix=f"docker login {registry}",
        )
    return Probe(name=name, health=Health.OK, found="credentials are there", needed_by=sessions)


def _keys(keyring: Keyring) -> Probe:
    backend = keyring.signing.backend
    if backend == trust.NONE:
        return Probe(name="signing", health=Health.OK, found="off: signing.backend is none")
    try:
        policy = keyring.policy()
    except errors.BuildmatrixError as error:
        probe = failed("signing", error, ("build-all", "verify-all"))
        made = backend == trust.KEY and keyring.signing.key
        return probe if not made else _with_keygen(probe, keyring.signing.key)
    if backend == trust.DEVELOPMENT:
        return Probe(
            name="signing",
            health=Health.OK,
            found="a development key, which `verify --release` refuses",
            needed_by=("build-all",),
        )
    trusted = f"{len(policy.keys)} trusted key{'' if len(policy.keys) == 1 else 's'}"
    return Probe(name="signing", health=Health.OK, found=f"{backend}, {trusted}", needed_by=("build-all", "verify-all"))


def _with_keygen(probe: Probe, path: str) -> Probe:
    from dataclasses import replace

    return replace(probe, fix=f"restore {path} with its public key, or make a new pair: buildmatrix keygen")


def clock(now: float, committed: int | None, known: Path) -> Probe:
    """Whether the clock can be right: signatures and certificates are good or not by it."""
    latest = max(committed or 0, int(known.stat().st_mtime))
    shown = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now))
    if now + _SKEW >= latest:
        return Probe(name="clock", health=Health.OK, found=shown)
    behind = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(latest))
    return Probe(
        name="clock",
        health=Health.WARN,
        found=f"{shown}, before the commit or matrix.toml of {behind}",
        needed_by=("build-all", "verify-all"),
        why="signatures and certificates are judged by the clock",
        fix="sudo timedatectl set-ntp true",
    )
