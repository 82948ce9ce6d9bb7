"""Specs, statistics, cgroups, campaigns and rows, without starting anything; tests/integration/test_faults.py does."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildmatrix import errors, sessions
from buildmatrix.errors import MatrixError, UsageError
from buildmatrix.faults import campaign, cgroup, row, running, sink, statistics, table, trial
from buildmatrix.faults.campaign import Campaign, Measured
from buildmatrix.faults.running import Subject
from buildmatrix.faults.subject import Outages
from buildmatrix.faults.trial import Container, Limits, Result, Trial
from buildmatrix.faultspec import FaultSpec
from buildmatrix.process import Completed
from tests import factory

SERVICE = {"app": {"health": "/healthz", "probes": ["GET /arch"]}}


# matrix.toml


def test_specs_have_defaults_and_know_their_cells() -> None:
    parsed = factory.parse(factory.document(workloads=SERVICE, faults={"killed": {"kind": "kill"}}))
    (workload,), (fault,) = parsed.workloads, parsed.faults
    assert (workload.binary, workload.cells, workload.labels) == (
        "app",
        ("app_amd64",),
        (("app.kubernetes.io/name", "app"),),
    )
    assert (fault.workloads, fault.runs, fault.milliseconds) == (("app",), 20, 1000)


@pytest.mark.parametrize(
    ("workload", "fault", "key"),
    [
        ({"binary": "other"}, {"kind": "kill"}, "workloads.app.binary"),
        ({"targets": ["arm*"]}, {"kind": "kill"}, "workloads.app.targets"),
        ({"probes": ["GET /x"]}, {"kind": "kill"}, "workloads.app.health"),
        ({"image": "none"}, {"kind": "kill"}, "workloads.app.image"),
        ({"args": ["{scratch"]}, {"kind": "kill"}, "workloads.app.args[0]"),
        ({"memory": 1}, {"kind": "kill"}, "workloads.app.memory"),
        ({"seconds": 100_000}, {"kind": "kill"}, "workloads.app.seconds"),
        ({}, {"kind": "syscall", "error": "EIO"}, "faults.f.calls"),
        ({}, {"kind": "syscall", "calls": ["read"]}, "faults.f.error"),
        ({}, {"kind": "syscall", "calls": ["read"], "error": "EBOGUS"}, "faults.f.error"),
        ({}, {"kind": "syscall", "calls": ["read;rm"], "error": "EIO"}, "faults.f.calls[0]"),
        ({}, {"kind": "missing-child"}, "faults.f.programs"),
        ({}, {"kind": "missing-child", "programs": ["/a,upperdir=/"]}, "faults.f.programs[0]"),
        ({}, {"kind": "kill", "calls": ["read"]}, "faults.f.calls"),
        ({}, {"kind": "kill", "runs": 0}, "faults.f.runs"),
        ({}, {"kind": "kill", "workloads": ["x*"]}, "faults.f.workloads"),
        ({}, {"kind": "flood"}, "faults.f.kind"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_a_problem(workload: dict[str, Any], fault: dict[str, Any], key: str) -> None:
    with pytest.raises(MatrixError) as caught:
        factory.parse(factory.document(workloads={"app": workload}, faults={"f": fault}))
    assert key in {problem.key for problem in caught.value.problems}


def test_the_baselines_name_is_taken() -> None:
    with pytest.raises(MatrixError, match="runs without a fault have this one"):
        factory.parse(factory.document(workloads=SERVICE, faults={"baseline": {"kind": "kill"}}))


def test_faults_need_a_workload() -> None:
    with pytest.raises(MatrixError, match="workloads: got nothing"):
        factory.parse(factory.document(faults={"f": {"kind": "kill"}}))


def test_targets_under_faults_have_a_session(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import tomli_w

    names: list[str] = []
    monkeypatch.setattr(sessions, "_session", lambda name, *_: names.append(name))
    document = factory.document(
        targets={"amd64": {"goarch": "amd64"}, "arm64": {"goarch": "arm64"}},
        workloads={"app": {"targets": ["arm64"]}}, faults={"f": {"kind": "kill"}},
    )  # fmt: skip
    (tmp_path / "matrix.toml").write_text(tomli_w.dumps(document))
    sessions.register(tmp_path / "matrix.toml")
    assert [name for name in names if name.startswith("faults")] == ["faults-arm64"]


# Statistics: known answers are from Newcombe 1998 (Statistics in Medicine 17, 857-872 and 873-890)


@pytest.mark.parametrize(
    ("failures", "runs", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_agrees_with_published_intervals(failures: int, runs: int, low: float, high: float) -> None:
    found = statistics.rate(failures, runs)
    assert (round(found.low, 4), round(found.high, 4)) == (low, high)


def test_newcombe_agrees_with_a_published_interval() -> None:
    found = statistics.difference(statistics.rate(56, 70), statistics.rate(48, 80))
    assert (round(found.low, 4), round(found.high, 4)) == (0.0524, 0.3339)


@given(st.integers(1, 500), st.data())
def test_a_rate_lies_in_its_interval(runs: int, data: st.DataObject) -> None:
    found = statistics.rate(data.draw(st.integers(0, runs)), runs)
    assert 0 <= found.low <= found.value <= found.high <= 1


def test_nothing_is_known_without_runs() -> None:
    with pytest.raises(ValueError, match="expected at least one run"):
        statistics.rate(0, 0)
    assert statistics.middle((), 1) is None


def test_the_bootstrap_covers_the_median() -> None:
    """Of 200 samples from a skewed distribution, about 95 in 100 intervals hold its true median."""
    source, hits = random.Random(3), 0
    for seed in range(200):
        times = [source.expovariate(1.0) for _ in range(20)]
        found = statistics.middle(times, seed)
        assert found is not None
        hits += found.low <= math.log(2) <= found.high
    assert hits >= 180
    assert statistics.middle([3.0, 1.0, 2.0], 7) == statistics.middle([2.0, 3.0, 1.0], 7)


# Outages


def test_an_outage_lasts_from_the_first_bad_answer_to_the_first_good_one() -> None:
    outages = Outages()
    for began, ended, well in [(0, 1, True), (2, 3, False), (4, 5, False), (6, 7, True), (8, 9, False), (9, 10, True)]:
        outages.asked(began, ended, well)
    assert (outages.longest, outages.recovery) == (5, 5000)


def test_what_never_recovers_has_no_recovery_time() -> None:
    outages = Outages()
    outages.lost(1.0)
    outages.asked(2.0, 2.1, False)
    assert outages.recovery is None
    assert outages.since == 1.0


# Cgroups

V1 = (
    "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
)
V2 = "26 22 0:23 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"


@pytest.mark.parametrize(
    ("mounts", "own", "first"),
    [
        (V1, "4:memory:/a/b\n0::/\n", cgroup.Place(folder=Path("/sys/fs/cgroup/memory/a/b"), version=1)),
        (V2, "0::/user.slice/x.scope\n", cgroup.Place(folder=Path("/sys/fs/cgroup/user.slice/x.scope"), version=2)),
    ],
)
def test_cgroups_are_looked_for_below_our_own(mounts: str, own: str, first: cgroup.Place) -> None:
    found = list(cgroup.find(mounts, own))
    assert found[0] == first
    assert Path("/sys/fs/cgroup") in found[-1].folder.parents or found[-1].folder == Path("/sys/fs/cgroup")


def test_a_group_whose_children_have_no_memory_controller_is_no_place(tmp_path: Path) -> None:
    place = cgroup.Place(folder=tmp_path, version=2)
    assert not cgroup.usable(place)
    (tmp_path / "cgroup.subtree_control").write_text("cpu pids\n")
    assert not cgroup.usable(place)
    (tmp_path / "cgroup.subtree_control").write_text("cpu memory pids\n")
    assert cgroup.usable(place)


# Trials


def test_trials_and_results_come_back_from_json() -> None:
    limits = Limits(memory=64, scratch=1, seconds=5, cgroup="/c", version=1)
    spec = FaultSpec(name="f", kind="syscall", calls=("read", "write"), error="EIO", workloads=("a",))
    box = Container(layers=("/a", "/b"), user="1:2")
    value = Trial(argv=("a", "b"), env=(("X", "1"),), health="/h", port=1, probes=("GET /",), outage=1, limits=limits,
                  fault=spec, seed=3, container=box)  # fmt: skip
    assert trial.decode_trial(trial.encode(value)) == value
    bare = replace(value, fault=None, container=None)
    assert trial.decode_trial(trial.encode(bare)) == bare
    result = Result(good=True, recovery=1.5, struck=2)
    assert trial.decode_result(trial.encode(result)) == result


@pytest.mark.parametrize("line", ["", "{}", "[]", '{"good": true}', "null"])
def test_anything_else_is_no_result(line: str) -> None:
    with pytest.raises(ValueError):
        trial.decode_result(line)


# Campaigns, with a runner that answers in the guard's place


class Guard:
    """Answers each run as `answer` says, and keeps what it was told."""

    def __init__(self, answer: Callable[[Trial], Result | str]) -> None:
        self.answer, self.seen = answer, list[tuple[tuple[str, ...], Trial]]()

    def tether(
        self, argv: tuple[str, ...], line: str, *, env: Mapping[str, str], cwd: Path, timeout: float | None = None
    ) -> Completed:
        told = trial.decode_trial(line)
        self.seen.append((argv, told))
        answered = self.answer(told)
        if isinstance(answered, Result):
            return Completed(argv=argv, status=0, stdout=trial.encode(answered) + "\n", stderr="")
        if answered == "late":
            raise errors.CommandTimeout("unshare: still running")
        return Completed(argv=argv, status=-9, stdout="", stderr=answered)


FAULTS = {
    "killed": {"kind": "kill", "runs": 4},
    "broken": {"kind": "syscall", "calls": ["read"], "error": "EIO", "runs": 2},
}


def ran(
    tmp_path: Path, answer: Callable[[Trial], Result | str], *, emulated: bool = False, runs: int = 0
) -> tuple[Measured, Guard]:
    parsed = factory.parse(factory.document(workloads=SERVICE, faults=FAULTS))
    artifact = tmp_path / "app"
    artifact.write_bytes(b"artifact")
    subject = Subject(cell=parsed.cells[0], path=artifact, digest=f"sha256:{running.digest(artifact)}",
                      argv=(str(artifact),), env=(), glibc="none", emulated=emulated)  # fmt: skip
    guard = Guard(answer)
    measured = campaign.run(
        Campaign(workload=parsed.workloads[0], subject=subject, faults=parsed.faults, release="1.2.3", runs=runs),
        guard, {}, lambda *_: None,
    )  # fmt: skip
    return measured, guard


def usual(told: Trial) -> Result:
    """Kills are recovered from, failing reads are not."""
    if told.fault is None:
        return Result(good=True, ready=5.0)
    if told.fault.name == "killed":
        return Result(good=True, recovery=100.0 + told.seed % 7, struck=1)
    return Result(good=False, reason="got an outage of 2000 ms", struck=9)


def test_rows_are_made_of_runs(tmp_path: Path) -> None:
    measured, _ = ran(tmp_path, usual)
    rows = {item.fault: item for item in measured.rows}
    assert list(rows) == ["baseline", "killed", "broken"]
    assert [(item.runs, item.failures) for item in rows.values()] == [(4, 0), (4, 0), (2, 2)]
    assert rows["baseline"].recovery_time_ms is None
    assert rows["killed"].recoveries == 4
    low, high = rows["killed"].recovery_time_low, rows["killed"].recovery_time_high
    assert low is not None
    assert high is not None
    assert 100 <= low <= (rows["killed"].recovery_time_ms or 0) <= high <= 106
    assert rows["broken"].failure_rate_percent == 100.0
    assert [item.rule for item in measured.findings] == ["BM986"]
    assert measured.findings[0].what == "broken: fails 100 % more often than without it"


def test_runs_with_and_without_faults_take_turns(tmp_path: Path) -> None:
    _, guard = ran(tmp_path, usual)
    names = [told.fault.name if told.fault else "-" for _, told in guard.seen]
    assert names == ["-", "killed", "broken", "-", "killed", "broken", "-", "killed", "-", "killed"]
    assert len({told.seed for _, told in guard.seen if told.fault}) == 6, "every run has its own random moments"


def test_every_run_is_limited(tmp_path: Path) -> None:
    _, guard = ran(tmp_path, usual)
    for argv, told in guard.seen:
        assert {"--pid", "--mount", "--net", "--kill-child"} <= set(argv)
        assert told.limits.seconds == 30
        assert told.limits.cgroup or told.limits.data, "memory is limited one way or the other"


@pytest.mark.parametrize(
    ("answer", "rule"),
    [
        (lambda told: Result(good=False, unavailable="no strace"), "BM980"),
        (lambda told: "Killed", "BM981"),
        (lambda told: "late", "BM981"),
        (lambda told: Result(good=True, struck=0), "BM982"),
    ],
)
def test_what_was_not_measured_gives_no_row(tmp_path: Path, answer: Callable[[Trial], Result | str], rule: str) -> None:
    measured, _ = ran(
        tmp_path, lambda told: answer(told) if told.fault and told.fault.name == "killed" else usual(told)
    )
    assert "killed" not in {item.fault for item in measured.rows}
    assert rule in {item.rule for item in measured.findings}


def test_a_workload_that_fails_by_itself_is_a_finding(tmp_path: Path) -> None:
    measured, _ = ran(tmp_path, lambda told: Result(good=False, reason="it never answered", struck=1))
    (finding,) = (item for item in measured.findings if item.rule == "BM983")
    assert finding.evidence == "it never answered"
    assert "baseline" not in {item.fault for item in measured.rows}


def test_an_artifact_that_changes_meanwhile_gives_no_row(tmp_path: Path) -> None:
    def change(told: Trial) -> Result:
        (tmp_path / "app").write_bytes(b"another")
        return usual(told)

    measured, _ = ran(tmp_path, change)
    assert measured.rows == ()
    assert [item.rule for item in measured.findings] == ["BM984"]


def test_emulated_rows_say_so(tmp_path: Path) -> None:
    measured, _ = ran(tmp_path, usual, emulated=True)
    assert all(item.emulated and "say nothing about hardware" in item.note for item in measured.rows)
    assert "its own calls fail too" in measured.rows[2].note
    assert "BM985" in {item.rule for item in measured.findings}
    assert "emulated" in table.text(measured.rows)


# Rows


def test_rows_come_back_from_their_file(tmp_path: Path) -> None:
    measured, _ = ran(tmp_path, usual)
    path = sink.path_of(tmp_path, measured.rows[0])
    sink.keep(measured.rows, path)
    assert sink.read([path]) == measured.rows
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("data", [b"", b"{}", b'{"schema": 2, "rows": []}', b'{"schema": 1, "rows": [{}]}', b"[]"])
def test_other_files_are_refused(data: bytes) -> None:
    with pytest.raises(UsageError, match=r"rows\.json: not rows"):
        row.decode(data, "rows.json")


def test_rows_in_the_stores_form(tmp_path: Path) -> None:
    measured, _ = ran(tmp_path, usual)
    base, killed, _ = (sink.validation(item) for item in measured.rows)
    assert (base["fault"], killed["fault"]) == ("none", "killed")
    assert len(killed["artifact_digest"]) == 64
    assert (killed["glibc_version"], killed["artifact"]) == ("", "app_amd64")
    assert killed["started_at"].endswith("+00:00")
    other = sink.validation(replace(measured.rows[1], workload="other"))
    assert other["artifact"] == "app_amd64/other", "rows of two workloads are not the same thing"
    assert json.loads(json.dumps(killed)) == killed
