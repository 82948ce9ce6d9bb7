"""`buildmatrix scan` and `hash` as a user meets them."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import pty
import re
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from buildmatrix import archives, cli, elf
from buildmatrix.commands import _inputs, scan
from buildmatrix.errors import ScanFailed

ROOT = Path(__file__).parent.parent
FIXTURES = ROOT / "tests/fixtures/elf"
ELF = next(path for path in sorted(FIXTURES.iterdir()) if path.read_bytes()[:4] == b"\x7fELF")


def schema() -> dict[str, Any]:
    found = re.search(r"```json\n(.*?)```", (ROOT / "docs/scan.md").read_text(), re.DOTALL)
    assert found
    return dict(json.loads(found[1]))


def lines(capsys: pytest.CaptureFixture[str], *arguments: str | Path, status: int = 0) -> list[dict[str, Any]]:
    assert cli.main(["scan", "--json", *map(str, arguments)]) == status
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    for line in found:
        jsonschema.validate(line, schema())
    return found


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "sub").mkdir()
    (tmp_path / "app").write_bytes(ELF.read_bytes())
    (tmp_path / "sub" / "text").write_bytes(b"text\n")
    (tmp_path / "link").symlink_to("sub/text")
    return tmp_path


def test_lines_are_sorted_and_fit_the_schema(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = lines(capsys, tree, "--hash", "sha256,sha512,sha1")
    assert [Path(line["path"]).name for line in found] == ["app", "link", "text"]
    assert found[1]["target"] == "sub/text"
    assert found[0]["facts"]["elf"]["segments"]
    for name, value in found[0]["digests"].items():
        assert value == hashlib.new(name, ELF.read_bytes()).hexdigest()


def test_every_status_and_kind_is_in_the_schema() -> None:
    from buildmatrix.facts import Format, Kind, Status

    properties = schema()["properties"]
    assert set(properties["kind"]["enum"]) == {str(each) for each in Kind}
    assert set(properties["status"]["enum"]) == {str(each) for each in Status}
    assert set(properties["facts"]["properties"]["format"]["enum"]) == {str(each) for each in Format}
    assert properties["schema"]["const"] == scan.SCHEMA


def test_options_leave_out_and_add(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert [Path(line["path"]).name for line in lines(capsys, tree, "--executables")] == ["app"]
    assert any(line["kind"] == "directory" for line in lines(capsys, tree, "--all"))
    assert "facts" not in lines(capsys, tree / "app", "--no-facts")[0]
    assert "digests" not in lines(capsys, tree / "app", "--hash", "none")[0]


def test_unreadable_and_malformed_change_the_status_and_are_named(
    tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tree / "cut").write_bytes(ELF.read_bytes()[:40])
    assert cli.main(["scan", "--json", str(tree), str(tree / "gone")]) == 1
    captured = capsys.readouterr()
    assert f"{tree}/gone: open-failed: No such file or directory" in captured.err
    assert f"{tree}/cut: malformed: short-header" in captured.err
    found = [json.loads(line) for line in captured.out.splitlines()]
    assert {line["status"] for line in found} == {"ok", "malformed", "open-failed"}
    for line in found:
        jsonschema.validate(line, schema())


def test_unknown_hash_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["scan", "--hash", "md5", "/bin"]) == 2
    assert "got 'md5', expected one of sha256" in capsys.readouterr().err


def make_tar(path: Path, mode: str, members: dict[str, bytes]) -> None:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(data), 0o755
            archive.addfile(member, io.BytesIO(data))
        for name, kind, target in (("hard", tarfile.LNKTYPE, "app"), ("soft", tarfile.SYMTYPE, "app")):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, target
            archive.addfile(member)


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz", "w:bz2"])
def test_members_of_archives(tmp_path: Path, capsys: pytest.CaptureFixture[str], mode: str) -> None:
    path = tmp_path / "a.tar"
    make_tar(path, mode, {"app": ELF.read_bytes(), "../escape": b"x", "empty": b""})
    found = {line["path"].removeprefix(f"{path}:"): line for line in lines(capsys, path)}
    assert set(found) == {"app", "../escape", "empty", "hard", "soft"}
    expected = hashlib.sha256(ELF.read_bytes()).hexdigest()
    assert found["app"]["digests"] == found["hard"]["digests"] == {"sha256": expected}
    assert found["hard"]["facts"]["elf"] and found["hard"]["target"] == "app"
    assert found["soft"]["kind"] == "symlink" and "digests" not in found["soft"]
    assert not (tmp_path.parent / "escape").exists()
    assert [line["path"] for line in lines(capsys, path, "--plain")] == [str(path)]


def test_large_members_go_through_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "IN_MEMORY", 1000)
    make_tar(tmp_path / "a.tar", "w", {"app": ELF.read_bytes(), "small": b"1"})
    found = list(archives.Archive(tmp_path / "a.tar", location="a", hashes=("sha512",), facts=True).scan())
    assert found[0].digests.sha512 == hashlib.sha512(ELF.read_bytes()).hexdigest()
    assert found[0].facts and found[0].facts.elf
    assert [entry.path for entry in found] == ["app", "small", "hard", "soft"]


def test_a_hard_link_to_nothing_is_a_finding(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_tar(tmp_path / "a.tar", "w", {"other": b"1"})
    found = lines(capsys, tmp_path / "a.tar", status=1)
    assert {line["path"].split(":")[1]: line["status"] for line in found}["hard"] == "escapes-root"


@pytest.mark.parametrize("compressed", [False, True])
def test_archives_cut_anywhere_are_never_silently_short(tmp_path: Path, compressed: bool) -> None:
    """tarfile itself ends without an error at many of these cuts."""
    whole = tmp_path / "whole.tar"
    make_tar(whole, "w", {"app": b"a" * 700, "b": b"b" * 100})
    data = whole.read_bytes()
    data = data[: len(data.rstrip(b"\0")) // 512 * 512 + 512 + 512]
    data = gzip.compress(data) if compressed else data
    cut = tmp_path / "cut.tar"
    for length in range(0, len(data), 1 if compressed else 100):
        cut.write_bytes(data[:length])
        with pytest.raises(ScanFailed, match="could not be read to its end"):
            list(archives.Archive(cut, location="cut", hashes=("sha256",), facts=True).scan())
    cut.write_bytes(data)
    assert len(list(archives.Archive(cut, location="cut", hashes=("sha256",), facts=True).scan())) == 4


def add_blob(layout: Path, data: bytes) -> dict[str, Any]:
    digest = hashlib.sha256(data).hexdigest()
    (layout / "blobs/sha256").mkdir(parents=True, exist_ok=True)
    (layout / "blobs/sha256" / digest).write_bytes(data)
    return {"digest": f"sha256:{digest}", "size": len(data)}


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    root = tmp_path / "layout"
    root.mkdir()
    make_tar(tmp_path / "layer.tar", "w:gz", {"app": ELF.read_bytes()})
    layer = add_blob(root, (tmp_path / "layer.tar").read_bytes())
    media = "application/vnd.oci.image.layer.v1.tar+gzip"
    manifest = {"config": add_blob(root, b"{}"), "layers": [{"mediaType": media} | layer]}
    manifests = [
        add_blob(root, json.dumps(manifest | {"n": arch}).encode()) | {"platform": {"architecture": arch}}
        for arch in ("amd64", "arm64")
    ]
    index = add_blob(root, json.dumps({"manifests": manifests}).encode())
    (root / "index.json").write_text(json.dumps({"manifests": [index]}))
    (root / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    return root


def test_layers_of_a_layout_once_each(layout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = lines(capsys, layout)
    assert [line["path"].rpartition(":")[2] for line in found] == ["app", "hard", "soft"]
    assert archives.layers(layout)[0].images == ("amd64", "arm64")


@pytest.mark.parametrize("victim", ["layer", "manifest", "missing", "index"])
def test_damaged_layouts_are_errors(layout: Path, capsys: pytest.CaptureFixture[str], victim: str) -> None:
    layer = archives.layers(layout)[0].path
    manifest = next(p for p in (layout / "blobs/sha256").iterdir() if b'"n"' in p.read_bytes())
    if victim == "layer":
        layer.write_bytes(layer.read_bytes()[:-1] + b"\0\0")
    elif victim == "manifest":
        manifest.write_bytes(manifest.read_bytes() + b" ")
    elif victim == "missing":
        manifest.unlink()
    else:
        (layout / "index.json").write_text('{"manifests": [{"digest": "sha256:../../../../etc/passwd"}]}')
    assert cli.main(["scan", str(layout)]) == 1
    assert "BM401" in capsys.readouterr().err


@pytest.mark.parametrize("algorithm", ["sha256", "sha512", "sha1"])
def test_coreutils_accept_what_hash_prints(tmp_path: Path, algorithm: str) -> None:
    for name in ("plain", "two words", " lead", "back\\slash", "new\nline", "c\rr", "*star", "\udcff"):
        (tmp_path / name).write_bytes(name.encode("utf-8", "surrogateescape") * 1000)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "buildmatrix", "hash", "-a", algorithm, "."]
    sums = subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True).stdout
    check = [f"{algorithm}sum", "--check", "--strict", "--quiet"]
    subprocess.run(check, cwd=tmp_path, input=sums, check=True)
    names = sorted((f"./{path.name}" for path in tmp_path.iterdir()), key=os.fsencode)
    theirs = subprocess.run([f"{algorithm}sum", *names], cwd=tmp_path, check=True, capture_output=True)
    assert sums == theirs.stdout


def test_hash_names_what_it_could_not_read(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a").write_bytes(b"1")
    assert cli.main(["hash", str(tmp_path / "a"), str(tmp_path / "b")]) == 1
    captured = capfd.readouterr()
    assert captured.out == f"{hashlib.sha256(b'1').hexdigest()}  {tmp_path}/a\n"
    assert f"{tmp_path}/b: open-failed" in captured.err


@pytest.mark.parametrize("width", [60, 80, 140])
def test_tables_fit_the_terminal(tree: Path, width: int) -> None:
    master, slave = pty.openpty()
    environment = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": str(width), "NO_COLOR": "1", "TERM": "xterm"}
    done = subprocess.run(
        [sys.executable, "-m", "buildmatrix", "scan", "."], stdout=slave, env=environment, cwd=tree, check=False
    )
    os.close(slave)
    text = re.sub(r"\x1b\[[0-9;]*m", "", os.read(master, 65536).decode())
    os.close(master)
    assert done.returncode == 0
    assert text.startswith("path")
    assert [line for line in text.splitlines() if len(line) > width] == []
    assert "app" in text and "elf" in text


def test_control_characters_never_reach_a_terminal() -> None:
    assert _inputs.printable("a\x1b[31m\n\udcff\u202e") == "a\\x1b[31m\\x0a\\xff\\u202e"


def test_interrupt_ends_within_a_tenth_of_a_second(tmp_path: Path) -> None:
    big = tmp_path / "big"
    with big.open("wb") as stream:
        stream.truncate(64 << 30)
    code = (
        "import sys, time, signal\n"
        "from buildmatrix import elf\n"
        "print('ready', flush=True)\n"
        "try:\n"
        "    for entry in elf.scan([sys.argv[1]] * 4, hashes=('sha256', 'sha512')): pass\n"
        "except KeyboardInterrupt:\n"
        "    print(time.monotonic(), flush=True)\n"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    times = []
    for _ in range(3):
        with subprocess.Popen(
            [sys.executable, "-c", code, str(big)], stdout=subprocess.PIPE, env=environment
        ) as process:
            assert process.stdout and process.stdout.readline() == b"ready\n"
            time.sleep(0.3)
            sent = time.monotonic()
            process.send_signal(signal.SIGINT)
            times.append(float(process.stdout.readline()) - sent)
    assert min(times) < 0.1, times


def test_interrupted_command_has_status_130(tmp_path: Path) -> None:
    big = tmp_path / "big"
    with big.open("wb") as stream:
        stream.truncate(64 << 30)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "buildmatrix", "hash", str(big)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, env=environment) as process:
        deadline = time.monotonic() + 30
        while len(list(Path(f"/proc/{process.pid}/task").iterdir())) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 130


def test_a_closed_pipe_is_no_traceback(tmp_path: Path) -> None:
    for number in range(3000):
        (tmp_path / f"{number:060}").touch()
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    for command in ("scan", "hash"):
        with subprocess.Popen(
            [sys.executable, "-m", "buildmatrix", command, str(tmp_path)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment,
        ) as process:  # fmt: skip
            assert process.stdout and process.stderr
            process.stdout.read(10)
            process.stdout.close()
            assert process.stderr.read() == b""


def test_start_up_imports_nothing_heavy() -> None:
    code = (
        "import sys; from buildmatrix.commands import scan, hash\n"
        "print([name for name in sys.modules if name in ('rich', 'elftools')])"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True)
    assert done.stdout == "[]\n"
    assert elf.HASHES
