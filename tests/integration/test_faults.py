"""Campaigns against the real service, natively and under qemu-user, and what is left of one that is killed."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from buildmatrix.faults import cgroup
from tests import fault_lab
from tests.fault_lab import Running

pytestmark = pytest.mark.integration

SHORT = {"milliseconds": 300}
FAULTS: dict[str, Any] = {
    "killed": {"kind": "kill", "runs": 3, **SHORT},
    "memory": {"kind": "memory", "runs": 2, "size": 48, "milliseconds": 800},
    "cpu": {"kind": "cpu", "runs": 2, **SHORT},
    "atomics": {"kind": "atomics", "runs": 2, **SHORT},
    "no-threads": {"kind": "syscall", "runs": 2, "calls": ["clone", "clone3", "vfork"],
                   "error": "EAGAIN", **SHORT},
    "no-statx": {"kind": "syscall", "runs": 2, "calls": ["statx", "newfstatat"], "error": "ENOSYS",
                 "from-start": True, **SHORT},
    "slow": {"kind": "slow", "runs": 2, "calls": ["write"], "delay": 40, **SHORT},
    "full": {"kind": "disk-full", "runs": 2, **SHORT},
    "no-child": {"kind": "missing-child", "runs": 2, "programs": ["/usr/bin/true"], **SHORT},
    "ahead": {"kind": "clock", "runs": 2, "step": 5_000_000, **SHORT},
}  # fmt: skip
SERVICE = {**fault_lab.SERVICE, "outage": 250, "seconds": 20}
JOB = {"binary": "archprobe", "args": ["-once", "-start", "-exec", "/usr/bin/true"]}


@pytest.fixture(scope="module")
def matrix(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that is built for both architectures."""
    service_faults = {name: {"workloads": ["service"], **fault} for name, fault in FAULTS.items()}
    refused = {"kind": "syscall", "workloads": ["job"], "runs": 2, "calls": ["clone", "clone3"], "error": "EAGAIN"}
    path = fault_lab.project(
        tmp_path_factory.mktemp("faults"),
        workloads={"service": SERVICE, "job": JOB},
        faults={**service_faults, "refused": refused},
    )
    done = fault_lab.call(path, "build")
    assert done.returncode == 0, done.stdout + done.stderr
    return path


def rows_of(path: Path) -> dict[tuple[str, str], dict[str, Any]]:
    document = json.loads(path.read_text())
    return {(row["workload"], row["fault"]): row for row in document["rows"]}


@pytest.mark.parametrize(("target", "emulated"), [("amd64", False), ("arm64", True)])
def test_a_campaign_gives_a_row_for_every_fault(matrix: Path, tmp_path: Path, target: str, emulated: bool) -> None:
    """Natively and, on an x86-64 machine, emulated: the same rows by name, and each says which it is."""
    emulated = emulated if os.uname().machine == "x86_64" else not emulated
    rows_file = tmp_path / "rows.json"
    done = fault_lab.call(matrix, "faults", "run", "--target", target, "--rows", str(rows_file))
    assert done.returncode == 0, done.stdout + done.stderr
    rows = rows_of(rows_file)
    assert set(rows) == {
        ("service", "baseline"),
        *(("service", name) for name in FAULTS),
        ("job", "baseline"),
        ("job", "refused"),
    }
    record = json.loads((matrix.parent / "dist" / f"archprobe_{target}" / "record.json").read_text())
    for (workload, fault), row in rows.items():
        assert row["arch"] == target
        assert row["emulated"] is emulated, row
        assert ("emulated" in row["note"]) is emulated, row
        assert row["artifact_digest"] == f"sha256:{record['artifact']['sha256']}"
        assert (row["release"], row["glibc_version"]) == ("1.2.3", "none")
        assert row["kernel_version"] == os.uname().release
        assert row["runs"] == (FAULTS[fault]["runs"] if fault in FAULTS else 2 if workload == "job" else 3)
        assert row["failure_rate_low"] <= row["failure_rate_percent"] <= row["failure_rate_high"]
    killed = rows["service", "killed"]
    assert killed["recoveries"] == 3, "every kill is an outage, and ends"
    assert killed["recovery_time_low"] <= killed["recovery_time_ms"] <= killed["recovery_time_high"]
    for fault in ("no-child", "no-threads"):
        assert rows["service", fault]["failures"] == 2, "the service starts a child for every probe"
    assert rows["job", "refused"]["failures"] == 2, "neither Go nor the emulator runs without threads"
    assert rows["job", "refused"]["recovery_time_ms"] > 0


@pytest.mark.parametrize("target", ["amd64", "arm64"])
def test_a_container_runs_under_faults_too(tmp_path: Path, target: str) -> None:
    """The image's root file system, its command and its user, natively and emulated; nothing of it stays."""
    before = fault_lab.mounts()
    boxed = {"binary": "archprobe", "image": "archprobe", "args": ["-listen", "127.0.0.1:8080"], "health": "/healthz"}
    path = fault_lab.project(
        tmp_path, workloads={"boxed": boxed}, images={"archprobe": {"targets": ["amd64", "arm64"]}},
        faults={
            "killed": {"kind": "kill", "runs": 2, **SHORT},
            "slow": {"kind": "slow", "calls": ["write"], "runs": 1},
        },
    )  # fmt: skip
    built = fault_lab.call(path, "image", "archprobe")
    assert built.returncode == 0, built.stdout + built.stderr
    rows_file = tmp_path / "rows.json"
    done = fault_lab.call(path, "faults", "run", "-t", target, "--rows", str(rows_file))
    assert done.returncode == 0, done.stdout + done.stderr
    rows = rows_of(rows_file)
    assert {fault for _, fault in rows} == {"baseline", "killed", "slow"}
    assert rows["boxed", "killed"]["recoveries"] == 2
    index = json.loads((tmp_path / "dist" / "images" / "archprobe" / "index.json").read_text())
    assert rows["boxed", "killed"]["artifact_digest"] != index["manifests"][0]["digest"], (
        "a platform's, not the index's"
    )
    assert fault_lab.mounts() <= before


def test_what_the_machine_cannot_do_is_a_finding_and_no_row(matrix: Path, tmp_path: Path) -> None:
    text = matrix.read_text()
    other = matrix.with_name("unavailable.toml")
    other.write_text(
        text + '\n[faults.gone]\nkind = "missing-child"\nprograms = ["/no/such/folder/program"]\nruns = 2\n'
    )
    rows_file = tmp_path / "rows.json"
    done = fault_lab.call(other, "faults", "run", "--target", "amd64", "--fault", "gone", "--rows", str(rows_file))
    assert done.returncode == 1
    assert "BM980 archprobe_amd64: gone: cannot be injected here" in done.stdout
    assert {fault for _, fault in rows_of(rows_file)} == {"baseline"}


def test_a_fault_that_never_strikes_is_a_finding_and_no_row(matrix: Path, tmp_path: Path) -> None:
    """Zero failures of a call that is never made would read as robustness."""
    other = matrix.with_name("idle.toml")
    idle = '\n[faults.idle]\nkind = "syscall"\ncalls = ["swapon"]\nerror = "EIO"\nruns = 2\nmilliseconds = 100\n'
    other.write_text(matrix.read_text() + idle)
    rows_file = tmp_path / "rows.json"
    done = fault_lab.call(other, "faults", "run", "-t", "amd64", "--fault", "idle", "--rows", str(rows_file))
    assert done.returncode == 1
    assert "BM982 archprobe_amd64: idle: got no strike" in done.stdout
    assert {fault for _, fault in rows_of(rows_file)} == {"baseline"}


def test_changed_bytes_are_refused(matrix: Path, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "dist"
    shutil.copytree(matrix.parent / "dist", copy)
    with (copy / "archprobe_amd64" / "archprobe").open("ab") as stream:
        stream.write(b"x")
    done = fault_lab.call(matrix, "faults", "run", "--target", "amd64", "--dist", str(copy))
    assert done.returncode == 2
    assert "got other bytes than its record says" in done.stderr


FAULT_ORDER = ("memory", "no-statx", "killed", "no-child", "full", "no-threads", "cpu", "slow")
MOMENTS = [random.Random(seed).uniform(0.0, 1.5) for seed in range(len(FAULT_ORDER))]


@pytest.mark.parametrize("number", range(len(FAULT_ORDER)))
def test_a_killed_campaign_leaves_nothing(matrix: Path, tmp_path: Path, number: int) -> None:
    """SIGKILL at a random moment: no process, no cgroup, no mount, no row."""
    before = fault_lab.mounts()
    rows_file = tmp_path / "rows.json"
    running = Running.start(
        matrix, "faults", "run", "-t", "amd64", "-f", FAULT_ORDER[number], "--rows", str(rows_file),
        "--runs", "50", mark=f"killed-{number}-{os.getpid()}",
    )  # fmt: skip
    assert not fault_lab.eventually(30, lambda: not running.guards()), "no run began"
    time.sleep(MOMENTS[number])
    spaces = running.spaces()
    running.kill()
    assert fault_lab.eventually(10, lambda: running.left(spaces)) == []
    assert fault_lab.eventually(10, lambda: fault_lab.cgroups(running.process.pid)) == []
    assert fault_lab.mounts() <= before
    assert not rows_file.exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_campaign_leaves_nothing(matrix: Path, tmp_path: Path, number: int) -> None:
    before, rows_file = fault_lab.mounts(), tmp_path / "rows.json"
    running = Running.start(
        matrix, "faults", "run", "-t", "amd64", "-f", "memory", "--rows", str(rows_file), "--runs", "50",
        mark=f"interrupted-{number}-{os.getpid()}",
    )  # fmt: skip
    assert not fault_lab.eventually(30, lambda: not running.guards())
    time.sleep(0.7)
    spaces = running.spaces()
    assert running.kill(number) == 130
    assert fault_lab.eventually(5, lambda: running.left(spaces)) == []
    assert fault_lab.cgroups(running.process.pid) == []
    assert fault_lab.mounts() <= before
    assert not rows_file.exists()


def test_a_killed_guard_is_a_finding_and_leaves_no_cgroup(matrix: Path, tmp_path: Path) -> None:
    """The guard removes its cgroup; where it cannot, the campaign does, and says that the run gave nothing."""
    running = Running.start(
        matrix, "faults", "run", "-t", "amd64", "-f", "cpu", "--rows", str(tmp_path / "rows.json"), "--runs", "2",
        mark=f"guard-{os.getpid()}",
    )  # fmt: skip
    assert not fault_lab.eventually(30, lambda: not running.guards())
    (guard,) = running.guards()
    os.kill(guard, signal.SIGKILL)
    stdout, _ = running.process.communicate(timeout=120)
    assert running.process.returncode == 1
    assert "BM981 archprobe_amd64: baseline: got no result from 1 of 2 runs" in stdout
    assert fault_lab.cgroups(running.process.pid) == []


def test_a_campaign_removes_what_a_dead_one_left(matrix: Path, tmp_path: Path) -> None:
    """A machine that lost campaign and guard at once has a cgroup left; one that still lives is not touched."""
    place = cgroup.here()
    assert place is not None, "this test needs a memory cgroup"
    space = Path("/proc/self/ns/pid").stat().st_ino
    dead = place.folder / f"{cgroup.PREFIX}-{space}-{os.getpid()}-1-0"  # our id, of an earlier process
    alive = place.folder / cgroup.name(999)
    other = place.folder / f"{cgroup.PREFIX}-1-{os.getpid()}-1-0"  # of another namespace: not ours to judge
    for folder in (dead, alive, other):
        folder.mkdir()
    try:
        assert cgroup.sweep(place) == (dead.name,)
        assert not dead.exists()
        assert alive.exists()
        assert other.exists()
    finally:
        for folder in (dead, alive, other):
            cgroup.end(folder)


def test_limits_hold_a_workload_that_takes_all(matrix: Path, tmp_path: Path) -> None:
    """A job that wants more memory than it may have is ended, and one that never ends too."""
    text = matrix.read_text()
    hang = '\n[workloads.hangs]\nbinary = "archprobe"\nargs = ["-listen", "127.0.0.1:9"]\nseconds = 2\n'
    other = matrix.with_name("hang.toml")
    other.write_text(text + hang + '\n[faults.calm]\nkind = "disk-full"\nworkloads = ["hangs"]\nruns = 1\n')
    begun = time.monotonic()
    done = fault_lab.call(other, "faults", "run", "-t", "amd64", "-f", "calm", "--rows", str(tmp_path / "rows.json"))
    assert time.monotonic() - begun < 60
    assert done.returncode == 1
    assert "BM983 archprobe_amd64" in done.stdout
    assert "got no end within 1 s" in done.stdout
