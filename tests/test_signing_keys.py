"""Key files: cosign's format, and what is refused before and after a password is asked for."""

from __future__ import annotations

import base64
import io
import json
import os
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from buildmatrix import errors
from buildmatrix.cli import main
from buildmatrix.signing import keyfile, password
from buildmatrix.signing.backends import certificate, development, key
from buildmatrix.signing.signer import Content
from tests import signers

SECRET = b"s3cret"
Captured = pytest.CaptureFixture[str]


@pytest.fixture
def pair(tmp_path: Path) -> Path:
    path = tmp_path / "release.key"
    pkcs8 = key.new_pkcs8()
    key.create(path, keyfile.encrypt(pkcs8, SECRET, keyfile.COSTS[0]), key.from_pkcs8(pkcs8, "x").public)
    return path


def altered(path: Path, change: Callable[[Any], object]) -> None:
    label, content = keyfile.from_pem(path.read_bytes(), "x")
    value = json.loads(content)
    change(value)
    path.write_bytes(keyfile.to_pem(label, json.dumps(value).encode()))


def never() -> bytes:
    raise AssertionError("nobody is to be asked for a password")


def test_a_key_opens_with_its_password(pair: Path) -> None:
    signer = key.load(pair, lambda: SECRET)
    again = key.load(pair, lambda: SECRET)
    assert signer.sign(Content.of(b"x")) == again.sign(Content.of(b"x"))
    assert stat.S_IMODE(pair.stat().st_mode) == 0o600


def test_the_older_label_is_read_too(pair: Path) -> None:
    _, content = keyfile.from_pem(pair.read_bytes(), "x")
    pair.write_bytes(keyfile.to_pem(keyfile.LABELS[1], content))
    assert key.load(pair, lambda: SECRET)


def test_the_default_cost_is_cosigns() -> None:
    _, content = keyfile.from_pem(keyfile.encrypt(b"x", b""), "x")
    assert json.loads(content)["kdf"]["params"] == {"N": 65536, "r": 8, "p": 1}


@pytest.mark.parametrize("wrong", [b"", b"s3cret ", b"S3cret"])
def test_a_wrong_password(pair: Path, wrong: bytes) -> None:
    with pytest.raises(errors.WrongPassword, match="BM762"):
        key.load(pair, lambda: wrong)


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620, 0o666, 0o700 | 0o010])
def test_a_key_that_others_may_read_or_write(pair: Path, mode: int) -> None:
    pair.chmod(mode)
    with pytest.raises(errors.KeyExposed, match=r"BM763[\s\S]*chmod 600"):
        key.load(pair, never)


def test_a_key_of_another_owner(pair: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.chown(pair, 12345, 12345) if os.geteuid() == 0 else monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(errors.KeyExposed, match="BM763"):
        key.load(pair, never)


@pytest.mark.parametrize(
    "parameters",
    [
        {"N": 1 << 30, "r": 8, "p": 1},
        {"N": 1 << 14, "r": 8, "p": 1},
        {"N": 2, "r": 8, "p": 1},
        {"N": 65536, "r": 1 << 20, "p": 1},
        {"N": 65536, "r": 8, "p": 1 << 20},
        {"N": 65536.0, "r": 8, "p": 1},
        {"N": "65536", "r": 8, "p": 1},
        {"N": True, "r": 8, "p": 1},
        {"N": 65536, "r": 8},
        {"N": 65536, "r": 8, "p": 1, "more": 1},
        {},
    ],
)
def test_absurd_scrypt_parameters_cost_nothing(pair: Path, parameters: dict[str, object]) -> None:
    altered(pair, lambda value: value["kdf"].update(params=parameters))
    began = time.process_time()
    with pytest.raises(errors.KeyParameters, match="BM764"):
        key.load(pair, never)
    assert time.process_time() - began < 0.2


DAMAGES: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""),
    "cut short": lambda path: path.write_bytes(path.read_bytes()[:200]),
    "no PEM": lambda path: path.write_bytes(b"hello"),
    "huge": lambda path: path.write_bytes(b"-----BEGIN X-----\n" + b"A" * (1 << 20)),
    "another label": lambda path: path.write_bytes(keyfile.to_pem("EC PRIVATE KEY", b"x")),
    "no JSON": lambda path: path.write_bytes(keyfile.to_pem(keyfile.LABELS[0], b"x")),
    "a list": lambda path: path.write_bytes(keyfile.to_pem(keyfile.LABELS[0], b"[]")),
    "another cipher": lambda path: altered(path, lambda value: value["cipher"].update(name="none")),
    "another kdf": lambda path: altered(path, lambda value: value["kdf"].update(name="none")),
    "a short nonce": lambda path: altered(path, lambda value: value["cipher"].update(nonce="AAAA")),
    "bad base64": lambda path: altered(path, lambda value: value.update(ciphertext="A")),
    "no salt": lambda path: altered(path, lambda value: value["kdf"].pop("salt")),
    "a key twice": lambda path: path.write_bytes(keyfile.to_pem(keyfile.LABELS[0], b'{"kdf":{},"kdf":{}}')),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_key_is_told_before_a_password_is_asked_for(pair: Path, name: str) -> None:
    DAMAGES[name](pair)
    with pytest.raises(errors.KeyDamaged, match="BM761"):
        key.load(pair, never)


def test_an_altered_ciphertext_is_a_wrong_password(pair: Path) -> None:
    def flip(value: Any) -> None:
        raw = bytearray(base64.b64decode(value["ciphertext"]))
        raw[0] ^= 1
        value["ciphertext"] = base64.b64encode(raw).decode()

    altered(pair, flip)
    with pytest.raises(errors.WrongPassword):
        key.load(pair, lambda: SECRET)


def test_another_kind_of_key() -> None:
    from cryptography.hazmat.primitives.asymmetric import ed25519
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    made = ed25519.Ed25519PrivateKey.generate().private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    with pytest.raises(errors.KeyDamaged, match="expected ECDSA P-256"):
        key.from_pkcs8(made, "x")


def test_a_missing_key(tmp_path: Path) -> None:
    with pytest.raises(errors.KeyDamaged, match="buildmatrix keygen"):
        key.load(tmp_path / "none.key", never)


# Passwords


def test_where_a_password_comes_from(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_bytes(b"from a file\n")
    both = {"BUILDMATRIX_PASSWORD": "ours", "COSIGN_PASSWORD": "cosign's"}
    assert password.find(both, file, "x") == b"from a file"
    assert password.find(both, None, "x") == b"ours"
    assert password.find({"COSIGN_PASSWORD": "cosign's"}, None, "x") == b"cosign's"
    assert password.find({"BUILDMATRIX_PASSWORD": ""}, None, "x") == b""
    with pytest.raises(errors.KeyDamaged, match="password file"):
        password.find({}, tmp_path / "none", "x")


def test_nobody_to_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("typed\n"))
    with pytest.raises(errors.PasswordMissing, match=r"BM766[\s\S]*BUILDMATRIX_PASSWORD"):
        password.find({}, None, "x")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_new_password_is_asked_for_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = ["one", "one", "one", "two", "three"]
    monkeypatch.setattr("sys.stdin", Terminal())
    monkeypatch.setattr("getpass.getpass", lambda _: answers.pop(0))
    assert password.find({}, None, "x", again=True) == b"one"
    with pytest.raises(errors.PasswordMissing, match="two different"):
        password.find({}, None, "x", again=True)
    assert password.find({}, None, "x") == b"three"


# buildmatrix keygen


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BUILDMATRIX_PASSWORD", SECRET.decode())
    return tmp_path


def test_keygen_makes_a_pair(here: Path, capsys: Captured) -> None:
    assert main(["keygen"]) == 0
    out = capsys.readouterr().out
    assert sorted(path.name for path in here.iterdir()) == ["buildmatrix.key", "buildmatrix.pub"]
    assert stat.S_IMODE((here / "buildmatrix.key").stat().st_mode) == 0o600
    assert 'backend = "key", key = "buildmatrix.key"' in out
    assert key.load(here / "buildmatrix.key", lambda: SECRET).public.fingerprint in out
    assert SECRET not in (here / "buildmatrix.key").read_bytes()
    assert "warning" not in out


def test_keygen_does_not_overwrite(here: Path, capsys: Captured) -> None:
    (here / "a.pub").write_text("precious")
    (here / "b.key").symlink_to(here / "nowhere")
    for name in ("a.key", "b.key"):
        assert main(["keygen", "-o", name]) == 5
        assert "BM765" in capsys.readouterr().err
    assert (here / "a.pub").read_text() == "precious"
    assert not (here / "a.key").exists()
    assert not (here / "nowhere").exists()


def test_keygen_warns_of_an_empty_password(here: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BUILDMATRIX_PASSWORD", "")
    assert main(["keygen"]) == 0
    assert "warning: the password is empty" in capsys.readouterr().out


def test_keygen_where_nothing_can_be_written(here: Path, capsys: Captured) -> None:
    """A folder that is none stands in for a read-only one: root writes everywhere."""
    (here / "file").write_text("")
    assert main(["keygen", "-o", "file/a.key"]) == 5
    assert "BM760" in capsys.readouterr().err


def test_a_pair_is_whole_or_not_there(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = key._write_new

    def fail(path: Path, data: bytes, mode: int) -> None:
        if path.suffix == ".pub":
            raise OSError(28, "No space left on device")
        real(path, data, mode)

    monkeypatch.setattr(key, "_write_new", fail)
    assert main(["keygen"]) == 5
    assert list(here.iterdir()) == []


# Other backends


def test_a_development_key_is_made_once(tmp_path: Path) -> None:
    path = development.path_in(tmp_path)
    one, two = development.load(path), development.load(path)
    assert one.identity == two.identity
    assert one.identity.development
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_real_key_in_the_place_of_a_development_key(tmp_path: Path, pair: Path) -> None:
    path = development.path_in(tmp_path)
    path.parent.mkdir(parents=True)
    pair.rename(path)
    with pytest.raises(errors.SigningFailed, match="BM760"):
        development.load(path)


def test_a_certificate_and_its_key(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives.serialization import Encoding

    private = signers.signer("certified").private
    issued = signers.leaf(signers.authority(), private)
    (tmp_path / "leaf.pem").write_bytes(issued.public_bytes(Encoding.PEM))
    (tmp_path / "leaf.key").write_bytes(signers.pkcs8_pem(private))
    (tmp_path / "leaf.key").chmod(0o600)
    (tmp_path / "other.key").write_bytes(signers.pkcs8_pem(signers.signer("other").private))
    (tmp_path / "other.key").chmod(0o600)
    made = certificate.load(tmp_path / "leaf.pem", tmp_path / "leaf.key", never, None)
    assert (made.identity.issuer, made.identity.subject) == (signers.ISSUER, signers.SUBJECT)
    with pytest.raises(errors.KeyDamaged, match="another key"):
        certificate.load(tmp_path / "leaf.pem", tmp_path / "other.key", never, None)
    (tmp_path / "leaf.key").chmod(0o644)
    with pytest.raises(errors.KeyExposed):
        certificate.load(tmp_path / "leaf.pem", tmp_path / "leaf.key", never, None)
