"""A release of the example service, from a clean checkout to a real registry, verified by real cosign."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.integration.cosign import cosign
from tests.integration.services import DockerRegistry

pytestmark = pytest.mark.integration
ROOT = Path(__file__).parent.parent.parent
VERSION = "v2.3.0"
PLATFORMS = ("x86_64", "aarch64")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shop:
    """A checkout of the example service, with a key beside it, and where it is released to."""

    root: Path
    key: Path
    registry: str
    repository: str

    def run(self, *words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *words], cwd=cwd or self.root, capture_output=True, text=True, check=False,
            env={**os.environ, "CI": "1", "BUILDMATRIX_PASSWORD": "secret", "COLUMNS": "200"},
        )  # fmt: skip

    def buildmatrix(self, *words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        return self.run("-m", "buildmatrix", *words, cwd=cwd)

    def nox(self) -> subprocess.CompletedProcess[str]:
        """`nox -s release`."""
        words = ("-s", "release", "--", "--repository", self.repository, "--key", str(self.key))
        return self.run("-m", "nox", *words)

    def git(self, *words: str) -> str:
        names = {f"GIT_{who}_{what}": "tester@example.org" for who in ("AUTHOR", "COMMITTER")
                 for what in ("NAME", "EMAIL")}  # fmt: skip
        done = subprocess.run(
            ["git", *words], cwd=self.root, env={**os.environ, **names, "GIT_CONFIG_GLOBAL": os.devnull, "TZ": "UTC"},
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        return done.stdout

    def tags(self, repository: str = "") -> dict[str, str]:
        """The tags for people, with their digests."""
        path = (repository or self.repository).partition("/")[2]
        base = f"http://{self.registry}/v2/{path}"
        try:
            with urllib.request.urlopen(f"{base}/tags/list", timeout=30) as reply:
                names = json.load(reply)["tags"] or []
        except urllib.error.HTTPError:
            return {}
        found = {}
        for name in names:
            if not name.startswith("sha256-"):
                accept = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json"
                request = urllib.request.Request(f"{base}/manifests/{name}", headers={"Accept": accept}, method="HEAD")
                with urllib.request.urlopen(request, timeout=30) as reply:
                    found[name] = reply.headers["Docker-Content-Digest"]
        return found


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, docker_registry: DockerRegistry) -> Shop:
    """What the repository has for the example service, committed."""
    folder = tmp_path_factory.mktemp("release")
    root = folder / "checkout"
    root.mkdir()
    for name in ("matrix.toml", "noxfile.py", ".gitignore"):
        shutil.copy(ROOT / name, root)
    shutil.copytree(ROOT / "examples", root / "examples")
    made = Shop(
        root=root,
        key=folder / "release.key",
        registry=docker_registry.host,
        repository=f"{docker_registry.host}/release/archprobe",
    )
    made.git("init", "-q")
    made.git("add", "-A")
    made.git("commit", "-qm", "the example service")
    done = made.buildmatrix("keygen", "--output", str(made.key), cwd=folder)
    assert done.returncode == 0, done.stderr
    return made


@pytest.fixture(scope="module")
def released(shop: Shop) -> Shop:
    """`nox -s release`, after it was refused without an annotated tag."""
    shop.git("tag", VERSION)
    refused = shop.nox()
    assert refused.returncode == 1 and "FAIL  BM908" in refused.stdout, refused.stdout + refused.stderr
    assert shop.tags() == {}
    shop.git("tag", "-d", VERSION)
    shop.git("tag", "-a", VERSION, "-m", "the release")
    done = shop.nox()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "every rule is kept" in done.stdout
    return shop


def test_tags_carry_architecture_and_time(released: Shop) -> None:
    stamp = released.git("log", "-1", "--format=%cd", "--date=format-local:%Y%m%dT%H%MZ").strip()
    tags = released.tags()
    assert set(tags) == {VERSION, *(f"{VERSION}-{machine}-{stamp}" for machine in PLATFORMS)}
    assert len(set(tags.values())) == 3


def attested(said: str) -> tuple[str, str]:
    """Predicate type and subject of what cosign prints."""
    line = next(line for line in said.splitlines() if line.startswith('{"payload'))
    value = json.loads(base64.b64decode(json.loads(line)["payload"]))
    return value["predicateType"], f"sha256:{value['subject'][0]['digest']['sha256']}"


@pytest.mark.parametrize("major", ["2", "3"])
def test_real_cosign_verifies_index_children_and_documents(released: Shop, tmp_path: Path, major: str) -> None:
    tool = cosign(major, tmp_path)
    common = ("--key", str(released.key.with_suffix(".pub")), "--insecure-ignore-tlog=true",
              "--allow-insecure-registry", *tool.trusted_root)  # fmt: skip
    tags = released.tags()
    for digest in tags.values():
        tool.run("verify", *common, f"{released.repository}@{digest}")
    kinds = {"cyclonedx": "https://cyclonedx.org/bom", "spdxjson": "https://spdx.dev/Document",
             "slsaprovenance1": "https://slsa.dev/provenance/v1"}  # fmt: skip
    for name, digest in tags.items():
        for kind, predicate in kinds.items() if name != VERSION else ():
            said = tool.run("verify-attestation", "--type", kind, *common, f"{released.repository}@{digest}")
            assert attested(said) == (predicate, digest)
    kind, digest = "urn:buildmatrix:release:1", tags[VERSION]
    said = tool.run("verify-attestation", "--type", kind, *common, f"{released.repository}@{digest}")
    assert attested(said) == (kind, digest)


def test_anybody_can_judge_it_from_the_registry_and_the_public_key(released: Shop, tmp_path: Path) -> None:
    public = str(released.key.with_suffix(".pub"))
    reference = f"{released.repository}:{VERSION}"
    done = released.buildmatrix("release", "--check", reference, "--trusted-key", public, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    said = json.loads(done.stdout)
    assert said["passed"] and {rule["code"]: rule["status"] for rule in said["rules"]}["BM909"] == "not asked for"
    matrix = str(released.root / "matrix.toml")
    done = released.buildmatrix(
        "release", "--check", reference, "--matrix", matrix, "--trusted-key", public, cwd=tmp_path
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_it_is_promoted_and_nothing_differs(released: Shop, tmp_path: Path) -> None:
    public = ("--trusted-key", str(released.key.with_suffix(".pub")))
    there = f"{released.registry}/prod/archprobe"
    done = released.buildmatrix("promote", f"{released.repository}:{VERSION}", there, *public, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert released.tags(there) == released.tags()
    check = ("release", "--check", f"{there}:{VERSION}", *public)
    done = released.buildmatrix(*check, "--promoted-from", released.repository, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert released.buildmatrix(*check, cwd=tmp_path).returncode == 1
    done = released.buildmatrix("diff", f"{released.repository}:{VERSION}", f"{there}:{VERSION}", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    layout = str(released.root / "dist/images/archprobe")
    done = released.buildmatrix("diff", layout, f"{there}:{VERSION}", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_second_release_of_the_same_commit_changes_nothing(released: Shop) -> None:
    before = released.tags()
    done = released.nox()
    assert done.returncode == 0, done.stdout + done.stderr
    assert released.tags() == before


def test_a_dirty_tree_releases_nothing(released: Shop) -> None:
    path = released.root / "examples/archprobe/cmd/archprobe/main.go"
    good = path.read_bytes()
    path.write_bytes(good + b"\n// changed\n")
    try:
        done = released.nox()
    finally:
        path.write_bytes(good)
    assert done.returncode == 1 and "FAIL  BM907" in done.stdout, done.stdout + done.stderr
