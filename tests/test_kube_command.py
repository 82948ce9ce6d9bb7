"""`buildmatrix helm` on manifests and on charts that a Helm of ours renders: what it says, writes, and survives."""

from __future__ import annotations

import json
import os
import stat
import time
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from buildmatrix import cli, matrix, prepare
from buildmatrix.errors import EXIT_FINDINGS, EXIT_MISSING, EXIT_OK, EXIT_USAGE, MatrixError
from buildmatrix.oci import copy
from buildmatrix.oci.http import Access
from buildmatrix.oci.layout import Layout
from buildmatrix.oci.registry import Registry, Repository
from buildmatrix.process import SubprocessRunner
from buildmatrix.signing.imagesign import sign_image
from buildmatrix.signing.registry import Subject
from buildmatrix.signing.remote import Remote
from tests import factory, kube_lab, oci_images
from tests.image_lab import elf
from tests.kube_lab import REPOSITORY, deployment, pod
from tests.registry_server import RegistryServer

HELM = """\
#!/bin/sh
case "$1" in
version) echo "${FAKE_VERSION:-v3.22.0+gabc}" ;;
lint) cat "$2/lint" 2>/dev/null; exit 0 ;;
template)
  test -e "$3/sleep" && sleep 60
  cat "$3/stderr" >&2
  cat "$3/stdout"
  exit "$(cat "$3/status")"
  ;;
esac
"""


@pytest.fixture
def image(tmp_path: Path) -> tuple[str, str]:
    """What --image takes for a good index, and its digest."""
    folder, digest = kube_lab.layout(tmp_path / "layout")
    return f"{REPOSITORY}={folder}", digest


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def helm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Helm that gives what the chart's folder says."""
    program = tmp_path / "bin" / "helm"
    program.parent.mkdir()
    program.write_text(HELM)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    return program


def chart(folder: Path, rendered: str, *, status: int = 0, stderr: str = "") -> Path:
    made = folder / "chart"
    made.mkdir()
    (made / "Chart.yaml").write_text("apiVersion: v2\nname: c\nversion: 1.0.0\n")
    (made / "values.yaml").write_text("archConstraints: [amd64, arm64]\n")
    (made / "stdout").write_text(rendered)
    (made / "stderr").write_text(stderr)
    (made / "status").write_text(str(status))
    return made


def helm_check(*arguments: str) -> int:
    return cli.main(["helm", "check", *arguments])


def test_manifests_in_a_folder(here: Path, image: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    (here / "a.yaml").write_text(kube_lab.text(deployment(pod(f"{REPOSITORY}@{image[1]}"))))
    (here / "sub").mkdir()
    (here / "sub" / "b.yml").write_text("# nothing but a comment\n")
    (here / "c.json").write_text(json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}}))
    (here / ".hidden.yaml").write_text("]")
    assert helm_check(".", "--image", image[0]) == EXIT_OK
    out = capsys.readouterr().out
    assert f"{REPOSITORY}@{image[1]}  amd64, arm64" in out
    assert "ok    a.yaml: Deployment/web  amd64, arm64" in out


REPORT: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["schema", "images", "findings", "sources"],
    "properties": {
        "schema": {"const": 1},
        "images": {"type": "array", "items": {"type": "object", "required": ["repository", "digest", "architectures"]}},
        "findings": {"type": "array"},
        "sources": {
            "type": "array",
            "items": {"type": "object", "required": ["source", "kind", "workloads", "others", "findings"]},
        },
    },
}


def test_the_json_document(here: Path, image: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    spec = pod(f"{REPOSITORY}:v1", affinity={})
    spec["containers"].append({"name": "proxy", "image": "envoy:1"})
    (here / "a.yaml").write_text(kube_lab.text(deployment(spec)))
    assert helm_check("a.yaml", "--image", image[0], "--json") == EXIT_FINDINGS
    report = json.loads(capsys.readouterr().out)
    jsonschema.validate(report, REPORT)
    (source,) = report["sources"]
    assert source["others"] == [{"pod": "a.yaml: Deployment/web", "container": "proxy", "image": "envoy:1"}]
    assert [item["rule"] for item in source["findings"]] == ["BM923", "BM926"]
    assert source["workloads"][0]["expected"] == ["amd64", "arm64"]


def test_one_bad_file_does_not_stop_the_others(
    here: Path, image: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "a.yaml").write_text("a: 1\na: 2\n")
    (here / "b.yaml").write_text(kube_lab.text(deployment(pod(f"{REPOSITORY}@{image[1]}"))))
    (here / "c.yaml").write_bytes(b"\xff\xfe\x00")
    (here / "d.yaml").write_text("#" * (16 << 20) + "x")
    (here / "e.yaml").symlink_to(here / "nowhere.yaml")
    assert helm_check(".", "--image", image[0]) == EXIT_FINDINGS
    out = capsys.readouterr().out
    assert "BM920 a.yaml" in out and "BM920 c.yaml" in out and "BM920 d.yaml" in out
    assert "BM920 e.yaml" in out or "e.yaml: cannot be read" in out
    assert "ok    b.yaml" in out and "4 errors" in out


def test_a_folder_without_a_pod_of_ours_proves_nothing(
    here: Path, image: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "a.yaml").write_text(kube_lab.text(deployment(pod("registry.example.org/tema/app:v1"))))
    assert helm_check(".", "--image", image[0]) == EXIT_FINDINGS
    out = capsys.readouterr().out
    assert "BM932" in out and "it uses registry.example.org/tema/app:v1" in out


def test_an_index_that_lies_is_not_used(here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, digest = kube_lab.layout(tmp_path / "lies", wrong="arm64")
    (here / "a.yaml").write_text(kube_lab.text(deployment(pod(f"{REPOSITORY}@{digest}"))))
    arguments = ("a.yaml", "--image", f"{REPOSITORY}={folder}")
    assert helm_check(*arguments) == EXIT_FINDINGS
    out = capsys.readouterr().out
    assert "BM933" in out and "linux/arm64: got programs for another machine: /app (x86-64)" in out
    assert helm_check(*arguments, "--skip-layers") == EXIT_OK
    assert "hearsay" in capsys.readouterr().out


def test_an_index_that_lacks_an_architecture(here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, digest = kube_lab.layout(tmp_path / "one", platforms=("amd64",))
    (here / "a.yaml").write_text(kube_lab.text(deployment(pod(f"{REPOSITORY}@{digest}"))))
    assert helm_check("a.yaml", "--image", f"{REPOSITORY}={folder}") == EXIT_FINDINGS
    assert "BM924" in capsys.readouterr().out


def test_an_index_of_a_higher_level_only_is_warned_of(
    here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = Layout(tmp_path / "levels").create()
    entries = [oci_images.image(made, name, files={"app": elf("static-amd64")}) for name in ("linux/amd64/v3",)]
    entries.append(oci_images.image(made, "linux/arm64/v8", files={"app": elf("static-arm64")}))
    digest = oci_images.index(made, entries, tag="v1").digest
    (here / "a.yaml").write_text(kube_lab.text(deployment(pod(f"{REPOSITORY}@{digest}"))))
    assert helm_check("a.yaml", "--image", f"{REPOSITORY}={made.path}") == EXIT_OK
    out = capsys.readouterr().out
    assert "amd64: got only linux/amd64/v3" in out and "arm64: got" not in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("a.yaml", "--image", f"{REPOSITORY}=nowhere"), "no OCI layout"),
        (("a.yaml", "--image", "./nowhere"), "no OCI layout"),
        (("a.yaml", "--image", f"{REPOSITORY}:v1=LAYOUT"), "a repository alone"),
        (("a.yaml", "--image", "LAYOUT"), "write --image REPOSITORY=LAYOUT"),
        (("nowhere", "--image", f"{REPOSITORY}=LAYOUT"), "no such file or folder"),
        (("a.txt", "--image", f"{REPOSITORY}=LAYOUT"), "expected a folder, .tgz"),
        (("a.yaml", "--image", f"{REPOSITORY}=LAYOUT", "--values", "none.yaml"), "expected values"),
        (("a.yaml", "--image", f"{REPOSITORY}=LAYOUT", "--kubernetes", "1.2"), "Kubernetes 1.2"),
        (("a.yaml", "--image", f"{REPOSITORY}=LAYOUT", "--image", f"{REPOSITORY}=LAYOUT"), "two indexes"),
        (("empty", "--image", f"{REPOSITORY}=LAYOUT"), "no chart"),
        (("a.yaml",), "matrix.toml"),
    ],
)
def test_usage(
    here: Path, image: tuple[str, str], arguments: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "a.yaml").write_text("")
    (here / "a.txt").write_text("")
    (here / "empty").mkdir()
    layout = image[0].partition("=")[2]
    assert helm_check(*(word.replace("LAYOUT", layout) for word in arguments)) == EXIT_USAGE
    assert words in capsys.readouterr().err


def test_fix_of_manifests_changes_the_lines_it_must(
    here: Path, image: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    before = f"""\
# Ours.
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web}}   # flow
spec:
    selector: {{matchLabels: {{app: web}}}}
    template:
        metadata: {{labels: {{app: web}}}}
        spec:
            # the program
            containers:
            -   name: app
                image: "{REPOSITORY}:v1"  # the tag
            -   name: proxy
                image: envoy:1
---
apiVersion: v1
kind: List
items:
- apiVersion: batch/v1
  kind: CronJob
  metadata: {{name: nightly}}
  spec:
    schedule: "0 3 * * *"
    jobTemplate:
      spec:
        template:
          spec:
            restartPolicy: Never
            nodeSelector: {{kubernetes.io/arch: x86_64}}
            containers: [{{name: app, image: {REPOSITORY}}}]
"""
    path = here / "a.yaml"
    path.write_text(before)
    path.chmod(0o640)
    arguments = ("a.yaml", "--image", image[0])
    assert cli.main(["helm", "fix", *arguments, "--dry-run"]) == EXIT_OK
    assert path.read_text() == before
    diff = capsys.readouterr().out
    assert cli.main(["helm", "fix", *arguments]) == EXIT_OK
    assert capsys.readouterr().out.replace("1 file changed", "1 file would be changed") == diff
    taken = [line for line in diff.splitlines() if line.startswith("-") and not line.startswith("---")]
    assert len(taken) == 3 and "# the tag" in diff and path.stat().st_mode & 0o777 == 0o640
    assert f"+                image: {REPOSITORY}:v1@{image[1]}  # the tag" in diff
    assert "nodeSelector: {kubernetes.io/arch: amd64}" in path.read_text()
    assert helm_check(*arguments) == EXIT_OK
    assert cli.main(["helm", "fix", *arguments]) == EXIT_OK
    assert "nothing to change" in capsys.readouterr().out


def test_fix_binds_every_term_and_keeps_what_was_chosen(here: Path, image: tuple[str, str]) -> None:
    terms = [
        {"matchExpressions": [{"key": "disk", "operator": "Exists"}]},
        {"matchExpressions": [{"key": "kubernetes.io/arch", "operator": "In", "values": ["arm64", "s390x"]}]},
    ]
    affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}
    (here / "a.yaml").write_text(kube_lab.text(deployment(pod(f"{REPOSITORY}@{image[1]}", affinity=affinity))))
    arguments = ("a.yaml", "--image", image[0])
    assert cli.main(["helm", "fix", *arguments]) == EXIT_OK
    assert helm_check(*arguments) == EXIT_OK
    text = (here / "a.yaml").read_text()
    assert "s390x" not in text and text.count("kubernetes.io/arch") == 2


def test_fix_writes_tolerations(here: Path, image: tuple[str, str]) -> None:
    layout = image[0].partition("=")[2]
    (here / "matrix.toml").write_text(MATRIX)
    (here / "a.yaml").write_text(kube_lab.text(deployment(pod(f"{REPOSITORY}@{image[1]}"))))
    assert helm_check("--image", layout) == EXIT_FINDINGS
    assert cli.main(["helm", "fix", "--image", layout]) == EXIT_OK
    assert helm_check("--image", layout) == EXIT_OK
    assert "tolerations:" in (here / "a.yaml").read_text()


MATRIX = f"""\
schema = 1
project = {{ name = "app", version = "1.2.3" }}
binaries.app = {{ package = "./cmd/app" }}
targets.amd64 = {{ goarch = "amd64" }}
images.app = {{ targets = ["*"], repository = "{REPOSITORY}" }}
deploy = {{ charts = ["a.yaml"] }}

[pools.graviton]
arch = "aarch64"
taints = ["arch=arm64:NoSchedule"]
"""


def test_fix_refuses_what_it_cannot_mend_and_writes_nothing(
    here: Path, image: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    text = kube_lab.text(deployment(pod(f"{REPOSITORY}:v1", nodeSelector={"kubernetes.io/arch": "s390x"})))
    (here / "a.yaml").write_text(text)
    good = kube_lab.text(deployment(pod(f"{REPOSITORY}:v1")))
    (here / "b.yaml").write_text(good)
    assert cli.main(["helm", "fix", ".", "--image", image[0]]) == EXIT_FINDINGS
    assert "BM936" in capsys.readouterr().err
    assert (here / "a.yaml").read_text() == text and (here / "b.yaml").read_text() == good


def test_fix_says_what_it_does_not_mend(here: Path, image: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    value = deployment(pod(f"{REPOSITORY}:v1"))
    value["spec"]["replicsa"] = 1
    (here / "a.yaml").write_text(kube_lab.text(value))
    assert cli.main(["helm", "fix", "a.yaml", "--image", image[0]]) == EXIT_FINDINGS
    assert "'replicsa'" in capsys.readouterr().out and image[1] in (here / "a.yaml").read_text()


def test_fix_leaves_all_files_or_none_where_a_folder_is_read_only(
    here: Path, image: tuple[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = kube_lab.text(deployment(pod(f"{REPOSITORY}:v1")))
    for name in ("a.yaml", "b.yaml"):
        (here / name).write_text(text)
    real = os.fsync
    calls: list[int] = []

    def full(handle: int) -> None:
        calls.append(handle)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        real(handle)

    monkeypatch.setattr(os, "fsync", full)
    assert cli.main(["helm", "fix", ".", "--image", image[0]]) != EXIT_OK
    assert "No space left" in capsys.readouterr().err
    assert sorted(path.name for path in here.iterdir()) == ["a.yaml", "b.yaml"]
    assert {(here / name).read_text() for name in ("a.yaml", "b.yaml")} == {text}


def test_helm_that_is_not_there(
    here: Path, image: tuple[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    chart(here, "")
    monkeypatch.setenv("PATH", "/nonexistent")
    assert helm_check("chart", "--image", image[0]) == EXIT_MISSING
    err = capsys.readouterr().err
    assert "helm: is not on PATH" in err and "fix:" in err
    (here / "k").mkdir()
    (here / "k" / "kustomization.yaml").write_text("resources: []\n")
    assert helm_check("k", "--image", image[0]) == EXIT_MISSING
    assert "neither it nor kubectl" in capsys.readouterr().err


@pytest.mark.parametrize("version", ["v2.17.0", "v3.7.2", "v5.0.0", "nonsense"])
def test_helm_of_another_version(
    here: Path,
    image: tuple[str, str],
    helm: Path,
    version: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    chart(here, "")
    helm.write_text(HELM.replace("${FAKE_VERSION:-v3.22.0+gabc}", version))
    assert helm_check("chart", "--image", image[0]) == EXIT_MISSING
    assert version in capsys.readouterr().err


def test_helm_that_takes_too_long_is_ended(
    here: Path, image: tuple[str, str], helm: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (chart(here, "") / "sleep").touch()
    started = time.monotonic()
    assert helm_check("chart", "--image", image[0], "--timeout", "1") == EXIT_FINDINGS
    assert time.monotonic() - started < 50
    out = capsys.readouterr().out
    assert "BM304" in out and "still running after 1 s" in out


@pytest.mark.parametrize(
    ("rendered", "status", "stderr", "words"),
    [
        ("", 1, "Error: template: c/x.yaml:3: nil pointer evaluating interface {}.a", "--values"),
        ("", 1, "Error: found in Chart.yaml, but missing in charts/ directory: redis", "helm dependency build chart"),
        ("", 1, "", "said nothing"),
        ("a: 1\na: 2\n", 0, "", "stands twice"),
        ("just words\n", 0, "", "expected a Kubernetes object"),
    ],
)
def test_charts_that_do_not_render(
    here: Path,
    image: tuple[str, str],
    helm: Path,
    rendered: str,
    status: int,
    stderr: str,
    words: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    chart(here, rendered, status=status, stderr=stderr)
    assert helm_check("chart", "--image", image[0]) == EXIT_FINDINGS
    out = capsys.readouterr().out
    assert "BM920" in out and words in out
    assert cli.main(["helm", "fix", "chart", "--image", image[0]]) == EXIT_FINDINGS


def test_lint_is_heard(here: Path, image: tuple[str, str], helm: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = chart(here, kube_lab.text(deployment(pod(f"{REPOSITORY}@{image[1]}"))))
    (made / "lint").write_text("==> Linting\n[INFO] icon\n[WARNING] old api\n")
    assert helm_check("chart", "--image", image[0]) == EXIT_OK
    assert "BM921 chart: old api" in capsys.readouterr().out
    (made / "lint").write_text("[ERROR] templates/: broken\n")
    assert helm_check("chart", "--image", image[0]) == EXIT_FINDINGS


def test_what_a_terminal_would_act_on_is_escaped(
    here: Path, image: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    spec = pod(f"{REPOSITORY}:v1")
    spec["containers"].append({"name": "x\x1b[2J", "image": "evil\x1b]0;t\x07"})
    (here / "a.yaml").write_text(kube_lab.text(deployment(spec)))
    assert helm_check("a.yaml", "--image", image[0]) == EXIT_FINDINGS
    out = capsys.readouterr().out
    assert "\x1b" not in out and "\\x1b" in out


def test_programs_get_no_more_of_the_environment_than_they_need(
    here: Path, image: tuple[str, str], helm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chart(here, kube_lab.text(deployment(pod(f"{REPOSITORY}@{image[1]}"))))
    seen = here / "seen"
    helm.write_text(HELM.replace("#!/bin/sh", f"#!/bin/sh\nenv >> {seen}"))
    assert stat.S_IXUSR & helm.stat().st_mode
    monkeypatch.setenv("KUBECONFIG", "/secret/config")
    monkeypatch.setenv("HELM_PLUGINS", "/secret/plugins")
    monkeypatch.setenv("REGISTRY_TOKEN", "hunter2")
    assert helm_check("chart", "--image", image[0]) == EXIT_OK
    assert "secret" not in seen.read_text() and "hunter2" not in seen.read_text()


def test_the_tables_of_matrix_toml(tmp_path: Path) -> None:
    parsed = factory.parse(
        factory.document(
            deploy={"charts": ["deploy/chart"], "canary": 25, "kubernetes": "1.34"},
            pools={"graviton": {"arch": "aarch64", "taints": ["a=b:NoSchedule"], "labels": {"x/y": "z"}, "weight": 2}},
        )
    )
    assert parsed.deploy.charts == ("deploy/chart",) and parsed.deploy.soak == 300
    (one,) = parsed.pools
    assert (one.arch, str(one.taints[0]), one.labels, one.weight) == ("arm64", "a=b:NoSchedule", (("x/y", "z"),), 2)


@pytest.mark.parametrize(
    ("tables", "key"),
    [
        ({"deploy": {"charts": ["/etc"]}}, "deploy.charts[0]"),
        ({"deploy": {"values": ["../x.yaml"]}}, "deploy.values[0]"),
        ({"deploy": {"canary": 0}}, "deploy.canary"),
        ({"deploy": {"canary": 100}}, "deploy.canary"),
        ({"deploy": {"soak": -1}}, "deploy.soak"),
        ({"deploy": {"kubernetes": "2"}}, "deploy.kubernetes"),
        ({"deploy": {"chart": []}}, "deploy.chart"),
        ({"pools": {"a": {}}}, "pools.a.arch"),
        ({"pools": {"a": {"arch": "vax"}}}, "pools.a.arch"),
        ({"pools": {"a": {"arch": "arm64", "taints": ["x"]}}}, "pools.a.taints[0]"),
        ({"pools": {"a": {"arch": "arm64", "taints": ["x:Never"]}}}, "pools.a.taints[0]"),
        ({"pools": {"a": {"arch": "arm64", "weight": 0}}}, "pools.a.weight"),
        ({"pools": {"a": {"arch": "arm64", "labels": {"kubernetes.io/arch": "arm64"}}}}, "pools.a.labels"),
        ({"pools": {"A.b": {"arch": "arm64"}}}, "pools.A.b"),
    ],
)
def test_wrong_tables(tables: dict[str, Any], key: str) -> None:
    with pytest.raises(MatrixError) as caught:
        factory.parse(factory.document(**tables))
    assert any(problem.key.startswith(key) for problem in caught.value.problems), caught.value


SIGNED = """\
schema = 1
project = { name = "app", version = "1.2.3" }
binaries.app = { package = "./cmd/app" }
targets.amd64 = { goarch = "amd64" }
signing = { backend = "key", key = "cosign.key", trusted-keys = ["cosign.pub"] }
"""


def test_an_index_in_a_registry_must_be_signed_by_whom_matrix_toml_trusts(
    here: Path,
    tmp_path: Path,
    image: tuple[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("BUILDMATRIX_PASSWORD", "secret words")
    assert cli.main(["keygen", "-o", "cosign.key"]) == EXIT_OK
    with RegistryServer() as server, Registry(server.host, access=Access(plain_http=(server.host,))) as registry:
        repository = registry.repository("team/app")
        copy.copy(Layout(tmp_path / "layout"), repository, image[1], tags=("v1",))
        name = f"{server.host}/team/app"
        (here / "a.yaml").write_text(kube_lab.text(deployment(pod(f"{name}@{image[1]}"))))
        arguments = ("a.yaml", "--image", f"{name}:v1", "--plain-http", server.host)
        assert helm_check(*arguments) == EXIT_OK
        assert "its signatures were not verified" in capsys.readouterr().out
        (here / "matrix.toml").write_text(SIGNED)
        assert helm_check(*arguments) == EXIT_FINDINGS
        out = capsys.readouterr().out
        assert "BM749" in out and "ok    a.yaml" not in out
        children = repository.manifest("v1").manifest().manifests
        _sign(here, repository, tuple(item.digest for item in children))
        assert helm_check(*arguments) == EXIT_FINDINGS
        assert f"BM749 {image[1]}" in capsys.readouterr().out
        _sign(here, repository, (image[1],))
        assert helm_check(*arguments) == EXIT_OK
        assert "BM" not in capsys.readouterr().out


def _sign(root: Path, repository: Repository, digests: tuple[str, ...]) -> None:
    parsed = matrix.read(root / matrix.FILE_NAME)
    keyring = prepare.keyring(parsed, prepare.Host.current(), SubprocessRunner())
    subjects = tuple(Subject(digest=digest) for digest in digests)
    sign_image(Remote(repository), subjects, keyring.signer(), created="2024-05-22T14:30:00Z")
