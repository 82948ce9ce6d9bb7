"""What a cell is on a cluster: the exact Dockerfile, the modules that it needs, and what cannot go there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from buildmatrix import errors, gocluster, plan
from buildmatrix.buildx import bake
from buildmatrix.dist import Dist
from buildmatrix.errors import MatrixError
from buildmatrix.process import Completed
from buildmatrix.toolchain import CCompiler, GoToolchain
from tests import factory
from tests.test_buildx import NODES, Recorded

ZIG = CCompiler(
    command=("/opt/ziglang/zig", "cc", "-target", "aarch64-linux-musl"),
    cxx=("/opt/ziglang/zig", "c++", "-target", "aarch64-linux-musl"),
    dialect="zig",
    flags=(),
    label="zig 0.17.1 cc -target aarch64-linux-musl",
)


def job(root: Path, compiler: CCompiler | None = None, runner: Any = None, **settings: Any) -> gocluster.Job:
    tables = factory.document(
        go={"engine": "buildkit", "builder": "cluster"},
        builders={"cluster": {"driver": "remote", "nodes": dict(NODES)}},
        targets={"arm64": {"goarch": "arm64", **settings}},
    )
    matrix = factory.parse(tables, root)
    made = plan.make(
        matrix, matrix.cells, dist=root / "dist", version="1.2.3",
        go=GoToolchain(program=root / "go/bin/go", version="1.26.8"),
        compilers={} if compiler is None else {"app_arm64": compiler},
        passed={"PATH": "/usr/bin", "HOME": "/root", "GOMODCACHE": str(root / "mod"), "GOPROXY": "https://secret"},
        cores=2, memory=1 << 32,
    )  # fmt: skip
    return gocluster.Job(
        planned=made.cells[0], plan=made, dist=Dist(root / "dist"), runner=runner or Recorded(), environment={},
        timeout=None,
    )  # fmt: skip


def test_a_cold_build_keeps_nothing(tmp_path: Path) -> None:
    """What `repro` compares is made from nothing, or the second build would be the first one's cache."""
    warm = job(tmp_path)
    assert gocluster.dockerfile(warm).count("type=cache") == 3
    cold = replace(warm, cold=True)
    assert "type=cache" not in gocluster.dockerfile(cold)
    assert "no-cache" not in bake.document((gocluster._target(warm, tmp_path, ("from", "to")),)).decode()
    assert '"no-cache": true' in bake.document((gocluster._target(cold, tmp_path, ("", "")),)).decode()


def test_the_dockerfile_is_the_planned_command(tmp_path: Path) -> None:
    made = job(tmp_path, env={"TRICKY": 'a "b" $c \\d'})
    rows = gocluster.dockerfile(made).splitlines()
    run = next(row for row in rows if row.startswith("RUN "))
    argv = json.loads(run[run.index("[") :])
    assert argv == [str(tmp_path / "go/bin/go"), *made.planned.command.argv[1:]]
    assert f"WORKDIR {made.planned.command.cwd}" in rows
    variables = dict(row.removeprefix("ENV ").split("=", 1) for row in rows if row.startswith("ENV "))
    for name, value in made.planned.command.settings:
        assert name == "TRICKY" or variables[name] == f'"{value}"'
    assert variables["TRICKY"] == '"a \\"b\\" \\$c \\\\d"'
    assert variables["GOPROXY"] == '"file:///buildmatrix/proxy"' and variables["GOSUMDB"] == '"off"'
    assert "--network=none" in run and "secret" not in "".join(rows)
    assert rows[-1] == f'COPY --from=build ["{made.planned.command.output}", "/"]'


def test_zig_lies_where_the_command_says(tmp_path: Path) -> None:
    text = gocluster.dockerfile(job(tmp_path, ZIG, cgo=True, cc="zig", libc="musl"))
    assert "--mount=type=bind,from=compiler,target=/opt/ziglang" in text
    assert 'ENV CC="/opt/ziglang/zig cc -target aarch64-linux-musl"' in text


def test_a_compiler_of_this_machine_cannot_go_there(tmp_path: Path) -> None:
    gcc = CCompiler(command=("/usr/bin/gcc",), cxx=("/usr/bin/g++",), dialect="gcc", flags=(), label="gcc")
    with pytest.raises(errors.ToolMissing, match=r"gcc cannot run on the cluster \(expected zig\)"):
        gocluster._portable(job(tmp_path, gcc, cgo=True))


def test_a_toolchain_with_links_out_of_it_cannot_go_there(tmp_path: Path) -> None:
    (tmp_path / "go/bin").mkdir(parents=True)
    (tmp_path / "share").mkdir()
    made = job(tmp_path)
    gocluster._portable(made)
    (tmp_path / "go/src").symlink_to(tmp_path / "share")
    with pytest.raises(errors.ToolMissing, match="src leads out of the toolchain"):
        gocluster._portable(made)


class Listing(Recorded):
    """`go list` names two modules, one of them twice, and a local replacement."""

    def run(
        self, argv: tuple[str, ...], *, env: Mapping[str, str], cwd: Path, timeout: float | None = None
    ) -> Completed:
        self.calls.append(argv[1:])
        text = "example.org/One v1.0.0\n\nexample.org/One v1.0.0\n../local \nexample.org/two v0.1.0\n"
        return Completed(argv=argv, status=0, stdout=text, stderr="")


def module(root: Path, *names: str) -> None:
    for name in names:
        path = root / "mod/cache/download" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)


def stage(root: Path) -> Path:
    (root / "go.mod").write_text("module app\n")
    (root / "cmd/app").mkdir(parents=True, exist_ok=True)
    (root / "cmd/app/main.go").write_text("package main\n")
    (root / "cmd/app/main_test.go").write_text("package main\n")
    (root / "secret.txt").write_text("secret")
    folder = root / "stage"
    folder.mkdir()
    gocluster._stage(job(root, runner=Listing()), folder)
    return folder


def test_only_what_the_cell_needs_is_sent(tmp_path: Path) -> None:
    names = [
        f"{path}/@v/{version}{suffix}"
        for path, version in (("example.org/!one", "v1.0.0"), ("example.org/two", "v0.1.0"))
        for suffix in (".zip", ".mod", ".info")
    ]
    module(tmp_path, *names, "example.org/three/@v/v1.0.0.zip")
    folder = stage(tmp_path)
    sent = {str(path.relative_to(folder / "proxy")) for path in folder.glob("proxy/**/*") if path.is_file()}
    assert sent == set(names)
    own = folder / "src" / tmp_path.relative_to("/")
    assert {str(path.relative_to(own)) for path in own.rglob("*") if path.is_file()} == {"go.mod", "cmd/app/main.go"}


def test_a_module_that_is_not_in_the_cache_is_an_error(tmp_path: Path) -> None:
    module(tmp_path, "example.org/!one/@v/v1.0.0.mod")
    with pytest.raises(errors.SourceMissing, match=r"example\.org/One@v1\.0\.0 is not in the module cache"):
        stage(tmp_path)


@pytest.mark.parametrize(
    ("go", "words"),
    [
        ({"engine": "buildkit"}, "go.builder: got nothing"),
        ({"engine": "buildkit", "builder": "other"}, "go.builder: got 'other'"),
        ({"builder": "cluster"}, "go.builder: got 'cluster', expected nothing"),
        ({"engine": "buildkit", "builder": "cluster", "flags": ["-buildvcs=false"]}, "go.flags: got no -trimpath"),
        ({"engine": "buildkit", "builder": "cluster", "flags": ["-trimpath"]}, "go.flags: got no -buildvcs=false"),
    ],
)
def test_what_is_wrong_with_the_engine(go: dict[str, Any], words: str) -> None:
    with pytest.raises(MatrixError) as caught:
        factory.parse(
            factory.document(go=go, builders={"cluster": {"driver": "remote", "nodes": dict(NODES)}}),
        )
    assert words in str(caught.value)
