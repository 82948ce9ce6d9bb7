"""init sees programs, C code, vendoring, workspaces and version variables, and overwrites nothing."""

from __future__ import annotations

import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest

from buildmatrix.starter import draft, survey
from buildmatrix.starter.survey import Module, Program, Survey
from tests import project
from tests.project import Project

CGO = 'package main\n\n// int one(void) { return 1; }\nimport "C"\n\nfunc main() { println(C.one()) }\n'
MAIN = "package main\n\nfunc main() {}\n"


def repository(root: Path, files: dict[str, str], module: str = "example.org/team/tool") -> Project:
    made = Project(root=root)
    made.write("go.mod", f"module {module}\n\ngo 1.21\n")
    for name, text in files.items():
        made.write(name, text)
    return made


def started(made: Project) -> tuple[str, dict[str, Any]]:
    done = made.run("init")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout, tomllib.loads((made.root / "matrix.toml").read_text())


def test_one_program_at_the_root(tmp_path: Path) -> None:
    out, matrix = started(repository(tmp_path, {"main.go": 'package main\n\nvar version = "dev"\n\nfunc main() {}\n'}))
    assert matrix["binaries"] == {"tool": {"package": "."}}
    assert set(matrix["targets"]) == {"amd64", "arm64"}
    assert "-X main.version={version}" in matrix["go"]["ldflags"]
    assert matrix["project"] == {"name": "tool", "version": "0.0.0"}
    assert "tool_arm64" in out
    assert (tmp_path / "noxfile.py").read_text() == draft.NOXFILE
    assert len(draft.NOXFILE.splitlines()) == 5
    assert not (tmp_path / "buildmatrix.mk").exists(), "there is no Makefile"


def test_what_it_writes_builds_and_verifies(tmp_path: Path) -> None:
    made = repository(tmp_path, {"cmd/a/main.go": project.MAIN, "cmd/b/main.go": MAIN})
    started(made)
    assert made.run("build").returncode == 0
    done = made.run("verify")
    assert done.returncode == 0, done.stdout
    assert (tmp_path / "dist" / "report.html").is_file()


def test_many_programs_get_names_of_their_own(tmp_path: Path) -> None:
    files = {f"{name}/main.go": MAIN for name in ("cmd/server", "tools/server", "cmd/cli")}
    files |= {"internal/lib/lib.go": "package lib\n", "testdata/x/main.go": MAIN, "_old/main.go": MAIN}
    files |= {"cmd/windows/main.go": f"//go:build windows\n\n{MAIN}", "gen.go": f"//go:build ignore\n\n{MAIN}"}
    _, matrix = started(repository(tmp_path, files))
    packages = {name: table["package"] for name, table in matrix["binaries"].items()}
    assert packages == {"cli": "./cmd/cli", "server": "./cmd/server", "tools-server": "./tools/server"}


def test_programs_with_c_code_get_targets_of_their_own(tmp_path: Path) -> None:
    out, matrix = started(repository(tmp_path, {"cmd/pure/main.go": MAIN, "cmd/native/main.go": CGO}))
    assert matrix["binaries"]["pure"]["targets"] == ["amd64", "arm64"]
    assert matrix["binaries"]["native"]["targets"] == ["amd64-glibc", "arm64-glibc"]
    assert matrix["targets"]["arm64-glibc"] == {"goarch": "arm64", "cgo": True, "libc-floor": "2.28"}
    assert "native_arm64-glibc" in out
    assert "pure_arm64-glibc" not in out


def test_the_largest_module_of_a_workspace_is_taken_and_the_others_are_told(tmp_path: Path) -> None:
    made = Project(root=tmp_path)
    for name, programs in (("one", ("a",)), ("two", ("b", "c"))):
        made.write(f"{name}/go.mod", f"module example.org/{name}\n\ngo 1.21\n")
        for program in programs:
            made.write(f"{name}/cmd/{program}/main.go", MAIN)
    made.write("go.work", "go 1.21\n\nuse (\n\t./one\n\t./two\n)\n")
    out, matrix = started(made)
    assert matrix["go"]["module"] == "two"
    assert set(matrix["binaries"]) == {"b", "c"}
    assert "in a workspace" in out
    assert "not taken: 1 programs of the module in one" in out


def test_nothing_is_ever_overwritten(tmp_path: Path) -> None:
    made = repository(tmp_path, {"main.go": MAIN, "noxfile.py": "# mine\n", "Makefile": "all:\n"})
    made.write("buildmatrix.mk", "# mine too\n")
    out, _ = started(made)
    assert "kept  noxfile.py" in out
    assert "add `import buildmatrix.sessions" in out
    assert (tmp_path / "noxfile.py").read_text() == "# mine\n"
    assert (tmp_path / "buildmatrix.mk").read_text() == "# mine too\n"
    made.write("matrix.toml", project.MATRIX.replace("./cmd/hello", "."))
    before = project.snapshot(tmp_path)
    assert made.run("init").returncode == 0
    assert project.snapshot(tmp_path) == before


def test_a_dangling_link_is_no_free_place(tmp_path: Path) -> None:
    made = repository(tmp_path, {"main.go": MAIN})
    (tmp_path / "noxfile.py").symlink_to(tmp_path / "elsewhere.py")
    started(made)
    assert not (tmp_path / "elsewhere.py").exists()


def test_a_dry_run_writes_nothing(tmp_path: Path) -> None:
    made = repository(tmp_path, {"main.go": MAIN, "Makefile": "all:\n"})
    before = project.snapshot(tmp_path)
    done = made.run("init", "--dry-run")
    assert done.returncode == 0
    assert "[binaries.tool]" in done.stdout
    assert project.snapshot(tmp_path) == before


def test_the_include_stays_out_of_the_way_of_the_makefile(tmp_path: Path) -> None:
    rules = "build-all:\n\t@echo mine\ninclude buildmatrix.mk\n"
    made = repository(tmp_path, {"main.go": MAIN, "Makefile": rules})
    out, _ = started(made)
    assert "targets such as bm-build-all" in out
    done = subprocess.run(["make", "build-all"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == ["mine"]
    dry = subprocess.run(["make", "-n", "bm-build-arm64"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "buildmatrix build" in dry.stdout


def test_git_gives_the_version(tmp_path: Path) -> None:
    made = repository(tmp_path, {"main.go": MAIN})
    for words in (("init", "-q"), ("add", "."), ("-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "x")):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    _, matrix = started(made)
    assert matrix["project"]["version"] == "git"


@pytest.mark.parametrize(
    ("files", "words", "status"),
    [({}, "no go.mod", 2), ({"go.mod": "module example.org/x\n", "x.go": "package x\n"}, "without a main package", 3)],
)
def test_what_cannot_be_built_is_said(tmp_path: Path, files: dict[str, str], words: str, status: int) -> None:
    made = Project(root=tmp_path)
    for name, text in files.items():
        made.write(name, text)
    done = made.run("init")
    assert words in done.stderr, done.stderr
    assert done.returncode == status
    assert not (tmp_path / "matrix.toml").exists()


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ('var version = "dev"\n', "version"),
        ("var Version string\n", "Version"),
        ("var (\n\tcommit string\n\tversion = `x` // set by the linker\n)\n", "version"),
        ('const version = "1"\n', ""),
        ('const (\n\tversion = "1"\n)\n', ""),
        ('func main() {\n\tvar version = "local"\n}\n', ""),
        ("var version = compute()\n", ""),
        ("var versions []string\n", ""),
    ],
)
def test_the_variable_of_the_version(tmp_path: Path, text: str, name: str) -> None:
    (tmp_path / "main.go").write_text(f"package main\n\n{text}")
    assert survey._variable(tmp_path, ["main.go"]) == name


def test_hostile_names_stay_in_their_place(tmp_path: Path) -> None:
    """What a repository calls things cannot add a key to the matrix."""
    program = Program(package="./cmd/app", import_path="x/cmd/app", cgo=('x"\n[targets.evil]\ngoarch = "s390x"',))
    found = Survey(
        root=tmp_path,
        modules=(Module(folder='a"b', path="example.org/x\n[evil]", vendored=True, programs=(program,)),),
        workspace=False,
        dockerfiles=("a\n[images.evil]\nx/Dockerfile",),
        charts=("c\n[roots.evil]",),
        makefile="",
        goals=frozenset(),
        versioned=False,
    )
    choice = draft.choose(found)
    assert choice is not None
    parsed = tomllib.loads(draft.matrix(found, choice))
    assert set(parsed) == {"schema", "project", "go", "binaries", "targets"}
    assert set(parsed["targets"]) == {"amd64-glibc", "arm64-glibc"}
    assert parsed["go"]["module"] == 'a"b'
