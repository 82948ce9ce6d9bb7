"""Roots, caches and ELF files made to crash a reader, to lead it out of the root, or to eat time and memory."""

from __future__ import annotations

import io
import json
import os
import resource
import struct
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from buildmatrix import cli, errors
from buildmatrix.host import parse
from buildmatrix.preflight import context, ldcache, ldcache_doctor, musl_load, tarfs
from buildmatrix.preflight.context import open_read
from buildmatrix.preflight.explain import Judge
from buildmatrix.preflight.lab import as_json
from buildmatrix.preflight.openexec import Command
from buildmatrix.preflight.rootfs import DirectoryRoot
from buildmatrix.preflight.running import running
from buildmatrix.preflight.verdict import Verdict
from buildmatrix.preflight.walk import Credentials, Failed, Found, View, resolve
from tests.difftest import seeds
from tests.preflight_objects import GLIBC, MUSL, MUSL_WORDS, Object, Roots, libc, loader

SECONDS = 20
HOST = parse("amd64,cpu=v3")


def judged(root: Path, path: str = "/prog", uid: int = 0) -> Verdict:
    view = View(root=DirectoryRoot(root), who=Credentials(uid=uid, gid=uid))
    return Judge(view, HOST).judge(Command(path=path, argv=(path,)))


@pytest.fixture(autouse=True)
def quick() -> Iterator[None]:
    """No test here may take long."""
    start = time.monotonic()
    yield
    assert time.monotonic() - start < SECONDS


# Links.


def test_link_bombs_end_in_eloop(tmp_path: Path) -> None:
    (tmp_path / "l0").symlink_to(".")
    for level in range(1, 60):
        (tmp_path / f"l{level}").symlink_to("/".join([f"l{level - 1}"] * 8))
    view = View(root=DirectoryRoot(tmp_path))
    failed = resolve(view, "/l59/prog")
    assert isinstance(failed, Failed)
    assert failed.errno == "ELOOP"
    assert judged(tmp_path, "/l59/prog").errno == "ELOOP"


def test_loops_of_one_two_and_through_the_top(tmp_path: Path) -> None:
    for name, target in (("one", "one"), ("a", "b"), ("b", "/a"), ("up", "../../up/../up")):
        (tmp_path / name).symlink_to(target)
    for name in ("/one", "/a", "/b", "/up"):
        assert judged(tmp_path, name).errno == "ELOOP"


def test_absolute_links_stay_inside(tmp_path: Path) -> None:
    outside = tmp_path / "secret"
    outside.write_bytes(seeds.static().build())
    outside.chmod(0o755)
    root = tmp_path / "root"
    (root / "bin").mkdir(parents=True)
    (root / "bin" / "prog").symlink_to(outside)
    (root / "etc").symlink_to("/etc")
    (root / "passwd").symlink_to("/../../../../../../etc/passwd")
    assert judged(root, "/bin/prog").errno == "ENOENT"
    assert judged(root, "/passwd").errno == "ELOOP"  # /etc leads to /etc, inside
    report = ldcache_doctor.examine(View(root=DirectoryRoot(root)))
    assert not report.entries


# What cannot be read.


@pytest.mark.skipif(os.geteuid() != 0, reason="another user's view needs root to be set up")
def test_what_another_user_may_not_see_is_a_finding(tmp_path: Path) -> None:
    for folder in (tmp_path, *[each for each in tmp_path.parents if str(each).count("/") > 1]):
        folder.chmod(0o755)
    root = tmp_path / "root"
    (root / "closed").mkdir(parents=True)
    (root / "closed" / "prog").write_bytes(seeds.static().build())
    (root / "plain").write_bytes(seeds.static().build())
    for name in ("closed/prog", "plain"):
        (root / name).chmod(0o755)
    (root / "closed").chmod(0o700)
    (root / "plain").chmod(0o711)
    words = ["explain", "--all", "--json", "--root", str(root), "--host", "amd64,cpu=v3"]
    text = (
        "import os, sys\n"
        "from buildmatrix import cli\n"
        f"cli.main({words!r})\n"  # once as root, which loads every module
        "print('mark', flush=True); os.setgroups([]); os.setgid(1000); os.setuid(1000)\n"
        f"sys.exit(cli.main({words!r}))\n"
    )
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=False,
                          cwd=Path(__file__).parent.parent)  # fmt: skip
    rows = [json.loads(line) for line in done.stdout.partition("mark\n")[2].splitlines()]
    assert done.returncode == 1, done.stderr
    assert {row["path"] for row in rows if row.get("cause") == "unreadable"} == {"/closed", "/plain"}
    assert "Traceback" not in done.stderr


def test_files_that_are_no_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "prog")
    (tmp_path / "etc").mkdir()
    os.mkfifo(tmp_path / "etc" / "ld.so.cache")
    assert judged(tmp_path).errno == "EACCES"
    assert ldcache_doctor.examine(View(root=DirectoryRoot(tmp_path))).entries == 0


# Archives.


@pytest.mark.parametrize("name", ["../out", "a/../../out", "/../out", "./../out", "a/b/../../../out"])
def test_members_that_leave_the_archive_are_told_and_left_out(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as tar:
        for each in (name, "prog"):
            member = tarfile.TarInfo(each)
            member.size, member.mode = 4, 0o755
            tar.addfile(member, io.BytesIO(b"data"))
    builder = tarfs.TreeBuilder("image")
    builder.add_layer(path)
    view = View(root=builder.root())
    assert isinstance(resolve(view, "/out"), Failed)
    assert not isinstance(resolve(view, "/prog"), Failed)
    assert builder.problems


def test_hard_links_out_of_the_archive_and_to_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as tar:
        for name, target in (("one", "../../etc/passwd"), ("two", "/etc/shadow"), ("three", "three"), ("four", "none")):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.LNKTYPE, target
            tar.addfile(member)
    try:
        view = View(root=tarfs.tar_root(path))
    except errors.BuildmatrixError:
        return
    for name in ("/one", "/two", "/three", "/four"):
        found = resolve(view, name)
        assert isinstance(found, Failed) or view.root.data(found.inode).read(0, 8) == b""


# ld.so.cache.


def cache_of(count: int, key: int, value: int, size: int) -> bytes:
    head = b"glibc-ld.so.cache1.1" + struct.pack("<IIBBBBIIII", count, 4096, 2, 0, 0, 0, 0, 0, 0, 0)
    rows = struct.pack("<iIIIQ", 0x0303, key, value, 0, 0) * count
    return (head + rows).ljust(size, b"a")


def test_a_huge_cache_costs_no_more_than_it_is_worth() -> None:
    data = cache_of(1_000_000, 25_000_000, 25_000_001, 25_100_000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    cache = ldcache.read(data)
    assert isinstance(cache, ldcache.Cache)
    assert len(cache.entries) == 1_000_000
    assert ldcache.lookup(cache, "libc.so.6", 0x0303, ()) is None
    roots = Roots().put("/etc/ld.so.cache", data)
    report = ldcache_doctor.examine(View(root=roots.tree.root()))
    assert 0 < report.entries < 1_000_000
    assert any("more than can be examined" in problem.why for problem in report.problems)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 600_000  # KiB


def test_an_extension_that_repeats_itself_is_not_followed_for_ever() -> None:
    words = struct.pack("<II", 0xEAA42174, 1_000_000) + struct.pack("<IIII", 1, 0, 0, 4_000_000) * 1_000_000
    head = b"glibc-ld.so.cache1.1" + struct.pack("<IIBBBBIIII", 0, 0, 2, 0, 0, 0, 48, 0, 0, 0)
    assert isinstance(ldcache.read(head + words), ldcache.Cache)


# ELF.


def sparse(path: Path, data: bytes, size: int = 1 << 40) -> None:
    """A file of a terabyte that takes no room."""
    with path.open("wb") as file:
        file.write(data)
        file.truncate(size)
    path.chmod(0o755)


def installed(root: Path, *, musl: bool = False) -> Path:
    """A root with stand-ins and a program that needs libx.so."""
    interp = MUSL if musl else GLIBC
    for name in (interp.lstrip("/"), "lib/x86_64-linux-gnu/libc.so.6", "lib/libx.so"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / interp.lstrip("/")).write_bytes(loader(MUSL_WORDS % b"1.2.3", "libc.so") if musl else loader())
    (root / "lib/x86_64-linux-gnu/libc.so.6").write_bytes(libc())
    program = Object(interp=interp, needed=("libx.so",), runpath="/lib", wants={"wanted": ("", "")})
    (root / "prog").write_bytes(program.build())
    for path in root.rglob("*"):
        path.chmod(0o755)
    return root / "lib" / "libx.so"


def stretched(data: bytes, tag: int, value: int, size: int = 1 << 39) -> bytes:
    """A library whose one segment goes on and on, with a dynamic entry changed."""
    out = bytearray(data)
    phoff, phnum = struct.unpack_from("<Q", out, 32)[0], struct.unpack_from("<H", out, 56)[0]
    for index in range(phnum):
        kind, offset = (
            struct.unpack_from("<I", out, phoff + 56 * index)[0],
            struct.unpack_from("<Q", out, phoff + 56 * index + 8)[0],
        )
        if kind == 1:
            struct.pack_into("<I", out, phoff + 56 * index + 4, 5)
            struct.pack_into("<QQ", out, phoff + 56 * index + 32, size, size)
        elif kind == 2:
            at = offset
            while struct.unpack_from("<Q", out, at)[0] not in (tag, 0):
                at += 16
            struct.pack_into("<QQ", out, at, tag, value)
    return bytes(out)


LIBRARY = Object(
    soname="libx.so", defines={"wanted": "X_1"}, wants={"puts": ("GLIBC_2.2.5", "libc.so.6")}, needed=("libc.so.6",)
)


@pytest.mark.parametrize("musl", [False, True], ids=["glibc", "musl"])
@pytest.mark.parametrize(
    ("tag", "value"),
    [(4, 1 << 30), (5, 1 << 30), (6, 1 << 30), (7, 1 << 30), (8, 24 << 34), (2, 24 << 34), (0x6FFFFEF5, 1 << 30),
     (0x6FFFFFFC, 1 << 30), (0x6FFFFFFE, 1 << 30), (0x6FFFFFF9, 1 << 34), (36, 1 << 30), (35, 8 << 34)],
)  # fmt: skip
def test_tables_that_never_end(tmp_path: Path, tag: int, value: int, musl: bool) -> None:
    sparse(installed(tmp_path, musl=musl), stretched(LIBRARY.build(), tag, value))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    verdict = judged(tmp_path)
    assert verdict.path == "/prog"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1_500_000  # KiB


def test_a_hash_chain_that_bites_its_tail(tmp_path: Path) -> None:
    data = bytearray(LIBRARY.build())
    at = data.index(struct.pack("<II I", 1, 3, 1))
    struct.pack_into("<I", data, at + 12 + 4, 1)
    struct.pack_into("<4s", data, data.index(b"wanted\0"), b"xxxx")
    installed(tmp_path).write_bytes(bytes(data))
    verdict = judged(tmp_path)
    assert not verdict.certain
    assert any("does not end by itself" in item for item in verdict.depends)


def test_endless_names_and_directories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names times directories may be any number; the work is bounded, whatever the machine's speed."""
    assert context.MOST_ASKED <= 100_000
    monkeypatch.setattr(context, "MOST_ASKED", 1000)
    opened: list[str] = []

    def counted(view: View, path: str) -> Found | Failed:
        opened.append(path)
        return open_read(view, path)

    monkeypatch.setattr(musl_load, "open_read", counted)
    library = installed(tmp_path, musl=True)
    directories = ":".join(f"/d{number}" for number in range(4000))
    names = tuple(f"lib{number}.so" for number in range(3000))
    (tmp_path / "prog").write_bytes(Object(interp=MUSL, needed=names, rpath=directories).build())
    assert not library.exists()
    verdict = judged(tmp_path)
    assert not verdict.certain
    assert 1000 <= len(opened) <= 1002  # and the path file


def test_words_that_are_no_text_are_printed_all_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    library = installed(tmp_path)
    data = library.parent.parent / "prog"
    data.write_bytes(data.read_bytes().replace(b"libx.so\0", b"li\xff\n.so\0"))
    library.unlink(missing_ok=True)
    assert cli.main(["explain", "/prog", "--root", str(tmp_path), "--host", "amd64,cpu=v3"]) == 1
    assert cli.main(["explain", "/prog", "--root", str(tmp_path), "--host", "amd64,cpu=v3", "--json"]) == 1
    capsys.readouterr().out.encode(errors="surrogateescape")
    json.dumps(as_json(judged(tmp_path)))


def test_the_running_machine_is_described_without_a_crash() -> None:
    assert running().page_size >= 4096
