"""The example chart and broken ones through the real Helm and kustomize; roll-outs against Argo's own CRD."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from buildmatrix import cli
from buildmatrix.errors import EXIT_FINDINGS, EXIT_OK
from buildmatrix.kube import yamlread
from buildmatrix.oci.content import Descriptor
from buildmatrix.oci.layout import Layout
from tests import factory, kube_lab
from tests.integration import tools

pytestmark = pytest.mark.integration

EXAMPLE = factory.ROOT / "examples" / "charts" / "archprobe"
REPOSITORY = "registry.example.org/team/archprobe"


@pytest.fixture(autouse=True)
def helm(monkeypatch: pytest.MonkeyPatch) -> Path:
    """The pinned Helm and kustomize, first on PATH."""
    program = tools.go_tool("helm", "helm.sh/helm/v3/cmd/helm", "v3.22.0")
    kustomize = tools.go_tool("kustomize", "sigs.k8s.io/kustomize/kustomize/v5", "v5.8.1")
    monkeypatch.setenv("PATH", os.pathsep.join((str(program.parent), str(kustomize.parent), os.environ["PATH"])))
    return program


@pytest.fixture
def image(tmp_path: Path) -> tuple[str, str]:
    folder, digest = kube_lab.layout(tmp_path / "layout")
    return f"{REPOSITORY}={folder}", digest


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, image: tuple[str, str]) -> Path:
    """A folder with the example chart, its digest the index's."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    shutil.copytree(EXAMPLE, work / "chart")
    change(work / "chart/values.yaml", "sha256:" + "0" * 64, image[1])
    return work


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text, f"{path} has no {old}"
    path.write_text(text.replace(old, new))


def run(*arguments: str) -> int:
    return cli.main(["helm", *arguments])


def test_scalars_mean_what_helm_takes_them_for(helm: Path, tmp_path: Path) -> None:
    plain = [
        "y", "Yes", "on", "no", "N", "0777", "0o777", "0o", "1_000", "1:30", "1e3", ".5", "~", "null", "Null", "",
        "2024-05-22", "2024-05-22T14:30:00Z", "0x1F", "0x", "0b11", "+5", "-0", "1.", "1e", "08", "019", "+.5e-3",
        "off", "True", "tRue", "12345678901234567890", "18446744073709551616", "12345678901234567890123", "1.2.3",
        "0.10", "=", "-x", ".", "1__0", "_1", "1_", "64Mi", "100m", "+", "0_7", "-0x1F", "-0b1", "1e400", "nan", "Inf",
        "0O17", "'yes'", '"1"', "!!str 5", "!!str yes", "a\n  b",
    ]  # fmt: skip
    text = "".join(f"k{number}: {value}\n" for number, value in enumerate(plain))
    text += "on: 1\n7: 2\nb: &b {x: 1}\nc: {<<: *b, z: 2}\nd: |\n  t\n\ne: >-\n  a\n  b\n"
    (tmp_path / "templates").mkdir()
    (tmp_path / "Chart.yaml").write_text("apiVersion: v2\nname: t\nversion: 0.1.0\n")
    (tmp_path / "in.yaml").write_text(text)
    (tmp_path / "templates/a.yaml").write_text('out: {{ .Files.Get "in.yaml" | fromYaml | toJson | b64enc }}\n')
    done = subprocess.run([helm, "template", "x", tmp_path], capture_output=True, text=True, check=True)
    import base64

    said = json.loads(base64.b64decode(done.stdout.rpartition("out: ")[2]))
    document = yamlread.document(text, "in.yaml")
    assert document is not None
    # JSON's numbers have gone through a double on Helm's side.
    assert {key: _double(said[key]) for key in document.value} == {k: _double(v) for k, v in document.value.items()}
    assert said.keys() == document.value.keys()


def _double(value: object) -> object:
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def test_the_example_chart_passes_and_is_mended(
    here: Path, image: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("check", "chart", "--image", image[0]) == EXIT_OK
    out = capsys.readouterr().out
    assert "Deployment/chart  amd64, arm64" in out and "Pod/chart-test  amd64, arm64" in out and "BM921" not in out
    assert run("fix", "chart", "--image", image[0]) == EXIT_OK
    assert "nothing to change" in capsys.readouterr().out


Break = Callable[[Path], None]


def values(old: str, new: str) -> Break:
    return lambda chart: change(chart / "values.yaml", old, new)


def template(old: str, new: str, name: str = "deployment.yaml") -> Break:
    return lambda chart: change(chart / "templates" / name, old, new)


def extra(text: str, name: str = "templates/extra.yaml") -> Break:
    def write(chart: Path) -> None:
        (chart / name).parent.mkdir(exist_ok=True)
        (chart / name).write_text(text)

    return write


PLACED = '{{- include "archprobe.placement" . | nindent 6 }}'
JOB = """\
apiVersion: batch/v1
kind: Job
metadata:
  name: migrate
  annotations:
    helm.sh/hook: pre-install
spec:
  template:
    spec:
      restartPolicy: Never
      # what migrates
      containers:
        - name: migrate
          image: {{ include "archprobe.image" . }}
"""
LIST = "apiVersion: v1\nkind: List\nitems:\n  - " + JOB.replace("\n", "\n    ").rstrip() + "\n"
CRD = """\
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: apps.example.org}
spec:
  group: example.org
  scope: Namespaced
  names: {kind: App, plural: apps, singular: app, listKind: AppList}
  versions:
    - name: v1
      served: true
      storage: true
      schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {size: {type: integer}}}}}}
"""

CONFIG = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\n"


def crd(chart: Path) -> None:
    extra(CRD, "crds/app.yaml")(chart)
    extra("apiVersion: example.org/v1\nkind: App\nmetadata: {name: a}\nspec: {sise: 1}\n")(chart)


BROKEN: dict[str, tuple[Break, str, bool]] = {
    "lacking architecture": (values("  - arm64\n\nimage", "  - s390x\n\nimage"), "BM924", True),
    "uname's names": (values("  - amd64\n  - arm64\n\nimage", "  - x86_64\n  - aarch64\n\nimage"), "BM929", True),
    "no value": (values("archConstraints:\n  - amd64\n  - arm64\n", ""), "BM920", False),
    "template that fails": (template("spec:\n  replicas", "{{ fail \"no\" }}\nspec:\n  replicas"), "BM920", False),
    "template that is none": (template("spec:\n  replicas", "{{ if }}\nspec:\n  replicas"), "BM920", False),
    "no yaml": (template("spec:\n  replicas", "spec:\n\treplicas"), "BM920", False),
    "duplicate key": (template("replicas:", "replicas: 1\n  replicas:"), "BM920", False),
    "duplicate value": (values("replicas: 3", "replicas: 3\nreplicas: 4"), "BM920", False),
    "misspelt": (template("automount", "nodeSelecter: {}\n      automount"), "BM922", False),
    "another digest": (values("digest: sha256:", "digest: sha256:" + "0" * 64 + " # sha256:"), "BM927", True),
    "by tag": (template('{{ include "archprobe.image" . }}', f"{REPOSITORY}:v1"), "BM926", True),
    "not bound": (template(PLACED, ""), "BM923", True),
    "preferred": (
        lambda chart: change(
            chart / "templates/_helpers.tpl",
            "requiredDuringSchedulingIgnoredDuringExecution:\n      nodeSelectorTerms:\n        - ",
            "preferredDuringSchedulingIgnoredDuringExecution:\n        - weight: 1\n          preference:\n"
            "            ",
        ),
        "BM923",
        False,
    ),
    "contradiction": (template(PLACED, PLACED + "\n      nodeSelector: {kubernetes.io/arch: s390x}"), "BM925", False),
    "hook": (extra(JOB), "BM923", True),
    "list": (extra(LIST), "BM923", True),
    "missing dependency": (
        lambda chart: change(
            chart / "Chart.yaml", "type:", "dependencies: [{name: redis, version: 1.x, repository: 'https://x'}]\ntype:"
        ),
        "BM920",
        False,
    ),
    "custom resource": (crd, "BM922", False),
    "mention": (extra(f"{CONFIG}data: {{i: '{REPOSITORY}:v1'}}\n"), "BM930", False),
    "lint": (extra(CONFIG.replace("name: c", "name: Not_A_Name") + "data: {}\n"), "BM921", False),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_chart_is_found_and_mended_where_that_can_be(
    name: str, here: Path, image: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    broken, code, mendable = BROKEN[name]
    broken(here / "chart")
    before = {path: path.read_bytes() for path in (here / "chart").rglob("*") if path.is_file()}
    status = run("check", "chart", "--image", image[0], "--json")
    report = json.loads(capsys.readouterr().out)
    found = {item["rule"] for source in report["sources"] for item in source["findings"]}
    assert code in found
    assert status == (EXIT_OK if code in ("BM921", "BM930") else EXIT_FINDINGS)
    if not mendable:
        run("fix", "chart", "--image", image[0])
        assert before == {path: path.read_bytes() for path in (here / "chart").rglob("*") if path.is_file()}
        return
    assert run("fix", "chart", "--image", image[0], "--dry-run") == EXIT_OK
    assert before == {path: path.read_bytes() for path in (here / "chart").rglob("*") if path.is_file()}
    assert run("fix", "chart", "--image", image[0]) == EXIT_OK
    assert run("check", "chart", "--image", image[0]) == EXIT_OK
    capsys.readouterr()
    assert run("fix", "chart", "--image", image[0]) == EXIT_OK
    assert "nothing to change" in capsys.readouterr().out
    old = {path: text.decode().splitlines() for path, text in before.items()}
    lost = [line for path, lines in old.items() for line in lines if line not in path.read_text().splitlines()]
    assert len(lost) <= 2, lost


def test_a_values_file_on_top_can_break_it(
    here: Path, image: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "more.yaml").write_text("archConstraints: [amd64, riscv64]\n")
    assert run("check", "chart", "--image", image[0], "--values", "more.yaml") == EXIT_FINDINGS
    out = capsys.readouterr().out
    assert "BM929" in out and "BM924" in out
    assert run("check", "chart", "--image", image[0], "--set", "archConstraints={arm64}") == EXIT_OK
    assert "Deployment/chart  arm64" in capsys.readouterr().out


def test_the_chart_that_helm_creates_is_mended_by_its_values(
    helm: Path, here: Path, image: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    subprocess.run([helm, "create", "std"], check=True, capture_output=True)
    change(
        here / "std/values.yaml", "repository: nginx", "registry: registry.example.org\n  repository: team/archprobe"
    )
    change(here / "std/templates/deployment.yaml", "{{ .Values.image.repository }}",
           "{{ .Values.image.registry }}/{{ .Values.image.repository }}")  # fmt: skip
    assert run("check", "std", "--image", image[0]) == EXIT_FINDINGS
    assert "wget uses busybox: not ours" in capsys.readouterr().out
    assert run("fix", "std", "--image", image[0]) == EXIT_OK
    diff = capsys.readouterr().out
    assert f'+  tag: "1.16.0@{image[1]}"' in diff and "templates/" not in diff
    assert run("check", "std", "--image", image[0]) == EXIT_OK


def test_a_packed_chart_is_checked_and_not_mended(helm: Path, here: Path, image: tuple[str, str]) -> None:
    subprocess.run([helm, "package", "chart"], check=True, capture_output=True)
    assert run("check", "archprobe-0.1.0.tgz", "--image", image[0]) == EXIT_OK
    change(here / "chart/values.yaml", image[1], "sha256:" + "0" * 64)
    subprocess.run([helm, "package", "chart"], check=True, capture_output=True)
    assert run("fix", "archprobe-0.1.0.tgz", "--image", image[0]) == EXIT_FINDINGS


def test_several_images_in_one_chart(here: Path, image: tuple[str, str], tmp_path: Path) -> None:
    folder, digest = kube_lab.layout(tmp_path / "other", platforms=("amd64", "arm64"))
    other = "registry.example.org/team/migrate"
    extra(JOB.replace('{{ include "archprobe.image" . }}', f"{other}:v1"))(here / "chart")
    images = ("--image", image[0], "--image", f"{other}={folder}")
    assert run("check", "chart", *images) == EXIT_FINDINGS
    assert run("fix", "chart", *images) == EXIT_OK
    assert run("check", "chart", *images) == EXIT_OK
    assert f"{other}:v1@{digest}" in (here / "chart/templates/extra.yaml").read_text()


def test_kustomizations_are_built_and_mended(
    here: Path, image: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    base, overlay = here / "kustomize/base", here / "kustomize/overlays/prod"
    base.mkdir(parents=True)
    overlay.mkdir(parents=True)
    text = kube_lab.text(kube_lab.deployment(kube_lab.pod(f"{REPOSITORY}:v1", affinity={})))
    (base / "web.yaml").write_text(text)
    (base / "kustomization.yaml").write_text("resources: [web.yaml]\n")
    (overlay / "kustomization.yaml").write_text("# production\nnamespace: prod\nresources:\n- ../../base\n")
    assert run("check", str(overlay), "--image", image[0]) == EXIT_FINDINGS
    out = capsys.readouterr().out
    assert "BM923" in out and "BM926" in out
    assert run("fix", str(overlay), "--image", image[0]) == EXIT_OK
    assert run("check", str(overlay), "--image", image[0]) == EXIT_OK
    assert (base / "web.yaml").read_text() == text
    written = (overlay / "kustomization.yaml").read_text()
    assert written.startswith("# production\nnamespace: prod\nresources:\n- ../../base\n") and image[1] in written
    capsys.readouterr()
    assert run("fix", str(overlay), "--image", image[0]) == EXIT_OK
    assert "nothing to change" in capsys.readouterr().out
    (base / "kustomization.yaml").write_text("resources: [nowhere.yaml]\n")
    assert run("check", str(overlay), "--image", image[0]) == EXIT_FINDINGS
    assert "kustomize cannot render it" in capsys.readouterr().out


def test_a_session_checks_what_matrix_toml_names(
    here: Path, image: tuple[str, str], capfd: pytest.CaptureFixture[str]
) -> None:
    layout = image[0].partition("=")[2]
    shutil.copytree(layout, here / "dist/images/archprobe")
    (here / "matrix.toml").write_text(
        f"""\
schema = 1
project = {{ name = "app", version = "1.2.3" }}
binaries.archprobe = {{ package = "./cmd/app" }}
targets.amd64 = {{ goarch = "amd64" }}
targets.arm64 = {{ goarch = "arm64" }}
images.archprobe = {{ targets = ["*"], repository = "{REPOSITORY}" }}
deploy = {{ charts = ["chart"] }}

[pools.arm]
arch = "arm64"
taints = ["kubernetes.io/arch=arm64:NoSchedule"]
"""
    )
    (here / "noxfile.py").write_text("import buildmatrix.sessions\nbuildmatrix.sessions.register()\n")
    command = [sys.executable, "-m", "nox", "-s", "helm"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    change(here / "chart/values.yaml", "value: arm64", "value: arm")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "BM928" in done.stdout
    assert run("fix") == EXIT_OK and run("check") == EXIT_OK
    assert "value: arm64" in (here / "chart/values.yaml").read_text()


def argo_crd() -> Path:
    """The CRD as Argo Rollouts publishes it in its module."""
    module = tools.go_module("github.com/argoproj/argo-rollouts", "v1.8.3")
    return module / "manifests" / "crds" / "rollout-crd.yaml"


@pytest.mark.parametrize("argo", [False, True], ids=["deployments", "argo"])
def test_a_roll_out_of_the_example(
    here: Path, image: tuple[str, str], argo: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    crds = ("--crd", str(argo_crd())) if argo else ()
    words = [
        "rollout",
        "plan",
        "chart",
        "--image",
        image[0],
        "--namespace",
        "prod",
        *crds,
        *(["--argo"] if argo else []),
    ]
    assert cli.main(words) == EXIT_OK
    assert "BM931" not in capsys.readouterr().err
    files = sorted(str(path.relative_to(here)) for path in (here / "rollout").glob("*.yaml"))
    assert len(files) == (3 if argo else 5)
    assert run("check", *files, "--image", image[0], *crds) == EXIT_OK
    out = capsys.readouterr().out
    assert "BM931" not in out and ("Rollout/chart-arm64 spec.template.spec  arm64" in out) is argo
    if argo:
        change(here / files[1], "setWeight", "setWait")
        assert run("check", *files, "--image", image[0], *crds) == EXIT_FINDINGS
        assert "'setWait'" in capsys.readouterr().out


def test_the_index_comes_from_a_registry(
    here: Path, tmp_path: Path, docker_registry: object, capsys: pytest.CaptureFixture[str]
) -> None:
    from buildmatrix.oci import copy
    from buildmatrix.oci.http import Access
    from buildmatrix.oci.registry import Registry

    host = docker_registry.host  # type: ignore[attr-defined]
    layout = Layout(tmp_path / "layout")
    top = layout.index().manifests[0]
    assert isinstance(top, Descriptor)
    with Registry(host, access=Access(plain_http=(host,))) as registry:
        copy.copy(layout, registry.repository("helm/archprobe"), top.digest, tags=("v1",))
    change(here / "chart/values.yaml", REPOSITORY, f"{host}/helm/archprobe")
    arguments = ("chart", "--image", f"{host}/helm/archprobe:v1", "--plain-http", host)
    assert run("check", *arguments) == EXIT_OK
    assert "signatures were not verified" in capsys.readouterr().out
    assert run("check", "chart", "--image", f"{host}/helm/archprobe:v2", "--plain-http", host) == EXIT_FINDINGS
    assert "BM804" in capsys.readouterr().out
