"""The commands of a release as a user runs them: release, promote, rollback."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from buildmatrix import cli
from buildmatrix.release.rules import RULES
from buildmatrix.signing import publickey
from tests import project, signers
from tests.project import Project
from tests.registry_server import RegistryServer
from tests.release_lab import CLEAN, ReleaseLab

MATRIX = (
    project.MATRIX
    + """
[images.hello]
targets = ["amd64", "arm64"]

[signing]
backend = "key"
key = "release.key"
"""
)


@pytest.fixture
def server() -> Iterator[RegistryServer]:
    with RegistryServer() as running:
        yield running


@pytest.fixture
def lab(server: RegistryServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ReleaseLab:
    """A release in a registry, and an empty folder to judge it from."""
    made = ReleaseLab(server, tmp_path / "lab")
    made.publish()
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    Path("release.pub").write_bytes(publickey.to_pem(signers.signer("release").public))
    Path("stranger.pub").write_bytes(publickey.to_pem(signers.signer("stranger").public))
    return made


def call(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    status = cli.main(list(words))
    said = capsys.readouterr()
    return status, said.out, said.err


def test_a_release_is_judged_from_a_registry_and_a_key_alone(
    lab: ReleaseLab, server: RegistryServer, capsys: pytest.CaptureFixture[str]
) -> None:
    reference = f"{server.host}/team/app:1.2.3"
    status, out, _ = call(capsys, "release", "--check", reference, "--trusted-key", "release.pub")
    assert status == 0 and out.splitlines()[-1] == "every rule is kept"
    assert [line.split()[1] for line in out.splitlines()[1:-1]] == [rule.code for rule in RULES]
    status, out, _ = call(capsys, "release", "--check", reference, "--trusted-key", "release.pub", "--json")
    said = json.loads(out)
    assert status == 0 and said["passed"] and said["schema"] == 1
    assert {item["status"] for item in said["rules"]} == {"kept", "not asked for"}
    status, out, _ = call(capsys, "release", "--check", reference, "--trusted-key", "stranger.pub")
    assert status == 1 and "FAIL  BM903" in out and "fix: " in out


def test_nobody_to_trust_is_no_pass(
    lab: ReleaseLab, server: RegistryServer, capsys: pytest.CaptureFixture[str]
) -> None:
    status, _, err = call(capsys, "release", "--check", f"{server.host}/team/app:1.2.3")
    assert status == 2 and "nobody to trust" in err


def test_the_plan_of_a_matrix_counts_where_it_is_named(
    lab: ReleaseLab, server: RegistryServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """The statement says two platforms and no floor; the matrix plans a third one."""
    text = MATRIX.replace("hello", "app").replace(
        "[images.app]", '[targets.riscv64]\ngoarch = "riscv64"\n\n[images.app]'
    )
    Path("matrix.toml").write_text(text.replace('["amd64", "arm64"]', '["*"]'))
    words = ("release", "--check", f"{server.host}/team/app:1.2.3", "--trusted-key", "release.pub")
    status, out, _ = call(capsys, *words, "--matrix", "matrix.toml")
    assert status == 1 and "FAIL  BM902" in out and "platform linux/riscv64 missing from the index" in out
    assert out.count("FAIL") == 1
    assert call(capsys, *words)[0] == 0, "a key alone asks no matrix, even where one lies here"


def test_an_image_that_the_matrix_may_mean_twice_is_asked_for(
    lab: ReleaseLab, server: RegistryServer, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("matrix.toml").write_text(
        MATRIX.replace("hello", "app") + '\n[images.second]\nbinaries = ["app"]\ntargets = ["amd64"]\n'
    )
    words = ("release", "--check", f"{server.host}/team/app:1.2.3", "--trusted-key", "release.pub",
             "--matrix", "matrix.toml")  # fmt: skip
    status, _, err = call(capsys, *words)
    assert status == 2 and "--image" in err
    assert call(capsys, *words, "--image", "app")[0] == 0
    assert call(capsys, *words, "--image", "second")[0] == 1


def test_what_is_not_there(lab: ReleaseLab, server: RegistryServer, capsys: pytest.CaptureFixture[str]) -> None:
    status, _, err = call(capsys, "release", "--check", f"{server.host}/team/app:9.9.9", "--trusted-key", "release.pub")
    assert status == 1 and "BM804" in err


def test_check_builds_nothing(lab: ReleaseLab, server: RegistryServer, capsys: pytest.CaptureFixture[str]) -> None:
    status, _, err = call(capsys, "release", "app", "--check", f"{server.host}/team/app:1.2.3")
    assert status == 2 and "nothing is built or signed" in err


def test_promote_and_check_there(lab: ReleaseLab, server: RegistryServer, capsys: pytest.CaptureFixture[str]) -> None:
    trusted = ("--trusted-key", "release.pub")
    destination = f"{server.host}/prod/app"
    status, out, _ = call(capsys, "promote", f"{server.host}/team/app:1.2.3", destination, *trusted)
    assert status == 0 and f"{destination}:1.2.3  {lab.index}" in out
    came_from = ("--promoted-from", f"{server.host}/team/app")
    assert call(capsys, "release", "--check", f"{destination}:1.2.3", *trusted)[0] == 1
    assert call(capsys, "release", "--check", f"{destination}:1.2.3", *trusted, *came_from)[0] == 0
    status, _, err = call(capsys, "promote", f"{server.host}/team/app:1.2.3", f"{destination}:1.2.3", *trusted)
    assert status == 2 and "expected a repository alone" in err
    status, _, err = call(capsys, "promote", f"{server.host}/team/app:1.2.3", f"{server.host}/team/app", *trusted)
    assert status == 2 and "one repository twice" in err


def test_roll_back(lab: ReleaseLab, server: RegistryServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old = ReleaseLab(server, tmp_path / "lab", version="1.2.2", git=replace(CLEAN, tags=(("v1.2.2", True),)))
    old.publish()
    tags = server.repo("team/app").tags
    tags.update({"production": lab.index, "canary": lab.index})
    words = (
        "rollback",
        f"{server.host}/team/app:production",
        "canary",
        "--to",
        "1.2.2",
        "--trusted-key",
        "release.pub",
    )
    status, out, _ = call(capsys, *words, "--dry-run")
    assert status == 0 and out.count("would be set") == 2 and tags["production"] == lab.index
    status, out, _ = call(capsys, *words, "--json")
    said = json.loads(out)
    assert status == 0 and said["digest"] == old.index == tags["production"] == tags["canary"]
    assert said["tags"] == [
        {"tag": "production", "before": lab.index, "moved": True},
        {"tag": "canary", "before": lab.index, "moved": True},
    ]
    status, out, _ = call(capsys, *words)
    assert status == 0 and out.count("was there already") == 2
    other = f"{server.host}/other/app:production"
    status, _, err = call(capsys, words[0], words[1], other, *words[3:])
    assert status == 2 and "expected one" in err


# What ends a release before anything is built


@pytest.fixture
def hello(tmp_path: Path) -> Project:
    made = project.create(tmp_path / "hello", matrix=MATRIX)
    made.write(".gitignore", "/dist/\n*.key\n")
    git(made, "init", "-q")
    git(made, "add", "-A")
    git(made, "commit", "-qm", "first")
    return made


def git(hello: Project, *words: str) -> None:
    names = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@example.org", "GIT_COMMITTER_NAME": "a",
             "GIT_COMMITTER_EMAIL": "a@example.org", "GIT_CONFIG_GLOBAL": os.devnull}  # fmt: skip
    subprocess.run(["git", *words], cwd=hello.root, env={**os.environ, **names}, check=True, capture_output=True)


def refused(hello: Project, *words: str) -> str:
    done = hello.run("release", "--repository", "127.0.0.1:1/team/hello", *words)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "nothing was released" in done.stdout and not hello.dist.exists()
    return done.stdout


def broken(text: str) -> set[str]:
    return {line.split()[1] for line in text.splitlines() if line.startswith("FAIL")}


def test_a_dirty_tree_is_told_before_anything_is_built(hello: Project) -> None:
    git(hello, "tag", "-a", "v1.2.3", "-m", "release")
    hello.write("cmd/hello/new.go", "package main\n")
    text = refused(hello)
    assert broken(text) == {"BM907"} and "cmd/hello/new.go" in text


def test_a_lightweight_tag_is_told_before_anything_is_built(hello: Project) -> None:
    git(hello, "tag", "v1.2.3")
    text = refused(hello)
    assert broken(text) == {"BM908"} and "got a lightweight tag, expected an annotated one" in text


def test_no_tag_and_a_development_key(hello: Project) -> None:
    hello.write("matrix.toml", MATRIX.partition("[signing]")[0])
    git(hello, "commit", "-qam", "no key")
    assert broken(refused(hello)) == {"BM906", "BM908"}


def test_outside_a_checkout_nothing_can_be_released(tmp_path: Path) -> None:
    made = project.create(tmp_path / "plain", matrix=MATRIX)
    assert broken(refused(made)) == {"BM907", "BM908"}


def test_renamed_and_deleted_files_are_changes(hello: Project) -> None:
    git(hello, "tag", "-a", "v1.2.3", "-m", "release")
    git(hello, "mv", "cmd/hello/main.go", "cmd/hello/other.go")
    text = refused(hello)
    assert broken(text) == {"BM907"} and "got 1 changed" in text


def test_the_output_folder_is_no_change(hello: Project) -> None:
    """Projects whose dist/ git does not ignore can be released, too."""
    from buildmatrix.process import SubprocessRunner
    from buildmatrix.release import checkout
    from buildmatrix.release.model import Git

    hello.write(".gitignore", "*.key\n")
    git(hello, "commit", "-qam", "ignore less")
    hello.write("dist/hello_amd64/hello", "x")
    found = checkout.look(hello.root, hello.dist, SubprocessRunner(), dict(os.environ))
    assert isinstance(found, Git) and found.changed == ()
    hello.write("dist2/x", "x")
    found = checkout.look(hello.root, hello.dist, SubprocessRunner(), dict(os.environ))
    assert isinstance(found, Git) and found.changed == ("dist2/x",)
