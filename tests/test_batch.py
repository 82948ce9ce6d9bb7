"""Lists and trees: every entry once, whatever it is and whatever happens to it meanwhile."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import random
import resource
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from buildmatrix import elf
from buildmatrix.elf import Progress, Scan
from buildmatrix.errors import UsageError
from buildmatrix.facts import Format, Kind, Status

SIZES = (0, 1, 63, 64, 65, 4095, 4096, 131071, 131072, 131073, 200_000, 65536 * 3, 1_000_003)


def entries(root: Path, **options: object) -> dict[str, Scan]:
    found: dict[str, Scan] = {}
    for entry in elf.scan_tree(root, **options):  # type: ignore[arg-type]
        assert entry.path not in found
        found[entry.path] = entry
    return found


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    chooser = random.Random(3)
    for number, size in enumerate(SIZES):
        directory = tmp_path / f"d{number % 4}" / "deep"
        directory.mkdir(parents=True, exist_ok=True)
        (directory / f"f{size}").write_bytes(chooser.randbytes(size))
    return tmp_path


@pytest.mark.parametrize("hashes", [(), ("sha256",), ("sha512", "sha1"), ("sha256", "sha512", "sha1")])
@pytest.mark.parametrize("facts", [False, True])
def test_digests_of_every_size(tree: Path, hashes: tuple[str, ...], facts: bool) -> None:
    found = entries(tree, hashes=hashes, facts=facts)
    assert len(found) == len(SIZES)
    for name, entry in found.items():
        data = (tree / name).read_bytes()
        assert (entry.status, entry.kind, entry.size) == (Status.OK, Kind.REGULAR, len(data))
        assert (entry.facts is not None) == facts
        for algorithm in elf.HASHES:
            expected = hashlib.new(algorithm, data).hexdigest() if algorithm in hashes else None
            assert entry.digest(algorithm) == expected


def test_list_keeps_each_path_and_its_place(tree: Path) -> None:
    paths = [str(path) for path in sorted(tree.rglob("f*"))] * 2
    found = sorted(elf.scan(paths), key=lambda entry: entry.root)
    assert [entry.path for entry in found] == paths
    assert [entry.location for entry in found] == paths


def test_metadata_is_that_of_stat(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"x")
    path.chmod(0o4751)
    os.utime(path, ns=(1, -5_000_000_001))
    entry, expected = elf.scan_one(path), path.stat()
    assert (entry.mode, entry.uid, entry.gid) == (expected.st_mode, expected.st_uid, expected.st_gid)
    assert entry.mtime_ns == expected.st_mtime_ns == -5_000_000_001
    assert (entry.device, entry.inode) == (expected.st_dev, expected.st_ino)


def test_special_files_are_never_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "null").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        if os.geteuid() == 0:
            os.mknod(tmp_path / "zero", stat.S_IFCHR | 0o600, os.makedev(1, 5))
        started = time.monotonic()
        assert {entry.path for entry in elf.scan_tree(tmp_path)} == {"null"}
        found = entries(tmp_path, all_entries=True)
    assert time.monotonic() - started < 5
    assert (found["pipe"].kind, found["socket"].kind) == (Kind.FIFO, Kind.SOCKET)
    assert (found["null"].kind, found["null"].target) == (Kind.SYMLINK, "/dev/zero")
    assert (found[""].kind, found[""].location) == (Kind.DIRECTORY, str(tmp_path))
    assert all(entry.ok and entry.digests.sha256 is None for entry in found.values())


@pytest.mark.parametrize("path", ["/dev/null", "/dev/zero", "/", "/dev/fd"])
def test_named_specials_are_refused_without_opening(path: str) -> None:
    entry = elf.scan_one(path)
    assert (entry.status, entry.facts, entry.digests.sha256) == (Status.NOT_REGULAR, None, None)


def test_missing_file_is_reported_and_the_rest_goes_on(tmp_path: Path) -> None:
    (tmp_path / "there").write_bytes(b"1")
    found = {Path(entry.path).name: entry for entry in elf.scan([tmp_path / "there", tmp_path / "gone"])}
    assert found["there"].ok
    assert (found["gone"].status, found["gone"].errno) == (Status.OPEN, errno.ENOENT)


def test_links_are_reported_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "file").write_bytes(b"1")
    (tmp_path / "real" / "up").symlink_to("..")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "out").symlink_to("/etc")
    found = entries(tmp_path)
    assert {name for name, entry in found.items() if entry.kind is Kind.REGULAR} == {"real/file"}
    assert {name: found[name].target for name in ("real/up", "loop", "out")} == {
        "real/up": "..",
        "loop": "loop",
        "out": "/etc",
    }


def test_a_root_that_is_a_link_is_followed_and_one_that_is_missing_reported(tree: Path) -> None:
    link = tree.parent / "link-to-tree"
    link.symlink_to(tree)
    assert len(entries(link)) == len(SIZES)
    for name, code in (("nothing", errno.ENOENT), ("d0/deep/f0", errno.ENOTDIR)):
        (entry,) = entries(tree / name).values()
        assert (entry.status, entry.errno) == (Status.DIRECTORY, code)


@contextlib.contextmanager
def without_root() -> Iterator[None]:
    """Act as an ordinary user; threads started meanwhile do so too."""
    if os.geteuid() != 0:
        yield
        return
    os.setegid(65534)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


def test_unreadable_entries_are_records() -> None:
    root = Path(tempfile.mkdtemp(prefix="buildmatrix-unreadable-"))
    (root / "closed").mkdir()
    (root / "secret").write_bytes(b"1")
    (root / "open").write_bytes(b"2")
    root.chmod(0o755)
    (root / "secret").chmod(0)
    (root / "closed").chmod(0)
    try:
        with without_root():
            found = {name: (entry.status, entry.errno) for name, entry in entries(root).items()}
    finally:
        (root / "closed").chmod(0o700)
        shutil.rmtree(root)
    assert found == {
        "closed": (Status.DIRECTORY, errno.EACCES),
        "open": (Status.OK, 0),
        "secret": (Status.OPEN, errno.EACCES),
    }


def meanwhile(change: Callable[[], None]) -> Callable[[], None]:
    """Starts to repeat `change` in a thread; the result ends it."""
    stop = threading.Event()

    def repeat() -> None:
        while not stop.is_set():
            change()

    thread = threading.Thread(target=repeat)
    thread.start()

    def end() -> None:
        stop.set()
        thread.join()

    return end


@pytest.mark.parametrize("size", [100_000, 5_000_000])
def test_files_that_change_have_no_digest(tmp_path: Path, size: int) -> None:
    """A result is either that of one state or says that there was none."""
    path = tmp_path / "busy"
    states = {hashlib.sha256(bytes(length)).hexdigest() for length in (size, size // 2, size + 4096)}

    def change() -> None:
        for length in (size // 2, size + 4096, size):
            os.truncate(path, length)

    path.write_bytes(bytes(size))
    seen: set[Status] = set()
    end = meanwhile(change)
    try:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and len(seen) < 2:
            entry = elf.scan_one(path)
            seen.add(entry.status)
            assert entry.status in {Status.OK, Status.CHANGED, Status.SHRANK}
            assert (entry.digests.sha256 in states) if entry.ok else entry.digests.sha256 is None
            assert entry.ok or entry.facts is None
    finally:
        end()
    assert seen & {Status.CHANGED, Status.SHRANK}


def test_a_directory_swapped_for_a_link_is_never_followed(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    (root / "sub").mkdir(parents=True)
    (root / "sub" / "file").write_bytes(b"1")
    (tmp_path / "link").symlink_to(outside)

    def change() -> None:
        (root / "sub").rename(tmp_path / "aside")
        (tmp_path / "link").rename(root / "sub")
        (root / "sub").rename(tmp_path / "link")
        (tmp_path / "aside").rename(root / "sub")

    secret = hashlib.sha256(b"secret").hexdigest()
    end = meanwhile(change)
    try:
        for _ in range(2000):
            for entry in elf.scan_tree(root, threads=1):
                assert entry.digests.sha256 != secret
                assert not entry.path.endswith("secret")
    finally:
        end()


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("many")
    chooser = random.Random(4)
    for directory in range(100):
        (root / f"{directory}").mkdir()
        for number in range(100):
            (root / f"{directory}" / f"{number}").write_bytes(chooser.randbytes(chooser.randrange(300)))
    return root


def test_every_number_of_threads_gives_the_same(many: Path) -> None:
    results = [
        sorted((entry.path, entry.digests.sha256, entry.size) for entry in elf.scan_tree(many, threads=threads))
        for threads in range(1, 9)
    ]
    assert len(results[0]) == 10_000
    assert all(result == results[0] for result in results)


def test_one_directory_larger_than_a_listing(tmp_path: Path) -> None:
    names = {f"{number:06}" + "n" * 50 for number in range(3000)}
    for name in names:
        (tmp_path / name).touch()
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "x").touch()
    assert set(entries(tmp_path, threads=3)) == names | {"sub/x"}


def test_deep_trees_within_few_descriptors(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    deep = tmp_path.joinpath(*["d"] * 500)
    deep.mkdir(parents=True)
    (deep / "bottom").write_bytes(b"1")
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
    try:
        found = entries(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert list(found) == ["/".join(["d"] * 500 + ["bottom"])]


def test_paths_longer_than_the_kernel_takes(tmp_path: Path) -> None:
    name, here = "n" * 200, os.open(tmp_path, os.O_RDONLY)
    for _ in range(30):
        os.mkdir(name, dir_fd=here)
        below = os.open(name, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(os.open("bottom", os.O_CREAT | os.O_WRONLY, dir_fd=here))
    os.close(here)
    assert list(entries(tmp_path)) == ["/".join([name] * 30 + ["bottom"])]
    subprocess.run(["rm", "-rf", str(tmp_path / name)], check=True)


def test_names_that_are_not_text(tmp_path: Path) -> None:
    raw = os.fsencode(tmp_path) + b"/\xff\n\x01"
    Path(os.fsdecode(raw)).write_bytes(b"1")
    (entry,) = entries(tmp_path).values()
    assert os.fsencode(entry.location) == raw


def test_recognised_leaves_out_nothing_that_is_recognised(tmp_path: Path) -> None:
    starts = {
        "elf": b"\x7fELF", "script": b"#!/bin/sh\n", "pe": b"MZ", "archive": b"!<arch>\n",
        "macho": b"\xcf\xfa\xed\xfe", "macho-be": b"\xfe\xed\xfa\xcf", "macho32": b"\xce\xfa\xed\xfe",
        "fat": b"\xca\xfe\xba\xbe", "fat64": b"\xca\xfe\xba\xbf",
    }  # fmt: skip
    for name, start in starts.items():
        for size in (2, 4, 8, 64, 4096, 200_000):
            (tmp_path / f"{name}-{size}").write_bytes(start.ljust(size, b"\0")[:size])
    (tmp_path / "text").write_bytes(b"text")
    (tmp_path / "link").symlink_to("text")
    for hashes in ((), ("sha256",)):
        everything = entries(tmp_path, hashes=hashes)
        recognised = entries(tmp_path, hashes=hashes, recognised=True)
        expected = {
            name
            for name, entry in everything.items()
            if entry.facts and (entry.facts.format not in {Format.OTHER, Format.EMPTY} or not entry.ok)
        }
        assert set(recognised) == expected
        assert {"elf-64", "script-200000"} <= expected


def test_progress_reaches_the_total(many: Path) -> None:
    seen: list[Progress] = []
    assert sum(1 for _ in elf.scan_tree(many, progress=seen.append)) == 10_000
    assert seen[-1].files == 10_000
    assert seen[-1].directories == 101
    assert [each.files for each in seen] == sorted(each.files for each in seen)


def test_leaving_early_ends_the_workers(many: Path) -> None:
    before = threading.active_count(), len(list(Path("/proc/self/task").iterdir()))
    iterator = elf.scan_tree(many, threads=4)
    next(iterator)
    started = time.monotonic()
    iterator.close()  # type: ignore[attr-defined]
    assert time.monotonic() - started < 1
    assert (threading.active_count(), len(list(Path("/proc/self/task").iterdir()))) == before


def test_memory_does_not_grow_with_the_tree(many: Path) -> None:
    """A consumer that never takes anything holds the workers up rather than the memory."""
    code = (
        "import resource, sys, time\n"
        "from buildmatrix._native import lib\n"
        "root = sys.argv[1].encode()\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "batch = lib.bm_batch_open(lib.BM_WANT_FACTS | lib.BM_WANT_SHA256, 2)\n"
        "for _ in range(50): lib.bm_batch_add_tree(batch, root, len(root))\n"
        "assert lib.bm_batch_start(batch) == 0\n"
        "time.sleep(1.5)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
        "lib.bm_batch_close(batch)\n"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)}
    command = [sys.executable, "-c", code, str(many)]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    assert int(done.stdout) < 32 * 1024


def test_unknown_hash_names_the_choices() -> None:
    with pytest.raises(UsageError, match="expected one of sha256, sha512, sha1"):
        elf.scan(["x"], hashes=("sha3",))


# Neighbours in a list


def outcomes(paths: list[str]) -> list[tuple[object, ...]]:
    scans = sorted(elf.scan(paths, hashes=("sha256",), threads=1), key=lambda scan: scan.root)
    return [(scan.path, scan.kind, scan.status, scan.errno, scan.size, scan.inode, scan.digests) for scan in scans]


def test_names_that_share_a_directory_are_read_as_they_are_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a name is: there or not, a link, a directory with or without its slash, relative, through dots."""
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        for number in range(5):
            (tmp_path / folder / f"file-{number}").write_bytes(f"{folder} {number}".encode() * (number + 1))
        (tmp_path / folder / "sub").mkdir()
        (tmp_path / folder / "link").symlink_to("file-1")
        (tmp_path / folder / "hanging").symlink_to("nowhere")
        os.mkfifo(tmp_path / folder / "pipe")
    (tmp_path / "alias").symlink_to("two")
    names = [f"file-{number}" for number in range(5)]
    names += ["missing", "link", "hanging", "pipe", "sub", "sub/", ".", "..", "sub/../file-2", "file-3"]
    folders = ["one", "two", "alias", "gone", "one/file-1", "one/../two", "/" + "/".join(tmp_path.parts[1:]) + "//one"]
    monkeypatch.chdir(tmp_path)
    paths = [f"{folder}/{name}" for folder in folders for name in names]
    paths += [f"one/{name}" for name in names] + ["", "one", "two", *(f"{'x' * 1500}/{name}" for name in names)]
    assert outcomes(paths) == [found for path in paths for found in outcomes([path])]
    assert [found[2] for found in outcomes(paths)].count(Status.OK) > 40


def test_a_directory_that_is_replaced_serves_no_later_names(tmp_path: Path) -> None:
    """A list is taken a few names at a time, and each few look at the paths anew."""
    old, new, names = tmp_path / "old", tmp_path / "new", [f"{number:03}" for number in range(400)]
    for folder in (old, new):
        folder.mkdir()
        for name in names:
            (folder / name).write_text(folder.name)
    current = tmp_path / "current"
    current.symlink_to(old)
    found = elf.scan([current / name for name in names], hashes=("sha256",), threads=1)
    next(found)
    other = tmp_path / "other"
    other.symlink_to(new)
    other.rename(current)
    assert all(scan.ok for scan in found)
    last = list(elf.scan([current / name for name in names], hashes=("sha256",), threads=1))
    assert {scan.digest("sha256") for scan in last} == {hashlib.sha256(b"new").hexdigest()}


def test_a_list_is_read_where_no_descriptor_is_left_for_its_directory(tmp_path: Path) -> None:
    for number in range(8):
        (tmp_path / str(number)).write_text("text")
    script = (
        "import os, resource, sys\n"
        "from buildmatrix import elf\n"
        "paths = [os.path.join(sys.argv[1], str(n)) for n in range(8)]\n"
        "free = os.open('/dev/null', os.O_RDONLY)\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (free + 1, free + 1))\n"
        "os.close(free)\n"
        "sys.exit(sum(not scan.ok for scan in elf.scan(paths, threads=1)))\n"
    )
    assert subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False).returncode == 0
