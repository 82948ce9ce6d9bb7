"""doctor: each thing that can be missing is told, with the sessions that want it and a command that mends it."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest

from buildmatrix.builderspec import BuilderSpec
from buildmatrix.diagnosis import services
from buildmatrix.diagnosis.probe import Health
from buildmatrix.errors import UsageError
from buildmatrix.oci.credentials import Credentials
from tests import project

NOW = 1_790_000_000.0
IMAGES = """
[images.app]
binaries = ["hello"]
targets = ["amd64"]
repository = "registry.example.org/team/app"
"""
CLUSTER = """
[builders.farm]
driver = "remote"
nodes = { "linux/amd64" = "tcp://127.0.0.1:1" }
"""


def asked(made: project.Project, **env: str) -> tuple[int, dict[str, dict[str, Any]]]:
    """The exit status, and every probe by its name."""
    done = made.run("doctor", "--json", env={"DOCKER_HOST": "unix:///nonexistent.sock", **env})
    document = json.loads(done.stdout)
    assert document["schema"] == 1
    assert document["exit_status"] == done.returncode
    return done.returncode, {item["name"]: item for item in document["probes"]}


def test_a_plain_project_needs_nothing_else(tmp_path: Path) -> None:
    status, probes = asked(project.create(tmp_path))
    assert status == 0
    assert {"buildmatrix", "native core", "disk", "machine", "version", "go", "signing", "clock"} == set(probes)


def test_what_images_want_is_told_with_its_session_and_remedy(tmp_path: Path) -> None:
    (tmp_path / "docker").mkdir()
    made = project.create(tmp_path, matrix=project.MATRIX + IMAGES)
    status, probes = asked(made, DOCKER_CONFIG=str(tmp_path / "docker"))
    assert status == 0, "starting and pushing are not building"
    assert probes["Docker"]["health"] == "missing"
    assert probes["Docker"]["sessions"] == ["run-app"]
    login = probes["login to registry.example.org"]
    assert (login["health"], login["sessions"]) == ("missing", ["push-app"])
    assert login["fix"] == "docker login registry.example.org"
    assert all(item["fix"] for item in probes.values() if item["health"] in ("warn", "missing"))


def test_missing_go_fails_with_its_own_status(tmp_path: Path) -> None:
    made = project.create(tmp_path, matrix=project.MATRIX.replace("[go]", '[go]\ntoolchain = "/nonexistent/go"'))
    done = made.run("doctor")
    assert done.returncode in (2, 3)
    assert "toolchain" in done.stdout + done.stderr


def test_a_missing_key_names_keygen(tmp_path: Path) -> None:
    signing = '\n[signing]\nbackend = "key"\nkey = "release.key"\n'
    status, probes = asked(project.create(tmp_path, matrix=project.MATRIX + signing))
    assert status == 3 or status == 5
    assert probes["signing"]["health"] == "missing"
    assert "buildmatrix keygen" in probes["signing"]["fix"]


def test_text_says_for_what_and_how(tmp_path: Path) -> None:
    made = project.create(tmp_path, matrix=project.MATRIX + IMAGES)
    lines = made.run("doctor", env={"DOCKER_HOST": "unix:///nonexistent.sock"}).stdout.splitlines()
    at = next(index for index, line in enumerate(lines) if line.startswith("miss  Docker"))
    assert [line.strip().partition(":")[0] for line in lines[at + 1 : at + 4]] == ["for", "why", "fix"]


def spec(endpoint: str, driver: str = "remote") -> BuilderSpec:
    return BuilderSpec(name="farm", driver=driver, nodes=(("linux/arm64", endpoint),), options=(), cache="")


def test_a_builder_that_answers_and_one_that_does_not() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        (good,) = services.builder(spec(f"tcp://127.0.0.1:{server.getsockname()[1]}"), ("image-app",))
    (bad,) = services.builder(spec("tcp://127.0.0.1:1"), ("image-app",))
    (later,) = services.builder(spec("arch=arm64", "kubernetes"), ("image-app",))
    assert (good.health, bad.health, later.health) == (Health.OK, Health.MISSING, Health.LATER)
    assert bad.required
    assert "buildkitd" in bad.fix


def test_a_socket_that_is_not_there(tmp_path: Path) -> None:
    assert services.reachable(f"unix://{tmp_path}/none.sock")
    assert services.reachable("tcp://127.0.0.1:99999")


@pytest.mark.parametrize(("committed", "health"), [(int(NOW) - 10, Health.OK), (int(NOW) + 86_400, Health.WARN)])
def test_a_clock_before_the_commit_is_wrong(tmp_path: Path, committed: int, health: Health) -> None:
    known = tmp_path / "matrix.toml"
    known.touch()
    os.utime(known, (NOW - 100, NOW - 100))
    probe = services.clock(NOW, committed, known)
    assert probe.health is health
    assert ("set-ntp" in probe.fix) is (health is Health.WARN)


def test_a_file_from_the_future_is_noticed(tmp_path: Path) -> None:
    known = tmp_path / "matrix.toml"
    known.touch()
    os.utime(known, (NOW + 9_000, NOW + 9_000))
    assert services.clock(NOW, None, known).health is Health.WARN


def test_emulators_are_a_warning_and_none_is_fine(tmp_path: Path) -> None:
    assert services.handlers(tmp_path / "none", ()).health is Health.OK
    for name in ("register", "status", "qemu-aarch64"):
        (tmp_path / name).touch()
    probe = services.handlers(tmp_path, ("run-app",))
    assert (probe.health, probe.found) == (Health.WARN, "qemu-aarch64")
    assert "proves nothing" in probe.why


class Source:
    """Credentials that are there, are not, or cannot be had."""

    def __init__(self, answer: Credentials | UsageError) -> None:
        self.answer = answer

    def find(self, registry: str) -> Credentials:
        if isinstance(self.answer, UsageError):
            raise self.answer
        return self.answer


def test_logins_are_found_and_never_shown() -> None:
    secret = Credentials(username="robot", password="hunter2")  # noqa: S106
    good = services.login("example.org", ("push-app",), Source(secret))
    assert good.health is Health.OK
    assert "hunter2" not in repr(good)
    assert services.login("example.org", (), Source(Credentials())).fix == "docker login example.org"
    broken = services.login("example.org", (), Source(UsageError("config.json: is not JSON", fix="docker login")))
    assert (broken.health, broken.required) == (Health.MISSING, False)


def test_an_engine_that_answers_nothing_is_told_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
    probe = services.engine(("run-app",))
    assert probe.health is Health.MISSING
    assert probe.why
    assert "\n" not in probe.why
