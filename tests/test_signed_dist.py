"""A signed dist/: nothing in it can be altered, stripped or swapped unseen, and keys are rotated without a rebuild."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from buildmatrix.cli import main
from buildmatrix.signing import bundle, strict
from tests import project
from tests.project import Project

PASSWORD = "correct horse"  # noqa: S105
KEYED = project.MATRIX + '\n[signing]\nbackend = "key"\nkey = "release.key"\n'
NAMES = ("hello", "provenance.intoto.json", "record.json", "sbom.cdx.json", "sbom.spdx.json")
Captured = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project that is built and signed with a key of its own."""
    made = project.create(tmp_path_factory.mktemp("signed"), matrix=KEYED)
    environment = {"BUILDMATRIX_PASSWORD": PASSWORD}
    for command in (("keygen", "--output", "release.key"), ("build",)):
        done = made.run(*command, env=environment)
        assert done.returncode == 0, done.stdout + done.stderr
    return made


@pytest.fixture
def hello(pristine: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    shutil.copytree(pristine.root, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    monkeypatch.setenv("BUILDMATRIX_PASSWORD", PASSWORD)
    return Project(root=tmp_path / "copy")


def verify(capsys: Captured, *arguments: str) -> tuple[int, str]:
    capsys.readouterr()
    status = main(["verify", *arguments])
    return status, capsys.readouterr().out


def folder(made: Project, target: str = "amd64") -> Path:
    return made.dist / f"hello_{target}"


def test_every_file_has_its_bundle(hello: Project, capsys: Captured) -> None:
    assert verify(capsys, "--release")[0] == 0
    for target in ("amd64", "arm64"):
        for name in NAMES:
            made = bundle.decode((folder(hello, target) / f"{name}.sigstore.json").read_bytes(), name, exact=True)
            assert isinstance(made.content, bundle.Message) == (name in ("hello", "record.json"))
        record = json.loads((folder(hello, target) / "signatures.json").read_text())
        assert record["signer"]["development"] is False


def test_a_second_build_keeps_every_bundle(hello: Project) -> None:
    before = project.snapshot(hello.dist)
    done = hello.run("build", env={"BUILDMATRIX_PASSWORD": "not needed"})
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("unchanged ") == 2
    assert project.snapshot(hello.dist) == before


@pytest.mark.parametrize("damage", ["missing", "altered", "record missing", "all forgotten"])
def test_what_is_missing_or_altered_is_signed_again(hello: Project, damage: str, capsys: Captured) -> None:
    before = project.snapshot(hello.dist)
    path = folder(hello) / "sbom.cdx.json.sigstore.json"
    if damage == "missing":
        path.unlink()
    elif damage == "altered":
        path.write_bytes(path.read_bytes().replace(b'"sig":"M', b'"sig":"N'))
    elif damage == "record missing":
        (folder(hello) / "signatures.json").unlink()
    else:
        shutil.rmtree(hello.dist / ".state")
    done = hello.run("build", env={"BUILDMATRIX_PASSWORD": PASSWORD})
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 built, 2 unchanged" in done.stdout
    assert project.snapshot(hello.dist) == before
    assert verify(capsys)[0] == 0


def test_any_flipped_byte_anywhere_is_caught(hello: Project, capsys: Captured) -> None:
    """Every file of dist/, several bytes each: at both ends and at random."""
    generator = random.Random(7)
    files = [path for path in sorted(hello.dist.rglob("*")) if path.is_file() and ".state" not in path.parts]
    assert len(files) == 4 + 2 * 11
    for path in files:
        good = path.read_bytes()
        count = 3 if path.name == "hello" else 6
        for offset in {0, len(good) - 1, *(generator.randrange(len(good)) for _ in range(count))}:
            data = bytearray(good)
            data[offset] ^= 1 << generator.randrange(8)
            path.write_bytes(data)
            status, out = verify(capsys)
            assert status != 0, f"{path} at {offset}: {good[max(0, offset - 30) : offset + 30]!r}\n{out}"
        path.write_bytes(good)
    assert verify(capsys)[0] == 0


@pytest.mark.parametrize("name", NAMES)
def test_a_stripped_signature(hello: Project, name: str, capsys: Captured) -> None:
    (folder(hello) / f"{name}.sigstore.json").unlink()
    status, out = verify(capsys)
    assert status == 1
    assert f"BM730 hello_amd64: {name}.sigstore.json: got no signature" in out
    assert "buildmatrix build" in out


def test_all_signatures_stripped(hello: Project, capsys: Captured) -> None:
    for path in hello.dist.rglob("*.sigstore.json"):
        path.unlink()
    status, out = verify(capsys)
    assert status == 1
    assert out.count("BM730") >= 2 * len(NAMES)


def swap(one: Path, two: Path) -> None:
    first, second = one.read_bytes(), two.read_bytes()
    one.write_bytes(second)
    two.write_bytes(first)


def test_swapped_sboms_with_their_bundles(hello: Project, capsys: Captured) -> None:
    """Both are signed by the right key; each is about the other architecture."""
    for name in ("sbom.cdx.json", "sbom.cdx.json.sigstore.json"):
        swap(folder(hello) / name, folder(hello, "arm64") / name)
    status, out = verify(capsys)
    assert status == 1
    for target in ("amd64", "arm64"):
        assert f"BM745 hello_{target}: sbom.cdx.json.sigstore.json: got an attestation about" in out


def test_swapped_provenance_with_its_bundle(hello: Project, capsys: Captured) -> None:
    for name in ("provenance.intoto.json", "provenance.intoto.json.sigstore.json"):
        swap(folder(hello) / name, folder(hello, "arm64") / name)
    status, out = verify(capsys)
    assert status == 1
    for target in ("amd64", "arm64"):
        assert f"BM745 hello_{target}: provenance.intoto.json.sigstore.json" in out


def test_swapped_bundles_alone(hello: Project, capsys: Captured) -> None:
    swap(folder(hello) / "hello.sigstore.json", folder(hello, "arm64") / "hello.sigstore.json")
    status, out = verify(capsys)
    assert status == 1
    assert "BM734 hello_amd64: hello.sigstore.json: got a signature of sha256:" in out


def test_an_attestation_in_the_signatures_place(hello: Project, capsys: Captured) -> None:
    shutil.copy(folder(hello) / "sbom.cdx.json.sigstore.json", folder(hello) / "hello.sigstore.json")
    status, out = verify(capsys)
    assert status == 1
    assert "BM743 hello_amd64: hello.sigstore.json: got an attestation, expected a signature" in out


def test_an_older_valid_envelope_beside_a_newer_broken_one(hello: Project, capsys: Captured) -> None:
    """The good one stays under another name; the one that counts is broken."""
    path = folder(hello) / "sbom.cdx.json.sigstore.json"
    good = path.read_bytes()
    (folder(hello) / "sbom.cdx.json.2.sigstore.json").write_bytes(good)
    value = json.loads(good)
    value["dsseEnvelope"]["payload"] = strict.to_base64(b'{"_type":"https://in-toto.io/Statement/v1"}')
    path.write_bytes(strict.encode(value))
    status, out = verify(capsys)
    assert status == 1
    assert "BM733 hello_amd64: sbom.cdx.json.sigstore.json" in out
    assert "BM703 dist: file that nothing accounts for: hello_amd64/sbom.cdx.json.2.sigstore.json" in out


def test_everything_signed_again_by_a_stranger(hello: Project, capsys: Captured) -> None:
    (hello.root / "release.pub").rename(hello.root / "trusted.pub")
    (hello.root / "release.key").unlink()
    assert main(["keygen", "--output", "release.key"]) == 0
    assert main(["build"]) == 0
    hello.write("matrix.toml", KEYED + 'trusted-keys = ["trusted.pub"]\n')
    status, out = verify(capsys, "-t", "amd64")
    assert status == 1
    assert out.count("BM736 hello_amd64") == len(NAMES)
    assert "trusted-keys" in out


def test_keys_are_rotated_without_a_rebuild(hello: Project, capsys: Captured) -> None:
    assert main(["keygen", "--output", "next.key"]) == 0
    both = 'trusted-keys = ["next.pub", "release.pub"]\n'
    hello.write("matrix.toml", KEYED.replace("release.key", "next.key") + both)
    assert verify(capsys, "-t", "amd64")[0] == 0, "the old key still counts"
    before = folder(hello).joinpath("hello").stat().st_mtime_ns
    assert main(["build"]) == 0
    assert folder(hello).joinpath("hello").stat().st_mtime_ns == before
    hello.write("matrix.toml", KEYED.replace("release.key", "next.key") + both + 'revoked-keys = ["release.pub"]\n')
    assert main(["build"]) == 0
    assert verify(capsys)[0] == 0, "everything is by the new key"


def test_a_revoked_key(hello: Project, capsys: Captured) -> None:
    hello.write("matrix.toml", KEYED + 'trusted-keys = ["release.pub"]\nrevoked-keys = ["release.pub"]\n')
    status, out = verify(capsys, "-t", "amd64")
    assert status == 1
    assert out.count("BM737 hello_amd64") == len(NAMES)


def test_a_misspelt_revocation_is_not_passed_over(hello: Project, capsys: Captured) -> None:
    hello.write("matrix.toml", KEYED + 'revoked-keys = ["sha256:abc"]\n')
    assert main(["verify"]) == 5
    assert "BM761" in capsys.readouterr().err


def test_a_development_key_is_marked_and_refused_by_a_release(
    hello: Project, capsys: Captured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BUILDMATRIX_CACHE", str(tmp_path / "cache"))
    hello.write("matrix.toml", project.MATRIX)
    assert main(["build"]) == 0
    assert (tmp_path / "cache/signing/development.key").stat().st_mode & 0o777 == 0o600
    assert json.loads((folder(hello) / "signatures.json").read_text())["signer"]["development"] is True
    assert verify(capsys)[0] == 0
    status, out = verify(capsys, "--release")
    assert status == 1
    assert "BM750 hello_amd64: got signatures by a development key" in out
    monkeypatch.setenv("BUILDMATRIX_CACHE", str(tmp_path / "another machine"))
    status, out = verify(capsys)
    assert status == 1
    assert "BM736 hello_amd64" in out


def test_no_signatures_are_a_choice_that_no_release_takes(hello: Project, capsys: Captured) -> None:
    hello.write("matrix.toml", project.MATRIX + '\n[signing]\nbackend = "none"\n')
    assert main(["clean"]) == 0
    assert main(["build"]) == 0
    assert not list(hello.dist.rglob("*.sigstore.json"))
    assert verify(capsys)[0] == 0
    status, out = verify(capsys, "--release")
    assert status == 1
    assert "BM730 hello_amd64: got no signature, expected one for every file" in out


def test_what_fails_its_checks_is_not_signed(hello: Project, capsys: Captured) -> None:
    text = KEYED.replace('goarch = "arm64"\n', 'goarch = "arm64"\nldflags = ["-R 4096 -T 0x12000"]\n')
    hello.write("matrix.toml", text)
    shutil.rmtree(hello.dist)
    assert main(["build", "-t", "arm64"]) == 1
    assert "BM512" in capsys.readouterr().out
    assert (folder(hello, "arm64") / "record.json").is_file()
    assert not list(folder(hello, "arm64").glob("*.sigstore.json"))


def test_a_wrong_password_ends_the_cell_with_its_code(hello: Project, capsys: Captured) -> None:
    shutil.rmtree(hello.dist)
    done = hello.run("build", "-t", "amd64", env={"BUILDMATRIX_PASSWORD": "wrong"})
    assert done.returncode == 5, done.stdout + done.stderr
    assert "BM762" in done.stdout
    assert verify(capsys, "-t", "amd64")[0] == 1
    done = hello.run("build", "-t", "amd64", env={"BUILDMATRIX_PASSWORD": PASSWORD})
    assert done.returncode == 0, "nothing half-signed is in the way"
    assert "0 built, 1 unchanged" in done.stdout


def test_no_password_and_no_terminal(hello: Project) -> None:
    shutil.rmtree(hello.dist)
    environment = {name: value for name, value in os.environ.items() if "PASSWORD" not in name}
    done = subprocess.run(
        project.command("build", "-t", "amd64"), env={**environment, "CI": "1"}, stdin=subprocess.DEVNULL,
        cwd=hello.root, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 5, done.stdout + done.stderr
    assert "BM766" in done.stdout
    assert "BUILDMATRIX_PASSWORD" in done.stdout


@contextlib.contextmanager
def no_network(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[object]]:
    asked: list[object] = []

    def refuse(*arguments: object, **_: object) -> None:
        asked.append(arguments)
        raise OSError("no network in this test")

    with monkeypatch.context() as patch:
        patch.setattr(socket, "socket", refuse)
        patch.setattr(socket, "create_connection", refuse)
        patch.setattr(socket, "getaddrinfo", refuse)
        yield asked


def test_offline_verification_asks_nobody(hello: Project, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    with no_network(monkeypatch) as asked:
        assert verify(capsys, "--offline", "--release")[0] == 0
    assert asked == []


def test_programs_are_kept_off_the_network_too(
    hello: Project, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    from buildmatrix.process import Completed, SubprocessRunner

    environments = []
    real = SubprocessRunner.run

    def run(self: SubprocessRunner, argv: tuple[str, ...], **options: object) -> Completed:
        environments.append(options["env"])
        return real(self, argv, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(SubprocessRunner, "run", run)
    hello.write("matrix.toml", KEYED.replace('version = "1.2.3"', 'version = "git"'))
    subprocess.run(["git", "init", "-q"], check=True)
    verify(capsys, "--offline", "--target", "amd64")
    assert environments
    for environment in environments:
        assert isinstance(environment, dict)
        assert (environment["GOPROXY"], environment["GOTOOLCHAIN"]) == ("off", "local")


@pytest.fixture
def blob(hello: Project) -> Path:
    path = hello.root / "notes.txt"
    path.write_text("release notes\n")
    return path


def test_any_file_can_be_signed_and_verified(hello: Project, blob: Path, capsys: Captured) -> None:
    assert main(["sign", str(blob)]) == 0
    assert "notes.txt.sigstore.json: signed by key sha256:" in capsys.readouterr().out
    assert verify(capsys, "--release", str(blob))[0] == 0
    blob.write_text("other notes\n")
    status, out = verify(capsys, str(blob))
    assert status == 1
    assert "BM734" in out


ATTACKS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "stripped": ("BM730", lambda path: path.unlink()),
    "truncated": ("BM731", lambda path: path.write_bytes(path.read_bytes()[:100])),
    "a key twice": ("BM732", lambda path: path.write_bytes(b'{"a":1,"a":2}')),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_a_file_whose_bundle_is(hello: Project, blob: Path, name: str, capsys: Captured) -> None:
    code, change = ATTACKS[name]
    assert main(["sign", str(blob)]) == 0
    change(blob.with_name("notes.txt.sigstore.json"))
    status, out = verify(capsys, str(blob))
    assert status == 1
    assert f"{code} {blob}" in out
    assert "  fix: " in out


def test_a_bundle_of_another_name(hello: Project, blob: Path, capsys: Captured) -> None:
    assert main(["sign", str(blob)]) == 0
    blob.with_name("notes.txt.sigstore.json").rename(hello.root / "elsewhere.json")
    assert verify(capsys, str(blob), "--bundle", "elsewhere.json")[0] == 0
    assert main(["verify", str(blob), str(blob), "--bundle", "elsewhere.json"]) == 2
