"""Which nodes a pod may be scheduled to, by their architecture: the scheduler's own rules. Pure.

nodeSelector AND (term OR term …); a term is the AND of its expressions, one without any matches no node; preferred
affinity binds nothing. A label that nobody declared may have any value or none on some node, so that only what is
known decides. Sources: k8s.io/component-helpers/scheduling/corev1/nodeaffinity, k8s.io/api/core/v1 types.go
(Toleration.ToleratesTaint), kubernetes.io "Assigning Pods to Nodes".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from buildmatrix import arch
from buildmatrix.deployspec import ARCH_LABEL, OS_LABEL, Taint

LEGACY_ARCH = "beta.kubernetes.io/arch"
OTHER = "any other"
"""Stands for every architecture that is not in our table."""

EVERY = (*(row.goarch for row in arch.ARCHITECTURES), OTHER)
_NUMBER = re.compile(r"[+-]?[0-9]+")


def node(goarch: str) -> dict[str, str]:
    """The labels that every Linux node of an architecture has."""
    return {ARCH_LABEL: goarch, OS_LABEL: "linux"}


def architectures(pod: Mapping[str, Any]) -> frozenset[str]:
    """Those whose nodes may be given the pod; OTHER among them where it is not bound to a list."""
    return frozenset(name for name in EVERY if admits(pod, node(name)))


def admits(pod: Mapping[str, Any], known: Mapping[str, str]) -> bool:
    """Whether a node with these labels, and others that nobody knows, may be given the pod."""
    selector = pod.get("nodeSelector") or {}
    if not isinstance(selector, dict) or any(known.get(key, value) != value for key, value in selector.items()):
        return False
    required = _inside(pod, "affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution")
    if required is None:
        return True
    terms = required.get("nodeSelectorTerms") if isinstance(required, dict) else None
    return isinstance(terms, list) and any(_term(term, known) for term in terms)


def _inside(value: Any, *keys: str) -> Any:
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _term(term: Any, known: Mapping[str, str]) -> bool:
    if not isinstance(term, dict):
        return False
    expressions, fields = term.get("matchExpressions") or [], term.get("matchFields") or []
    if not isinstance(expressions, list) or not (expressions or fields):
        return False
    return all(_expression(item, known) for item in expressions)


def _expression(item: Any, known: Mapping[str, str]) -> bool:
    values = item.get("values") or [] if isinstance(item, dict) else None
    if not isinstance(values, list) or not isinstance(item.get("key"), str):
        return False
    label, operator = known.get(item["key"]), item.get("operator")
    if label is None:
        return bool(values) if operator == "In" else operator in _OPERATORS
    if operator in ("Gt", "Lt"):
        return _compares(operator, label, values)
    return bool(_OPERATORS.get(operator, _never)(label, values))


def _never(_label: str, _values: list[Any]) -> bool:
    return False


_OPERATORS: Mapping[object, Callable[[str, list[Any]], bool]] = {
    "In": lambda label, values: label in values,
    "NotIn": lambda label, values: label not in values,
    "Exists": lambda _label, _values: True,
    "DoesNotExist": _never,
    "Gt": _never,
    "Lt": _never,
}
"""What each says of a label that a node has (k8s.io/api core/v1 NodeSelectorOperator)."""


def _compares(operator: str, label: str, values: list[Any]) -> bool:
    """Both sides are integers, or nothing matches (nodeaffinity's selection through labels.Requirement)."""
    if len(values) != 1 or not _NUMBER.fullmatch(str(values[0])) or not _NUMBER.fullmatch(label):
        return False
    return int(label) > int(values[0]) if operator == "Gt" else int(label) < int(values[0])


def mentions(pod: Mapping[str, Any], label: str) -> bool:
    """Whether nodeSelector or required affinity speak of a label at all."""
    return label in (pod.get("nodeSelector") or {}) or any(
        item.get("key") == label for item in required_expressions(pod)
    )


def required_expressions(pod: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Every expression of the required node affinity."""
    terms = _inside(
        pod, "affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms"
    )
    for term in terms if isinstance(terms, list) else ():
        found = term.get("matchExpressions") if isinstance(term, dict) else None
        yield from (item for item in (found if isinstance(found, list) else ()) if isinstance(item, dict))


def untolerated(pod: Mapping[str, Any], taints: Iterable[Taint]) -> tuple[Taint, ...]:
    """The taints that keep the pod away, or drive it out later."""
    given = pod.get("tolerations")
    tolerations = [item for item in (given if isinstance(given, list) else ()) if isinstance(item, dict)]
    return tuple(taint for taint in taints if taint.repels and not any(_tolerates(item, taint) for item in tolerations))


def _tolerates(toleration: Mapping[str, Any], taint: Taint) -> bool:
    if toleration.get("effect") not in (None, "", taint.effect):
        return False
    if taint.effect == "NoExecute" and toleration.get("tolerationSeconds") is not None:
        return False  # it is driven out when they have passed
    key, operator = toleration.get("key") or "", toleration.get("operator") or "Equal"
    if operator == "Exists":
        return key in ("", taint.key)
    return operator == "Equal" and key == taint.key and (toleration.get("value") or "") == taint.value


def toleration(taint: Taint) -> dict[str, str]:
    """The toleration of one taint."""
    if not taint.value:
        return {"key": taint.key, "operator": "Exists", "effect": taint.effect}
    return {"key": taint.key, "operator": "Equal", "value": taint.value, "effect": taint.effect}
