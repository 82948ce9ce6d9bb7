"""Kubernetes events and the statuses of pods, as `kubectl get … -o json` prints them (core/v1)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from buildmatrix.converge import context, matcher
from buildmatrix.converge.symptom import Context, Item, Role, Symptom

FAILING = frozenset({"Failed", "BackOff", "InspectFailed", "ErrImageNeverPull", "FailedCreatePodContainer"})
"""Reasons of events that tell of a container which does not start (kubelet's events/event.go)."""

_QUIET = frozenset({"ContainerCreating", "PodInitializing", "Completed"})
_STATUSES = ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses")


def _table(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def event(item: Mapping[str, Any], base: Context) -> Iterator[Item]:
    """The symptom in one event; a failing one that nothing knows is unknown."""
    about = _table(item.get("involvedObject") or item.get("regarding"))
    source = _table(item.get("source") or item.get("deprecatedSource"))
    when = item.get("lastTimestamp") or item.get("eventTime") or item.get("deprecatedLastTimestamp")
    name = str(about.get("name", ""))
    at = replace(
        base,
        pod=name if about.get("kind") == "Pod" else base.pod,
        host=str(source.get("host") or (name if about.get("kind") == "Node" else base.host)),
        time=context.moment(when or item.get("firstTimestamp")),
    )
    message, reason = str(item.get("message") or item.get("note") or ""), str(item.get("reason", ""))
    found = matcher.recognise(message, at)
    if found is not None:
        yield found
    elif item.get("type") == "Warning" and reason in FAILING:
        yield _unknown("kubernetes-event", f"{reason}: {message}", reason, at)


def pod(item: Mapping[str, Any], base: Context) -> Iterator[Item]:
    """The symptoms in the states of a pod's containers."""
    metadata, spec, status = (_table(item.get(name)) for name in ("metadata", "spec", "status"))
    at = replace(
        base,
        pod=str(metadata.get("name", "")),
        host=str(spec.get("nodeName") or base.host),
        arch=str(_table(spec.get("nodeSelector")).get("kubernetes.io/arch") or base.arch),
    )
    for kind in _STATUSES:
        for container in status.get(kind) or ():
            yield from _container(_table(container), at)


def _container(status: Mapping[str, Any], at: Context) -> Iterator[Item]:
    image = context.image(str(status.get("imageID") or status.get("image") or ""))
    at = replace(at, image=image)
    for state in (_table(status.get("state")), _table(status.get("lastState"))):
        if state.get("terminated"):
            yield from _ended(_table(state["terminated"]), str(status.get("name", "")), at)
        if state.get("waiting"):
            yield from _waiting(_table(state["waiting"]), at)


def _ended(ended: Mapping[str, Any], name: str, at: Context) -> Iterator[Item]:
    code, reason = int(ended.get("exitCode") or 0), str(ended.get("reason", ""))
    if code == 0 and reason in ("", "Completed"):
        return
    at = replace(at, time=context.moment(ended.get("finishedAt")))
    message = str(ended.get("message") or "")
    told = [item for line in message.splitlines() if (item := matcher.recognise(line, at)) is not None]
    yield from told
    summary = f"container {name}: {reason or 'ended'}, exit code {code}"
    if reason == "OOMKilled" or not told:
        found = matcher.recognise(summary, at)
        yield found if found is not None else _unknown("container-ended", f"{summary} {message}".strip(), reason, at)


def _waiting(waiting: Mapping[str, Any], at: Context) -> Iterator[Item]:
    reason, message = str(waiting.get("reason", "")), str(waiting.get("message") or "")
    if reason in _QUIET or not reason:
        return
    found = matcher.recognise(message, at)
    yield found if found is not None else _unknown("container-waiting", f"{reason}: {message}", reason, at)


def _unknown(pattern: str, text: str, reason: str, at: Context) -> Symptom:
    return Symptom(
        pattern=pattern, stage="container", role=Role.UNKNOWN, candidates={}, text=text, detail=reason, context=at
    )
