"""The buildx engine on two real BuildKit daemons behind mutual TLS, one for each platform."""

from __future__ import annotations

import json
import os
import platform as machine
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from buildmatrix import arch
from buildmatrix.artifact import Outcome, Status
from buildmatrix.images import proof, record
from buildmatrix.oci import graph
from buildmatrix.oci.layout import Layout
from buildmatrix.oci.platform import Platform, parse
from buildmatrix.process import SubprocessRunner
from tests.image_lab import PLATFORMS, HandMade, Lab, Member, layer, rules
from tests.integration import buildkit
from tests.integration.buildkit import Authority, Daemon

pytestmark = pytest.mark.integration

COPY_ONLY = """\
FROM scratch
ARG TARGETPLATFORM
COPY --from=dist ${TARGETPLATFORM}/app /usr/local/bin/app
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/app"]
"""


@dataclass(slots=True)
class Cluster:
    authority: Authority
    daemons: dict[str, Daemon]
    folder: Path

    def table(self) -> dict[str, Any]:
        return {
            "driver": "remote",
            "nodes": {platform: daemon.endpoint for platform, daemon in self.daemons.items()},
            "options": {"cacert": "pki/ca.pem", "cert": "pki/client.pem", "key": "pki/client.key"},
        }


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("cluster")
    with buildkit.cluster(folder) as (authority, daemons):
        yield Cluster(authority, daemons, folder)


class ClusterLab(Lab):
    """A project whose image is built on the cluster."""

    def write(self, dockerfile: str) -> None:
        (self.root / "Dockerfile").write_text(dockerfile)
        self.image |= {"dockerfile": "Dockerfile", "builder": "cluster"}

    @property
    def words(self) -> str:
        return "\n".join(self.heard)


@pytest.fixture
def lab(tmp_path: Path, cluster: Cluster) -> ClusterLab:
    for daemon in cluster.daemons.values():
        if daemon.process is None or daemon.process.poll() is not None:
            daemon.start()
    root = tmp_path / "project"
    root.mkdir()
    certificate, key = cluster.authority.issue("client")
    (root / "pki").mkdir()
    for path in (certificate, key, cluster.authority.certificate):
        shutil.copy(path, root / "pki")
    (root / ".dockerignore").write_text("dist\npki\n")
    environment = {**os.environ, "BUILDMATRIX_CACHE": str(tmp_path / "cache"), "DOCKER_CONFIG": str(tmp_path / "none")}
    environment["PATH"] = f"{buildkit.buildx().parent}:{environment['PATH']}"
    made = ClusterLab(root, environment=environment, runner=SubprocessRunner(), builders={"cluster": cluster.table()})
    made.write(COPY_ONLY)
    return made


def top_of(lab: Lab) -> str:
    return lab.layout.index().manifests[0].digest


def contents(lab: Lab) -> dict[str, dict[str, str]]:
    """What the proof read out of each platform: paths and SHA-256 of every program."""
    proven, findings = proof.prove(lab.plan(), lab.layout, lab.layout.index().manifests[0])
    assert rules(findings) == set()
    return {str(one.platform): {each.path: each.sha256 for each in one.contents.programs} for one in proven}


def built(outcome: Outcome) -> None:
    assert outcome.status is Status.DONE, (outcome.reason, outcome.findings)


def nothing_left(lab: Lab) -> None:
    """No layout that anybody could take for an image, no record, nothing half-built."""
    assert record.read(lab.dist, "app") is None
    assert not (lab.layout.path / "index.json").exists() or not lab.layout.index().manifests
    assert not (lab.dist.root / ".partial").exists()


def test_the_same_contents_as_the_direct_engine(lab: ClusterLab, tmp_path: Path) -> None:
    built(lab.build())
    direct = Lab(tmp_path / "direct")
    built(direct.build())
    assert contents(lab) == contents(direct)
    assert set(contents(lab)) == set(PLATFORMS)


def test_each_platform_is_built_on_its_node(lab: ClusterLab, cluster: Cluster) -> None:
    lab.write(COPY_ONLY.replace("USER", "LABEL unique=routing\nUSER"))
    built(lab.build())
    assert "linux/amd64: COPY" in lab.words and "linux/arm64: COPY" in lab.words
    machines = {"linux/amd64": 62, "linux/arm64": 183}
    for platform, daemon in cluster.daemons.items():
        made = (daemon.folder / "root").rglob("usr/local/bin/app")  # in the node's snapshots
        assert machines[platform] in {int.from_bytes(path.read_bytes()[18:20], "little") for path in made}


def _platform(text: str) -> Platform:
    return parse(text)


def test_the_same_inputs_give_the_same_index(lab: ClusterLab) -> None:
    built(lab.build())
    first = top_of(lab)
    assert lab.build().status is Status.SKIPPED
    shutil.rmtree(lab.dist.root / "images")
    built(lab.build(force=True))
    assert top_of(lab) == first


def test_the_documents_say_where_it_comes_from(lab: ClusterLab) -> None:
    lab.image |= {"labels": {"team": "a ${b} %{c}"}}
    built(lab.build())
    node = graph.select(lab.layout, lab.layout.index().manifests[0], _platform("linux/arm64"))
    assert node.manifest.config is not None
    config = json.loads(lab.layout.read(node.manifest.config))
    assert config["config"]["Labels"]["team"] == "a ${b} %{c}"
    assert config["config"]["Labels"]["org.opencontainers.image.revision"] == "0123456789abcdef"
    assert config["created"] == "2023-11-14T22:13:20Z"
    assert node.manifest.annotations["org.opencontainers.image.version"] == "1.2.3"


@pytest.mark.parametrize("change", ["dockerfile", "context", "argument"])
def test_what_it_is_built_from_is_in_the_record(lab: ClusterLab, change: str) -> None:
    (lab.root / "notes.txt").write_text("one")
    lab.write(COPY_ONLY.replace("USER", "COPY notes.txt /notes\nUSER"))
    built(lab.build())
    assert lab.build().status is Status.SKIPPED
    if change == "dockerfile":
        lab.write(COPY_ONLY)
    elif change == "context":
        (lab.root / "notes.txt").write_text("two")
    else:
        lab.image["build-args"] = {"X": "1"}
    built(lab.build())


def test_attestations_are_there_where_they_are_required(lab: ClusterLab) -> None:
    lab.image |= {"attestations": "require"}
    built(lab.build())
    entries = lab.layout.manifest(lab.layout.index().manifests[0]).manifest().manifests
    assert sum(entry.is_attestation for entry in entries) == 2
    assert rules(lab.prove(lab.layout, lab.layout.index().manifests[0])) == set()


def test_the_base_of_the_matrix_is_a_context(lab: ClusterLab) -> None:
    base = HandMade(Layout(lab.root / "base"))
    for platform in PLATFORMS:
        base.add(platform, layer(Member(name="etc/base-release", data=platform.encode(), mode=0o644)))
    base.top()
    lab.image |= {"base": "oci:base"}
    lab.write(COPY_ONLY.replace("FROM scratch", "FROM base"))
    built(lab.build())
    node = graph.select(lab.layout, lab.layout.index().manifests[0], _platform("linux/arm64"))
    assert len(node.manifest.layers) == 2


# Faults


def test_a_node_that_is_down_is_named(lab: ClusterLab, cluster: Cluster) -> None:
    cluster.daemons["linux/arm64"].kill()
    outcome = lab.build()
    assert outcome.failed
    assert cluster.daemons["linux/arm64"].endpoint in outcome.reason and "linux/arm64" in outcome.reason
    assert cluster.daemons["linux/amd64"].endpoint not in outcome.reason
    assert "nothing answers there: Connection refused" in outcome.reason and "certificate" not in outcome.reason
    nothing_left(lab)


def test_a_node_that_dies_halfway_is_named_and_leaves_nothing(lab: ClusterLab, cluster: Cluster) -> None:
    shutil.copy("/bin/busybox", lab.root / "busybox")
    lab.image |= {"emulation": True, "foreign": ["/busybox"]}
    lab.write(COPY_ONLY.replace("USER", 'COPY busybox /busybox\nRUN ["/busybox", "sleep", "60"]\nUSER'))
    killed: list[str] = []

    def heard(words: str) -> None:
        if words.startswith("linux/arm64: RUN") and not killed:
            killed.append(words)
            cluster.daemons["linux/arm64"].kill()

    outcome = lab.build(told=heard)
    assert killed and outcome.failed
    assert cluster.daemons["linux/arm64"].endpoint in outcome.reason and "linux/arm64" in outcome.reason
    assert "went away" in outcome.reason
    nothing_left(lab)


def test_a_certificate_of_another_authority_is_refused(lab: ClusterLab, tmp_path: Path) -> None:
    other = Authority(folder=tmp_path / "other")
    other.write()
    certificate, key = other.issue("client")
    shutil.copy(certificate, lab.root / "pki/client.pem")
    shutil.copy(key, lab.root / "pki/client.key")
    outcome = lab.build()
    assert outcome.failed and "certificate refused at" in outcome.reason, outcome.reason
    assert "it refuses our certificate" in outcome.reason and "no answer from" not in outcome.reason
    assert "correct cacert, cert and key" in outcome.reason and "start BuildKit" not in outcome.reason
    nothing_left(lab)


def test_a_node_of_another_authority_is_refused(lab: ClusterLab, tmp_path: Path) -> None:
    other = Authority(folder=tmp_path / "other")
    other.write()
    shutil.copy(other.certificate, lab.root / "pki/ca.pem")
    outcome = lab.build()
    assert outcome.failed and "its certificate is not accepted" in outcome.reason, outcome.reason
    assert "start BuildKit" not in outcome.reason
    nothing_left(lab)


def test_the_binary_of_another_platform_is_caught_by_the_proof(lab: ClusterLab) -> None:
    lab.write(COPY_ONLY.replace("${TARGETPLATFORM}", "linux/amd64"))
    outcome = lab.build()
    assert outcome.failed and {"BM854", "BM855"} <= rules(outcome.findings)
    nothing_left(lab)


def test_a_platform_that_buildx_drops_is_an_error(lab: ClusterLab, tmp_path: Path) -> None:
    """A buildx that leaves a target out, and says that all went well."""
    wrapper = tmp_path / "bin" / "buildx"
    wrapper.parent.mkdir()
    wrapper.write_text(
        f'#!/bin/sh\nset -e\nif [ "$1" = bake ]; then\n  for word; do last=$word; done\n'
        f'  sed -i "s/\\"linux-amd64\\",/\\"linux-amd64\\"/; /^    \\"linux-arm64\\"$/d" bake.json\nfi\n'
        f'exec {buildkit.buildx()} "$@"\n'
    )
    wrapper.chmod(0o755)
    lab.environment["PATH"] = f"{wrapper.parent}:{lab.environment['PATH']}"
    outcome = lab.build()
    assert outcome.failed and "no result for linux/arm64" in outcome.reason, outcome.reason
    nothing_left(lab)


def test_a_failed_build_leaves_the_image_before_it(lab: ClusterLab) -> None:
    built(lab.build())
    before = top_of(lab)
    lab.write(COPY_ONLY.replace("${TARGETPLATFORM}/app", "${TARGETPLATFORM}/absent"))
    outcome = lab.build()
    assert outcome.failed and "COPY" in outcome.reason and "absent" in outcome.reason
    assert top_of(lab) == before
    assert record.read(lab.dist, "app") is not None


# Emulation


def foreign_platform() -> str:
    """The platform that this machine is not."""
    own = arch.normalise(machine.machine())
    return next(platform for platform in PLATFORMS if not platform.endswith(f"/{own}"))


RUN = COPY_ONLY.replace("USER", 'COPY busybox /busybox\nRUN ["/busybox", "true"]\nUSER')


def test_an_emulated_step_is_forbidden_by_default(lab: ClusterLab) -> None:
    shutil.copy("/bin/busybox", lab.root / "busybox")
    lab.image |= {"foreign": ["/busybox"]}
    lab.write(RUN)
    outcome = lab.build()
    found = [item for item in outcome.findings if item.rule == "BM877"]
    assert outcome.failed and [item.cell for item in found] == [f"image app {foreign_platform()}"]
    assert 'RUN ["/busybox", "true"]' in found[0].what
    nothing_left(lab)


def test_an_emulated_step_is_named_and_timed(lab: ClusterLab) -> None:
    shutil.copy("/bin/busybox", lab.root / "busybox")
    lab.image |= {"emulation": True, "foreign": ["/busybox"]}
    lab.write(RUN)
    outcome = lab.build()
    built(outcome)
    found = [item for item in outcome.findings if item.rule == "BM878"]
    assert len(found) == 1 and " s on linux/" in found[0].evidence
    assert any(words.startswith(f"{foreign_platform()}: RUN") and "(emulated)" in words for words in lab.heard)


def test_a_stage_of_the_build_platform_is_not_emulated(lab: ClusterLab) -> None:
    shutil.copy("/bin/busybox", lab.root / "busybox")
    lab.write(
        "FROM --platform=$BUILDPLATFORM scratch AS tool\nCOPY busybox /busybox\n"
        'RUN ["/busybox", "cp", "/busybox", "/copy"]\n' + COPY_ONLY.replace("USER", "COPY --from=tool /copy /x\nUSER")
    )
    lab.image |= {"foreign": ["/x"]}
    outcome = lab.build()
    built(outcome)
    assert not [item for item in outcome.findings if item.rule in ("BM877", "BM878")]
    node = graph.select(lab.layout, lab.layout.index().manifests[0], _platform("linux/arm64"))
    assert len(node.manifest.layers) == 2


# Builders


def test_builders_of_our_own_are_used_again_and_replaced(lab: ClusterLab, tmp_path: Path) -> None:
    built(lab.build())
    state = tmp_path / "cache" / "buildx"
    first = [path.name for path in state.glob("*/instances/*")]
    built(lab.build(force=True))
    assert [path.name for path in state.glob("*/instances/*")] == first and len(first) == 1
    lab.builders["cluster"]["options"]["servername"] = "127.0.0.1"
    built(lab.build(force=True))
    second = [path.name for path in state.glob("*/instances/*")]
    assert len(second) == 1 and second != first


def test_the_cache_of_a_cell_is_its_own(lab: ClusterLab, tmp_path: Path) -> None:
    lab.builders["cluster"]["cache"] = f"type=local,path={tmp_path}/layers/{{cell}}"
    built(lab.build())
    assert sorted(path.name for path in (tmp_path / "layers").iterdir()) == ["app-linux-amd64", "app-linux-arm64"]
    built(lab.build(force=True))
