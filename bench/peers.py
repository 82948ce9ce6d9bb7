"""The neighbours: found where they are installed, installed into the cache where that is possible."""

from __future__ import annotations

import ctypes
import ctypes.util
import os
import shutil
import subprocess
import sys
import venv
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


SYFT = "v1.57.1"


def syft() -> Path:
    """Anchore's syft, built into the cache by go install where it is not there."""
    from buildmatrix.toolchain import cache_dir

    place = cache_dir(os.environ) / "tools" / f"syft-{SYFT}"
    for program in (place / "syft", place / "bin" / "syft"):
        if program.is_file():
            return program
    go = shutil.which("go")
    if go is None:
        raise PeerMissing("syft is not there and no Go to build it with; put Go on PATH")
    place.mkdir(parents=True, exist_ok=True)
    command = [go, "install", f"github.com/anchore/syft/cmd/syft@{SYFT}"]
    done = subprocess.run(command, env={**os.environ, "GOBIN": str(place), "CGO_ENABLED": "0"}, check=False)
    if done.returncode:
        raise PeerMissing(f"go install could not build syft {SYFT}; build it by hand into {place}")
    return place / "syft"
