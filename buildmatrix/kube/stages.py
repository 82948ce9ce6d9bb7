"""A roll-out as stages of plain manifests, one node pool after the other: a canary first, then all of it. Pure.

Each pool has a Deployment of its own, bound to the pool by nodeSelector and tolerations, so that a fault which shows on
one architecture only stops there. Before the next stage a gate must hold; each stage knows the commands that go back.
"""

from __future__ import annotations

import copy
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from buildmatrix.deployspec import ARCH_LABEL, Pool
from buildmatrix.errors import RolloutRefused
from buildmatrix.finding import Finding, Severity
from buildmatrix.kube import constraint, placement
from buildmatrix.kube.objects import Item, at
from buildmatrix.kube.rules import Workload

POOL_LABEL = "buildmatrix-pool"
TRACK_LABEL = "buildmatrix-track"
HOOK = "helm.sh/hook"
ROLLOUT_API = "argoproj.io/v1alpha1"
MAX_NAME = 63
_WAIT = 600

Key = tuple[str, str, str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """How it is staged: `canary` in percent of a pool's replicas, `soak` in seconds, by Argo's resource or without."""

    canary: int = 10
    soak: int = 300
    argo: bool = False
    namespace: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One stage: what is applied, the commands that do it and hold the gate, and those that go back.

    Commands have {file} for the stage's manifests, {back} for those that were there before. `restored` are the latter.
    """

    name: str
    objects: tuple[dict[str, Any], ...] = ()
    apply: tuple[str, ...] = ("kubectl apply -f {file}",)
    gate: tuple[str, ...] = ()
    back: tuple[str, ...] = ()
    restored: tuple[dict[str, Any], ...] = ()


@dataclass(slots=True)
class _State:
    """What is in the cluster when a stage begins."""

    objects: dict[Key, dict[str, Any]] = field(default_factory=dict)

    def stage(self, stage: Stage) -> Stage:
        """The stage with its way back; afterwards its objects are there."""
        known = [self.objects[key(one)] for one in stage.objects if key(one) in self.objects]
        new = [one for one in stage.objects if key(one) not in self.objects]
        back = [*(["kubectl apply -f {back}"] if known else []), *(f"kubectl delete {_target(one)}" for one in new)]
        for one in stage.objects:
            self.objects[key(one)] = one
        return Stage(
            name=stage.name,
            objects=stage.objects,
            apply=stage.apply,
            gate=stage.gate,
            back=(*stage.back, *back),
            restored=tuple(known),
        )


def plan(
    items: Sequence[Item], workloads: Sequence[Workload], pools: tuple[Pool, ...], style: Style, present: Sequence[Item]
) -> tuple[tuple[Stage, ...], tuple[Finding, ...]]:
    """The stages in their order, and what is not staged by architecture. Raises RolloutRefused."""
    staged = {workload.pod.item.key: workload for workload in workloads if _stageable(workload.pod.item)}
    if not staged:
        raise RolloutRefused("got no Deployment that uses an image of ours, expected one", fix="deploy it by kubectl")
    _unscaled(items, staged)
    state = _State({key(value): value for value in deployed(present, style)})
    own = {workload.pod.item.key for workload in workloads}
    base = [item for item in items if item.key not in own and not _hook(item)]
    rest = [item for item in items if item.key in own and item.key not in staged and not _hook(item)]
    stages = [Stage(name="base", objects=tuple(_here(item.value, style) for item in base))] if base else []
    stages = [state.stage(stage) for stage in stages]
    for pool in _pools(pools, tuple(staged.values())):
        stages += [state.stage(stage) for stage in _pool_stages(pool, pools, tuple(staged.values()), style)]
    if rest:
        stages.append(state.stage(_rest(rest, style)))
    stages += _retired(tuple(staged.values()), style, state)
    return tuple(stages), tuple(_told(items, rest))


def deployed(present: Sequence[Item], style: Style) -> tuple[dict[str, Any], ...]:
    """What is there already, in the form that stages have."""
    return tuple(_here(item.value, style) for item in present)


def key(value: Mapping[str, Any]) -> Key:
    """What makes it the same object in a cluster."""
    metadata = value.get("metadata") or {}
    group = str(value.get("apiVersion", "")).rpartition("/")[0]
    return (group, str(value.get("kind")), str(metadata.get("namespace", "")), str(metadata.get("name", "")))


def cleaned(value: Mapping[str, Any]) -> dict[str, Any]:
    """An object without what the API server adds to it."""
    made = {name: copy.deepcopy(inner) for name, inner in value.items() if name != "status"}
    metadata = made.get("metadata")
    if isinstance(metadata, dict):
        for name in ("uid", "resourceVersion", "generation", "creationTimestamp", "managedFields", "selfLink"):
            metadata.pop(name, None)
        notes = metadata.get("annotations")
        if isinstance(notes, dict):
            for name in ("kubectl.kubernetes.io/last-applied-configuration", "deployment.kubernetes.io/revision"):
                notes.pop(name, None)
            if not notes:
                del metadata["annotations"]
    return made


def _stageable(item: Item) -> bool:
    return (item.group, item.kind) == ("apps", "Deployment") and not _hook(item)


def _hook(item: Item) -> bool:
    notes = item.metadata.get("annotations")
    return isinstance(notes, dict) and HOOK in notes


def _unscaled(items: Sequence[Item], staged: Mapping[Any, Workload]) -> None:
    """An autoscaler names one Deployment; after the split there would be none of that name to scale."""
    names = {workload.pod.item.name for workload in staged.values()}
    for item in items:
        target = at(item.value, ("spec", "scaleTargetRef", "name"))
        if isinstance(target, str) and target in names:
            raise RolloutRefused(
                f"{item.label}: got an autoscaler of {target}, expected none: each pool has a Deployment of its own",
                why="it would scale a Deployment that the roll-out retires",
                fix=f"scale {target}-POOL instead, one autoscaler for each pool",
            )


def _pools(pools: tuple[Pool, ...], workloads: Sequence[Workload]) -> tuple[Pool, ...]:
    """The declared pools of the workloads' architectures, else one for each architecture."""
    wanted = dict.fromkeys(name for workload in workloads for name in _names(workload))
    if not pools:
        return tuple(Pool(name=name, arch=name) for name in wanted)
    lacking = [name for name in wanted if not any(pool.arch == name for pool in pools)]
    if lacking:
        raise RolloutRefused(
            f"got no pool of {', '.join(lacking)}, expected one for every architecture that is deployed",
            fix="declare [pools.NAME] in matrix.toml, or leave the architecture out of archConstraints",
        )
    return tuple(pool for pool in pools if pool.arch in wanted)


def _names(workload: Workload) -> tuple[str, ...]:
    return tuple(name for name in workload.architectures if name in workload.allowed)


def _own_pools(workload: Workload, pools: tuple[Pool, ...]) -> tuple[Pool, ...]:
    """The pools that a workload may go to."""
    every = _pools(pools, (workload,))
    return tuple(pool for pool in every if placement.admits(workload.pod.spec, pool.known))


def _pool_stages(pool: Pool, pools: tuple[Pool, ...], workloads: Sequence[Workload], style: Style) -> Iterator[Stage]:
    own = [(workload, share(workload, pool, pools)) for workload in workloads if pool in _own_pools(workload, pools)]
    if not own:
        return
    if style.argo:
        yield from _argo_stages(pool, own, style)
        return
    canaries = [
        _deployment(workload, pool, "canary", canary_replicas(count, style.canary), style) for workload, count in own
    ]
    yield Stage(name=f"{pool.name}-canary", objects=tuple(canaries), gate=_gate(canaries, style))
    full = [_deployment(workload, pool, "stable", count, style) for workload, count in own]
    ended = [_scaled(one, 0) for one in canaries]
    yield Stage(name=f"{pool.name}-all", objects=(*full, *ended), gate=_gate(full, style, soak=False))


def share(workload: Workload, pool: Pool, pools: tuple[Pool, ...]) -> int:
    """A pool's replicas: by weight, the largest remainders first, and at least one."""
    total, own = _replicas(workload), _own_pools(workload, pools)
    weights = sum(one.weight for one in own)
    exact = {one.name: total * one.weight / weights for one in own}
    counts = {name: int(value) for name, value in exact.items()}
    order = sorted(exact, key=lambda name: counts[name] - exact[name])
    for name in order[: total - sum(counts.values())]:
        counts[name] += 1
    return max(1, counts[pool.name])


def canary_replicas(count: int, percent: int) -> int:
    """A canary's replicas: the share rounded up, so that there is one at least."""
    return max(1, -(-count * percent // 100))


def _replicas(workload: Workload) -> int:
    found = _count(workload.pod.item.value)
    if found < 1:
        raise RolloutRefused(
            f"{workload.pod.label}: got {found} replicas, expected at least one", fix="say how many shall serve"
        )
    return found


def _count(value: Mapping[str, Any]) -> int:
    found = at(value, ("spec", "replicas"))
    return int(found) if isinstance(found, (int, float)) else 1


def _deployment(workload: Workload, pool: Pool, track: str, replicas: int, style: Style) -> dict[str, Any]:
    """The workload's Deployment for one pool; stable and canary differ in name, label and replicas alone."""
    made = _here(workload.pod.item.value, style)
    suffix = f"-{pool.name}" + ("-canary" if track == "canary" else "")
    name = f"{workload.pod.item.name}{suffix}"
    if len(name) > MAX_NAME:
        raise RolloutRefused(
            f"{name}: got {len(name)} characters, expected at most {MAX_NAME}", fix="shorten the names"
        )
    made["metadata"]["name"] = name
    labels = {POOL_LABEL: pool.name, TRACK_LABEL: track}
    spec = made["spec"]
    spec["replicas"] = replicas
    for place in (spec["selector"].setdefault("matchLabels", {}), _labels(spec["template"]), _labels(made)):
        place.update(labels)
    _bind(spec["template"]["spec"], pool)
    return made


def _labels(value: dict[str, Any]) -> dict[str, Any]:
    metadata = value.setdefault("metadata", {})
    metadata["labels"] = metadata.get("labels") or {}
    found: dict[str, Any] = metadata["labels"]
    return found


def _bind(pod: dict[str, Any], pool: Pool) -> None:
    pod["nodeSelector"] = {**(pod.get("nodeSelector") or {}), ARCH_LABEL: pool.arch, **dict(pool.labels)}
    needed = constraint.missing(pod.get("tolerations"), (pool,), (pool.arch,))
    if needed:
        pod["tolerations"] = [*(pod.get("tolerations") or ()), *needed]


def _here(value: Mapping[str, Any], style: Style) -> dict[str, Any]:
    """A copy; the namespace of the release is written into what has none, but not where kinds have none."""
    made = cleaned(value)
    if style.namespace and made.get("kind") not in _CLUSTER_WIDE:
        made.setdefault("metadata", {}).setdefault("namespace", style.namespace)
    return made


_CLUSTER_WIDE = frozenset((
    "Namespace", "Node", "PersistentVolume", "ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition",
    "StorageClass", "PriorityClass", "IngressClass", "RuntimeClass", "APIService", "CSIDriver", "CSINode",
    "MutatingWebhookConfiguration", "ValidatingWebhookConfiguration", "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding", "VolumeAttachment",
))  # fmt: skip
"""Kinds without a namespace (kubectl api-resources --namespaced=false)."""


def _scaled(value: Mapping[str, Any], replicas: int) -> dict[str, Any]:
    made = copy.deepcopy(dict(value))
    made["spec"]["replicas"] = replicas
    return made


def _target(value: Mapping[str, Any]) -> str:
    group, kind, namespace, name = key(value)
    kind = f"{kind.lower()}.{group}" if "." in group else kind.lower()
    return f"{kind}/{shlex.quote(name)}{_space(namespace)}"


def _space(namespace: str) -> str:
    return f" -n {shlex.quote(namespace)}" if namespace else ""


def _gate(deployments: Sequence[Mapping[str, Any]], style: Style, *, soak: bool = True) -> tuple[str, ...]:
    """All replicas ready; for a canary also no restart of any container while it soaks."""
    commands = [f"kubectl rollout status {_target(one)} --timeout={_WAIT}s" for one in deployments]
    if soak:
        commands.append(f"sleep {style.soak}")
        commands += [_unrestarted(one) for one in deployments]
        commands += [f"kubectl rollout status {_target(one)} --timeout=1s" for one in deployments]
    return tuple(commands)


def _unrestarted(value: Mapping[str, Any]) -> str:
    labels = at(value, ("spec", "selector", "matchLabels"))
    words = ",".join(f"{name}={text}" for name, text in sorted(labels.items()))
    path = "{.items[*].status.containerStatuses[?(@.restartCount>0)].name}"
    return (
        f'test -z "$(kubectl get pods{_space(key(value)[2])} -l {shlex.quote(words)} -o jsonpath={shlex.quote(path)})"'
    )


def _argo_stages(pool: Pool, own: Sequence[tuple[Workload, int]], style: Style) -> Iterator[Stage]:
    """The canary is Argo's: it stops at a pause, which the next stage ends."""
    made = []
    for workload, count in own:
        value = _deployment(workload, pool, "stable", count, style)
        spec = {name: inner for name, inner in value["spec"].items() if name != "strategy"}
        steps: list[dict[str, Any]] = [
            {"setWeight": style.canary},
            {"pause": {"duration": f"{style.soak}s"}},
            {"pause": {}},
        ]
        spec["strategy"] = {"canary": {"steps": steps}}
        made.append({**value, "apiVersion": ROLLOUT_API, "kind": "Rollout", "spec": spec})
    named = [f"{shlex.quote(one['metadata']['name'])}{_space(key(one)[2])}" for one in made]
    yield Stage(
        name=f"{pool.name}-canary",
        objects=tuple(made),
        gate=tuple(f"kubectl argo rollouts status {name} --timeout {_WAIT + style.soak}s" for name in named),
        back=tuple(f"kubectl argo rollouts abort {name}" for name in named),
    )
    yield Stage(
        name=f"{pool.name}-all",
        apply=tuple(f"kubectl argo rollouts promote {name}" for name in named),
        gate=tuple(f"kubectl argo rollouts status {name} --timeout {_WAIT}s" for name in named),
        back=tuple(f"kubectl argo rollouts undo {name}" for name in named),
    )


def _rest(items: Sequence[Item], style: Style) -> Stage:
    values = tuple(_here(item.value, style) for item in items)
    watched = [one for one in values if one.get("kind") in ("DaemonSet", "StatefulSet")]
    return Stage(name="rest", objects=values, gate=_gate(watched, style, soak=False))


def _retired(workloads: Sequence[Workload], style: Style, state: _State) -> Iterator[Stage]:
    """What served before it was split by pools ends last."""
    old = [
        found for workload in workloads if (found := state.objects.get(key(_here(workload.pod.item.value, style))))
    ]  # fmt: skip
    old = [one for one in old if _count(one)]
    if old:
        yield Stage(
            name="retire",
            apply=tuple(f"kubectl scale {_target(one)} --replicas=0" for one in old),
            back=tuple(f"kubectl scale {_target(one)} --replicas={_count(one)}" for one in old),
        )


def _told(items: Sequence[Item], rest: Sequence[Item]) -> Iterator[Finding]:
    for item in (*rest, *(one for one in items if _hook(one))):
        hook = _hook(item)
        yield Finding(
            rule="BM934",
            cell=item.label,
            what="is a Helm hook: it was left out"
            if hook
            else f"is a {item.kind}: it is rolled out in one stage, last",
            why="Helm runs hooks, and kubectl would apply them like anything else"
            if hook
            else "only Deployments can be split by pools without losing what they are",
            severity=Severity.WARNING,
        )
