"""Roots out of archives and layers, hostile ones among them, ld.so.cache, and the commands."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import struct
import tarfile
from functools import cmp_to_key
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from buildmatrix import cli, errors
from buildmatrix.facts import Kind
from buildmatrix.host import parse
from buildmatrix.preflight import ldcache, ldcache_doctor, tarfs
from buildmatrix.preflight.explain import Judge
from buildmatrix.preflight.openexec import Command
from buildmatrix.preflight.rootfs import DirectoryRoot
from buildmatrix.preflight.verdict import Stage
from buildmatrix.preflight.walk import Failed, Found, View, resolve
from tests.difftest import seeds
from tests.preflight_objects import GLIBC, Object, Roots, libc, loader

ELF = seeds.static().build()
LIBC = "/lib/x86_64-linux-gnu/libc.so.6"


def archive(path: Path, members: dict[str, bytes | str], mode: int = 0o755) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.mode = mode
            if isinstance(content, str):
                member.type, member.linkname = tarfile.SYMTYPE, content
                tar.addfile(member)
            else:
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    return path


def found(view: View, path: str) -> str | None:
    result = resolve(view, path)
    return result.path if isinstance(result, Found) else None


def test_tar_root_keeps_modes_and_resolves_links_inside(tmp_path: Path) -> None:
    plain = archive(tmp_path / "a.tar", {"bin/prog": ELF, "link": "/bin/prog", "out": "../../../../etc/passwd"})
    packed = tmp_path / "a.tar.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    for path in (plain, packed):
        view = View(root=tarfs.tar_root(path))
        assert found(view, "/link") == "/bin/prog"
        assert found(view, "/out") is None
        assert view.root.data(resolve(view, "/link").inode).read(0, 4) == b"\x7fELF"  # type: ignore[union-attr]


def test_layers_replace_and_whiteouts_remove(tmp_path: Path) -> None:
    builder = tarfs.TreeBuilder("image")
    builder.add_layer(archive(tmp_path / "1.tar", {"a/one": b"1", "a/two": b"2", "b/x": b"x", "c": b"c"}))
    builder.add_layer(archive(tmp_path / "2.tar", {"a/.wh.one": b"", "b/.wh..wh..opq": b"", "b/y": b"y", "c": b"new"}))
    view = View(root=builder.root())
    assert [found(view, name) for name in ("/a/one", "/a/two", "/b/x", "/b/y")] == [None, "/a/two", None, "/b/y"]
    assert view.root.data(resolve(view, "/c").inode).read(0, 9) == b"new"  # type: ignore[union-attr]


def test_names_that_leave_the_root_are_left_out(tmp_path: Path) -> None:
    builder = tarfs.TreeBuilder("image")
    builder.add_layer(archive(tmp_path / "a.tar", {"../evil": b"x", "/abs": b"y"}))
    assert builder.problems
    assert list(builder.root().names(builder.root().top)) == ["abs"]


def test_damaged_archives_are_errors(tmp_path: Path) -> None:
    whole = archive(tmp_path / "a.tar", {"prog": ELF}).read_bytes()
    for name, data in (("cut", whole[:6000]), ("noend", whole[: 512 + 0x4000]), ("junk", b"no archive" * 100)):
        path = tmp_path / name
        path.write_bytes(data)
        with pytest.raises(errors.ScanFailed):
            tarfs.tar_root(path)


def test_directory_root_never_leaves_itself(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "outside").write_text("secret")
    (root / "link").symlink_to(tmp_path / "outside")
    (root / "up").symlink_to("../outside")
    (root / "dir").symlink_to("..")
    view = View(root=DirectoryRoot(root))
    for name in ("/link", "/up", "/../outside"):
        assert isinstance(resolve(view, name), Failed)
    assert found(view, "/dir") == "/"


def test_file_replaced_after_it_was_seen_is_not_read(tmp_path: Path) -> None:
    for name in ("prog", "other"):
        (tmp_path / name).write_bytes(ELF)
        (tmp_path / name).chmod(0o755)
    root = DirectoryRoot(tmp_path)
    view = View(root=root)
    assert isinstance(resolve(view, "/prog"), Found)
    (tmp_path / "other").replace(tmp_path / "prog")
    verdict = Judge(view, parse("amd64,cpu=v2")).judge(Command(path="/prog", argv=("/prog",)))
    assert (verdict.cause, verdict.certain) == ("unreadable", False)


def cache_bytes(rows: list[tuple[str, str, int]], magic: bytes = ldcache.MAGIC_NEW) -> bytes:
    """A cache as ldconfig writes it; rows are sorted here as the loader's binary search wants them."""
    by_name = cmp_to_key(ldcache.compare)
    rows = sorted(rows, key=lambda row: by_name(row[0]), reverse=True)
    base = 48 + 24 * len(rows)
    strings, entries = b"", b""
    for key, value, flags in rows:
        at = base + len(strings)
        strings += key.encode() + b"\0" + value.encode() + b"\0"
        entries += struct.pack("<iIIIQ", flags, at, at + len(key) + 1, 0, 0)
    return magic + struct.pack("<IIB3xI12x", len(rows), len(strings), 2, 0) + entries + strings


ROWS = [
    ("libb.so.1", "/x/libb.so.1", 0x303),
    ("liba.so.10", "/x/liba.so.10", 0x303),
    ("liba.so.9", "/x/liba.so.9", 0x303),
    ("liba.so.9", "/arm/liba.so.9", 0xA03),
]


def test_cache_lookup_by_name_and_flags() -> None:
    cache = ldcache.read(cache_bytes(ROWS))
    assert isinstance(cache, ldcache.Cache)
    for key, value, flags in ROWS:
        entry = ldcache.lookup(cache, key, flags, ())
        assert entry is not None
        assert entry.value == value
    assert ldcache.lookup(cache, "libc.so.6", 0x303, ()) is None


UNUSABLE = [b"", bytes(100), cache_bytes(ROWS)[:60], cache_bytes(ROWS, b"glibc-ld.so.cache9.9")]


@pytest.mark.parametrize("data", UNUSABLE)
def test_unusable_caches_say_why(data: bytes) -> None:
    cache = ldcache.read(data)
    assert isinstance(cache, ldcache.Unusable)
    assert cache.why


@given(st.integers(0, 200), st.binary(min_size=1, max_size=9))
def test_damaged_caches_never_raise(at: int, patch: bytes) -> None:
    data = bytearray(cache_bytes(ROWS))
    data[at : at + len(patch)] = patch
    cache = ldcache.read(bytes(data))
    if isinstance(cache, ldcache.Cache):
        ldcache.lookup(cache, "liba.so.9", 0x303, ())


@given(st.text("lib.so0123456789a", max_size=12), st.text("lib.so0123456789a", max_size=12))
def test_cache_order_is_antisymmetric(left: str, right: str) -> None:
    forth, back = ldcache.compare(left, right), ldcache.compare(right, left)
    assert (forth > 0) == (back < 0)


def cached_root(rows: list[tuple[str, str, int]]) -> Roots:
    root = Roots().put("/etc/ld.so.cache", cache_bytes(rows), 0o644).put("/etc/ld.so.conf", b"/opt/libs\n", 0o644)
    library = Object(soname="libx.so.1", defines={"x": ""}).build()
    return root.put("/opt/libs/libx.so.1", library)


def test_library_in_a_conf_directory_counts_through_the_cache_alone() -> None:
    program = Object(interp=GLIBC, needed=("libx.so.1",), wants={"x": ("", "")}).build()
    known = cached_root([("libx.so.1", "/opt/libs/libx.so.1", 0x303)]).put("/prog", program)
    assert known.judge().stage is Stage.OK
    assert cached_root([]).put("/prog", program).judge().cause == "stale-ldcache"
    gone = cached_root([("libx.so.1", "/opt/gone/libx.so.1", 0x303)]).put("/prog", program)
    assert gone.judge().cause == "stale-ldcache"


def test_doctor_finds_stale_missing_and_foreign_entries() -> None:
    rows = [("libgone.so.1", "/opt/libs/libgone.so.1", 0x303), ("libarm.so.1", "/opt/libs/libarm.so.1", 0xA03)]
    view = View(root=cached_root(rows).tree.root())
    report = ldcache_doctor.examine(view)
    assert report.loaders == ("amd64",)
    assert {(problem.kind, problem.soname) for problem in report.problems} == {
        ("stale", "libgone.so.1"), ("foreign", "libarm.so.1"), ("missing", "libx.so.1"),
    }  # fmt: skip
    answers = {name: ldcache_doctor.dlopen(view, name)[0].path for name in ("libc.so.6", "libx.so.1")}
    assert answers == {"libc.so.6": "/lib/x86_64-linux-gnu/libc.so.6", "libx.so.1": None}


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from((GLIBC, LIBC, "/prog")),
    st.integers(0, 1500),
    st.binary(min_size=1, max_size=6),
)
def test_damaged_libraries_give_a_verdict(path: str, at: int, patch: bytes) -> None:
    program = Object(interp=GLIBC, needed=("libc.so.6",), wants={"puts": ("GLIBC_2.2.5", "libc.so.6")}).build()
    data = bytearray({GLIBC: loader(), "/prog": program}.get(path, libc()))
    data[at : at + len(patch)] = patch
    verdict = Roots().put("/prog", program).put(path, bytes(data)).judge()
    assert verdict.stage in Stage


def root_on_disk(folder: Path) -> Path:
    files = {"prog": ELF, "script": b"#!/bin/none\n", "note.txt": b"text"}
    for name, data in files.items():
        (folder / name).write_bytes(data)
        (folder / name).chmod(0o644 if name == "note.txt" else 0o755)
    return folder


def test_explain_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = str(root_on_disk(tmp_path))
    assert cli.main(["explain", "/prog", "--root", root, "--host", "amd64"]) == errors.EXIT_OK
    assert cli.main(["explain", "/script", "--root", root, "--host", "amd64"]) == errors.EXIT_FINDINGS
    out = capsys.readouterr().out
    assert "Go: fork/exec /script: no such file or directory" in out
    assert "fix: install /bin/none" in out
    assert cli.main(["explain", "/prog", "--root", root, "--host", "d2000", "--json"]) == errors.EXIT_FINDINGS
    verdict = json.loads(capsys.readouterr().out)
    assert (verdict["schema"], verdict["errno"], verdict["cause"]) == (1, "ENOEXEC", "wrong-machine")


def test_explain_all_counts_what_it_saw(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = str(root_on_disk(tmp_path))
    assert cli.main(["explain", "--all", "--root", root, "--host", "amd64"]) == errors.EXIT_FINDINGS
    assert "2 executables among 3 files, 1 will not execute" in capsys.readouterr().out


def test_explain_batch_answers_each_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "roots" / "one").mkdir(parents=True)
    root_on_disk(tmp_path / "roots" / "one")
    query = {"id": "q", "rootfs": "one", "command": {"path": "/prog", "argv": ["/prog"]}, "target": {"arch": "amd64"}}
    queries = tmp_path / "queries"
    queries.write_text(json.dumps(query) + "\n{}\n" + json.dumps({**query, "rootfs": "../one"}) + "\n")
    status = cli.main(["explain", "--batch", str(queries), "--roots", str(tmp_path / "roots"), "--json"])
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert status == errors.EXIT_FINDINGS
    assert answers[0]["stage"] == "ok"
    assert "error" in answers[1]
    assert "error" in answers[2]


def test_usage_errors(tmp_path: Path) -> None:
    none = str(tmp_path / "none")
    bad = ("--host vax", "--env A", "--user me", f"--root {none}")
    for words in (["explain"], ["explain", "--batch", "-"], *(["explain", "x", *rest.split()] for rest in bad)):
        assert cli.main(words) == errors.EXIT_USAGE


def test_scratch_root_holds_the_file_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = root_on_disk(tmp_path) / "script"
    assert cli.main(["explain", str(path), "--scratch", "--host", "amd64"]) == errors.EXIT_FINDINGS
    assert "/bin" in capsys.readouterr().out


def test_special_files_are_not_executed(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    view = View(root=DirectoryRoot(tmp_path))
    assert resolve(view, "/pipe").inode.kind is Kind.FIFO  # type: ignore[union-attr]
    verdict = Judge(view, parse("amd64,cpu=v2")).judge(Command(path="/pipe", argv=("/pipe",)))
    assert (verdict.errno, verdict.cause) == ("EACCES", "not-a-file")


def layout(folder: Path, platforms: dict[str, Path] | list[tuple[str, str, Path]]) -> Path:
    """An OCI layout with images of one layer: by platform, or as rows of tag, platform and layer."""
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def store(data: bytes) -> dict[str, object]:
        digest = hashlib.sha256(data).hexdigest()
        (blobs / digest).write_bytes(data)
        return {"digest": f"sha256:{digest}", "size": len(data)}

    manifests = []
    rows = [("", *item) for item in platforms.items()] if isinstance(platforms, dict) else platforms
    for tag, platform, layer in rows:
        system, architecture = platform.split("/")
        media = "application/vnd.oci.image.layer.v1.tar"
        document = {"config": store(b"{}"), "layers": [{**store(layer.read_bytes()), "mediaType": media}]}
        entry = store(json.dumps({"schemaVersion": 2, **document}).encode())
        named = {"annotations": {"org.opencontainers.image.ref.name": tag}} if tag else {}
        manifests.append({**entry, **named, "platform": {"os": system, "architecture": architecture}})
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": manifests}))
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return folder


def test_of_two_images_of_one_platform_one_must_be_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The layers of both used to be put on top of each other: a root that exists nowhere."""
    old = archive(tmp_path / "old.tar", {"old": ELF})
    new = archive(tmp_path / "new.tar", {"new": ELF})
    image = str(layout(tmp_path / "image", [("v1", "linux/amd64", old), ("v2", "linux/amd64", new)]))
    assert cli.main(["explain", "/new", "--image", image, "--host", "amd64"]) == errors.EXIT_USAGE
    told = capsys.readouterr().err
    assert "has 2 images for linux/amd64: linux/amd64 v1, linux/amd64 v2" in told
    digest = told.partition(f"{image}@")[2].split()[0]
    assert digest.startswith("sha256:")
    for name, there, absent in ((":v1", "/old", "/new"), (":v2", "/new", "/old"), (f"@{digest}", "/old", "/new")):
        assert cli.main(["explain", there, "--image", image + name, "--host", "amd64"]) == errors.EXIT_OK
        assert cli.main(["explain", absent, "--image", image + name, "--host", "amd64"]) == errors.EXIT_FINDINGS
    assert cli.main(["explain", "/new", "--image", f"{image}:v3", "--host", "amd64"]) == errors.EXIT_USAGE
    assert "has linux/amd64 v1, linux/amd64 v2, expected linux/amd64 of the name v3" in capsys.readouterr().err


def test_image_is_chosen_by_the_hosts_architecture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    right = archive(tmp_path / "amd64.tar", {"prog": ELF})
    wrong = archive(tmp_path / "arm64.tar", {"prog": ELF, "only-arm64": b""})
    image = str(layout(tmp_path / "image", {"linux/amd64": right, "linux/arm64": wrong}))
    assert cli.main(["explain", "/prog", "--image", image, "--host", "amd64"]) == errors.EXIT_OK
    assert cli.main(["explain", "/prog", "--image", image, "--host", "d2000"]) == errors.EXIT_FINDINGS
    assert "wrong-machine" in capsys.readouterr().out
    assert cli.main(["explain", "/prog", "--image", image, "--host", "riscv64"]) == errors.EXIT_USAGE
