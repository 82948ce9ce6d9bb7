"""Roll-outs: the stages, what each leaves in the cluster, and the way back from every one of them."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from buildmatrix import cli
from buildmatrix.deployspec import Pool
from buildmatrix.errors import EXIT_FINDINGS, EXIT_OK, EXIT_USAGE, RolloutRefused
from buildmatrix.kube import placement, rollout, stages, yamlread
from buildmatrix.kube.stages import Stage, Style
from tests import kube_lab
from tests.kube_lab import REPOSITORY, deployment, items, pod, pool

SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "web"},
    "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]},
}
POOLS = (pool("x86", "amd64", weight=3), pool("graviton", "arm64", "arch=arm64:NoSchedule", weight=1, disk="ssd"))
OLD = deployment(pod(f"{REPOSITORY}@sha256:{'1' * 64}"))


def plan(
    *values: dict[str, Any],
    pools: tuple[Pool, ...] = POOLS,
    present: tuple[dict[str, Any], ...] = (),
    style: Style | None = None,
) -> tuple[Stage, ...]:
    given_items = items(*values)
    workloads, _, _ = kube_lab.examine(*values, pools=pools)
    by_key = {item.key: item for item in given_items}
    assert all(workload.pod.item.key in by_key for workload in workloads)
    found, _ = stages.plan(given_items, workloads, pools, style or Style(), items(*present) if present else ())
    return found


GOOD = deployment(pod(tolerations=[{"key": "arch", "operator": "Exists"}]), replicas=20)


def test_the_order_is_pool_by_pool_and_canary_first() -> None:
    found = plan(SERVICE, GOOD, present=(OLD,))
    assert [stage.name for stage in found] == [
        "base",
        "x86-canary",
        "x86-all",
        "graviton-canary",
        "graviton-all",
        "retire",
    ]
    counts = {one["metadata"]["name"]: one["spec"]["replicas"] for stage in found[1:5] for one in stage.objects[:1]}
    assert counts == {"web-x86-canary": 2, "web-x86": 15, "web-graviton-canary": 1, "web-graviton": 5}
    ended = found[2].objects[1]
    assert (ended["metadata"]["name"], ended["spec"]["replicas"]) == ("web-x86-canary", 0)


@pytest.mark.parametrize(("number", "goarch"), [(1, "amd64"), (2, "amd64"), (3, "arm64"), (4, "arm64")])
def test_each_deployment_goes_to_its_pool_alone(number: int, goarch: str) -> None:
    for value in plan(SERVICE, GOOD)[number].objects:
        spec = value["spec"]["template"]["spec"]
        assert placement.architectures(spec) == {goarch}
        own = next(one for one in POOLS if one.arch == goarch)
        assert placement.admits(spec, own.known) and not placement.untolerated(spec, own.taints)


def test_selectors_tell_the_deployments_apart_and_the_service_finds_them_all() -> None:
    made = [value for stage in plan(SERVICE, GOOD) for value in stage.objects if value["kind"] == "Deployment"]
    by_name = {value["metadata"]["name"]: value for value in made}
    selectors = [value["spec"]["selector"]["matchLabels"] for value in by_name.values()]
    assert len({tuple(sorted(one.items())) for one in selectors}) == 4
    for value in by_name.values():
        labels = value["spec"]["template"]["metadata"]["labels"]
        assert sum(all(labels.get(key) == text for key, text in one.items()) for one in selectors) == 1
        assert labels["app"] == "web"


def test_gates_and_ways_back() -> None:
    found = {stage.name: stage for stage in plan(SERVICE, GOOD, present=(OLD, SERVICE), style=Style(soak=7))}
    canary = found["x86-canary"]
    assert canary.gate[0] == "kubectl rollout status deployment/web-x86-canary --timeout=600s"
    assert "sleep 7" in canary.gate and "restartCount>0" in canary.gate[2]
    assert canary.back == ("kubectl delete deployment/web-x86-canary",)
    assert found["x86-all"].back == ("kubectl apply -f {back}", "kubectl delete deployment/web-x86")
    assert found["base"].back == ("kubectl apply -f {back}",)
    assert found["retire"].apply == ("kubectl scale deployment/web --replicas=0",)
    assert found["retire"].back == ("kubectl scale deployment/web --replicas=4",)
    assert all(shlex.split(text) for stage in found.values() for text in (*stage.gate, *stage.back, *stage.apply))


def simulate(found: tuple[Stage, ...], present: dict[Any, Any]) -> list[dict[Any, Any]]:
    """The state of a cluster before each stage and after the last; kubectl as far as the commands go."""
    state, history = dict(present), []
    for stage in found:
        history.append(dict(state))
        for value in stage.objects:
            state[stages.key(value)] = value
    return [*history, dict(state)]


@pytest.mark.parametrize("number", range(5))
def test_going_back_restores_what_was_there(number: int) -> None:
    present = (OLD, SERVICE, deployment(pod(f"{REPOSITORY}@sha256:{'2' * 64}"), name="web-x86"))
    start = {stages.key(value): value for value in present}
    found = plan(SERVICE, GOOD, present=present)
    history = simulate(found, start)
    state, stage = dict(history[number + 1]), found[number]
    for text in stage.back:
        if text == "kubectl apply -f {back}":
            state |= {stages.key(value): value for value in stage.restored}
        else:
            kind, _, name = text.removeprefix("kubectl delete ").partition("/")
            state = {key: value for key, value in state.items() if (key[1].lower(), key[3]) != (kind, name)}
    assert state == history[number]


def test_a_second_release_replaces_the_pools_deployments() -> None:
    first = plan(SERVICE, GOOD)
    present = tuple(simulate(first, {})[-1].values())
    second = plan(SERVICE, GOOD, present=present)
    assert [stage.name for stage in second] == [stage.name for stage in first]
    assert all(stage.back == ("kubectl apply -f {back}",) for stage in second)
    difference = list(rollout.diffs(rollout.numbered(second[2:3]), present))
    assert difference == []


@settings(deadline=None)
@given(st.integers(1, 200), st.lists(st.integers(1, 9), min_size=1, max_size=5), st.integers(1, 99))
def test_shares_add_up(replicas: int, weights: list[int], percent: int) -> None:
    pools = tuple(pool(f"p{number}", "amd64", weight=weight) for number, weight in enumerate(weights))
    workloads, _, _ = kube_lab.examine(deployment(pod(nodeSelector={"kubernetes.io/arch": "amd64"}), replicas=replicas))
    counts = [stages.share(workloads[0], one, pools) for one in pools]
    assert min(counts) >= 1
    assert sum(counts) == max(replicas, sum(counts)) and (replicas < len(pools) * 9 or sum(counts) == replicas)
    for count in counts:
        canary = stages.canary_replicas(count, percent)
        assert 1 <= canary <= count and canary * 100 >= count * percent


def test_pools_of_the_architectures_are_made_up_where_none_is_declared() -> None:
    assert [stage.name for stage in plan(GOOD, pools=())] == ["amd64-canary", "amd64-all", "arm64-canary", "arm64-all"]


def test_namespaces_go_where_there_are_some() -> None:
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "r"}, "rules": []}
    found = plan(SERVICE, role, GOOD, style=Style(namespace="prod"))
    spaces = {value["kind"]: value["metadata"].get("namespace") for stage in found for value in stage.objects}
    assert spaces == {"Service": "prod", "ClusterRole": None, "Deployment": "prod"}
    assert all(" -n prod" in text for text in found[1].gate if text.startswith("kubectl"))


def test_what_is_no_deployment_comes_last_and_is_told() -> None:
    nightly = {"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "d"},
               "spec": {"selector": {"matchLabels": {"a": "d"}},
                        "template": {"metadata": {"labels": {"a": "d"}}, "spec": pod()}}}  # fmt: skip
    hook = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "t", "annotations": {"helm.sh/hook": "test"}},
            "spec": pod()}  # fmt: skip
    values = (GOOD, nightly, hook)
    workloads, _, _ = kube_lab.examine(*values)
    found, told = stages.plan(items(*values), workloads, POOLS, Style(), ())
    assert found[-1].name == "rest" and found[-1].gate == ("kubectl rollout status daemonset/d --timeout=600s",)
    assert [item.rule for item in told] == ["BM934", "BM934"] and "hook" in told[1].what
    assert not any(value["kind"] == "Pod" for stage in found for value in stage.objects)


HPA = {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "h"},
       "spec": {"maxReplicas": 9, "scaleTargetRef": {"kind": "Deployment", "name": "web"}}}  # fmt: skip


@pytest.mark.parametrize(
    ("values", "pools", "words"),
    [
        ((GOOD, HPA), POOLS, "autoscaler of web"),
        ((SERVICE,), POOLS, "no Deployment"),
        ((GOOD,), POOLS[:1], "no pool of arm64"),
        ((deployment(pod(), name="w" * 60),), POOLS, "expected at most 63"),
        ((deployment(pod(), replicas=0),), POOLS, "got 0 replicas"),
    ],
)
def test_what_cannot_be_staged_is_refused(values: Any, pools: tuple[Pool, ...], words: str) -> None:
    with pytest.raises(RolloutRefused, match=words):
        plan(*values, pools=pools)


def test_argo_stops_at_a_pause() -> None:
    found = plan(SERVICE, GOOD, style=Style(argo=True, canary=25, soak=60))
    assert [stage.name for stage in found] == ["base", "x86-canary", "x86-all", "graviton-canary", "graviton-all"]
    (value,) = found[1].objects
    assert (value["apiVersion"], value["kind"]) == ("argoproj.io/v1alpha1", "Rollout")
    assert value["spec"]["strategy"]["canary"]["steps"] == [
        {"setWeight": 25},
        {"pause": {"duration": "60s"}},
        {"pause": {}},
    ]
    assert found[2].apply == ("kubectl argo rollouts promote web-x86",) and not found[2].objects
    assert found[1].back[0] == "kubectl argo rollouts abort web-x86"


def test_what_the_server_added_is_no_difference() -> None:
    live = json.loads(json.dumps(OLD))
    live["metadata"] |= {"uid": "1", "resourceVersion": "2", "generation": 3, "creationTimestamp": "x",
                         "managedFields": [], "annotations": {"deployment.kubernetes.io/revision": "4"}}  # fmt: skip
    live["status"] = {"replicas": 4}
    assert stages.cleaned(live) == OLD


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, list[str]]:
    folder, digest = kube_lab.layout(tmp_path / "layout")
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    (work / "new.yaml").write_text(kube_lab.text(SERVICE, deployment(pod(f"{REPOSITORY}@{digest}"))))
    (work / "old.yaml").write_text(kube_lab.text(SERVICE, OLD))
    return work, ["rollout", "plan", "new.yaml", "--image", f"{REPOSITORY}={folder}", "--present", "old.yaml"]


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_files_pass_the_check_and_a_second_plan_is_the_same(
    here: tuple[Path, list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    work, arguments = here
    assert cli.main(arguments) == EXIT_OK
    assert "6 stages in rollout" in capsys.readouterr().out
    written = files(work / "rollout")
    names = sorted(name for name in written if name.endswith(".yaml") and "/" not in name)
    assert names == [
        "00-base.yaml",
        "01-amd64-canary.yaml",
        "02-amd64-all.yaml",
        "03-arm64-canary.yaml",
        "04-arm64-all.yaml",
    ]
    assert cli.main(["helm", "check", *(f"rollout/{name}" for name in names), *arguments[3:5]]) == EXIT_OK
    document = json.loads(written["plan.json"])
    assert document["schema"] == 1 and [one["name"] for one in document["stages"]][-1] == "retire"
    for one in document["stages"]:
        for text in (*one["apply"], *one["gate"], *one["back"]):
            assert "{" not in text.replace("{.items[*]", "") or "jsonpath" in text
            for word in shlex.split(text):
                assert not word.endswith(".yaml") or (work / "rollout" / word).is_file()
    assert b"kubectl rollout status deployment/web-amd64-canary" in written["PLAN.md"]
    assert cli.main(arguments) == EXIT_OK
    assert written == files(work / "rollout")
    assert [path.name for path in work.iterdir() if path.name.startswith(".")] == []


def test_a_dry_run_shows_each_stages_difference_and_writes_nothing(
    here: tuple[Path, list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    work, arguments = here
    assert cli.main([*arguments, "--dry-run"]) == EXIT_OK
    out = capsys.readouterr().out
    assert "--- present/Deployment/web-amd64-canary" in out and "+  name: web-amd64-canary" in out
    assert "Service" not in out
    assert "-  replicas: 1" in out and "+  replicas: 0" in out
    assert not (work / "rollout").exists()


def test_nothing_is_planned_of_what_fails_the_check(
    here: tuple[Path, list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    work, arguments = here
    (work / "new.yaml").write_text(kube_lab.text(deployment(pod(f"{REPOSITORY}:v1"))))
    assert cli.main(arguments) == EXIT_FINDINGS
    assert "BM926" in capsys.readouterr().err and not (work / "rollout").exists()


def test_a_folder_of_somebody_else_is_not_replaced(
    here: tuple[Path, list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    work, arguments = here
    (work / "rollout").mkdir()
    (work / "rollout" / "notes.txt").write_text("mine")
    assert cli.main(arguments) == EXIT_FINDINGS
    assert "something else in it" in capsys.readouterr().err and (work / "rollout" / "notes.txt").read_text() == "mine"
    assert cli.main([*arguments, "--canary", "0"]) == EXIT_USAGE


def test_the_stages_stand_in_the_files_as_they_were_meant(here: tuple[Path, list[str]]) -> None:
    work, arguments = here
    assert cli.main([*arguments, "--namespace", "prod"]) == EXIT_OK
    for path in sorted((work / "rollout").glob("*.yaml")):
        for document in yamlread.documents(path.read_text(), path.name):
            assert document.value["metadata"]["namespace"] == "prod"
