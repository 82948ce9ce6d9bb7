"""Kubernetes objects in what was rendered, and the pods in them. Pure; whatever is malformed is passed over here.

Pods stand in a known place of the built-in kinds. In any other kind, such as Argo's Rollout, each mapping with a list
`containers` is one: that is what every operator's pod template looks like.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from buildmatrix.errors import ManifestInvalid
from buildmatrix.kube.yamlread import Document

Path = tuple[str | int, ...]

_TEMPLATE: Path = ("spec", "template", "spec")
POD_PLACES: Mapping[tuple[str, str], Path] = {
    ("", "Pod"): ("spec",),
    ("", "PodTemplate"): ("template", "spec"),
    ("", "ReplicationController"): _TEMPLATE,
    ("apps", "Deployment"): _TEMPLATE,
    ("apps", "StatefulSet"): _TEMPLATE,
    ("apps", "DaemonSet"): _TEMPLATE,
    ("apps", "ReplicaSet"): _TEMPLATE,
    ("batch", "Job"): _TEMPLATE,
    ("batch", "CronJob"): ("spec", "jobTemplate", "spec", "template", "spec"),
}
"""Where the pod is, by group and kind (k8s.io/api)."""

CONTAINERS = ("initContainers", "containers", "ephemeralContainers")
MAX_LISTS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One object. `source` names what it was rendered from, `template` the chart's file, `path` its place there."""

    source: str
    value: dict[str, Any]
    document: Document
    path: Path = ()
    template: str = ""

    @property
    def api_version(self) -> str:
        """`apiVersion`, or nothing."""
        return _text(self.value.get("apiVersion"))

    @property
    def group(self) -> str:
        """The API group; nothing for the core."""
        return self.api_version.rpartition("/")[0]

    @property
    def kind(self) -> str:
        """`kind`, or nothing."""
        return _text(self.value.get("kind"))

    @property
    def metadata(self) -> dict[str, Any]:
        """`metadata`, or an empty mapping."""
        found = self.value.get("metadata")
        return found if isinstance(found, dict) else {}

    @property
    def name(self) -> str:
        """Its name, or what it is generated from."""
        return _text(self.metadata.get("name")) or _text(self.metadata.get("generateName"))

    @property
    def namespace(self) -> str:
        """Its namespace, or nothing."""
        return _text(self.metadata.get("namespace"))

    @property
    def label(self) -> str:
        """What findings call it."""
        where = f" ({self.template})" if self.template else ""
        return f"{self.source}{where}: {self.kind or 'object'}/{self.name or '?'}"

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What makes it the same object in a cluster, whatever the version of its API."""
        return (self.group, self.kind, self.namespace, self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """The specification of pods inside an object, with its place there."""

    item: Item
    path: Path
    spec: dict[str, Any]

    @property
    def label(self) -> str:
        """What findings call it: the object, and the place where that is no built-in one."""
        known = POD_PLACES.get((self.item.group, self.item.kind)) == self.path
        return self.item.label if known else f"{self.item.label} {'.'.join(map(str, self.path))}"

    def containers(self) -> Iterator[tuple[Path, dict[str, Any]]]:
        """Each container of any kind with its place in the object."""
        for kind in CONTAINERS:
            found = self.spec.get(kind)
            for index, one in enumerate(found if isinstance(found, list) else ()):
                if isinstance(one, dict):
                    yield (*self.path, kind, index), one


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def items(document: Document, source: str, template: str = "") -> Iterator[Item]:
    """The objects of a document; lists are taken apart. Raises ManifestInvalid for what is no object."""
    yield from _items(document.value, document, source, template, ())


def _items(value: Any, document: Document, source: str, template: str, path: Path) -> Iterator[Item]:
    if not isinstance(value, dict) or len(path) > 2 * MAX_LISTS:
        got = type(value).__name__ if not isinstance(value, dict) else "lists in lists"
        raise ManifestInvalid(
            f"{source}:{document.line}: got {got}, expected a Kubernetes object",
            why="every document needs apiVersion and kind",
            fix="remove it, or leave files that are no manifests out of the folder",
        )
    listed = value.get("items")
    if isinstance(listed, list) and _text(value.get("kind")).endswith("List"):
        for index, one in enumerate(listed):
            yield from _items(one, document, source, template, (*path, "items", index))
        return
    yield Item(source=source, value=value, document=document, path=path, template=template)


def pods(item: Item) -> tuple[Pod, ...]:
    """Every pod in an object."""
    place = POD_PLACES.get((item.group, item.kind))
    if place is None:
        return tuple(_pods(item, item.value, ()))
    found = at(item.value, place)
    return (Pod(item=item, path=place, spec=found),) if isinstance(found, dict) else ()


def _pods(item: Item, value: Any, path: Path) -> Iterator[Pod]:
    if isinstance(value, dict):
        if isinstance(value.get("containers"), list):
            yield Pod(item=item, path=path, spec=value)
            return
        for key, inner in value.items():
            yield from _pods(item, inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _pods(item, inner, (*path, index))


def at(value: Any, path: Path) -> Any:
    """What lies at a place, or None."""
    for step in path:
        if isinstance(value, dict) and isinstance(step, str):
            value = value.get(step)
        elif isinstance(value, list) and isinstance(step, int) and step < len(value):
            value = value[step]
        else:
            return None
    return value


def strings(value: Any, path: Path = ()) -> Iterator[tuple[Path, str]]:
    """Every text in a value with its place."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from strings(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from strings(inner, (*path, index))
