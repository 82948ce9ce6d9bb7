"""Two versions of a small program, built for real, and their rollback bundles."""

from __future__ import annotations

import hashlib
import tarfile
from dataclasses import dataclass
from pathlib import Path

from tests import project
from tests.project import Project

TARGETS = '\n[targets.i386]\ngoarch = "386"\n'
TWO = '\n[binaries.other]\npackage = "./cmd/hello"\n'
UNAMES = {"amd64": "x86_64", "arm64": "aarch64", "i386": "i686"}


@dataclass(frozen=True, kw_only=True)
class Release:
    """One version: the project that it was built in, and where its bundles were unpacked."""

    made: Project
    version: str

    def binary(self, target: str, name: str = "hello") -> Path:
        return self.made.artifact(target, name)

    def archive(self, target: str) -> Path:
        return self.made.root / "bundles" / f"hello-{self.version}-{UNAMES[target]}-rollback.tar.gz"

    def unpack(self, target: str, place: Path) -> Path:
        """Unpack a bundle below a folder; gives its script."""
        with tarfile.open(self.archive(target)) as archive:
            archive.extractall(place, filter="tar")
        folder = place / self.archive(target).name.removesuffix(".tar.gz")
        return folder / f"rollback-to-{self.version}-{UNAMES[target]}.sh"


THIN = '\n[signing]\nbackend = "none"\n\n[sbom]\nformats = ["cyclonedx"]\n'
"""Fewer files in a bundle: every one of them is hashed by an emulated program at every step of a script."""


def release(root: Path, version: str, *, extra: str = TARGETS) -> Release:
    """Build one version and pack its bundles."""
    made = project.create(root, matrix=project.MATRIX.replace("1.2.3", version) + extra)
    for command in (("build",), ("bundle",)):
        done = made.run(*command)
        assert done.returncode == 0, done.stdout + done.stderr
    return Release(made=made, version=version)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
