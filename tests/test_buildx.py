"""Builders, bake files and progress, without buildx: exact arguments, exact files, every failure told."""

from __future__ import annotations

import base64
import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from buildmatrix import errors
from buildmatrix.builderspec import BuilderSpec, cache_of
from buildmatrix.buildx import bake, builders, probe, program, run
from buildmatrix.buildx.bake import Target
from buildmatrix.buildx.builders import Builder
from buildmatrix.buildx.probe import Answer
from buildmatrix.buildx.program import Buildx
from buildmatrix.buildx.progress import Progress, Step
from buildmatrix.errors import EngineFailed, MatrixError
from buildmatrix.process import Completed, SubprocessRunner
from tests import factory

NODES = (("linux/amd64", "tcp://10.0.0.1:1234"), ("linux/arm64", "tcp://10.0.0.2:1234"))


def spec(driver: str = "remote", nodes: tuple[tuple[str, str], ...] = NODES, **options: str) -> BuilderSpec:
    return BuilderSpec(
        name="cluster", driver=driver, nodes=nodes, cache="",
        options=tuple(sorted((name.replace("__", "."), value) for name, value in options.items())),
    )  # fmt: skip


@dataclass(slots=True)
class Recorded:
    """A runner that keeps what it was given, and answers by the first word after the program."""

    answers: dict[str, Completed] = field(default_factory=dict)
    calls: list[tuple[str, ...]] = field(default_factory=list)
    environments: list[dict[str, str]] = field(default_factory=list)
    lines: tuple[str, ...] = ()
    metadata: str | None = None

    def run(
        self, argv: tuple[str, ...], *, env: Mapping[str, str], cwd: Path, timeout: float | None = None
    ) -> Completed:
        self.calls.append(argv[1:])
        self.environments.append(dict(env))
        if argv[1] == "create" and not (place := Path(env["BUILDX_CONFIG"]) / "instances").is_dir():
            place.mkdir(parents=True)
        if argv[1] == "create":
            (Path(env["BUILDX_CONFIG"]) / "instances" / argv[argv.index("--name") + 1]).touch()
        if argv[1] == "rm":
            (Path(env["BUILDX_CONFIG"]) / "instances" / argv[-1]).unlink(missing_ok=True)
        return self.answers.get(argv[1], Completed(argv=argv, status=0, stdout="", stderr=""))

    def stream(
        self,
        argv: tuple[str, ...],
        told: Callable[[str], None],
        *,
        env: Mapping[str, str],
        cwd: Path,
        timeout: float | None = None,
    ) -> Completed:
        for line in self.lines:
            told(line)
        if self.metadata is not None:
            (cwd / "metadata.json").write_text(self.metadata)
        return self.run(argv, env=env, cwd=cwd)


def answer(status: int = 0, stdout: str = "", stderr: str = "") -> Completed:
    return Completed(argv=(), status=status, stdout=stdout, stderr=stderr)


def tool(tmp_path: Path, runner: Recorded, **environment: str) -> Buildx:
    return Buildx(program=Path("/opt/buildx"), runner=runner, environment=environment, state=tmp_path / "state")


def listing(name: str, **states: str) -> str:
    """What `buildx ls` prints; states by architecture."""
    nodes = [{"Name": f"{name}-linux-{arch}", "Status": status} for arch, status in states.items()]
    return "\n".join(json.dumps(row) for row in ({"Name": "default", "Nodes": []}, {"Name": name, "Nodes": nodes}))


# Creating builders


def test_a_remote_builder_has_one_node_a_platform() -> None:
    made = builders.creation(
        spec(cacert="pki/ca.pem", cert="pki/c.pem", key="pki/c.key", servername="build.example"), "bm", Path("/project")
    )
    options = (
        "--driver-opt", "cacert=/project/pki/ca.pem", "--driver-opt", "cert=/project/pki/c.pem",
        "--driver-opt", "key=/project/pki/c.key", "--driver-opt", "servername=build.example",
    )  # fmt: skip
    assert made == (
        ("create", "--name", "bm", "--driver", "remote", "--node", "bm-linux-amd64", "--platform", "linux/amd64",
         *options, "tcp://10.0.0.1:1234"),
        ("create", "--append", "--name", "bm", "--driver", "remote", "--node", "bm-linux-arm64", "--platform",
         "linux/arm64", *options, "tcp://10.0.0.2:1234"),
    )  # fmt: skip


def test_a_kubernetes_builder_selects_its_nodes() -> None:
    made = builders.creation(
        spec(
            "kubernetes", (("linux/amd64", "kubernetes.io/arch=amd64"),
                           ("linux/arm64", "kubernetes.io/arch=arm64,pool=build")),
            namespace="ci", replicas="2", qemu__install="false",
        ),
        "bm", Path("/project"),
    )  # fmt: skip
    common = ("--driver-opt", "namespace=ci", "--driver-opt", "qemu.install=false", "--driver-opt", "replicas=2")
    assert made == (
        ("create", "--name", "bm", "--driver", "kubernetes", "--node", "bm-linux-amd64", "--platform", "linux/amd64",
         *common, "--driver-opt", "nodeselector=kubernetes.io/arch=amd64"),
        ("create", "--append", "--name", "bm", "--driver", "kubernetes", "--node", "bm-linux-arm64", "--platform",
         "linux/arm64", *common, "--driver-opt", '"nodeselector=kubernetes.io/arch=arm64,pool=build"'),
    )  # fmt: skip


def test_a_container_builder_names_its_contexts() -> None:
    made = builders.creation(spec("docker-container", (("linux/arm64", "arm-host"),), network="host"), "bm", Path("/p"))
    assert made == (
        ("create", "--name", "bm", "--driver", "docker-container", "--node", "bm-linux-arm64", "--platform",
         "linux/arm64", "--driver-opt", "network=host", "arm-host"),
    )  # fmt: skip


def test_a_builder_is_made_once_and_replaced_when_it_changes(tmp_path: Path) -> None:
    runner = Recorded()
    buildx = tool(tmp_path, runner, BUILDX_CONFIG="/users/own", HOME="/root", BUILDX_BAKE_FILE="evil.hcl")
    first = builders.ensure(buildx, spec(), tmp_path)
    assert [call[0] for call in runner.calls] == ["create", "create"]
    assert builders.ensure(buildx, spec(), tmp_path) == first and len(runner.calls) == 2
    second = builders.ensure(buildx, spec(servername="x"), tmp_path)
    assert second.name != first.name and second.config == first.config
    assert runner.calls[-1] == ("rm", "--force", first.name)
    assert all(env["BUILDX_CONFIG"] == str(first.config) for env in runner.environments)
    assert all("BUILDX_BAKE_FILE" not in env for env in runner.environments)


def test_two_projects_do_not_share_a_builder(tmp_path: Path) -> None:
    buildx = tool(tmp_path, Recorded())
    one, other = (builders.ensure(buildx, spec(), tmp_path / name) for name in ("a", "b"))
    assert one.config != other.config


def test_half_a_builder_is_removed(tmp_path: Path) -> None:
    runner = Recorded(answers={"create": answer(1, stderr="ERROR: no such driver")})
    with pytest.raises(EngineFailed, match="buildx cannot make it") as caught:
        builders.ensure(tool(tmp_path, runner), spec(), tmp_path)
    assert "no such driver" in caught.value.why
    assert runner.calls[-1][:2] == ("rm", "--force")


def test_a_certificate_that_is_not_there(tmp_path: Path) -> None:
    runner = Recorded()
    with pytest.raises(EngineFailed, match=r"got no file pki/ca\.pem, expected the cacert"):
        builders.ensure(tool(tmp_path, runner), spec(cacert="pki/ca.pem"), tmp_path)
    assert runner.calls == []


@pytest.fixture
def unasked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Answer]:
    """No connection to the addresses of these tests; what a node answers is taken from here."""
    answers: dict[str, Answer] = {}
    monkeypatch.setattr(probe, "ask", lambda endpoint, *_: answers.get(endpoint, Answer(words="no route")))
    return answers


@pytest.mark.usefixtures("unasked")
@pytest.mark.parametrize("status", ["inactive", "stopped", "error", ""])
def test_a_silent_node_is_named_with_its_platform(tmp_path: Path, status: str) -> None:
    runner = Recorded(answers={"ls": answer(stdout=listing("bm", amd64="running", arm64=status))})
    builder = Builder(name="bm", config=tmp_path, spec=spec())
    with pytest.raises(EngineFailed) as caught:
        builders.reached(tool(tmp_path, runner), builder, tmp_path)
    assert "tcp://10.0.0.2:1234 for linux/arm64" in caught.value.what and "10.0.0.1" not in caught.value.what


def test_a_refused_certificate_reads_differently(tmp_path: Path, unasked: dict[str, Answer]) -> None:
    unasked[NODES[1][1]] = Answer(words="it refuses our certificate: unknown ca", refused=True)
    runner = Recorded(answers={"ls": answer(stdout=listing("bm", amd64="running", arm64="inactive"))})
    builder = Builder(name="bm", config=tmp_path, spec=spec())
    with pytest.raises(EngineFailed) as caught:
        builders.reached(tool(tmp_path, runner), builder, tmp_path)
    assert "certificate refused at tcp://10.0.0.2:1234 for linux/arm64" in caught.value.what
    assert "no answer" not in caught.value.what and "start BuildKit" not in caught.value.fix
    runner = Recorded(answers={"ls": answer(stdout=listing("bm", amd64="inactive", arm64="inactive"))})
    with pytest.raises(EngineFailed) as caught:
        builders.reached(tool(tmp_path, runner), builder, tmp_path)
    assert "no answer from tcp://10.0.0.1:1234 for linux/amd64 (no route)" in caught.value.what
    assert "correct cacert" in caught.value.fix and "start BuildKit" in caught.value.fix


@pytest.mark.usefixtures("unasked")
def test_nodes_of_which_nothing_is_said_are_silent(tmp_path: Path) -> None:
    builder = Builder(name="bm", config=tmp_path, spec=spec())
    with pytest.raises(EngineFailed, match=r"10\.0\.0\.1:1234 for linux/amd64 .*10\.0\.0\.2:1234 for linux/arm64"):
        builders.reached(tool(tmp_path, Recorded(answers={"ls": answer(1, "garbage {")})), builder, tmp_path)


def test_all_nodes_answer(tmp_path: Path) -> None:
    runner = Recorded(answers={"ls": answer(stdout=listing("bm", amd64="running", arm64="running"))})
    builders.reached(tool(tmp_path, runner), Builder(name="bm", config=tmp_path, spec=spec()), tmp_path)


# The matrix


def matrix(**table: Any) -> Any:
    return factory.parse(
        factory.document(builders={"cluster": {"driver": "remote", "nodes": dict(NODES), **table}}), Path("/project")
    )


def test_a_builder_is_read() -> None:
    (found,) = matrix(cache="type=registry,ref=r.example/c:{cell}", options={"servername": "x"}).builders
    assert found == BuilderSpec(
        name="cluster", driver="remote", nodes=NODES, options=(("servername", "x"),),
        cache="type=registry,ref=r.example/c:{cell}",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"driver": "docker"}, "builders.cluster.driver: got 'docker', expected one of remote"),
        ({"nodes": {}}, "builders.cluster.nodes: got nothing"),
        ({"nodes": {"linux/arm64": "10.0.0.1:1234"}}, "builders.cluster.nodes.linux/arm64: got '10.0.0.1:1234'"),
        ({"nodes": {"arm64": "tcp://h:1"}}, "builders.cluster.nodes.arm64"),
        ({"options": {"cacerts": "x"}}, "did you mean 'cacert'?"),
        ({"options": {"namespace": "x"}}, "an option that the driver does not know"),
        ({"options": {"cert": "x"}}, "builders.cluster.options.key: got nothing"),
        ({"cache": "type=registry,ref=r/c"}, "expected the placeholder {cell}"),
        ({"cache": "type=registry,ref=r/c:{cell}-{x}"}, "expected the placeholder {cell}, and no other"),
        ({"cache": "type=local,path=here/{cell}"}, "with an absolute DIR"),
        ({"cache": "registry"}, "builders.cluster.cache"),
        ({"node": {}}, "did you mean 'nodes'?"),
    ],
)
def test_what_is_wrong_with_a_builder(table: dict[str, Any], words: str) -> None:
    with pytest.raises(MatrixError) as caught:
        matrix(**table)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("image", "words"),
    [
        ({"builder": "cluster"}, "only buildx has builders"),
        ({"builder": "other", "dockerfile": "Dockerfile"}, "expected a table [builders.other] (there is cluster)"),
        ({"builder": "cluster", "dockerfile": "Dockerfile"}, "which has no node for linux/s390x"),
    ],
)
def test_what_is_wrong_with_the_builder_of_an_image(image: dict[str, Any], words: str) -> None:
    tables = factory.document(
        builders={"cluster": {"driver": "remote", "nodes": dict(NODES)}},
        targets={"amd64": {"goarch": "amd64"}, "s390x": {"goarch": "s390x"}},
        images={"app": {"targets": ["*"], **image}},
    )
    with pytest.raises(MatrixError) as caught:
        factory.parse(tables)
    assert words in str(caught.value)
    if "s390x" in words:
        tables["images"]["app"]["emulation"] = True
        assert factory.parse(tables).images[0].builder == "cluster"


def test_where_a_cell_is_cached() -> None:
    assert cache_of("type=registry,ref=r/c:{cell}", "app-arm64") == (
        "type=registry,ref=r/c:app-arm64",
        "type=registry,ref=r/c:app-arm64,mode=max",
    )
    assert cache_of("type=local,path=/c/{cell}", "x") == ("type=local,src=/c/x", "type=local,dest=/c/x,mode=max")
    assert cache_of("", "x") == ("", "")


# Bake files


def test_a_bake_file() -> None:
    target = Target(
        name="linux-arm64", platform="linux/arm64", context="/c", dockerfile="/c/Dockerfile", output="type=oci,dest=/o",
        contexts=(("dist", "/d"),), args=(("A", "${b} %{c} $d"),), labels=(("l", "$${x}"),),
        annotations=("manifest:a=b",), cache_from="type=local,src=/x", cache_to="type=local,dest=/x",
    )  # fmt: skip
    assert json.loads(bake.document((target,))) == {
        "group": {"default": {"targets": ["linux-arm64"]}},
        "target": {
            "linux-arm64": {
                "context": "/c", "dockerfile": "/c/Dockerfile", "contexts": {"dist": "/d"},
                "args": {"A": "$${b} %%{c} $d"}, "labels": {"l": "$$${x}"}, "annotations": ["manifest:a=b"],
                "platforms": ["linux/arm64"], "output": ["type=oci,dest=/o"],
                "attest": ["type=provenance,disabled=true", "type=sbom,disabled=true"],
                "cache-from": ["type=local,src=/x"], "cache-to": ["type=local,dest=/x"],
            }
        },
    }  # fmt: skip


def test_the_command() -> None:
    assert bake.command(Path("/b"), ("--builder", "n"), Path("/f"), Path("/m"), (Path("/r"),), (Path("/w"),)) == (
        "/b", "bake", "--builder", "n", "-f", "/f", "--progress=rawjson", "--metadata-file", "/m",
        "--allow=fs.read=/r", "--allow=fs.write=/w", "default",
    )  # fmt: skip


def vertex(name: str, **members: Any) -> str:
    return json.dumps({"vertexes": [{"digest": f"sha256:{name}", "name": name, **members}]})


def test_progress_tells_of_each_step_once_and_times_it() -> None:
    heard: list[Step] = []
    progress = Progress(heard.append)
    name = "[linux-arm64 build 2/3] RUN go build"
    for line in (
        vertex("[internal] load local bake definitions", started="2026-01-01T00:00:00Z"),
        vertex("[linux-arm64 internal] load .dockerignore", started="2026-01-01T00:00:00Z"),
        vertex(name),
        vertex(name, started="2026-01-01T00:00:00.123456789Z"),
        vertex(name, started="2026-01-01T00:00:00.123456789Z", completed="2026-01-01T00:00:02.623456789Z"),
        vertex("[linux-arm64 1/1] COPY a b", started="2026-01-01T00:00:00Z", cached=True),
        "WARNING: something", "", '["not an object"]',
    ):  # fmt: skip
        progress.line(line)
    assert [(step.target, step.stage, step.words, step.runs) for step in heard] == [
        ("linux-arm64", "build", "RUN go build", True),
        ("linux-arm64", "", "COPY a b", False),
    ]
    done = progress.steps[f"sha256:{name}"]
    assert done.seconds == pytest.approx(2.5)
    assert progress.words == ["WARNING: something", '["not an object"]']


def test_the_step_that_failed_comes_before_those_it_cancelled() -> None:
    progress = Progress(lambda _step: None)
    progress.line(vertex("[a 1/1] COPY x y", error="context canceled"))
    progress.line(vertex("[b 1/1] RUN false", error="exit code: 1"))
    data = base64.b64encode(b"what it printed\n").decode()
    progress.line(json.dumps({"logs": [{"vertex": "sha256:[b 1/1] RUN false", "data": data}]}))
    assert [(step.target, printed) for step, printed in progress.failures()] == [("b", "what it printed\n"), ("a", "")]


def job(tmp_path: Path) -> run.Bake:
    targets = tuple(
        Target(name=bake.target_name(platform), platform=platform, context="/c", output="type=cacheonly")
        for platform, _ in NODES
    )
    return run.Bake(targets=targets, folder=tmp_path, created=7)


def test_results_are_read(tmp_path: Path) -> None:
    old = {"buildx.build.provenance": {"invocation": {"environment": {"platform": "linux/amd64"}}}}
    new = {"buildx.build.provenance": {"buildDefinition": {"internalParameters": {"builderPlatform": "linux/arm64"}}}}
    runner = Recorded(metadata=json.dumps({"linux-amd64": {"containerimage.digest": "sha256:1", **old},
                                           "linux-arm64": new}))  # fmt: skip
    found = run.run(tool(tmp_path, runner), Builder(), job(tmp_path), lambda _step: None)
    assert found.targets == {
        "linux-amd64": run.Baked(digest="sha256:1", native="linux/amd64"),
        "linux-arm64": run.Baked(digest="", native="linux/arm64"),
    }
    assert runner.environments[0]["SOURCE_DATE_EPOCH"] == "7"


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        (None, "left no list of results"),
        ("[]", "no result for linux/amd64"),
        ("{", "left no list of results"),
        ('{"linux-amd64": {}}', "no result for linux/arm64"),
    ],
)
def test_results_that_lack_a_platform(tmp_path: Path, metadata: str | None, words: str) -> None:
    with pytest.raises(EngineFailed, match=words):
        run.run(
            tool(tmp_path, Recorded(metadata=metadata)), Builder(), job(tmp_path), lambda _step: None
        )  # fmt: skip


def test_old_results_do_not_pass_for_new_ones(tmp_path: Path) -> None:
    (tmp_path / "metadata.json").write_text('{"linux-amd64": {}, "linux-arm64": {}}')
    with pytest.raises(EngineFailed, match="left no list of results"):
        run.run(tool(tmp_path, Recorded()), Builder(), job(tmp_path), lambda _step: None)


def test_a_failed_step_is_named_with_its_platform(tmp_path: Path) -> None:
    runner = Recorded(
        answers={"bake": answer(1)},
        lines=(vertex("[linux-arm64 build 2/3] RUN go build", error="exit code: 1"), "ERROR: failed to solve"),
    )
    with pytest.raises(EngineFailed, match="linux/arm64: RUN go build failed"):
        run.run(tool(tmp_path, runner), Builder(), job(tmp_path), lambda _step: None)


def test_a_node_that_went_away_comes_before_the_step(tmp_path: Path) -> None:
    runner = Recorded(
        answers={"bake": answer(1), "ls": answer(stdout=listing("bm", amd64="running", arm64="inactive"))},
        lines=(vertex("[linux-arm64 build 2/3] RUN go build", error="EOF"), "ERROR: rpc error"),
    )
    builder = Builder(name="bm", config=tmp_path, spec=spec())
    with pytest.raises(EngineFailed, match=r"10\.0\.0\.2:1234 for linux/arm64") as caught:
        run.run(tool(tmp_path, runner), builder, job(tmp_path), lambda _step: None)
    assert "went away" in caught.value.why and "rpc error" in caught.value.why


def test_what_buildx_says_itself(tmp_path: Path) -> None:
    runner = Recorded(answers={"bake": answer(1)}, lines=("ERROR: no builder found",))
    with pytest.raises(EngineFailed, match="exit status 1") as caught:
        run.run(tool(tmp_path, runner), Builder(), job(tmp_path), lambda _step: None)
    assert "no builder found" in caught.value.why


# Finding buildx


def test_the_users_plugin_comes_first(tmp_path: Path) -> None:
    plugin, other = tmp_path / "docker/cli-plugins/docker-buildx", tmp_path / "bin/buildx"
    for path in (plugin, other):
        path.parent.mkdir(parents=True)
        path.touch(0o755)
    environment = {"DOCKER_CONFIG": str(tmp_path / "docker"), "PATH": str(other.parent)}
    assert program.find(environment) == plugin
    plugin.unlink()
    assert program.find(environment) == other


def test_no_buildx_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "_SYSTEM", ())
    with pytest.raises(errors.ToolMissing, match="neither a Docker plugin nor a program on PATH"):
        program.find({"PATH": str(tmp_path), "HOME": str(tmp_path)})


# Streaming


def stream(script: str, told: Callable[[str], None], timeout: float | None = None) -> Completed:
    runner = SubprocessRunner()
    return runner.stream(
        ("/bin/sh", "-c", script), told, env={"PATH": os.defpath}, cwd=Path("/"), timeout=timeout
    )  # fmt: skip


def test_lines_are_told_as_they_come() -> None:
    times: list[float] = []
    started = time.monotonic()
    done = stream("echo a >&2; sleep 0.5; echo b >&2; echo out; exit 3", lambda _: times.append(time.monotonic()))
    assert (done.status, done.stdout, done.stderr) == (3, "out\n", "a\nb\n")
    assert times[1] - times[0] > 0.4 and times[0] - started < 0.45


def test_much_output_on_both_does_not_block() -> None:
    done = stream("yes out | head -c 3000000; yes err | head -c 3000000 >&2", lambda _: None)
    assert (len(done.stdout), len(done.stderr)) == (3000000, 3000000)


def test_a_stream_past_its_time_is_ended() -> None:
    started = time.monotonic()
    with pytest.raises(errors.CommandTimeout):
        stream("echo a >&2; sleep 30; sleep 30", lambda _: None, timeout=0.3)
    assert time.monotonic() - started < 10


def test_what_the_listener_raises_ends_the_program(tmp_path: Path) -> None:
    def refuse(_line: str) -> None:
        raise EngineFailed("enough")

    started = time.monotonic()
    with pytest.raises(EngineFailed, match="enough"):
        stream(f"echo a >&2; sleep 30; touch {tmp_path}/done", refuse)
    assert time.monotonic() - started < 10 and not (tmp_path / "done").exists()
