"""Debian's arm64 kernels, fetched into the cache; and the programs that boot them.

Packages come from the mirrors that this machine's own apt uses, through a configuration of its own for
arm64: neither dpkg nor the machine's lists are touched, and apt checks Debian's signature as always.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

from buildmatrix.toolchain import cache_dir

FLAVOURS = {
    "4k": ("linux-image-arm64",),
    "16k": ("linux-image-arm64-16k", "linux-image-6.12-arm64-16k"),
    "4k-6.12": ("linux-image-6.12-arm64",),
}
"""Meta packages by what a user asks for; the first that the mirrors have. Debian packages no 64K kernel."""

PROGRAMS = {
    "qemu-system-aarch64": "qemu-system-arm",
    "aarch64-linux-gnu-gcc": "gcc-aarch64-linux-gnu",
    "/usr/aarch64-linux-gnu/lib/libc.a": "libc6-dev-arm64-cross",
}
"""Debian packages by a file that proves that they are there."""

CONF = """\
APT::Architecture "arm64";
APT::Architectures {{ "arm64"; }};
Dir::State "{folder}/state";
Dir::State::status "{folder}/status";
Dir::Cache "{folder}/cache";
Dir::Etc::sourcelist "{folder}/sources.list";
Dir::Etc::sourceparts "/dev/null";
APT::Update::Post-Invoke-Success "";
APT::Sandbox::User "root";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
Acquire::Languages "none";
"""


class Unavailable(Exception):
    """A kernel or a program cannot be had; the text says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """An unpacked kernel package."""

    release: str
    folder: Path

    @property
    def image(self) -> Path:
        """The bootable image."""
        return self.folder / "vmlinuz"

    @property
    def binfmt_misc(self) -> Path:
        """Its binfmt_misc module, maybe compressed."""
        return next(self.folder.glob("binfmt_misc.ko*"))

    @property
    def compat(self) -> bool:
        """Whether it was built to run AArch32 programs."""
        return "\nCONFIG_COMPAT=y\n" in (self.folder / "config").read_text()


def _cache() -> Path:
    return cache_dir(os.environ) / "kernels"


def provide_programs() -> None:
    """Install what booting needs; as root from Debian. Raises Unavailable."""
    missing = [package for file, package in PROGRAMS.items() if not (shutil.which(file) or Path(file).is_file())]
    if not missing:
        return
    advice = f"apt-get install --no-install-recommends {' '.join(missing)}"
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise Unavailable(f"{', '.join(missing)} missing; fix: {advice}, or run this as root on Debian")
    _say(f"installing {' '.join(missing)}")
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for words in (["update", "-q"], ["install", "-y", "-q", "--no-install-recommends", *missing]):
        done = subprocess.run(["apt-get", *words], env=quiet, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Unavailable(f"apt-get {words[0]} failed: {done.stderr.strip()[-300:]}; fix: {advice}")


def fetch(flavour: str) -> Kernel:
    """The newest kernel of a flavour that the lists name; they are read again where it is gone. Raises Unavailable."""
    if flavour not in FLAVOURS:
        raise Unavailable(f"got kernel {flavour!r}, expected one of {', '.join(FLAVOURS)}")
    folder = _cache() / "apt"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for attempt in range(2):
            kernel = _kernel(_newest(flavour))
            try:
                if not kernel.folder.is_dir():
                    _unpack(kernel)
                return kernel
            except Unavailable:
                if attempt:
                    raise
                (folder / "ready").unlink()
    raise AssertionError("unreachable")


def _kernel(release: str) -> Kernel:
    return Kernel(release=release, folder=_cache() / release)


def _apt(*words: str, cwd: Path | None = None) -> str:
    folder = _cache() / "apt"
    environment = {**os.environ, "APT_CONFIG": str(folder / "apt.conf")}
    done = subprocess.run(words, env=environment, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Unavailable(f"{' '.join(words[:2])} failed: {done.stderr.strip()[-300:]}")
    return done.stdout


def _configure() -> None:
    """A private apt for arm64 with the machine's own Debian mirrors."""
    folder = _cache() / "apt"
    if (folder / "ready").is_file():
        return
    _say("reading the package lists of arm64")
    rows = _mirrors()
    for name in ("state/lists/partial", "cache/archives/partial"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "status").touch()
    (folder / "apt.conf").write_text(CONF.format(folder=folder))
    keys = "/usr/share/keyrings/debian-archive-keyring.gpg"
    lines = [f"deb [signed-by={keys}] {address} {suite} main" for address, suite in rows]
    (folder / "sources.list").write_text("\n".join(lines) + "\n")
    _apt("apt-get", "update", "-q")
    (folder / "ready").touch()


def _mirrors() -> list[tuple[str, str]]:
    """Addresses and suites of Debian in the machine's own apt configuration."""
    if shutil.which("apt-get") is None:
        raise Unavailable("the kernels are Debian's: this needs apt; fix: run it on Debian")
    command = ["apt-get", "indextargets", "--format", "$(ORIGIN)|$(REPO_URI)|$(RELEASE)", "Created-By: Packages"]
    for attempt in range(2):
        told = subprocess.run(command, capture_output=True, text=True, check=False).stdout.split("\n")
        rows = sorted({(row.split("|")[1], row.split("|")[2]) for row in told if row.startswith("Debian|")})
        if rows or attempt or os.geteuid() != 0:
            break
        subprocess.run(["apt-get", "update", "-q"], capture_output=True, check=False)
    if not rows:
        raise Unavailable("apt knows no Debian mirror; fix: configure one and run apt-get update")
    return rows


def _newest(flavour: str) -> str:
    """The release, such as ``6.1.0-50-arm64``, that a flavour's meta package stands for."""
    _configure()
    for meta in FLAVOURS[flavour]:
        try:
            shown = _apt("apt-cache", "show", "--no-all-versions", meta)
        except Unavailable:
            continue
        found = re.search(r"^Depends:.*?linux-image-([0-9][^ ,]*)", shown, re.MULTILINE)
        if found:
            return found[1]
    raise Unavailable(f"the mirrors have none of {', '.join(FLAVOURS[flavour])}")


def _unpack(kernel: Kernel) -> None:
    """Download a kernel's package and keep image, configuration and the one module."""
    scratch = Path(tempfile.mkdtemp(prefix=f".{kernel.release}-", dir=_cache()))
    try:
        _say(f"downloading linux-image-{kernel.release}")
        _apt("apt-get", "download", "-q", f"linux-image-{kernel.release}", cwd=scratch)
        (package,) = scratch.glob("*.deb")
        command = ["dpkg-deb", "--fsys-tarfile", package.name]
        with subprocess.Popen(command, cwd=scratch, stdout=subprocess.PIPE) as unpacked:
            _keep(unpacked, scratch)
        package.unlink()
        scratch.chmod(0o755)
        scratch.rename(kernel.folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _keep(unpacked: subprocess.Popen[bytes], folder: Path) -> None:
    with tarfile.open(fileobj=unpacked.stdout, mode="r|") as archive:
        for member in archive:
            name = Path(member.name).name
            wanted = name.startswith(("vmlinuz-", "config-", "binfmt_misc.ko"))
            stream = archive.extractfile(member) if wanted and member.isfile() else None
            if stream is not None:
                target = name if name.startswith("binfmt") else name.partition("-")[0]
                (folder / target).write_bytes(stream.read())


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
