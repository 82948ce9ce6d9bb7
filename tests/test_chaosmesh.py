"""Faults as objects of Chaos Mesh, and rows from what became of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from buildmatrix.errors import UsageError
from buildmatrix.faults import chaosmesh, chaosresults
from buildmatrix.faults.campaign import Measured
from tests import factory

DIGEST = "sha256:" + "ab" * 32
ARTIFACTS = {
    f"app_{arch}": chaosmesh.Artifact(cell=f"app_{arch}", goarch=arch, digest=DIGEST, release="1.2.3")
    for arch in ("amd64", "arm64")
}
FAULTS: dict[str, dict[str, Any]] = {
    "killed": {"kind": "kill"},
    "memory": {"kind": "memory", "size": 64, "workers": 2},
    "cpu": {"kind": "cpu", "workers": 3},
    "atomics": {"kind": "atomics"},
    "bad-reads": {"kind": "syscall", "calls": ["read", "pread64"], "error": "EIO"},
    "slow-disk": {"kind": "slow", "calls": ["fsync", "write"], "delay": 70},
    "full": {"kind": "disk-full"},
    "far": {"kind": "network", "delay": 200},
    "lossy": {"kind": "network", "delay": 5, "loss": 25},
    "ahead": {"kind": "clock", "step": 600},
    "no-threads": {"kind": "syscall", "calls": ["clone"], "error": "EAGAIN"},
    "no-child": {"kind": "missing-child", "programs": ["/usr/bin/true"]},
}


def exported(**workload: Any) -> chaosmesh.Exported:
    parsed = factory.parse(
        factory.document(
            targets={"amd64": {"goarch": "amd64"}, "arm64": {"goarch": "arm64"}},
            workloads={"app": {"health": "/healthz", "namespace": "shop", "volume": "/data", **workload}},
            faults=FAULTS,
        )
    )
    return chaosmesh.export(parsed, ARTIFACTS, ())


def manifests() -> dict[str, dict[str, Any]]:
    return {name.removesuffix(".json"): manifest for name, manifest in exported().manifests}


def test_each_architecture_has_its_own_object_on_its_own_nodes() -> None:
    found = manifests()
    assert len(found) == 20
    for name, manifest in found.items():
        arch = name.rpartition("-")[2]
        selector = manifest["spec"]["selector"]
        assert selector["nodeSelectors"] == {"kubernetes.io/arch": arch}
        assert (selector["namespaces"], selector["labelSelectors"]) == (["shop"], {"app.kubernetes.io/name": "app"})
        assert manifest["metadata"]["annotations"]["buildmatrix/arch"] == arch


def test_kinds_become_what_chaos_mesh_has_for_them() -> None:
    found = {name: (item["kind"], item["spec"]) for name, item in manifests().items()}
    assert found["killed-app-arm64"][0] == "PodChaos"
    assert found["killed-app-arm64"][1]["action"] == "container-kill"
    assert found["memory-app-arm64"][1]["stressors"] == {"memory": {"workers": 2, "size": "64MB"}}
    assert found["cpu-app-amd64"][1]["stressors"] == {"cpu": {"workers": 3}}
    assert found["atomics-app-amd64"][1]["stressngStressors"] == "--atomic 2"
    assert (found["bad-reads-app-amd64"][1]["errno"], found["bad-reads-app-amd64"][1]["methods"]) == (5, ["read"])
    slow = found["slow-disk-app-amd64"][1]
    assert (slow["action"], slow["delay"], slow["methods"]) == ("latency", "70ms", ["fsync", "write"])
    assert found["full-app-amd64"][1]["errno"] == 28
    assert found["far-app-amd64"][1]["action"] == "delay"
    assert found["lossy-app-amd64"][1]["loss"] == {"loss": "25"}
    assert found["ahead-app-amd64"][0] == "TimeChaos"


def test_what_chaos_mesh_cannot_do_is_said() -> None:
    found = exported().findings
    assert [(item.rule, item.what.partition(":")[0]) for item in found] == [
        ("BM987", "no-threads"),
        ("BM987", "no-child"),
    ]
    assert "clone is none" in found[0].why
    assert {item.what.partition(":")[0] for item in exported(volume="").findings} == {
        "bad-reads", "slow-disk", "full", "no-threads", "no-child",
    }  # fmt: skip


# Results

BEGUN, ENDED = "2026-05-22T14:30:00Z", "2026-05-22T14:30:10Z"


def status(name: str = "cpu-app-arm64", *, applied: str = "Succeeded", recovered: bool = True) -> dict[str, Any]:
    """An object as kubectl shows it, in the form that the definition of its kind gives."""
    events = [{"operation": "Apply", "timestamp": BEGUN, "type": applied}]
    events += [{"operation": "Recover", "timestamp": ENDED, "type": "Succeeded"}] if recovered else []
    record = {"id": "shop/app-0/app", "selectorKey": ".", "phase": "Not Injected", "injectedCount": 1,
              "recoveredCount": int(recovered), "events": events}  # fmt: skip
    conditions = [
        {"type": "AllInjected", "status": str(not recovered)},
        {"type": "AllRecovered", "status": str(recovered)},
    ]
    return {**manifests()[name], "status": {"conditions": conditions, "experiment": {"containerRecords": [record]}}}


def half_injected() -> dict[str, Any]:
    """One of two containers was missed."""
    item = status()
    records = item["status"]["experiment"]["containerRecords"]
    records.append({**records[0], "id": "shop/app-1/app", "events": []})
    return item


def unreadable() -> dict[str, Any]:
    item = status()
    item["status"]["experiment"]["containerRecords"][0]["events"][0]["timestamp"] = "yesterday"
    return item


def probes(*bad: int, until: int = 15, arch: str = "arm64", machine: bool = True) -> str:
    """A probe every second from one second before the fault on; those in `bad` (seconds after it began) fail."""
    lines = [{"arch": arch, "kernel_version": "6.8.0-aws", "glibc_version": "2.39"}] if machine else []
    lines += [
        {"arch": arch, "workload": "app", "time": f"2026-05-22T14:{29 + (60 + at) // 60}:{(60 + at) % 60:02}+00:00",
         "ok": at not in bad}  # type: ignore[dict-item]
        for at in range(-1, until)
    ]  # fmt: skip
    return "".join(json.dumps(line) + "\n" for line in lines)


def imported(tmp_path: Path, objects: list[dict[str, Any]], measured: str) -> Measured:
    (tmp_path / "status.json").write_text(json.dumps({"kind": "List", "items": objects}))
    (tmp_path / "probes.jsonl").write_text(measured)
    return chaosresults.rows([tmp_path / "status.json"], tmp_path / "probes.jsonl")


def test_a_run_that_stays_up_is_good(tmp_path: Path) -> None:
    (row,) = imported(tmp_path, [status()], probes()).rows
    assert (row.arch, row.kernel_version, row.glibc_version, row.emulated) == ("arm64", "6.8.0-aws", "2.39", False)
    assert (row.fault, row.kind, row.runs, row.failures, row.recovery_time_ms) == ("cpu", "cpu", 1, 0, None)
    assert (row.artifact_digest, row.release, row.started_at) == (DIGEST, "1.2.3", BEGUN)


def test_an_outage_is_timed_to_its_end(tmp_path: Path) -> None:
    (row,) = imported(tmp_path, [status(), status()], probes(8, 9, 10, 11)).rows
    assert (row.runs, row.failures, row.recovery_time_ms) == (2, 2, 4000)


def test_bad_answers_outside_of_the_fault_do_not_count(tmp_path: Path) -> None:
    (row,) = imported(tmp_path, [status()], probes(-1, 13)).rows
    assert row.failures == 0


def test_a_kill_has_no_end_of_its_own(tmp_path: Path) -> None:
    (row,) = imported(tmp_path, [status("killed-app-arm64", recovered=False)], probes(0, 1, 2)).rows
    assert (row.failures, row.recovery_time_ms) == (1, 3000)


@pytest.mark.parametrize(
    ("objects", "measured", "rule"),
    [
        ([status(applied="Failed")], probes(), "BM988"),
        ([status(recovered=False)], probes(), "BM988"),
        ([half_injected()], probes(), "BM988"),
        ([unreadable()], probes(), "BM988"),
        ([status()], probes(machine=False), "BM989"),
        ([status()], probes(arch="amd64"), "BM989"),
        ([status()], probes(until=5), "BM989"),
    ],
    ids=["not-injected", "not-over", "half-injected", "unreadable", "no-machine", "other-machine", "probes-end-early"],
)
def test_nothing_is_guessed(tmp_path: Path, objects: list[dict[str, Any]], measured: str, rule: str) -> None:
    found = imported(tmp_path, objects, measured)
    assert found.rows == ()
    assert [item.rule for item in found.findings] == [rule]


def test_objects_of_others_are_passed_over(tmp_path: Path) -> None:
    other = {"kind": "PodChaos", "metadata": {"name": "x"}, "status": {}}
    assert imported(tmp_path, [other], probes()) == Measured(rows=(), findings=())


@pytest.mark.parametrize("text", ["", "[]", "null", '{"kind": "List"}'])
def test_other_files_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "status.json").write_text(text)
    (tmp_path / "probes.jsonl").write_text(probes())
    with pytest.raises(UsageError, match="not the status of chaos objects"):
        chaosresults.rows([tmp_path / "status.json"], tmp_path / "probes.jsonl")


@pytest.mark.parametrize(
    "line", ["{", "{}", '{"time": "soon", "ok": true}', '{"time": "2026-05-22T14:30:00", "ok": true}']
)
def test_measurements_are_read_strictly(tmp_path: Path, line: str) -> None:
    with pytest.raises(UsageError, match=r"probes\.jsonl:\d+: not a measurement"):
        imported(tmp_path, [status()], probes() + line + "\n")
