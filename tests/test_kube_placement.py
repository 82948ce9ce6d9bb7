"""Which nodes a pod may go to: the scheduler's rules, one by one and as properties."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from buildmatrix.kube import placement
from buildmatrix.kube.placement import EVERY, OTHER
from tests.kube_lab import pool

ARCH = "kubernetes.io/arch"


def expression(operator: str, *values: str, key: str = ARCH) -> dict[str, Any]:
    return {"key": key, "operator": operator, **({"values": list(values)} if values else {})}


def affinity(*terms: list[dict[str, Any]]) -> dict[str, Any]:
    named = [{"matchExpressions": term} for term in terms]
    return {
        "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": named}}}
    }


@pytest.mark.parametrize(
    ("pod", "expected"),
    [
        ({}, EVERY),
        ({"nodeSelector": {ARCH: "arm64"}}, ["arm64"]),
        ({"nodeSelector": {ARCH: "x86_64"}}, []),
        ({"nodeSelector": {"beta.kubernetes.io/arch": "arm64"}}, EVERY),
        ({"nodeSelector": {"disk": "ssd"}}, EVERY),
        ({"nodeSelector": {"kubernetes.io/os": "windows"}}, []),
        ({"nodeSelector": [ARCH]}, []),
        (affinity([expression("In", "amd64", "arm64")]), ["amd64", "arm64"]),
        (affinity([expression("NotIn", "arm64")]), [name for name in EVERY if name != "arm64"]),
        (affinity([expression("Exists")]), EVERY),
        (affinity([expression("DoesNotExist")]), []),
        (affinity([expression("DoesNotExist", key="gpu")]), EVERY),
        (affinity([expression("Gt", "3")]), ["386"]),  # the one architecture whose name is a number
        (affinity([expression("Lt", "3")]), []),
        (affinity([expression("Gt", "3", key="cores")]), EVERY),
        (affinity([expression("In")]), []),
        (affinity([expression("Like", "amd64")]), []),
        # Terms are alternatives: one that does not speak of architectures lets every one in.
        (affinity([expression("In", "amd64")], [expression("In", "arm64")]), ["amd64", "arm64"]),
        (affinity([expression("In", "amd64")], [expression("Exists", key="disk")]), EVERY),
        (affinity([expression("In", "amd64"), expression("Exists", key="disk")]), ["amd64"]),
        (affinity([expression("In", "amd64", "arm64"), expression("NotIn", "amd64")]), ["arm64"]),
        (affinity([expression("In", "amd64"), expression("In", "arm64")]), []),
        (affinity([]), []),
        (affinity(), []),
        (affinity([expression("In", "amd64")], []), ["amd64"]),
        ({"nodeSelector": {ARCH: "arm64"}, **affinity([expression("In", "amd64", "arm64")])}, ["arm64"]),
        ({"nodeSelector": {ARCH: "arm64"}, **affinity([expression("In", "amd64")])}, []),
        (
            {
                "affinity": {
                    "nodeAffinity": {
                        "preferredDuringSchedulingIgnoredDuringExecution": [
                            {"weight": 100, "preference": {"matchExpressions": [expression("In", "amd64")]}}
                        ]
                    }
                }
            },
            EVERY,
        ),
        ({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": "amd64"}}}, []),
        ({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {}}}}, []),
        ({"affinity": {"podAffinity": {}}}, EVERY),
        (
            {
                "affinity": {
                    "nodeAffinity": {
                        "requiredDuringSchedulingIgnoredDuringExecution": {
                            "nodeSelectorTerms": [
                                {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]}
                            ]
                        }
                    }
                }
            },
            EVERY,
        ),
    ],
)
def test_architectures(pod: dict[str, Any], expected: list[str]) -> None:
    assert placement.architectures(pod) == frozenset(expected)


TERMS = st.lists(
    st.lists(
        st.builds(
            lambda operator, values, key: expression(operator, *values, key=key),
            st.sampled_from(["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"]),
            st.lists(st.sampled_from(["amd64", "arm64", "s390x", "3"]), max_size=3),
            st.sampled_from([ARCH, "disk"]),
        ),
        max_size=3,
    ),
    min_size=1,
    max_size=3,
)


@settings(deadline=None)
@given(TERMS, TERMS)
def test_more_terms_never_take_away(some: list[Any], more: list[Any]) -> None:
    assert placement.architectures(affinity(*some)) <= placement.architectures(affinity(*some, *more))


@settings(deadline=None)
@given(TERMS, st.sampled_from(["amd64", "arm64", "x"]))
def test_a_selector_never_adds(terms: list[Any], name: str) -> None:
    bound = placement.architectures({"nodeSelector": {ARCH: name}, **affinity(*terms)})
    assert bound == placement.architectures(affinity(*terms)) & {name}


@settings(deadline=None)
@given(TERMS)
def test_an_unknown_architecture_is_let_in_only_with_all_that_no_value_names(terms: list[Any]) -> None:
    allowed = placement.architectures(affinity(*terms))
    assert OTHER not in allowed or "riscv64" in allowed


@pytest.mark.parametrize(
    ("toleration", "tolerates"),
    [
        ({"key": "arch", "operator": "Equal", "value": "arm64", "effect": "NoSchedule"}, True),
        ({"key": "arch", "value": "arm64"}, True),
        ({"key": "arch", "operator": "Exists"}, True),
        ({"operator": "Exists"}, True),
        ({"operator": "Exists", "effect": "NoExecute"}, False),
        ({"key": "arch", "value": "amd64"}, False),
        ({"key": "arch"}, False),
        ({"key": "other", "operator": "Exists"}, False),
        ({"key": "arch", "operator": "Gt", "value": "arm64"}, False),
        ({}, False),
        ("arch", False),
    ],
)
def test_tolerations(toleration: Any, tolerates: bool) -> None:
    taints = pool("arm", "arm64", "arch=arm64:NoSchedule", "soft=1:PreferNoSchedule").taints
    assert (placement.untolerated({"tolerations": [toleration]}, taints) == ()) is tolerates


def test_who_is_driven_out_later_does_not_tolerate() -> None:
    taints = pool("arm", "arm64", "arch:NoExecute").taints
    patient = {"key": "arch", "operator": "Exists", "tolerationSeconds": 60}
    assert placement.untolerated({"tolerations": [patient]}, taints) == taints
    assert not placement.untolerated({"tolerations": [placement.toleration(taints[0])]}, taints)


def test_labels_of_a_pool_decide_too() -> None:
    arm = pool("arm", "arm64", disk="ssd")
    assert placement.admits({"nodeSelector": {"disk": "ssd"}}, arm.known)
    assert not placement.admits({"nodeSelector": {"disk": "hdd"}}, arm.known)
    assert not placement.admits(affinity([expression("DoesNotExist", key="disk")]), arm.known)
    assert placement.admits(affinity([expression("Gt", "2", key="cores")]), pool("b", "amd64", cores="3").known)
    assert not placement.admits(affinity([expression("Gt", "3", key="cores")]), pool("b", "amd64", cores="3").known)
