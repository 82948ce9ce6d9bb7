"""Cells on a BuildKit cluster: the same digests and records as on this machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from buildmatrix import gocluster
from tests.factory import ROOT
from tests.integration import buildkit
from tests.integration.buildkit import Daemon

pytestmark = pytest.mark.integration

PURE = ("arm64-v8.2", "riscv64", "windows-amd64")
ENGINE = '[go]\nengine = "buildkit"\nbuilder = "cluster"\n'
BUILDER = """
[builders.cluster]
driver = "remote"
nodes = {{ "{platform}" = "{endpoint}" }}
options = {{ cacert = "pki/ca.pem", cert = "pki/client.pem", key = "pki/client.key" }}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """A copy of this repository's matrix and module, which can build here and on a cluster."""

    root: Path
    daemon: Daemon

    def build(self, dist: str, *words: str, cluster: bool) -> subprocess.CompletedProcess[str]:
        return self.run("build", "--dist", str(self.root / dist), *words, cluster=cluster)

    def run(self, *words: str, cluster: bool) -> subprocess.CompletedProcess[str]:
        plain = (ROOT / "matrix.toml").read_text().replace('version = "git"', 'version = "1.2.3"')
        plain = plain[: plain.index("# The service as a multi-arch image")]
        if cluster:
            plain = plain.replace("[go]\n", ENGINE) + BUILDER.format(
                platform=self.daemon.platform, endpoint=self.daemon.endpoint
            )
        (self.root / "matrix.toml").write_text(plain)
        environment = {**os.environ, "PATH": f"{buildkit.buildx().parent}:{os.environ['PATH']}"}
        return subprocess.run(
            [sys.executable, "-m", "buildmatrix", *words],
            cwd=self.root, env=environment, capture_output=True, text=True, timeout=1500, check=False,
        )  # fmt: skip

    def files(self, dist: str, target: str) -> dict[str, bytes]:
        (folder,) = (self.root / dist).glob(f"arch*_{target}")
        return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    folder = tmp_path_factory.mktemp("gocluster")
    root = folder / "project"
    for name in ("archprobe", "execguard"):  # the former replaces a module with the latter
        shutil.copytree(ROOT / "examples" / name, root / "examples" / name)
    authority = buildkit.Authority(folder=root / "pki")
    authority.write()
    authority.issue("client")
    daemon = Daemon(folder=folder / "node", platform=gocluster.host_platform(), authority=authority)
    try:
        daemon.start()
        yield Project(root=root, daemon=daemon)
    finally:
        daemon.stop()


def test_pure_go_has_the_same_bytes_and_records(project: Project) -> None:
    words = tuple(word for target in PURE for word in ("-t", target))
    for dist, cluster in (("here", False), ("there", True)):
        done = project.build(dist, *words, cluster=cluster)
        assert done.returncode == 0, done.stdout + done.stderr
    for target in PURE:
        assert project.files("there", target) == project.files("here", target), target
    assert not (project.root / "there/.partial").exists()


@pytest.mark.parametrize("target", ["arm64-glibc"])
def test_cgo_with_zig_has_the_same_bytes_and_records(project: Project, target: str) -> None:
    for dist, cluster in (("here", False), ("there", True)):
        done = project.build(dist, "-t", target, cluster=cluster)
        assert done.returncode == 0, done.stdout + done.stderr
    assert project.files("there", target) == project.files("here", target)


def test_repro_rebuilds_on_the_cluster(project: Project) -> None:
    """Both builds run there, from nothing, although the copies lie in folders without certificates."""
    done = project.run("repro", "-t", "arm64", cluster=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 same" in done.stdout
    assert "compared: two builds on builder cluster, from different folders, without any cache" in done.stdout
    project.daemon.kill()
    try:
        done = project.run("repro", "-t", "arm64", cluster=True)
    finally:
        project.daemon.start()
    assert done.returncode != 0 and project.daemon.endpoint in done.stdout + done.stderr
    assert "nothing answers there: Connection refused" in done.stdout + done.stderr


def test_a_source_that_does_not_compile_is_told_as_here(project: Project) -> None:
    (project.root / "examples/archprobe/cmd/archprobe/wrong.go").write_text('package main\n\nvar x int = "text"\n')
    try:
        done = project.build("wrong", "-t", "arm64", cluster=True)
    finally:
        (project.root / "examples/archprobe/cmd/archprobe/wrong.go").unlink()
    assert done.returncode == 4, done.stdout + done.stderr
    said = done.stdout + done.stderr
    assert "BM301 archprobe_arm64: go build failed" in said and "wrong.go:3:13" in said
    assert not (project.root / "wrong/archprobe_arm64/archprobe").exists()


def test_a_node_that_is_down_is_named(project: Project) -> None:
    project.daemon.kill()
    try:
        done = project.build("down", "-t", "arm64", cluster=True)
    finally:
        project.daemon.start()
    said = done.stdout + done.stderr
    assert done.returncode != 0 and project.daemon.endpoint in said and project.daemon.platform in said
    assert not (project.root / "down/archprobe_arm64/archprobe").exists()
