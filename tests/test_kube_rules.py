"""Each rule over manifests, broken alone; schemas; what is left out and named."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from buildmatrix import codes as all_codes
from buildmatrix.errors import ManifestInvalid, UsageError
from buildmatrix.kube import objects, rules, yamlread
from buildmatrix.kube.schemas import Schemas, newest
from tests import kube_lab
from tests.kube_lab import ARM64_CHILD, BOUND, REPOSITORY, codes, deployment, examine, pod, pool


def test_a_bound_pod_with_the_indexs_digest_passes() -> None:
    workloads, others, findings = examine(deployment())
    assert [item.allowed for item in workloads] == [frozenset({"amd64", "arm64"})]
    assert not others and not findings


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (pod(affinity={}), "BM923"),
        (pod(affinity={}, nodeSelector={"kubernetes.io/arch": "s390x"}), "BM924"),
        (pod(nodeSelector={"kubernetes.io/arch": "s390x"}), "BM925"),
        (pod(nodeSelector={"kubernetes.io/arch": "x86_64"}), "BM925"),
        (pod(f"{REPOSITORY}:v1"), "BM926"),
        (pod(REPOSITORY), "BM926"),
        (pod(f"{REPOSITORY}:v1@{ARM64_CHILD}"), "BM927"),
        (pod(f"{REPOSITORY}@sha256:{'d' * 64}"), "BM927"),
    ],
)
def test_each_rule_alone(spec: dict[str, Any], expected: str) -> None:
    assert codes(deployment(spec)) == [expected]


def test_a_child_is_named_for_what_it_is() -> None:
    (finding,) = examine(deployment(pod(f"{REPOSITORY}@{ARM64_CHILD}")))[2]
    assert "linux/arm64 alone" in finding.why


def test_preferred_affinity_and_the_old_label_are_told_apart() -> None:
    preferred = {
        "nodeAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [
                {"weight": 1, "preference": {"matchExpressions": [{"key": "kubernetes.io/arch", "operator": "Exists"}]}}
            ]
        }
    }
    (finding,) = examine(deployment(pod(affinity=preferred)))[2]
    assert finding.rule == "BM923" and "binds nothing" in finding.why
    (finding,) = examine(deployment(pod(affinity={}, nodeSelector={"beta.kubernetes.io/arch": "arm64"})))[2]
    assert finding.rule == "BM923" and "deprecated" in finding.why


def test_exclusion_of_one_architecture_is_no_bond() -> None:
    spec = pod(affinity=copy.deepcopy(BOUND))
    terms = spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    terms[0]["matchExpressions"][0] |= {"operator": "NotIn", "values": ["s390x"]}
    (finding,) = examine(deployment(spec))[2]
    assert finding.rule == "BM924" and "almost any architecture" in finding.what


def test_an_architecture_that_the_index_lacks() -> None:
    only = (kube_lab.index(architectures=("amd64",)),)
    (finding,) = examine(deployment(), indexes=only)[2]
    assert finding.rule == "BM924" and "may go to arm64" in finding.what


@pytest.mark.parametrize("kind", ["initContainers", "ephemeralContainers"])
def test_every_kind_of_container_counts(kind: str) -> None:
    spec = pod("busybox") | {kind: [{"name": "x", "image": f"{REPOSITORY}:v1"}], "affinity": {}}
    workloads, others, findings = examine(deployment(spec))
    assert sorted(item.rule for item in findings) == ["BM923", "BM926"]
    assert [use.container for use in workloads[0].uses] == ["x"]
    assert [(one.container, one.image) for one in others] == [("app", "busybox")]


def test_sidecars_of_others_are_left_out_and_named() -> None:
    spec = pod()
    spec["containers"].append({"name": "proxy", "image": "envoyproxy/envoy:v1.30"})
    spec["containers"].append({"name": "odd", "image": "NOT A REFERENCE"})
    spec["containers"].append({"name": "none"})
    _, others, findings = examine(deployment(spec))
    assert not findings
    assert [(one.container, one.image) for one in others] == [
        ("proxy", "envoyproxy/envoy:v1.30"),
        ("odd", "NOT A REFERENCE"),
        ("none", "no image"),
    ]


def test_a_pod_of_others_alone_is_not_judged() -> None:
    assert codes(deployment(pod("nginx:1", affinity={}))) == []


def test_several_images_bind_to_what_all_of_them_have() -> None:
    other = kube_lab.index("registry.example.org/team/other", "sha256:" + "e" * 64, ("arm64", "s390x"))
    spec = pod()
    spec["containers"].append({"name": "b", "image": f"{other.repository}@{other.digest}"})
    (finding,) = examine(deployment(spec), indexes=(kube_lab.index(), other))[2]
    assert finding.rule == "BM924" and "may go to amd64, expected nothing but arm64" in finding.what
    nothing = kube_lab.index(other.repository, other.digest, ("s390x",))
    (finding,) = examine(deployment(spec), indexes=(kube_lab.index(), nothing))[2]
    assert finding.rule == "BM924" and "in common" in finding.what


@pytest.mark.parametrize(
    ("api", "kind", "place"),
    [
        ("v1", "Pod", ()),
        ("v1", "PodTemplate", ("template",)),
        ("v1", "ReplicationController", ("spec", "template")),
        ("apps/v1", "StatefulSet", ("spec", "template")),
        ("apps/v1", "DaemonSet", ("spec", "template")),
        ("apps/v1", "ReplicaSet", ("spec", "template")),
        ("batch/v1", "Job", ("spec", "template")),
        ("batch/v1", "CronJob", ("spec", "jobTemplate", "spec", "template")),
        ("argoproj.io/v1alpha1", "Rollout", ("spec", "template")),
        ("example.org/v1", "Fleet", ("spec", "groups", "members")),
    ],
)
def test_every_workload_is_found(api: str, kind: str, place: tuple[str, ...]) -> None:
    value: dict[str, Any] = {"spec": pod(affinity={})}
    for step in reversed(place):
        value = {step: value}
    found, _, findings = examine({"apiVersion": api, "kind": kind, "metadata": {"name": "a"}, **value})
    assert [item.rule for item in findings] == ["BM923"]
    assert found[0].pod.path == (*place, "spec")


def test_workloads_in_lists_are_found() -> None:
    listed = {"apiVersion": "v1", "kind": "List", "items": [deployment(pod(affinity={})), deployment()]}
    assert codes(listed) == ["BM923"]


def test_a_crd_is_no_workload() -> None:
    schema = {"type": "object", "properties": {"containers": {"type": "array", "items": {"type": "object"}}}}
    value = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "a"},
             "spec": {"versions": [{"name": "v1", "schema": {"openAPIV3Schema": schema}}]}}  # fmt: skip
    assert codes(value) == []


def test_an_image_where_no_pod_is_is_told() -> None:
    value = {"apiVersion": "example.org/v1", "kind": "App", "metadata": {"name": "a"}, "spec": {"image": REPOSITORY}}
    (finding,) = examine(value)[2]
    assert (finding.rule, finding.severity) == ("BM930", "warning")
    spec = pod()
    spec["containers"][0]["env"] = [{"name": "WORKER_IMAGE", "value": f"{REPOSITORY}:v1"}]
    assert codes(deployment(spec)) == ["BM930"]


ARM = ("arch=arm64:NoSchedule", "spot:NoExecute")
TOLERATED = [{"key": "arch", "operator": "Exists"}, {"key": "spot", "operator": "Exists"}]


@pytest.mark.parametrize(
    ("spec", "pools", "expected"),
    [
        (pod(), (pool("arm", "arm64", *ARM),), ["BM928"]),
        (pod(tolerations=TOLERATED[:1]), (pool("arm", "arm64", *ARM),), ["BM928"]),
        (pod(tolerations=TOLERATED), (pool("arm", "arm64", *ARM),), []),
        (pod(), (pool("arm", "arm64", *ARM), pool("free", "arm64")), []),
        (pod(), (pool("x86", "amd64"),), []),
        (pod(), (pool("arm", "arm64", "x:PreferNoSchedule"),), []),
        (pod(nodeSelector={"kubernetes.io/arch": "amd64"}), (pool("arm", "arm64", *ARM),), []),
        (pod(nodeSelector={"disk": "ssd"}), (pool("arm", "arm64", disk="hdd"),), ["BM928"]),
        (pod(), (pool("z", "s390x", *ARM),), []),
    ],
)
def test_taints(spec: dict[str, Any], pools: tuple[Any, ...], expected: list[str]) -> None:
    assert codes(deployment(spec), pools=pools) == expected


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, "got no archConstraints"),
        ({"archConstraints": []}, "got no archConstraints"),
        ([], "got no archConstraints"),
        ({"archConstraints": "amd64"}, "expected a list"),
        ({"archConstraints": [1]}, "expected a list"),
        (
            {"archConstraints": ["amd64", "x86_64"]},
            "got x86_64, expected some of amd64, arm64; the node label says amd64",
        ),
        ({"archConstraints": ["s390x"]}, "got s390x, expected some of amd64, arm64"),
    ],
)
def test_constraints_of_a_chart(values: object, words: str) -> None:
    (finding,) = rules.values("chart", values, ("amd64", "arm64"))
    assert finding.rule == "BM929" and words in finding.what


def test_fewer_architectures_than_the_index_has_are_a_choice() -> None:
    assert not list(rules.values("chart", {"archConstraints": ["arm64"]}, ("amd64", "arm64")))
    assert codes(deployment(pod(affinity={}, nodeSelector={"kubernetes.io/arch": "arm64"}))) == []


def test_every_code_is_known() -> None:
    known = {item.code: item for item in all_codes.every()}
    assert set(rules.CODES) <= set(known)
    assert all(known[code].exit_status == 0 for code in rules.WARNINGS)


def schema_findings(text: str, *crds: str) -> list[tuple[str, str]]:
    schemas = Schemas()
    for crd in crds:
        for document in yamlread.documents(crd, "crd"):
            for item in objects.items(document, "crd"):
                schemas.declare(item)
    found = [item for document in yamlread.documents(text, "t") for item in objects.items(document, "t")]
    return [(finding.rule, finding.what) for item in found for finding in schemas.check(item)]


def test_a_good_object_fits_the_schema() -> None:
    assert schema_findings(kube_lab.text(deployment())) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda value: value["spec"]["template"]["spec"].update(nodeSelecter={"a": "b"}), "'nodeSelecter'"),
        (lambda value: value["spec"].update(replicas="three"), "spec.replicas: 'three'"),
        (lambda value: value["spec"].pop("selector"), "'selector' is a required"),
        (lambda value: value["spec"]["template"]["spec"].update(containers={}), "containers: {}"),
        (lambda value: value.update(apiVersion="extensions/v1beta1"), "extensions/v1beta1 Deployment"),
        (lambda value: value.update(apiVersion="apps/v9"), "apps/v9 Deployment"),
        (lambda value: value.pop("kind"), "no kind"),
        (lambda value: value.update(kind="Deploiment"), "Deploiment"),
        (lambda value: value["metadata"].update(lables={}), "'lables'"),
    ],
)
def test_what_the_api_would_drop_or_refuse_is_found(change: Any, words: str) -> None:
    value = deployment()
    change(value)
    found = schema_findings(kube_lab.text(value))
    assert any(rule == "BM922" and words in what for rule, what in found), found


CRD = """\
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: apps.example.org}
spec:
  group: example.org
  scope: Namespaced
  names: {kind: App, plural: apps}
  versions:
    - name: v1
      served: true
      storage: true
      schema:
        openAPIV3Schema:
          type: object
          required: [spec]
          properties:
            spec:
              type: object
              properties:
                size: {type: integer, minimum: 1}
                port: {x-kubernetes-int-or-string: true}
                note: {type: string, nullable: true}
                free: {type: object, x-kubernetes-preserve-unknown-fields: true}
                labels: {type: object, additionalProperties: {type: string}}
"""


def test_custom_kinds_are_held_to_their_crd() -> None:
    head = "apiVersion: example.org/v1\nkind: App\nmetadata: {name: a, labels: {x: z}}\n"
    assert schema_findings(CRD) == []
    good = head + "spec: {size: 1, port: http, note: null, free: {a: {b: 1}}, labels: {q: w}}"
    assert schema_findings(good, CRD) == []
    assert schema_findings(head + "spec: {port: 80}", CRD) == []
    assert [rule for rule, _ in schema_findings(good)] == ["BM931"]
    for wrong, words in (
        ("spec: {sise: 1}", "'sise'"), ("spec: {size: 0}", "minimum"), ("spec: {labels: {q: 1}}", "not of type"),
        ("spec: {port: []}", "not of type"), ("sppec: {}", "'sppec'"),
    ):  # fmt: skip
        found = schema_findings(head + wrong, CRD)
        assert any(rule == "BM922" and words in what for rule, what in found), (wrong, found)


def test_a_crd_cannot_loosen_a_built_in_kind() -> None:
    head, _, _ = CRD.partition("        openAPIV3Schema:")
    head = head.replace("group: example.org", "group: GROUP").replace("kind: App,", "kind: Deployment,")
    loose = head + "        openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}\n"
    value = deployment()
    value["spec"]["template"]["spec"]["nodeSelecter"] = {}
    found = schema_findings(kube_lab.text(value), loose.replace("GROUP", "apps"))
    assert [rule for rule, _ in found] == ["BM922"]
    value["apiVersion"] = "example.org/v1"
    assert schema_findings(kube_lab.text(value), loose.replace("GROUP", "example.org")) == []


def test_patterns_of_go_that_python_lacks_are_left_out() -> None:
    odd = CRD.replace("note: {type: string", r"note: {type: string, pattern: '^\pL+\z'").replace("'1", "1")
    head = "apiVersion: example.org/v1\nkind: App\nmetadata: {name: a}\n"
    assert schema_findings(head + "spec: {note: x}", odd) == []
    assert [rule for rule, _ in schema_findings(head + "spec: {note: 1}", odd)] == ["BM922"]


@pytest.mark.parametrize(
    "change",
    [
        ("type: object\n          required: [spec]", "type: strange\n          required: [spec]"),
        ("required: [spec]", "required: spec"),
        ("properties:\n            spec:", "properties: [a]\n          x:\n            spec:"),
        ("group: example.org", "group: {a: b}"),
        ("- name: v1", "- name: [v1]"),
    ],
)
def test_a_damaged_crd_is_a_finding_and_no_crash(change: tuple[str, str]) -> None:
    assert change[0] in CRD
    schemas = Schemas()
    told: list[str] = []
    for document in yamlread.documents(CRD.replace(*change), "crd"):
        for item in objects.items(document, "crd"):
            told += [finding.rule for finding in schemas.check(item)]
            try:
                schemas.declare(item)
            except ManifestInvalid as error:
                told.append(error.code)
    assert told and set(told) <= {"BM920", "BM922"}


def test_a_custom_group_does_not_pass_for_a_built_in_one() -> None:
    found = schema_findings("apiVersion: apps.example.org/v1\nkind: Deployment\nmetadata: {name: a}\nspec: {a: 1}")
    assert [rule for rule, _ in found] == ["BM931"]


def test_versions_of_kubernetes() -> None:
    assert newest("1.30") == "1.30"
    with pytest.raises(UsageError, match=r"Kubernetes 1\.9: has no schemas"):
        newest("1.9")
