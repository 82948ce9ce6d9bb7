"""The model against what arm64 kernels did (tests/fixtures/difftest); and how that is asked and recorded."""

from __future__ import annotations

import lzma
import random
import struct
from dataclasses import replace
from pathlib import Path

import pytest

from buildmatrix.host import Host, parse
from tests.difftest import guest, kernels, records
from tests.difftest.arm64 import record_of
from tests.difftest.arm64_cases import cases
from tests.difftest.guest import Entry, GuestFailed, Run, archive, as_root
from tests.difftest.outcome import agrees, predict
from tests.difftest.samples import any_sample, furnished, nearest_seed, smaller, tree_of
from tests.difftest.seeds_arm64 import A32, NARROW, WIDE

FILES = sorted(records.FOLDER.glob("*.jsonl"))
HOST = parse("arm64,kernel=6.12")
SAID = """\
BM facts release=6.1.0-50-arm64 page=4096 mmap_min_addr=4096 protected_symlinks=0 memory=1000 bits=48 aarch32=1
E 2
S 5
BM end /list
BM done
"""


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_recorded_executions_are_predicted(path: Path) -> None:
    wrong = {record.story: (record.predicted(), record.observed) for record in records.read(path) if not record.holds()}
    assert not wrong


def test_the_records_are_of_every_page_size_and_outcome() -> None:
    every = [record for path in FILES for record in records.read(path)]
    assert {record.host.page_size for record in every} == {4096, 16384}
    assert {record.host.compat32 for record in every} == {True, False}
    assert {"E 2", "E 5", "E 8", "E 13", "E 80", "K 11", "S 5", "S 7", "S 11"} <= {record.observed for record in every}
    assert len(every) > 500
    assert sum(record.predicted() is None for record in every) < len(every) / 20


def outcome(data: bytes, host: Host = HOST) -> str | None:
    return predict(as_root(furnished() | {"m": Entry(data=data)}), host, "/m")


@pytest.mark.parametrize("page", [4096, 16384, 65536])
def test_files_aligned_for_4k_start_with_4k_pages_alone(page: int) -> None:
    host = replace(HOST, page_size=page)
    assert outcome(WIDE.static().build(), host) == "S 5"
    assert outcome(NARROW.static().build(), host) == ("S 5" if page == 4096 else "K 11")


def test_aarch32_needs_the_cpu_and_its_own_loader() -> None:
    assert outcome(A32.static().build()) == "S 5"
    assert outcome(A32.static().build(), replace(HOST, compat32=False)) == "E 8"
    assert outcome(replace(A32.static(), flags=0).build()) == "E 8"
    assert outcome(A32.dynamic().build()) == "S 5"
    assert outcome(A32.dynamic(b"/static\0").build()) == "E 80"
    assert outcome(WIDE.dynamic(b"/loader32\0").build()) == "E 80"


@pytest.mark.parametrize(("entry", "want"), [(0x411000, "S 5"), (0x411001, "S 7"), (0x411002, "S 7")])
def test_an_entry_that_is_no_multiple_of_four_faults(entry: int, want: str) -> None:
    assert outcome(replace(WIDE.static(), entry=entry).build()) == want


def test_an_interpreter_is_an_executable_or_a_shared_object() -> None:
    tree = furnished() | {
        "object": Entry(data=replace(WIDE.static(), type=1).build()),
        "m": Entry(data=WIDE.dynamic(b"/object\0").build()),
    }
    assert predict(as_root(tree), HOST, "/m") == "K 11"


def test_bss_of_an_interpreter_was_mapped_last_before_6_7() -> None:
    """A read-only segment's .bss cannot be cleared: later kernels let that pass."""
    loader = WIDE.static_pie()
    ends = loader.with_segment(2, replace(loader.segments[2], flags=4))
    tree = furnished() | {"ld": Entry(data=ends.build()), "m": Entry(data=WIDE.dynamic(b"/ld\0").build())}
    assert predict(as_root(tree), HOST, "/m") == "S 5"
    assert predict(as_root(tree), replace(HOST, kernel=(6, 1)), "/m") == "K 11"


@pytest.mark.parametrize(
    ("align", "host", "want"),
    [
        (1 << 46, HOST, "S 5"),
        (1 << 48, HOST, "K 11"),
        (1 << 46, replace(HOST, kernel=(6, 1)), "S 5"),
        (1 << 48, replace(HOST, kernel=(6, 1)), None),
    ],
)
def test_static_pie_is_rounded_down_to_its_alignment(align: int, host: Host, want: str | None) -> None:
    file = WIDE.static_pie()
    assert outcome(file.with_segment(0, replace(file.segments[0], align=align)).build(), host) == want


def test_private_memory_ends_where_the_machine_does() -> None:
    file = WIDE.static()
    large = file.with_segment(2, replace(file.segments[2], memsz=6 << 30)).build()
    assert outcome(large) == "S 5"
    assert outcome(large, replace(HOST, memory=4 << 30)) == "K 11"
    assert outcome(large, replace(HOST, memory=16 << 30)) == "S 5"


def test_an_archive_is_what_the_kernel_unpacks() -> None:
    tree = {"d": Entry(directory=True), "d/f": Entry(data=b"12345", owner=7), "l": Entry(link="d/f", mode=0o777)}
    found = {}
    data, at = archive(tree), 0
    while at < len(data):
        assert data[at : at + 6] == b"070701"
        fields = [int(data[at + 6 + 8 * index : at + 14 + 8 * index], 16) for index in range(13)]
        name = data[at + 110 : at + 110 + fields[11] - 1].decode()
        start = (at + 110 + fields[11] + 3) & -4
        found[name] = (fields[1], fields[2], data[start : start + fields[6]])
        at = (start + fields[6] + 3) & -4
    assert found == {
        "d": (0o040755, 0, b""),
        "d/f": (0o100755, 7, b"12345"),
        "l": (0o120777, 0, b"d/f"),
        "TRAILER!!!": (0, 0, b""),
    }


def test_what_a_guest_says_is_read_or_refused(tmp_path: Path) -> None:
    kernel = kernels.Kernel(release="6.1.0-50-arm64", folder=tmp_path)
    (tmp_path / "config").write_text("#\nCONFIG_COMPAT=y\n")
    run = Run(tree={}, paths=("/a", "/b"))
    told = guest.parse(kernel, run, SAID)
    assert told.outcomes == ("E 2", "S 5")
    assert (told.host.kernel, told.host.page_size, told.host.memory) == ((6, 1), 4096, 1024000)
    assert told.host.compat32
    for broken in (SAID.replace("BM done\n", ""), SAID.replace("E 2\n", ""), SAID.replace("BM end", "BM error no")):
        with pytest.raises(GuestFailed, match=r"6\.1\.0-50-arm64: "):
            guest.parse(kernel, run, broken)
    (tmp_path / "config").write_text("# CONFIG_COMPAT is not set\n")
    assert not guest.parse(kernel, run, SAID).host.compat32


def test_modules_and_handlers_reach_the_guest(tmp_path: Path) -> None:
    kernel = kernels.Kernel(release="6.12", folder=tmp_path)
    (tmp_path / "binfmt_misc.ko.xz").write_bytes(lzma.compress(b"a module"))
    run = cases()
    data = guest.initramfs(kernel, b"init", run)
    assert b"a module" in data
    assert rb"register :mf001:M:18:\x01\xf0:\xff\xff:/root/static:F" in data
    assert rb"register :mf002:M:18:\x02\xf0:\xff\xff:/static:" in data
    assert b"noexec /root/locked\n" in data


def test_samples_are_reproducible_and_shrink_towards_a_seed() -> None:
    once, again = ([any_sample(random.Random(seed)) for seed in range(200)] for _ in range(2))
    assert once == again
    words = " ".join(sample.story for sample in once)
    assert all(kind in words for kind in ("a64 ", "a64-4k", "a32", "interpreter", "script", "mode"))
    changed = next(sample for sample in once if sample.data.startswith(b"\x7fELF") and len(smaller(sample)) > 1)
    seed = nearest_seed(changed)
    distance = sum(one != two for one, two in zip(changed.data, seed, strict=False))
    less = [sum(one != two for one, two in zip(sample.data, seed, strict=False)) for sample in smaller(changed)]
    assert min(less) < distance


def test_records_survive_being_written(tmp_path: Path) -> None:
    run = cases()
    host = replace(HOST, kernel_known=True, name="recorded", handlers=run.handlers, memory=1 << 30)
    own = {name: entry for name, entry in run.tree.items() if furnished().get(name) != entry}
    made = [record_of(path, host, own, path, "E 1", run.noexec) for path in run.paths]
    records.write(tmp_path / "r.jsonl", made)
    assert list(records.read(tmp_path / "r.jsonl")) == made
    whole = as_root(run.tree)
    for record in made:
        assert record.predicted() == predict(whole, host, record.path, run.noexec)


def test_a_tree_is_what_samples_execute_in() -> None:
    samples = [any_sample(random.Random(seed)) for seed in range(60)]
    tree, paths = tree_of(samples)
    assert len(paths) == len(samples)
    assert all(tree[path[1:]].data for path in paths if not path.startswith("/m"))
    assert struct.unpack_from("<H", tree["loader"].data, 18) == (183,)


def test_outcomes_agree_where_they_are_the_same() -> None:
    assert agrees("E 2", "E 2")
    assert not agrees("E 2", "E 20")
    assert agrees("S", "S 4")
    assert not agrees("S", "K 11")
    assert agrees(None, "E 2")
