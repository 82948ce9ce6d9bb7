"""Layers are the same bytes from the same files, wherever and whenever they are written."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import tarfile
from pathlib import Path

import pytest

from buildmatrix.errors import ImageInputInvalid
from buildmatrix.images import layer
from buildmatrix.images.layer import Entry, entries_of

TIME = 1_700_000_000


def written(entries: list[Entry]) -> tuple[layer.Written, bytes]:
    sink = io.BytesIO()
    return layer.write(entries, sink, time=TIME), sink.getvalue()


def members(packed: bytes) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(packed), mode="r:gz") as archive:
        return {member.name: member for member in archive}


def test_digests_are_those_of_both_forms() -> None:
    result, packed = written([Entry(path="/a", data=b"x" * 3_000_000)])
    assert result.digest == f"sha256:{hashlib.sha256(packed).hexdigest()}"
    assert result.diff_id == f"sha256:{hashlib.sha256(gzip.decompress(packed)).hexdigest()}"
    assert result.size == len(packed)


def test_order_owners_times_and_modes_are_normal(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_bytes(b"\x7fELF")
    os.utime(program, (1, 1))
    found, packed = written([Entry(path="/usr/bin/z", mode=0o755, source=program), Entry(path="/a/b", data=b"1")])
    assert list(members(packed)) == ["a", "a/b", "usr", "usr/bin", "usr/bin/z"]
    for member in members(packed).values():
        assert (member.uid, member.gid, member.uname, member.gname, member.mtime) == (0, 0, "", "", TIME)
    assert members(packed)["usr/bin/z"].mode == 0o755
    assert members(packed)["usr"].isdir() and members(packed)["usr"].mode == 0o755
    again, same = written([Entry(path="/a/b", data=b"1"), Entry(path="/usr/bin/z", mode=0o755, source=program)])
    assert (again, same) == (found, packed)


def test_the_archive_ends_as_posix_says() -> None:
    plain = gzip.decompress(written([Entry(path="/a", data=b"1")])[1])
    assert len(plain) % tarfile.RECORDSIZE == 0
    assert plain.endswith(bytes(1024))


def test_long_and_odd_names_survive() -> None:
    names = ["/" + "d" * 120 + "/" + "f" * 120, "/späße", "/with space"]
    assert {name.lstrip("/") for name in names} <= set(members(written([Entry(path=n, data=b"") for n in names])[1]))


@pytest.mark.parametrize(
    ("paths", "said"),
    [(["/a", "/a"], "two files for one path"), (["/a", "/a/b"], "expected a directory"), (["/a/b/c", "/a/b"], "direc")],
)
def test_two_things_at_one_place_are_refused(paths: list[str], said: str) -> None:
    with pytest.raises(ImageInputInvalid, match=said):
        written([Entry(path=path, data=b"1") for path in paths])


def test_a_folder_keeps_its_inner_links_and_loses_foreign_modes(tmp_path: Path) -> None:
    folder = tmp_path / "www"
    (folder / "sub").mkdir(parents=True, mode=0o700)
    (folder / "run.sh").write_text("#!/bin/sh\n")
    (folder / "run.sh").chmod(0o711)
    (folder / "sub/page").write_text("hello")
    (folder / "sub/page").chmod(0o600)
    (folder / "latest").symlink_to("sub/page")
    found = {entry.path: entry for entry in entries_of("/srv/www", folder)}
    assert {path: entry.mode for path, entry in found.items() if not entry.link} == {
        "/srv/www": 0o755, "/srv/www/sub": 0o755, "/srv/www/run.sh": 0o755, "/srv/www/sub/page": 0o644,
    }  # fmt: skip
    assert found["/srv/www/latest"].link == "sub/page"


@pytest.mark.parametrize("target", ["/etc/passwd", "../../outside"])
def test_links_out_of_a_folder_are_refused(tmp_path: Path, target: str) -> None:
    (tmp_path / "www").mkdir()
    (tmp_path / "www/leak").symlink_to(target)
    with pytest.raises(ImageInputInvalid, match="leak"):
        list(entries_of("/srv", tmp_path / "www"))


def test_special_and_missing_files_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", "missing"):
        with pytest.raises(ImageInputInvalid, match=name):
            list(entries_of("/x", tmp_path / name))
    with pytest.raises(ImageInputInvalid, match="missing"):
        written([Entry(path="/x", source=tmp_path / "missing")])


@pytest.mark.parametrize("other", [-10, 10])
def test_a_file_that_changes_meanwhile_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: int) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"1" * 100)
    real = os.fstat

    def before(descriptor: int) -> os.stat_result:
        found = list(real(descriptor))
        found[6] += other  # the size that it had then
        return os.stat_result(found)

    monkeypatch.setattr(os, "fstat", before)
    with pytest.raises(ImageInputInvalid, match="changed meanwhile"):
        written([Entry(path="/log", source=log)])
