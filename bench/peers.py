"""The neighbours: found where they are installed, installed into the cache where that is possible."""

from __future__ import annotations

import contextlib
import ctypes
import ctypes.util
import json
import os
import shutil
import socket as socket_module
import subprocess
import sys
import time
import venv
from collections.abc import Callable, Iterator
from pathlib import Path

from bench import corpora


class PeerMissing(Exception):
    """A neighbour is not there; says how to get it."""


def scanelf() -> str:
    """pax-utils' scanelf; root may have it installed."""
    if shutil.which("scanelf") is None and os.geteuid() == 0 and shutil.which("apt-get"):
        subprocess.run(["apt-get", "install", "-y", "-q", "pax-utils"], check=False, stdout=subprocess.DEVNULL)
    found = shutil.which("scanelf")
    if found is None:
        raise PeerMissing("scanelf is not installed; on Debian: apt-get install pax-utils")
    return found


def python_with(package: str) -> Path:
    """The interpreter of a private environment that holds `package`."""
    place = corpora.cache() / f"venv-{package}"
    python = place / "bin/python"
    if not (place / "complete").exists():
        venv.create(place, with_pip=True, clear=True)
        done = subprocess.run([python, "-m", "pip", "install", "-q", package], check=False)
        if done.returncode:
            raise PeerMissing(f"pip could not install {package}; install it by hand: {python} -m pip install {package}")
        (place / "complete").touch()
    return python


class Evp:
    """OpenSSL's EVP interface through ctypes: one call for one whole buffer."""

    def __init__(self) -> None:
        name = ctypes.util.find_library("crypto")
        if name is None:
            raise PeerMissing("libcrypto is not installed; on Debian: apt-get install libssl3")
        self.library = ctypes.CDLL(name)
        self.library.EVP_get_digestbyname.restype = ctypes.c_void_p
        self.library.OpenSSL_version.restype = ctypes.c_char_p
        self.version = self.library.OpenSSL_version(0).decode()

    def digests(self, algorithm: str, buffers: list[bytes]) -> list[bytes]:
        """The digests of the buffers, one after the other."""
        method = ctypes.c_void_p(self.library.EVP_get_digestbyname(algorithm.encode()))
        digest, result = ctypes.create_string_buffer(64), []
        size = ctypes.c_uint(0)
        for data in buffers:
            self.library.EVP_Digest(data, ctypes.c_size_t(len(data)), digest, ctypes.byref(size), method, None)
            result.append(digest.raw[: size.value])
        return result


LIEF = """
import sys, time, lief
paths, rounds = [line.rstrip("\\n") for line in open(sys.argv[1])], int(sys.argv[2])
config = lief.ELF.ParserConfig()
for name in ("parse_relocations", "parse_dyn_symbols", "parse_symtab_symbols", "parse_overlay"):
    if hasattr(config, name): setattr(config, name, False)
best = 1e9
for _ in range(rounds):
    start = time.perf_counter()
    for path in paths:
        binary = lief.ELF.parse(path, config)
        binary.header.machine_type, len(binary.segments), len(binary.dynamic_entries), len(binary.notes)
    best = min(best, time.perf_counter() - start)
print(best)
"""


def lief(paths: list[str], scratch: Path, rounds: int) -> float:
    """Seconds that LIEF needs for the facts of `paths`, at best: relocations and symbols switched off."""
    listing = scratch / "paths"
    listing.write_text("\n".join(paths))
    command = [str(python_with("lief")), "-c", LIEF, str(listing), str(rounds)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def pyelftools(path: str) -> None:
    """Segments, dynamic section, version needs and definitions, notes, as pyelftools gives them."""
    from elftools.elf.dynamic import DynamicSegment
    from elftools.elf.elffile import ELFFile
    from elftools.elf.gnuversions import GNUVerDefSection, GNUVerNeedSection
    from elftools.elf.segments import InterpSegment, NoteSegment

    with open(path, "rb") as stream:  # noqa: PTH123  # as its users do
        elf = ELFFile(stream)
        for segment in elf.iter_segments():
            if isinstance(segment, DynamicSegment):
                [tag.entry.d_val for tag in segment.iter_tags()]
            elif isinstance(segment, NoteSegment):
                list(segment.iter_notes())
            elif isinstance(segment, InterpSegment):
                segment.get_interp_name()
        for section in elf.iter_sections():
            if isinstance(section, (GNUVerNeedSection, GNUVerDefSection)):
                [(version.name, [each.name for each in entries]) for version, entries in section.iter_versions()]


def this_python() -> str:
    """The interpreter that runs this."""
    return sys.executable


SYFT = ("github.com/anchore/syft/cmd/syft", "v1.57.1")
KO = ("github.com/google/ko", "v0.19.1")
BUILDX = ("github.com/docker/buildx", "./cmd/buildx", "v0.38.2")
BUILDKITD = ("github.com/moby/buildkit", "./cmd/buildkitd", "v0.34.2")


def _go_program(name: str, version: str, make: Callable[[str, Path], list[list[str]]]) -> Path:
    """A Go program in buildmatrix's cache of tools, built where it is not there by the commands of `make`."""
    from buildmatrix.toolchain import cache_dir

    place = cache_dir(os.environ) / "tools" / f"{name}-{version}"
    for program in (place / name, place / "bin" / name):
        if program.is_file():
            return program
    go = shutil.which("go")
    if go is None:
        raise PeerMissing(f"{name} is not there and no Go to build it with; put Go on PATH")
    place.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "GOBIN": str(place), "CGO_ENABLED": "0"}
    for command in make(go, place):
        if subprocess.run(command, env=environment, check=False).returncode:
            raise PeerMissing(f"{' '.join(command)} failed; build {name} {version} by hand into {place}")
    return place / name


def syft() -> Path:
    """Anchore's syft."""
    package, version = SYFT
    return _go_program("syft", version, lambda go, _: [[go, "install", f"{package}@{version}"]])


def ko() -> Path:
    """ko, which builds images of Go programs without a daemon."""
    package, version = KO
    return _go_program("ko", version, lambda go, _: [[go, "install", f"{package}@{version}"]])


def _inside(name: str, module: str, package: str, version: str) -> Path:
    """A program of a module with replacements, which `go install` refuses: it is built where it was downloaded."""

    def make(go: str, place: Path) -> list[list[str]]:
        done = subprocess.run([go, "mod", "download", "-json", f"{module}@{version}"], capture_output=True, check=False)
        if done.returncode:
            raise PeerMissing(f"{module}@{version} cannot be downloaded: {done.stderr.decode()}")
        folder = json.loads(done.stdout)["Dir"]
        return [[go, "build", "-C", folder, "-trimpath", "-o", str(place / name), package]]

    return _go_program(name, version, make)


def buildx() -> Path:
    """Docker's buildx, as a program of its own."""
    return _inside("buildx", *BUILDX)


@contextlib.contextmanager
def buildkitd(folder: Path) -> Iterator[Path]:
    """A BuildKit daemon with the storage that it chooses by itself; gives its socket. Needs root and runc."""
    if os.geteuid() != 0 or not (shutil.which("runc") or shutil.which("buildkit-runc")):
        raise PeerMissing("buildkitd needs root and runc; on Debian: apt-get install runc")
    folder.mkdir(parents=True)
    socket = folder / "socket"
    argv = [str(_inside("buildkitd", *BUILDKITD)), "--root", str(folder / "root"), "--addr", f"unix://{socket}",
            "--containerd-worker=false", "--oci-worker-net", "host"]  # fmt: skip
    with _running(argv, folder / "log", socket.exists):
        yield socket


@contextlib.contextmanager
def registry(folder: Path) -> Iterator[str]:
    """Debian's docker-registry on a free port; gives ``127.0.0.1:PORT``."""
    program = shutil.which("docker-registry")
    if program is None:
        raise PeerMissing("docker-registry is not installed; on Debian: apt-get install docker-registry")
    folder.mkdir(parents=True)
    with socket_module.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (folder / "config.yml").write_text(
        f"version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\nstorage:\n"
        f'  filesystem: {{rootdirectory: {folder}/data}}\nhttp: {{addr: "127.0.0.1:{port}"}}\n'
    )

    def answers() -> bool:
        with contextlib.suppress(OSError), socket_module.create_connection(("127.0.0.1", port), 1):
            return True
        return False

    with _running([program, "serve", str(folder / "config.yml")], folder / "log", answers):
        yield f"127.0.0.1:{port}"


@contextlib.contextmanager
def _running(argv: list[str], log: Path, ready: Callable[[], bool]) -> Iterator[None]:
    with log.open("wb") as sink:
        process = subprocess.Popen(argv, stdout=sink, stderr=sink, start_new_session=True)
    try:
        end = time.monotonic() + 60
        while not ready():
            if process.poll() is not None or time.monotonic() > end:
                raise PeerMissing(f"{argv[0]} does not start:\n{log.read_text()}")
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait(timeout=60)
