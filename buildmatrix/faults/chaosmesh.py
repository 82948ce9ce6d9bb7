"""The faults of matrix.toml as objects of Chaos Mesh, one for each workload and architecture. Pure.

An object selects the workload's pods on nodes of one architecture (the label kubernetes.io/arch, which kubelet sets to
the GOARCH), so that each architecture is measured by itself. Annotations carry what its row will need; the import
reads them back. What Chaos Mesh cannot express is a finding, never an object that does something else.

Source: the custom resource definitions of Chaos Mesh, chaos-mesh.org/v1alpha1.
"""

from __future__ import annotations

import errno
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from buildmatrix.faultspec import FaultSpec, WorkloadSpec
from buildmatrix.finding import Finding, Severity
from buildmatrix.matrix import Matrix

CODES = {"BM987": "a fault cannot be expressed as an object of Chaos Mesh"}
"""Findings of the export."""

WARNINGS = ("BM987",)

PREFIX = "buildmatrix/"
"""The prefix of our annotations."""

_ENOSPC = 28
_METHODS = {
    "read": "read", "pread64": "read", "readv": "read", "write": "write", "pwrite64": "write", "writev": "write",
    "open": "open", "openat": "open", "openat2": "open", "fsync": "fsync", "fdatasync": "fsync", "mkdir": "mkdir",
    "mkdirat": "mkdir", "rmdir": "rmdir", "unlink": "unlink", "unlinkat": "unlink", "rename": "rename",
    "renameat": "rename", "renameat2": "rename", "fallocate": "fallocate", "getdents64": "readdir",
    "statfs": "statfs", "fstatfs": "statfs", "stat": "getattr", "newfstatat": "getattr", "statx": "getattr",
}  # fmt: skip
"""System calls by the FUSE method that they come to in an IOChaos."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """What runs in the pods: its cell, GOARCH, digest and release."""

    cell: str
    goarch: str
    digest: str
    release: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """Manifests by file name, and what could not be exported."""

    manifests: tuple[tuple[str, dict[str, Any]], ...]
    findings: tuple[Finding, ...]


class _Impossible(Exception):
    """Chaos Mesh has nothing for this; the text says what is missing."""


def export(matrix: Matrix, artifacts: Mapping[str, Artifact], names: tuple[str, ...]) -> Exported:
    """Objects for the faults called `names` (all where none is named) and the cells in `artifacts`."""
    manifests: dict[str, dict[str, Any]] = {}
    findings = []
    for fault in matrix.faults:
        for workload in matrix.workloads:
            if workload.name not in fault.workloads or (names and fault.name not in names):
                continue
            chosen = _one_each(workload, artifacts)
            try:
                for artifact in chosen:
                    manifest = _manifest(fault, workload, artifact)
                    manifests[f"{manifest['metadata']['name']}.json"] = manifest
            except _Impossible as missing:
                findings.append(_finding(fault, workload, str(missing)))
    return Exported(manifests=tuple(sorted(manifests.items())), findings=tuple(findings))


def _one_each(workload: WorkloadSpec, artifacts: Mapping[str, Artifact]) -> list[Artifact]:
    """The workload's first cell of each architecture: a node selector cannot tell levels apart."""
    chosen: dict[str, Artifact] = {}
    for cell in workload.cells:
        if cell in artifacts:
            chosen.setdefault(artifacts[cell].goarch, artifacts[cell])
    return list(chosen.values())


def _finding(fault: FaultSpec, workload: WorkloadSpec, why: str) -> Finding:
    return Finding(
        rule="BM987",
        cell=workload.name,
        what=f"{fault.name}: kind {fault.kind!r} has no object of Chaos Mesh",
        why=why,
        fix="inject it with `buildmatrix faults run` on a machine of that architecture",
        severity=Severity.WARNING,
    )


def encode(manifest: dict[str, Any]) -> bytes:
    """A manifest as JSON, which kubectl takes as it takes YAML."""
    return (json.dumps(manifest, indent=2, sort_keys=True) + "\n").encode()


def _manifest(fault: FaultSpec, workload: WorkloadSpec, artifact: Artifact) -> dict[str, Any]:
    kind, spec = _SPECS[fault.kind](fault, workload)
    selector = {
        "namespaces": [workload.namespace],
        "labelSelectors": dict(workload.labels),
        "nodeSelectors": {"kubernetes.io/arch": artifact.goarch},
    }
    about = {
        "fault": fault.name, "kind": fault.kind, "seed": str(fault.seed), "workload": workload.name,
        "outage": str(workload.outage), "artifact": artifact.cell, "arch": artifact.goarch,
        "digest": artifact.digest, "release": artifact.release,
    }  # fmt: skip
    return {
        "apiVersion": "chaos-mesh.org/v1alpha1",
        "kind": kind,
        "metadata": {
            "name": _object_name(fault.name, workload.name, artifact.goarch),
            "namespace": workload.namespace,
            "annotations": {f"{PREFIX}{name}": value for name, value in about.items()},
        },
        "spec": {"mode": "all", "selector": selector, **spec},
    }


def _object_name(*parts: str) -> str:
    """A DNS label of the parts (RFC 1123), at most 63 characters."""
    return re.sub(r"[^a-z0-9-]+", "-", "-".join(parts).lower())[:63].strip("-")


_Spec = tuple[str, dict[str, Any]]


def _duration(fault: FaultSpec) -> str:
    return f"{fault.milliseconds}ms"


def _stress(fault: FaultSpec, _workload: WorkloadSpec) -> _Spec:
    if fault.kind == "atomics":  # only stress-ng's own dialect has it
        return "StressChaos", {"duration": _duration(fault), "stressngStressors": f"--atomic {fault.workers}"}
    stressor: dict[str, Any] = {"workers": fault.workers}
    if fault.kind == "memory":
        stressor["size"] = f"{max(1, 2 * fault.size // fault.workers)}MB"
    return "StressChaos", {"duration": _duration(fault), "stressors": {fault.kind: stressor}}


def _kill(_fault: FaultSpec, workload: WorkloadSpec) -> _Spec:
    return "PodChaos", {"action": "container-kill", "containerNames": [workload.name]}


def _calls(fault: FaultSpec, workload: WorkloadSpec) -> _Spec:
    unknown = [name for name in fault.calls if name not in _METHODS]
    if unknown:
        raise _Impossible(f"IOChaos reaches calls on files of a volume; {', '.join(unknown)} is none")
    if fault.when:
        raise _Impossible("IOChaos cannot choose among calls by their number")
    spec = _io(fault, workload)
    spec["methods"] = list(dict.fromkeys(_METHODS[name] for name in fault.calls))
    if fault.kind == "slow":
        return "IOChaos", {**spec, "action": "latency", "delay": f"{fault.delay}ms"}
    return "IOChaos", {**spec, "action": "fault", "errno": getattr(errno, fault.error)}


def _io(fault: FaultSpec, workload: WorkloadSpec) -> dict[str, Any]:
    if not workload.volume:
        raise _Impossible(f"IOChaos needs the mount point of a volume: set workloads.{workload.name}.volume")
    return {"volumePath": workload.volume, "path": f"{workload.volume}/**/*", "percent": 100,
            "duration": _duration(fault)}  # fmt: skip


def _disk_full(fault: FaultSpec, workload: WorkloadSpec) -> _Spec:
    methods = ["write", "mkdir", "create", "fallocate"]
    return "IOChaos", {**_io(fault, workload), "action": "fault", "errno": _ENOSPC, "methods": methods}


def _network(fault: FaultSpec, _workload: WorkloadSpec) -> _Spec:
    spec: dict[str, Any] = {"duration": _duration(fault), "direction": "to", "delay": {"latency": f"{fault.delay}ms"}}
    if fault.loss:
        return "NetworkChaos", {**spec, "action": "netem", "loss": {"loss": str(fault.loss)}}
    return "NetworkChaos", {**spec, "action": "delay"}


def _clock(fault: FaultSpec, _workload: WorkloadSpec) -> _Spec:
    clocks = ["CLOCK_REALTIME", "CLOCK_MONOTONIC"]
    return "TimeChaos", {"duration": _duration(fault), "timeOffset": f"{fault.step}s", "clockIds": clocks}


def _missing(_fault: FaultSpec, _workload: WorkloadSpec) -> _Spec:
    raise _Impossible("no chaos object takes programs out of a container: deploy an image without them")


_SPECS = {
    "memory": _stress, "cpu": _stress, "atomics": _stress, "syscall": _calls, "slow": _calls,
    "disk-full": _disk_full, "kill": _kill, "missing-child": _missing, "clock": _clock, "network": _network,
}  # fmt: skip
