"""What manifests must say about our images: where their pods may go, and which bytes they are. Pure.

A pod that uses an image must be bound, by what the scheduler really obeys, to architectures that the verified index
has; it must tolerate the taints of a pool of each of them; and it must name the index by its digest.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from buildmatrix import arch
from buildmatrix.deployspec import ARCH_LABEL, Pool
from buildmatrix.errors import ReferenceInvalid
from buildmatrix.finding import Finding, Severity
from buildmatrix.kube import placement
from buildmatrix.kube.indexes import Index
from buildmatrix.kube.objects import Item, Path, Pod, pods, strings
from buildmatrix.oci import reference
from buildmatrix.oci.reference import Reference

CODES = {
    "BM921": "helm lint has something to say about a chart",
    "BM922": "object that Kubernetes' schema does not allow",
    "BM923": "pod that is not bound to architectures",
    "BM924": "pod that may go to an architecture which its image lacks",
    "BM925": "pod that no node of any architecture can take",
    "BM926": "image that is not named by its digest",
    "BM927": "image by another digest than that of the verified index",
    "BM928": "pod that does not tolerate the taints of an architecture's nodes",
    "BM929": "values.yaml whose archConstraints are missing, or not what the index has",
    "BM930": "image that is mentioned where no pod is",
    "BM931": "custom resource that has no schema here",
    "BM932": "nothing in a chart or folder uses an image of ours",
    "BM933": "image index that was not verified",
    "BM934": "object that a roll-out does not stage by architecture",
}
"""Findings about charts, manifests and roll-outs, with their meaning."""

WARNINGS = frozenset(("BM930", "BM931", "BM934"))

CONSTRAINTS = "archConstraints"


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """One container that uses an image of ours; `image` is its text, `parsed` what it means."""

    path: Path
    container: str
    image: str
    parsed: Reference
    index: Index


@dataclass(frozen=True, slots=True, kw_only=True)
class Other:
    """One container with somebody else's image: named, and left alone."""

    pod: str
    container: str
    image: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """One pod that uses images of ours, and everything that is wrong with it."""

    pod: Pod
    uses: tuple[Use, ...]
    allowed: frozenset[str]
    findings: tuple[Finding, ...]

    @property
    def architectures(self) -> tuple[str, ...]:
        """Those that every image of ours in it has, in the order of the first one's index."""
        return common([use.index for use in self.uses])


def common(indexes: Sequence[Index]) -> tuple[str, ...]:
    """The architectures that all indexes have, in the order of the first."""
    first = indexes[0].architectures if indexes else ()
    return tuple(name for name in first if all(name in other.architectures for other in indexes))


def examine(
    item: Item, indexes: Mapping[str, Index], pools: tuple[Pool, ...]
) -> tuple[tuple[Workload, ...], tuple[Other, ...], tuple[Finding, ...]]:
    """The workloads in an object, the containers of others, and mentions of our images outside of pods.

    `indexes` are the verified ones by repository.
    """
    workloads, others, seen = [], [], set()
    for pod in pods(item):
        uses, strangers = _containers(pod, indexes)
        seen |= {(*path, "image") for path, _ in pod.containers()}
        others += strangers
        if uses:
            found = (
                *_bound(pod, uses),
                *_tainted(pod, uses, pools),
                *(one for use in uses for one in _digest(pod, use)),
            )
            allowed = placement.architectures(pod.spec)
            workloads.append(Workload(pod=pod, uses=tuple(uses), allowed=allowed, findings=found))
    return tuple(workloads), tuple(others), tuple(_mentions(item, seen, indexes))


def _containers(pod: Pod, indexes: Mapping[str, Index]) -> tuple[list[Use], list[Other]]:
    uses, others = [], []
    for path, container in pod.containers():
        image, name = container.get("image"), str(container.get("name") or path[-1])
        text = image if isinstance(image, str) else ""
        parsed = _parse(text)
        index = indexes.get(parsed.name) if parsed is not None else None
        if index is not None and parsed is not None:
            uses.append(Use(path=path, container=name, image=text, parsed=parsed, index=index))
        else:
            others.append(Other(pod=pod.label, container=name, image=text or "no image"))
    return uses, others


def _parse(text: str) -> Reference | None:
    try:
        return reference.parse(text)
    except ReferenceInvalid:
        return None


def _bound(pod: Pod, uses: Sequence[Use]) -> Iterator[Finding]:
    allowed = placement.architectures(pod.spec)
    have = common([use.index for use in uses])
    fix = "`buildmatrix helm fix` writes it: a required node affinity on kubernetes.io/arch"
    if not allowed:
        yield Finding(
            rule="BM925",
            cell=pod.label,
            what="got a nodeSelector and an affinity that no Linux node can meet together",
            evidence=_said(pod),
            why="its pods stay pending for ever",
            fix="let both allow one of " + ", ".join(have),
        )
    elif not have:
        yield Finding(
            rule="BM924", cell=pod.label, what="its images have no architecture in common",
            evidence="; ".join(f"{use.container}: {', '.join(use.index.architectures)}" for use in uses),
            fix="build them for the same architectures, or split the pod",
        )  # fmt: skip
    elif allowed == frozenset(placement.EVERY):
        yield Finding(
            rule="BM923",
            cell=pod.label,
            what=f"may go to any architecture (got no constraint, expected {_names(have)})",
            why=_preferred(pod)
            or "a node of another architecture would fail with «exec format error», or find no image",
            fix=fix,
        )
    elif lacking := sorted(allowed - set(have)):
        yield Finding(
            rule="BM924",
            cell=pod.label,
            what=f"may go to {_names(lacking)}, expected nothing but {_names(have)}",
            evidence=_said(pod),
            why="the verified index has no image for it",
            fix=fix,
        )


def _names(names: Sequence[str]) -> str:
    if placement.OTHER in names and len(names) > 4:
        return "almost any architecture"
    return ", ".join(names)


def _said(pod: Pod) -> str:
    parts = [f"nodeSelector {pod.spec['nodeSelector']}"] if pod.spec.get("nodeSelector") else []
    for item in placement.required_expressions(pod.spec):
        parts.append(f"{item.get('key')} {item.get('operator')} {item.get('values') or ''}".rstrip())  # noqa: PERF401
    return "; ".join(parts)


def _preferred(pod: Pod) -> str:
    text = str(pod.spec.get("affinity") or "")
    if placement.mentions(pod.spec, placement.LEGACY_ARCH):
        return f"{placement.LEGACY_ARCH} is deprecated, and newer nodes do not have it"
    preferred = "preferredDuringSchedulingIgnoredDuringExecution" in text and ARCH_LABEL in text
    return "preferred affinity binds nothing: the scheduler may pass over it" if preferred else ""


def _tainted(pod: Pod, uses: Sequence[Use], pools: tuple[Pool, ...]) -> Iterator[Finding]:
    """Of each architecture that it is bound to, one pool that its labels admit must let it in."""
    allowed, have = placement.architectures(pod.spec), common([use.index for use in uses])
    for goarch in have:
        own = [pool for pool in pools if pool.arch == goarch]
        reachable = [pool for pool in own if placement.admits(pod.spec, pool.known)]
        if goarch not in allowed or not own:
            continue
        refused = {pool.name: placement.untolerated(pod.spec, pool.taints) for pool in reachable}
        if all(refused.values()):
            kept = "; ".join(f"{name}: {', '.join(map(str, taints))}" for name, taints in refused.items())
            yield Finding(
                rule="BM928",
                cell=pod.label,
                what=f"cannot run on any pool of {goarch} (got no toleration of its taints)"
                if reachable
                else f"cannot run on any pool of {goarch} (its labels match none)",
                evidence=kept or f"pools {', '.join(pool.name for pool in own)}",
                why="matrix.toml says that these nodes repel pods without a toleration",
                fix="`buildmatrix helm fix` writes the tolerations",
            )


def _digest(pod: Pod, use: Use) -> Iterator[Finding]:
    index, got = use.index, use.parsed.digest
    if not got:
        yield Finding(
            rule="BM926",
            cell=pod.label,
            what=f"container {use.container}: got {use.image}, expected {index.repository}@{index.digest}",
            why="a tag can move to bytes that nobody verified",
            fix="`buildmatrix helm fix` writes the digest",
        )
    elif got != index.digest:
        child = index.children.get(got)
        yield Finding(
            rule="BM927",
            cell=pod.label,
            what=f"container {use.container}: got {got}, expected {index.digest}",
            why=f"it is the index's image for {child} alone, so that nodes of other architectures cannot run it"
            if child
            else "it is not the index that was verified",
            fix="`buildmatrix helm fix` writes the digest",
        )


def _mentions(item: Item, seen: set[Path], indexes: Mapping[str, Index]) -> Iterator[Finding]:
    for path, text in strings(item.value):
        if path in seen or "/" not in text or len(text) > 512:
            continue
        parsed = _parse(text)
        if parsed is not None and parsed.name in indexes and (parsed.tag or parsed.digest or path[-1:] == ("image",)):
            yield Finding(
                rule="BM930", cell=item.label, what=f"{'.'.join(map(str, path))} names {text}",
                why="whoever starts a pod from it decides where it goes: it was not checked",
                fix="make sure that it is bound to " + ", ".join(indexes[parsed.name].architectures),
                severity=Severity.WARNING,
            )  # fmt: skip


def values(name: str, value: object, have: tuple[str, ...]) -> Iterator[Finding]:
    """What is wrong with a chart's archConstraints: `value` is what values.yaml has, `have` what images have."""
    said = value.get(CONSTRAINTS) if isinstance(value, dict) else None
    cell = f"{name}: values.yaml"
    fix = "`buildmatrix helm fix` writes archConstraints: [" + ", ".join(have) + "]"
    if said is None or said == []:
        yield Finding(
            rule="BM929",
            cell=cell,
            what="got no archConstraints, expected the architectures that its images have",
            why="who reads or overrides the values must see where the chart can run",
            fix=fix,
        )
        return
    if not isinstance(said, list) or not all(isinstance(word, str) for word in said):
        yield Finding(
            rule="BM929",
            cell=cell,
            what=f"archConstraints: got {type(said).__name__}, expected a list of names",
            fix=fix,
        )
        return
    for word in said:
        if word not in have:
            proper = arch.normalise(word)
            hint = f"; the node label says {proper}" if proper in have else ""
            yield Finding(
                rule="BM929", cell=cell, what=f"archConstraints: got {word}, expected some of {', '.join(have)}{hint}",
                why="the verified index has no image for it" if not hint else "labels carry Go's names", fix=fix,
            )  # fmt: skip
