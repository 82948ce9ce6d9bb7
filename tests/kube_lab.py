"""Manifests and indexes for tests of charts, manifests and roll-outs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from buildmatrix.deployspec import Pool, taint
from buildmatrix.finding import Finding
from buildmatrix.kube import objects, rules, yamlread, yamlwrite
from buildmatrix.kube.indexes import Index
from buildmatrix.kube.objects import Item
from buildmatrix.kube.rules import Other, Workload
from buildmatrix.oci.layout import Layout
from tests import oci_images
from tests.image_lab import elf

REPOSITORY = "registry.example.org/team/app"
DIGEST = "sha256:" + "a" * 64
ARM64_CHILD = "sha256:" + "c" * 64
BOUND: dict[str, Any] = {
    "nodeAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": {
            "nodeSelectorTerms": [
                {"matchExpressions": [{"key": "kubernetes.io/arch", "operator": "In", "values": ["amd64", "arm64"]}]}
            ]
        }
    }
}


def index(
    repository: str = REPOSITORY, digest: str = DIGEST, architectures: tuple[str, ...] = ("amd64", "arm64")
) -> Index:
    return Index(
        repository=repository,
        digest=digest,
        architectures=architectures,
        children={"sha256:" + "b" * 64: "linux/amd64", ARM64_CHILD: "linux/arm64"},
    )


def pool(name: str, arch: str, *taints: str, weight: int = 1, **labels: str) -> Pool:
    found = tuple(one for text in taints if (one := taint(text)))
    assert len(found) == len(taints)
    return Pool(name=name, arch=arch, taints=found, weight=weight, labels=tuple(labels.items()))


def pod(image: str = f"{REPOSITORY}@{DIGEST}", **spec: Any) -> dict[str, Any]:
    """A pod's specification that passes."""
    return {"affinity": BOUND, "containers": [{"name": "app", "image": image}], **spec}


def deployment(spec: dict[str, Any] | None = None, name: str = "web", replicas: int | None = 4) -> dict[str, Any]:
    labels = {"app": name}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            **({"replicas": replicas} if replicas is not None else {}),
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": spec if spec is not None else pod()},
        },
    }


def text(*values: dict[str, Any]) -> str:
    return yamlwrite.stream(values)


def items(*values: dict[str, Any]) -> list[Item]:
    found = yamlread.documents(text(*values), "test.yaml")
    return [item for document in found for item in objects.items(document, "test.yaml")]


def examine(
    *values: dict[str, Any], pools: tuple[Pool, ...] = (), indexes: tuple[Index, ...] = (index(),)
) -> tuple[list[Workload], list[Other], list[Finding]]:
    """What the rules say about objects: workloads, containers of others, and every finding."""
    workloads: list[Workload] = []
    others: list[Other] = []
    found: list[Finding] = []
    for item in items(*values):
        own, strangers, mentions = rules.examine(item, {one.repository: one for one in indexes}, pools)
        workloads += own
        others += strangers
        found += [*(one for workload in own for one in workload.findings), *mentions]
    return workloads, others, found


def codes(*values: dict[str, Any], **more: Any) -> list[str]:
    return [finding.rule for finding in examine(*values, **more)[2]]


def layout(folder: Path, *, platforms: tuple[str, ...] = ("amd64", "arm64"), wrong: str = "") -> tuple[Path, str]:
    """An OCI layout with an index of real, tiny programs, and the index' digest; `wrong` gets another one's program."""
    made = Layout(folder).create()
    entries = [
        oci_images.image(made, f"linux/{name}", files={"app": elf(f"static-{'amd64' if name == wrong else name}")})
        for name in platforms
    ]
    return folder, oci_images.index(made, entries, tag="v1").digest
