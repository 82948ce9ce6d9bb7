"""dist/: atomic writes, records that survive the round trip and nothing else, locks, and full disks."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import stat
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from buildmatrix import errors
from buildmatrix.artifact import RECORD_SCHEMA, Artifact, Document, Inputs, Record
from buildmatrix.dist import Dist, canonical, decode_record, encode_record, inputs_digest

HERE = Path("record.json")


def record(**changes: Any) -> Record:
    """A record as a build writes it."""
    inputs = Inputs(
        command=("go", "build", "-trimpath", "-o", "app", "./cmd/app"),
        settings=(("CGO_ENABLED", "0"), ("GOAMD64", "v1"), ("GOARCH", "amd64"), ("GOOS", "linux")),
        go="1.26.8",
        compiler="",
        version="1.2.3",
        sources="ab" * 32,
    )
    values: dict[str, Any] = {
        "cell": "app_amd64", "binary": "app", "target": "amd64", "goos": "linux", "goarch": "amd64",
        "level_variable": "GOAMD64", "level": "v1", "inputs": inputs, "inputs_digest": inputs_digest(inputs),
        "artifact": Artifact(name="app", size=1234567, sha256="01" * 32, sha512="23" * 64), "passed": ("HOME", "PATH"),
        "attested": "45" * 32, "documents": (Document(name="sbom.cdx.json", size=99, sha256="67" * 32),),
    }  # fmt: skip
    return Record(**{**values, **changes})


def test_a_record_survives_the_round_trip(tmp_path: Path) -> None:
    dist = Dist(tmp_path / "dist")
    dist.write_record(record())
    assert dist.read_record("app_amd64") == record()
    assert dist.records() == (record(),)
    assert encode_record(decode_record(encode_record(record()), HERE)) == encode_record(record())


def test_a_record_is_plain_sorted_json() -> None:
    data = encode_record(record())
    assert data == canonical(json.loads(data))
    assert data.endswith(b"}\n")
    assert list(json.loads(data)) == sorted(json.loads(data))


def test_every_flipped_bit_is_refused_or_changes_a_field() -> None:
    data = encode_record(record())
    for position in range(len(data)):
        for bit in range(8):
            flipped = bytearray(data)
            flipped[position] ^= 1 << bit
            try:
                assert decode_record(bytes(flipped), HERE) != record(), (position, bit)
            except errors.RecordInvalid:
                continue


@pytest.mark.parametrize("length", [0, 1, 10, 100, -1, -2])
def test_cut_records_are_refused(length: int) -> None:
    with pytest.raises(errors.RecordInvalid):
        decode_record(encode_record(record())[:length], HERE)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(errors.RecordInvalid):
        decode_record(data, HERE)


@pytest.mark.parametrize("data", [b"null", b"[]", b"1", b'"x"', b"{}", b'{"schema": 1}', b"\xff", b"[" * 100_000])
def test_other_json_is_refused(data: bytes) -> None:
    with pytest.raises(errors.RecordInvalid) as caught:
        decode_record(data, HERE)
    assert caught.value.exit_status == 1
    assert caught.value.fix == "build the cell again"


def changed(path: str, value: object) -> bytes:
    """A record's bytes with one value replaced, in canonical form."""
    document = json.loads(encode_record(record()))
    inner = document
    *parents, name = path.split(".")
    for parent in parents:
        inner = inner[parent]
    inner[name] = value
    return canonical(document)


STRINGS = [
    *(field.name for field in fields(Record) if field.name not in ("inputs", "artifact", "passed", "documents")),
    *(f"inputs.{name}" for name in ("go", "compiler", "version", "sources")),
    *(f"artifact.{name}" for name in ("name", "sha256", "sha512")),
    "inputs.settings.GOOS",
]


@pytest.mark.parametrize("path", STRINGS)
@pytest.mark.parametrize("value", [None, 1, True, ["x"], {"x": "y"}], ids=repr)
def test_values_of_other_types_are_refused(path: str, value: object) -> None:
    with pytest.raises(errors.RecordInvalid, match="expected a string"):
        decode_record(changed(path, value), HERE)


@pytest.mark.parametrize(
    ("path", "value"),
    [("artifact.size", "1"), ("artifact.size", 1.5), ("artifact.size", True), ("artifact.size", None),
     ("passed", [1]), ("passed", "HOME"), ("passed", None), ("inputs.command", [None]), ("inputs.command", "go build"),
     ("inputs.settings", []), ("inputs", []), ("artifact", None), ("schema", 1), ("schema", "2"), ("schema", True),
     ("documents", None), ("documents", [{}]), ("documents", [{"name": 1}]), ("documents", {}), ("extra", 1),
     ("inputs.extra", "x"), ("artifact.extra", "x")],
)  # fmt: skip
def test_shapes_that_no_writer_writes_are_refused(path: str, value: object) -> None:
    with pytest.raises(errors.RecordInvalid):
        decode_record(changed(path, value), HERE)


def test_another_schema_is_named() -> None:
    with pytest.raises(errors.RecordInvalid) as caught:
        decode_record(changed("schema", 1), HERE)
    assert caught.value.why == f"got schema 1, expected {RECORD_SCHEMA}"


def test_every_input_changes_the_digest() -> None:
    inputs = record().inputs
    digests = {inputs_digest(inputs)}
    for name in (field.name for field in fields(Inputs)):
        value: Any = getattr(inputs, name)
        other: Any = value[:-1] if isinstance(value, tuple) else value + "x"
        digests.add(inputs_digest(replace(inputs, **{name: other})))
    assert len(digests) == len(fields(Inputs)) + 1


def test_no_record_and_an_unreadable_one(tmp_path: Path) -> None:
    dist = Dist(tmp_path)
    assert dist.read_record("app_amd64") is None
    assert Dist(tmp_path / "absent").records() == ()
    (dist.folder("app_amd64") / "record.json").mkdir(parents=True)
    with pytest.raises(errors.RecordInvalid, match="cannot be read"):
        dist.read_record("app_amd64")


def test_a_write_is_whole_and_leaves_nothing_behind(tmp_path: Path) -> None:
    dist = Dist(tmp_path / "dist")
    path = dist.root / "deep" / "file"
    dist.write(path, b"one")
    dist.write(path, b"two")
    assert path.read_bytes() == b"two"
    assert [entry.name for entry in path.parent.iterdir()] == ["file"]


def test_an_equal_file_is_left_alone(tmp_path: Path) -> None:
    dist = Dist(tmp_path)
    dist.write(tmp_path / "file", b"same")
    before = (tmp_path / "file").stat()
    dist.write(tmp_path / "file", b"same")
    after = (tmp_path / "file").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_files_that_are_written_together_are_flushed_before_the_first_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash in between leaves the old or the new file of each, never half of one."""
    done: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def flushed(handle: int) -> None:
        done.append("folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file")
        fsync(handle)

    def renamed(self: Path, target: Path) -> Path:
        done.append(f"rename {target.name}")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", flushed)
    monkeypatch.setattr(Path, "replace", renamed)
    dist = Dist(tmp_path)
    dist.write_all({tmp_path / "cell" / name: name.encode() for name in ("a", "b", "c")})
    assert done == ["file", "file", "file", "rename a", "rename b", "rename c", "folder"]
    done.clear()
    dist.write_all({tmp_path / "cell/a": b"a", tmp_path / "cell/b": b"new"})
    assert done == ["file", "rename b", "folder"], "what is there is left alone"


def test_a_failure_among_several_leaves_all_the_old_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dist = Dist(tmp_path)
    names = [tmp_path / name for name in ("a", "b", "c")]
    dist.write_all(dict.fromkeys(names, b"old"))
    fsync = os.fsync

    def fail(handle: int) -> None:
        if os.fstat(handle).st_size == 5:
            raise OSError(errno.ENOSPC, "no space")
        fsync(handle)

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(errors.DiskFull, match=r"/c: no space left"):
        dist.write_all(dict(zip(names, (b"new", b"new", b"newer"), strict=True)))
    assert [path.read_bytes() for path in names] == [b"old"] * 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("number", "kind", "status"),
    [
        (errno.ENOSPC, errors.DiskFull, 4),
        (errno.EDQUOT, errors.DiskFull, 4),
        (errno.EROFS, errors.DistUnwritable, 4),
        (errno.EACCES, errors.DistUnwritable, 4),
        (errno.EIO, errors.DistUnwritable, 4),
    ],
    ids=lambda value: errno.errorcode.get(value, "") if isinstance(value, int) else "",
)
@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_failed_write_keeps_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[errors.BuildmatrixError], status: int,
    call: str,
) -> None:  # fmt: skip
    dist = Dist(tmp_path)
    dist.write(tmp_path / "file", b"old")

    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(*((os, "fsync", fail) if call == "fsync" else (Path, "replace", fail)))
    with pytest.raises(kind) as caught:
        dist.write(tmp_path / "file", b"new")
    assert caught.value.exit_status == status
    assert caught.value.why == os.strerror(number)
    assert (tmp_path / "file").read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_a_file_where_the_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "dist").write_text("")
    dist = Dist(tmp_path / "dist")
    for attempt in (lambda: dist.write_record(record()), lambda: dist.partial("app_amd64")):
        with pytest.raises(errors.DistUnwritable):
            attempt()
    with pytest.raises(errors.DistUnwritable), dist.lock("index"):
        pass


def test_publishing_moves_the_artifact(tmp_path: Path) -> None:
    dist = Dist(tmp_path / "dist")
    built = dist.partial("app_amd64") / "app"
    built.write_bytes(b"binary")
    assert dist.publish("app_amd64", built) == dist.root / "app_amd64" / "app"
    dist.discard_partial("app_amd64")
    assert list(dist.entries()) == [Path("app_amd64/app")]
    assert [path.name for path in dist.root.iterdir()] == ["app_amd64"]


def test_the_partial_folder_starts_empty(tmp_path: Path) -> None:
    dist = Dist(tmp_path)
    (dist.partial("a") / "rest").write_text("of a killed build")
    assert list(dist.partial("a").iterdir()) == []
    dist.partial("b")
    dist.discard_partial("a")
    assert [path.name for path in (tmp_path / ".partial").iterdir()] == ["b"]


def test_entries_are_sorted_and_leave_out_locks_and_partial_builds(tmp_path: Path) -> None:
    dist = Dist(tmp_path)
    for name in ("b/x", "a/z", "a/y", "c", ".hidden", "a/.state/x", ".state/a", ".partial/a/b"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    (tmp_path / "a" / "link").symlink_to("/nowhere")
    (tmp_path / "folder-link").symlink_to(tmp_path / "a", target_is_directory=True)
    expected = {".hidden", "a/.state/x", "a/link", "a/y", "a/z", "b/x", "c", "folder-link"}
    found = [str(path) for path in dist.entries()]
    assert set(found) == expected
    assert found == [str(path) for path in dist.entries()]


def test_no_dist_has_no_entries(tmp_path: Path) -> None:
    assert list(Dist(tmp_path / "absent").entries()) == []


def test_a_folder_that_cannot_be_listed_is_no_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").mkdir()
    scandir = os.scandir

    def refuse(path: Any) -> Any:
        if Path(path).name == "a":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(errors.ScanFailed, match="cannot be listed"):
        list(Dist(tmp_path).entries())


def _hold(root: Path, ready: Any, release: Any) -> None:
    with Dist(root).lock("cell"):
        ready.set()
        release.wait(30)


def test_locks_exclude_other_processes_and_die_with_them(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    ready, release = context.Event(), context.Event()
    holder = context.Process(target=_hold, args=(tmp_path, ready, release))
    holder.start()
    assert ready.wait(60)
    waits: list[float] = []

    def give_up() -> None:
        waits.append(time.monotonic())
        raise TimeoutError

    with pytest.raises(TimeoutError), Dist(tmp_path).lock("cell", give_up):
        pass
    assert len(waits) == 1
    with Dist(tmp_path).lock("another"):
        pass
    holder.kill()
    holder.join()
    with Dist(tmp_path).lock("cell", give_up):
        pass
    assert len(waits) == 1


def test_locks_exclude_other_threads(tmp_path: Path) -> None:
    inside: list[int] = []
    most: list[int] = []

    def work() -> None:
        with Dist(tmp_path).lock("cell"):
            inside.append(1)
            most.append(len(inside))
            time.sleep(0.01)
            inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 4


def test_writers_beside_each_other_lose_nothing_and_sweep_what_the_dead_left(tmp_path: Path) -> None:
    made = Dist(tmp_path / "dist")
    dead = made.root / ".partial" / "write.4194399.abc"  # above the greatest process id of Linux
    dead.mkdir(parents=True)
    (dead / "0").write_text("half")
    with ThreadPoolExecutor(8) as pool:
        jobs = [pool.submit(made.write, made.root / f"cell-{n % 5}" / f"file-{n}", b"%d" % n) for n in range(200)]
        for job in jobs:
            job.result()
    assert sorted(path.name for path in made.entries()) == sorted(f"file-{n}" for n in range(200))
    assert not (made.root / ".partial").exists()
