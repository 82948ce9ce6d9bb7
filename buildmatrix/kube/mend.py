"""Mends plain manifests where they stand, and kustomizations by image entries and patches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from buildmatrix.deployspec import Pool
from buildmatrix.kube import constraint, yamlwrite
from buildmatrix.kube.draft import DIGEST, MENDABLE, PLACEMENT, Draft, kustomization_file
from buildmatrix.kube.objects import Path as Place
from buildmatrix.kube.rules import Workload
from buildmatrix.kube.yamledit import Editor


def manifests(draft: Draft) -> None:
    """Write constraint and digest into every pod of a file that lacks them. Raises FixRefused."""
    broken = _broken(draft)

    def change(editor: Editor) -> None:
        for workload in broken:
            _pod(editor, workload, draft.job.pools)

    draft.edit(Path(draft.source.path.name), change)


def _broken(draft: Draft) -> list[Workload]:
    return [item for item in draft.check().workloads if any(one.rule in MENDABLE for one in item.findings)]


def _rules(workload: Workload) -> set[str]:
    return {one.rule for one in workload.findings}


def _pod(editor: Editor, workload: Workload, pools: tuple[Pool, ...]) -> None:
    item = workload.pod.item
    if _rules(workload) & PLACEMENT:
        place = (*item.path, *workload.pod.path)
        _bind(editor, place, workload, pools, item.document.number)
    if _rules(workload) & DIGEST:
        for use in workload.uses:
            text = constraint.image(use.image, use.index.digest)
            editor.set((*item.path, *use.path, "image"), text, item.document.number)


def _bind(editor: Editor, place: Place, workload: Workload, pools: tuple[Pool, ...], number: int = 0) -> None:
    names = workload.architectures
    constraint.selector(editor, (*place, "nodeSelector"), names, number)
    if _rules(workload) & {"BM923", "BM924"}:
        constraint.affinity(editor, (*place, "affinity"), names, number)
    constraint.tolerations(editor, (*place, "tolerations"), pools, bound(workload), number)


def bound(workload: Workload) -> tuple[str, ...]:
    """The architectures that a workload will be bound to: those it chose among the good ones, else all of them."""
    names = workload.architectures
    return tuple(name for name in names if name in workload.allowed) or names


def kustomization(draft: Draft) -> None:
    """Set the images' digests, and patch pods that are not bound. Raises FixRefused."""
    file = kustomization_file(draft.folder)
    if file is None:
        return
    broken = _broken(draft)
    digests = {use.index.repository: use for item in broken if _rules(item) & DIGEST for use in item.uses}

    def change(editor: Editor) -> None:
        for use in digests.values():
            _image(editor, use.image.partition("@")[0].removesuffix(f":{use.parsed.tag}"), use.index.digest)
        for workload in broken:
            if _rules(workload) & PLACEMENT:
                editor.add(("patches",), _patch(workload, draft.job.pools))

    draft.edit(file.relative_to(draft.folder), change)


def _image(editor: Editor, name: str, digest: str) -> None:
    value = editor.value()
    entries = value.get("images") if isinstance(value, dict) else None
    for index, entry in enumerate(entries if isinstance(entries, list) else ()):
        if isinstance(entry, dict) and name in (entry.get("newName"), entry.get("name")):
            editor.set(("images", index, "digest"), digest)
            return
    editor.add(("images",), {"name": name, "digest": digest})


def _patch(workload: Workload, pools: tuple[Pool, ...]) -> dict[str, Any]:
    """A JSON patch that gives a pod's affinity and tolerations whole: it works on custom kinds too."""
    spec = workload.pod.spec
    scratch = Editor("\n".join(yamlwrite.block({"spec": dict(spec)})) + "\n", workload.pod.label)
    _bind(scratch, ("spec",), workload, pools)
    made = scratch.value()["spec"]
    steps = [
        {"op": "add", "path": _pointer((*workload.pod.path, key)), "value": made[key]}
        for key in ("nodeSelector", "affinity", "tolerations")
        if made.get(key) != spec.get(key)
    ]
    return {"target": _target(workload), "patch": "\n".join(yamlwrite.block(steps)) + "\n"}


def _target(workload: Workload) -> Mapping[str, str]:
    """What the patch is for. Patches come before `namespace`, so that a namespace would match nothing."""
    item = workload.pod.item
    named = {"group": item.group, "kind": item.kind, "name": item.name}
    return {key: value for key, value in named.items() if value}


def _pointer(path: Sequence[str | int]) -> str:
    """RFC 6901."""
    return "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in path)
