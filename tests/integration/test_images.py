"""Images without Docker, proven and pushed; then pulled and run by a real engine."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from buildmatrix.oci import media
from buildmatrix.oci.content import Descriptor, blob_of, blob_of_file, canonical, document
from buildmatrix.oci.layout import Layout
from buildmatrix.oci.platform import parse
from tests.debianroots import make
from tests.integration import buildkit
from tests.integration import engine as engines
from tests.integration.cosign import cosign
from tests.integration.engine import Engine
from tests.integration.services import DockerRegistry

pytestmark = pytest.mark.integration
ROOT = Path(__file__).parent.parent.parent

MATRIX = """\
schema = 1
project.name = "archprobe"
project.version = "2.3.0"

[go]
module = "src"
ldflags = ["-s", "-w", "-buildid=", "-X main.version={version}"]

[binaries.archprobe]
package = "./cmd/archprobe"
targets = ["amd64", "arm64"]

[binaries.archstore]
package = "./cmd/archstore"
targets = ["*-glibc"]
exec = ["curl"]

[targets.amd64]
goarch = "amd64"

[targets.arm64]
goarch = "arm64"

[targets.amd64-glibc]
goarch = "amd64"
cgo = true
libc-floor = "2.28"

[targets.arm64-glibc]
goarch = "arm64"
cgo = true
libc-floor = "2.28"

[images.archprobe]
targets = ["amd64", "arm64"]
cmd = ["-listen", ":8080"]
ports = ["8080"]
smoke = ["/healthz", "/arch"]
zoneinfo = true
tags = ["{version}", "{version}-{machine}-{timestamp}"]

[images.archstore]
targets = ["*-glibc"]
base = "oci:base"
cmd = ["-version"]
tags = ["{version}"]

[signing]
backend = "key"
key = "release.key"
"""


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with the example service, a Debian base for both architectures and a signing key."""
    root = tmp_path_factory.mktemp("shop")
    shutil.copytree(ROOT / "examples/archprobe", root / "src")
    shutil.copytree(ROOT / "examples/execguard", root / "execguard")
    (root / "matrix.toml").write_text(MATRIX)
    layout = Layout(root / "base").create()
    entries = []
    for goarch in ("amd64", "arm64"):
        folder = make.made(make.root(goarch, make.packages(make.SMALL)))
        packed = root / f"{goarch}.tar"
        subprocess.run(
            [
                "tar",
                "--sort=name",
                "--numeric-owner",
                "--exclude=./dev/*",
                "--exclude=./qemu-user",
                "-C",
                str(folder),
                "-cf",
                str(packed),
                ".",
            ],
            check=True,
        )
        entries.append(_image(layout, packed, goarch))
    index = document(
        canonical({"schemaVersion": 2, "mediaType": media.INDEX, "manifests": [each.as_json() for each in entries]}),
        media.INDEX,
    )
    layout.put_manifest(index, top=True)
    assert run(root, "keygen", "--output", "release.key").returncode == 0
    return root


def _image(layout: Layout, packed: Path, goarch: str) -> Descriptor:
    blob = blob_of_file(packed)
    layout.put_blob(blob)
    platform = parse(f"linux/{goarch}")
    config = document(
        canonical({**platform.as_json(), "config": {}, "rootfs": {"type": "layers", "diff_ids": [blob.digest]}}),
        media.CONFIG,
    )
    layout.put_blob(blob_of(config.data))
    manifest = document(
        canonical(
            {
                "schemaVersion": 2,
                "mediaType": media.MANIFEST,
                "config": config.descriptor.as_json(),
                "layers": [Descriptor(media_type=media.LAYER, digest=blob.digest, size=blob.size).as_json()],
            }
        ),
        media.MANIFEST,
    )
    layout.put_blob(blob_of(manifest.data))
    found = manifest.descriptor
    return Descriptor(media_type=found.media_type, digest=found.digest, size=found.size, platform=platform)


def run(root: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    more = {"BUILDMATRIX_PASSWORD": "secret", "SOURCE_DATE_EPOCH": "1700000000", **environment}
    return subprocess.run(
        [sys.executable, "-m", "buildmatrix", *arguments], cwd=root, env={**os.environ, "CI": "1", **more},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def must(root: Path, *arguments: str, **environment: str) -> str:
    done = run(root, *arguments, **environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def index_of(root: Path, name: str) -> str:
    return Layout(root / "dist/images" / name).index().manifests[0].digest


def test_two_builds_without_docker_give_one_index(shop: Path) -> None:
    nowhere = {"DOCKER_HOST": "unix:///nonexistent.sock"}
    must(shop, "image", **nowhere)
    first = {name: index_of(shop, name) for name in ("archprobe", "archstore")}
    shutil.rmtree(shop / "dist")
    must(shop, "image", **nowhere)
    assert {name: index_of(shop, name) for name in first} == first


def test_verify_covers_images(shop: Path) -> None:
    must(shop, "image")
    assert "image archstore" in must(shop, "verify")
    layout = Layout(shop / "dist/images/archprobe")
    victim = max((layout.path / "blobs/sha256").iterdir(), key=lambda path: path.stat().st_size)
    data = victim.read_bytes()
    victim.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    done = run(shop, "verify")
    assert done.returncode == 1 and "BM853" in done.stdout
    must(shop, "image")


def test_a_base_without_the_loader_is_caught_before_any_tag(shop: Path, docker_registry: DockerRegistry) -> None:
    """The arm64 base loses its loader: the image is not built, and nothing is pushed."""
    must(shop, "image")
    broken = shop / "without"
    shutil.copytree(shop, broken, ignore=shutil.ignore_patterns("dist", "*.tar", "without"))
    packed = shop / "arm64.tar"
    kept = broken / "kept.tar"
    with tarfile.open(packed) as source, tarfile.open(kept, "w") as sink:
        for member in source:
            if "ld-linux-aarch64" not in member.name:
                sink.addfile(member, source.extractfile(member) if member.isreg() else None)
    layout = Layout(broken / "base")
    (top,) = layout.index().manifests
    amd64 = layout.manifest(top).manifest().manifests[0]
    arm64 = _image(layout, kept, "arm64")
    value = {"schemaVersion": 2, "mediaType": media.INDEX, "manifests": [amd64.as_json(), arm64.as_json()]}
    index = document(canonical(value), media.INDEX)
    layout.put_blob(blob_of(index.data))
    layout.write_index((index.descriptor,))
    repository = f"{docker_registry.host}/without/archstore"
    done = run(broken, "push", "archstore", "--repository", repository)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "BM858" in done.stdout and "nothing was pushed" in done.stdout and "linux/arm64" in done.stdout
    with pytest.raises(urllib.error.HTTPError):
        urllib.request.urlopen(f"http://{docker_registry.host}/v2/without/archstore/tags/list", timeout=10)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with engines.aarch64_emulation(), engines.docker_engine(tmp_path_factory.mktemp("engine")) as running:
        yield running


@pytest.fixture(scope="module")
def pushed(shop: Path, docker_registry: DockerRegistry) -> str:
    repository = f"{docker_registry.host}/shop/archprobe"
    said = must(shop, "push", "archprobe", "--repository", repository)
    assert f"{repository}:2.3.0  {index_of(shop, 'archprobe')}" in said
    assert f"{repository}:2.3.0-aarch64-20231114T2213Z" in said
    return repository


@pytest.mark.parametrize("major", ["2", "3"])
def test_real_cosign_verifies_the_index_and_every_child(shop: Path, pushed: str, tmp_path: Path, major: str) -> None:
    tool = cosign(major, tmp_path)
    layout = Layout(shop / "dist/images/archprobe")
    (top,) = layout.index().manifests
    children = [entry.digest for entry in layout.manifest(top).manifest().manifests]
    assert len(children) == 2
    for digest in (top.digest, *children):
        tool.run(
            "verify", "--key", str(shop / "release.pub"), "--insecure-ignore-tlog=true", "--allow-insecure-registry",
            *tool.trusted_root, f"{pushed}@{digest}",
        )  # fmt: skip


ATTESTED = {"cyclonedx": "sbom.cdx.json", "spdxjson": "sbom.spdx.json", "slsaprovenance1": "provenance.intoto.json"}
"""What cosign calls the types, and the file that holds what is attested."""


@pytest.mark.parametrize("major", ["2", "3"])
def test_real_cosign_verifies_what_is_attested(shop: Path, pushed: str, tmp_path: Path, major: str) -> None:
    """Each platform's SBOM and provenance, and the index's provenance; what cosign prints is what lies in dist/."""
    tool = cosign(major, tmp_path)
    layout = Layout(shop / "dist/images/archprobe")
    (top,) = layout.index().manifests
    children = layout.manifest(top).manifest().manifests
    wanted = [(str(one.platform).replace("/", "-"), one.digest, kind) for one in children for kind in ATTESTED]
    for about, digest, kind in (*wanted, ("index", top.digest, "slsaprovenance1")):
        # cosign 2 looks for the older form, cosign 3 for the newer one.
        said = tool.run(
            "verify-attestation", "--key", str(shop / "release.pub"), "--insecure-ignore-tlog=true", "--type", kind,
            "--allow-insecure-registry", *tool.trusted_root, f"{pushed}@{digest}",
        )  # fmt: skip
        line = next(line for line in said.splitlines() if line.startswith('{"payload'))
        statement = json.loads(base64.b64decode(json.loads(line)["payload"]))
        kept = json.loads((shop / "dist/images/archprobe.documents" / f"{about}.{ATTESTED[kind]}").read_bytes())
        assert statement["predicate"] == (kept["predicate"] if kind == "slsaprovenance1" else kept)
        assert [each["digest"]["sha256"] for each in statement["subject"]] == [digest.removeprefix("sha256:")]
    stranger = tool.try_run(
        "verify-attestation", "--key", str(shop / "release.pub"), "--insecure-ignore-tlog=true", "--type", "cyclonedx",
        "--allow-insecure-registry", *tool.trusted_root, f"{pushed}@{top.digest}",
    )  # fmt: skip
    assert stranger.returncode != 0, "the index has no bill of its own"


def test_swapped_sboms_of_two_platforms_are_caught_before_any_tag(shop: Path, docker_registry: DockerRegistry) -> None:
    must(shop, "image")
    swapped = shop.parent / "swapped"
    shutil.copytree(shop, swapped, ignore=shutil.ignore_patterns("*.tar", "without"))
    folder = swapped / "dist/images/archprobe.documents"
    one, two = (folder / f"linux-{goarch}.sbom.cdx.json" for goarch in ("amd64", "arm64"))
    first = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(first)
    done = run(swapped, "verify")
    assert done.returncode == 1 and done.stdout.count("BM715 image archprobe linux/") == 2, done.stdout
    assert "it is about image archprobe linux/arm64" in done.stdout
    # A push describes the image anew before it sends anything: swapped files do not outlive it.
    must(swapped, "push", "archprobe", "--repository", f"{docker_registry.host}/swapped/archprobe")
    assert one.read_bytes() == first


def test_a_base_with_packages_is_listed(shop: Path) -> None:
    must(shop, "image")
    bill = json.loads((shop / "dist/images/archstore.documents/linux-arm64.sbom.cdx.json").read_bytes())
    names = {item["name"]: item for item in bill["components"]}
    assert names["usr-is-merged"]["purl"].startswith("pkg:deb/debian/usr-is-merged@")
    assert any(name.startswith("github.com/") for name in names), "the modules of the Go binary"


@pytest.mark.parametrize(("platform", "machine"), [("linux/amd64", "amd64"), ("linux/arm64", "arm64")])
def test_real_docker_pulls_and_runs_it(engine: Engine, pushed: str, platform: str, machine: str) -> None:
    engine.docker("pull", "--platform", platform, f"{pushed}:2.3.0")
    started = engine.docker(
        "run", "--detach", "--platform", platform, "--publish", "127.0.0.1::8080", f"{pushed}:2.3.0"
    ).strip()
    try:
        address = engine.docker("port", started, "8080/tcp").splitlines()[0]
        assert _asked(f"http://{address}/healthz") == b"ok\n"
        assert json.loads(_asked(f"http://{address}/arch"))["build"]["goarch"] == machine
    finally:
        engine.docker("rm", "--force", started)
        engine.docker("rmi", "--force", f"{pushed}:2.3.0")


def _asked(url: str) -> bytes:
    end = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5) as reply:
                return bytes(reply.read())
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.2)


def test_run_starts_every_platform_and_says_what_was_emulated(shop: Path, engine: Engine) -> None:
    said = must(shop, "run", DOCKER_HOST=engine.host)
    assert said.splitlines()[-1].startswith("4 ran")
    assert "BM862" in said and "proves nothing about a real arm64 machine" in said
    left = engine.docker("ps", "--all", "--quiet") + engine.docker("images", "--quiet", "buildmatrix-run/archprobe")
    assert left.strip() == ""


def test_the_examples_own_dockerfile_gives_the_same_image(shop: Path, engine: Engine, tmp_path: Path) -> None:
    """BuildKit runs the example's Dockerfile on two nodes: same files, described, run by the engine on its EXPOSE."""
    root = tmp_path / "project"
    shutil.copytree(shop, root, ignore=shutil.ignore_patterns("*.tar", "without", "dist", "base"))
    shutil.copytree(ROOT / "examples/archprobe", root / "src", dirs_exist_ok=True)
    with buildkit.cluster(tmp_path / "cluster") as (authority, daemons):
        for path in (*authority.issue("client"), authority.certificate):
            (root / "pki").mkdir(exist_ok=True)
            shutil.copy(path, root / "pki")
        (root / ".dockerignore").write_text("dist\npki\n*.key\n")
        store, targets, libc, end = (
            MATRIX.index(head)
            for head in ("[binaries.archstore]", "[targets.amd64]", "[targets.amd64-glibc]", "[signing]")
        )
        nodes = ", ".join(f'"{platform}" = "{daemon.endpoint}"' for platform, daemon in daemons.items())
        (root / "matrix.toml").write_text(
            MATRIX[:store]
            + MATRIX[targets:libc]
            + '[images.archprobe]\ntargets = ["amd64", "arm64"]\ndockerfile = "src/Dockerfile"\nbuilder = "cluster"\n'
            'smoke = ["/healthz", "/arch"]\n\n[builders.cluster]\ndriver = "remote"\n'
            f"nodes = {{ {nodes} }}\n"
            'options = { cacert = "pki/ca.pem", cert = "pki/client.pem", key = "pki/client.key" }\n\n' + MATRIX[end:]
        )
        words = {"PATH": f"{buildkit.buildx().parent}:{os.environ['PATH']}", "BUILDMATRIX_CACHE": str(tmp_path / "c")}
        must(root, "image", **words)
        first = index_of(root, "archprobe")
        must(root, "image", "--force", **words)
        assert index_of(root, "archprobe") == first
        must(root, "verify", **words)
        said = must(root, "run", "archprobe", DOCKER_HOST=engine.host, **words)
    assert said.splitlines()[-1].startswith("2 ran"), said
    must(shop, "image", "archprobe")  # the direct engine's, to compare with
    for goarch in ("amd64", "arm64"):
        name = f"dist/images/archprobe.documents/linux-{goarch}.sbom.cdx.json"
        ours, direct = (json.loads((where / name).read_bytes()) for where in (root, shop))
        binary = "usr/local/bin/archprobe"
        assert _component(ours, binary)["hashes"] == _component(direct, binary)["hashes"]
    said = (root / "dist/images/archprobe.documents/linux-arm64.provenance.intoto.json").read_text()
    assert '"name": "dockerfile"' in said and '"name": "archprobe_arm64/archprobe"' in said


def _component(bill: dict[str, Any], name: str) -> dict[str, Any]:
    return next(item for item in bill["components"] if item["name"] == name)


def test_a_dead_service_is_told(shop: Path, engine: Engine) -> None:
    broken = shop.parent / "dead"
    shutil.copytree(shop, broken, ignore=shutil.ignore_patterns("*.tar", "without", "dist"))
    text = (broken / "matrix.toml").read_text().replace('cmd = ["-listen", ":8080"]', 'cmd = ["-no-such-flag"]')
    (broken / "matrix.toml").write_text(text)
    done = run(broken, "run", "archprobe", "--platform", "linux/amd64", DOCKER_HOST=engine.host)
    assert done.returncode == 1
    assert "BM863" in done.stdout and "ended with status 2" in done.stdout and "no-such-flag" in done.stdout


def test_no_engine_is_told(shop: Path) -> None:
    done = run(shop, "run", "archprobe", DOCKER_HOST="unix:///nonexistent.sock")
    assert done.returncode == 3
    assert "BM845" in done.stderr and "DOCKER_HOST" in done.stderr
