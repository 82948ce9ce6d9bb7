"""Which programs a Go program starts: the finder on real modules, and what verify makes of it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from buildmatrix import children, errors
from buildmatrix.children import Found, Problem, Site, undeclared
from buildmatrix.finding import Severity
from buildmatrix.process import Completed
from tests import factory, project
from tests.project import Project

SHAPES = """\
package main

import (
	"context"
	"os"
	aliased "os/exec"
	. "os/exec"
	"runtime"
	"syscall"

	"example.org/hello/internal/names"
	"golang.org/x/sys/unix"
)

const tool = "/usr/bin/" + "curl"

var hook = Command // want ?
var settable = "set with -X"

type text string

func main() {
	Command("dot")                                         // want dot
	aliased.Command(tool)                                  // want /usr/bin/curl
	aliased.CommandContext(context.Background(), ("in"))   // want in
	aliased.Command(names.Shell, "-c", "ls")               // want /bin/sh
	aliased.Command(names.Variable)                        // want ?
	path, err := aliased.LookPath("looked")                // want looked
	_ = err
	aliased.Command(path)                                  // want looked
	hook("hooked")                                         // want hooked
	aliased.Command(settable)                              // want ?
	os.StartProcess("/bin/started", nil, nil)              // want /bin/started
	syscall.Exec("/bin/replaced", nil, nil)                // want /bin/replaced
	syscall.ForkExec(os.Args[1], nil, nil)                 // want ?
	syscall.StartProcess("/bin/forked", nil, nil)          // want /bin/forked
	unix.Exec("/bin/unix", nil, nil)                       // want /bin/unix
	syscall.RawSyscall(syscall.SYS_EXECVE, 0, 0, 0)        // want ?
	literal := aliased.Cmd{Path: "/bin/literal"}           // want /bin/literal
	literal.Path = "/bin/set"                              // want /bin/set
	literal.Path += os.Args[0]                             // want ?
	_ = literal.Path
	_ = []*aliased.Cmd{{Path: "/bin/inner"}, {Args: nil}}  // want /bin/inner
	if runtime.GOOS == "windows" {
		Command("cmd.exe")
	} else if runtime.GOARCH == "arm64" && path != "" {
		Command("only-arm64")                              // arm64 only-arm64
	}
	switch runtime.GOOS {
	case "darwin", "ios":
		Command("open")
	case "linux":
		Command("xdg-open")                                // want xdg-open
	default:
		Command("start")
	}
	either := "one"
	if len(os.Args) > 3 {
		either = "two"
	}
	Command(either)                                        // want one two
	Command("/opt/" + either)                              // want /opt/one /opt/two
	var later string
	later = "later"
	Command(later)                                         // want later
	changed := "three"
	change(&changed)
	Command(changed)                                       // want ?
	parameter("x")
	for _, each := range []string{"a"} {
		Command(each)                                      // want ?
	}
	Command(string(text("converted")))                     // want converted
	func() { Command("closure") }()                        // want closure
	local := aliased.Command                               // want ?
	local("through-local")                                 // want through-local
	late()
}

func change(s *string) { *s = "y" }

func parameter(s string) {
	Command(s)                                             // want ?
	s = "reassigned"
	Command(s)                                             // want ?
}

func late() {
	if runtime.GOOS != "windows" {
		return
	}
	Command("never")
}
"""

NAMES = 'package names\n\nconst Shell = "/bin/sh"\n\nvar Variable = "x"\n'
UNIX = "package unix\n\nfunc Exec(argv0 string, argv []string, envv []string) error { return nil }\n"
GO_MOD = """\
module example.org/hello

go 1.21

require golang.org/x/sys v0.0.0

replace golang.org/x/sys => ./sys
"""
STARTS = 'package main\n\nimport "os/exec"\n\nfunc main() { exec.Command("%s").Run() }\n'


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """One cache for all tests here: the finder is compiled once."""
    return {"BUILDMATRIX_CACHE": str(tmp_path_factory.mktemp("cache"))}


def listed(made: Project, cache: Mapping[str, str], *arguments: str) -> dict[str, dict[str, Any]]:
    """`buildmatrix children --json` by cell."""
    done = made.run("children", "--json", *arguments, env=dict(cache))
    assert done.stdout, done.stderr
    return {cell["cell"]: cell for cell in json.loads(done.stdout)["cells"]}


def programs(cell: dict[str, Any]) -> list[str]:
    return [site["program"] if site["constant"] else "?" for site in cell["sites"]]


def wanted(source: str, *words: str) -> dict[int, list[str]]:
    """Line by what its comment says that it starts."""
    pattern = re.compile(rf"// (?:{'|'.join(words)}) (.*)$")
    lines = enumerate(source.splitlines(), 1)
    return {number: found[1].split() for number, line in lines if (found := pattern.search(line))}


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory, cache: dict[str, str]) -> dict[str, dict[str, Any]]:
    made = project.create(tmp_path_factory.mktemp("shapes"), main=SHAPES)
    made.write("go.mod", GO_MOD)
    made.write("internal/names/names.go", NAMES)
    made.write("sys/go.mod", "module golang.org/x/sys\n\ngo 1.21\n")
    made.write("sys/unix/exec.go", UNIX)
    made.write("cmd/hello/main_test.go", STARTS.replace("func main", "func helper") % "only-in-tests")
    return listed(made, cache)


@pytest.mark.parametrize(("target", "words"), [("amd64", ("want",)), ("arm64", ("want", "arm64"))])
def test_every_shape_of_a_start(shapes: dict[str, dict[str, Any]], target: str, words: tuple[str, ...]) -> None:
    found: dict[int, list[str]] = {}
    for site in shapes[f"hello_{target}"]["sites"]:
        assert site["file"] == "cmd/hello/main.go"
        found.setdefault(site["line"], []).append(site["program"] if site["constant"] else "?")
    assert found == wanted(SHAPES, *words)
    assert shapes[f"hello_{target}"]["problems"] == []


def test_a_site_says_where_and_what(shapes: dict[str, dict[str, Any]]) -> None:
    by_line = {site["line"]: site for site in shapes["hello_amd64"]["sites"]}
    (number,) = (line for line, names in wanted(SHAPES, "want").items() if names == ["in"])
    assert by_line[number] == {
        "package": "example.org/hello/cmd/hello",
        "file": "cmd/hello/main.go",
        "line": number,
        "function": "os/exec.CommandContext",
        "program": "in",
        "constant": True,
        "expression": '("in")',
        "scope": "main.main",
    }
    unknown = [site["expression"] for site in by_line.values() if not site["constant"]]
    assert "os.Args[1]" in unknown
    assert "syscall.SYS_EXECVE" in unknown
    assert all(not site["program"] for site in by_line.values() if not site["constant"])


def helper(name: str, constraint: str = "") -> str:
    head = f"//go:build {constraint}\n\n" if constraint else ""
    variable = re.sub(r"\W", "_", name)
    return f'{head}package main\n\nimport "os/exec"\n\nvar start_{variable} = exec.Command("{name}")\n'


def test_build_constraints_are_those_of_the_target(tmp_path: Path, cache: dict[str, str]) -> None:
    targets = """
[targets.windows]
goos = "windows"
goarch = "amd64"

[targets.tagged]
goarch = "amd64"
tags = ["special"]

[targets.with-cgo]
goarch = "amd64"
cgo = true
"""
    made = project.create(tmp_path, matrix=project.MATRIX + targets)
    for name in ("linux", "windows", "arm64"):
        made.write(f"cmd/hello/only_{name}.go", helper(name))
    for index, constraint in enumerate(("special", "cgo", "!cgo", "ignore", "go1.21 && !windows")):
        made.write(f"cmd/hello/constrained{index}.go", helper(constraint, constraint))
    found = {name: sorted(programs(cell)) for name, cell in listed(made, cache).items()}
    assert found == {
        "hello_amd64": ["!cgo", "go1.21 && !windows", "linux"],
        "hello_arm64": ["!cgo", "arm64", "go1.21 && !windows", "linux"],
        "hello_windows": ["!cgo", "windows"],
        "hello_tagged": ["!cgo", "go1.21 && !windows", "linux", "special"],
        "hello_with-cgo": ["cgo", "go1.21 && !windows", "linux"],
    }


WITH_C = """\
package main

// #include <stdlib.h>
// typedef int *pointer;
import "C"

import "unsafe"

type holder struct{ value C.pointer }

func (h holder) address() unsafe.Pointer { return unsafe.Pointer(h.value) }

func main() { holder{}.address(); C.system(nil) }
"""


def test_c_code_that_starts_programs_is_unknown(tmp_path: Path, cache: dict[str, str]) -> None:
    made = project.create(tmp_path, matrix=project.MATRIX + "cgo = true\n", main=WITH_C)
    (cell,) = listed(made, cache, "--target", "arm64").values()
    assert [(site["function"], site["constant"]) for site in cell["sites"]] == [("C.system", False)]
    assert cell["problems"] == [], "the types of C are not known here, and that is no problem of the program"


def test_what_cannot_be_read_is_told_and_hides_nothing_else(tmp_path: Path, cache: dict[str, str]) -> None:
    main = STARTS.replace('import "os/exec"', 'import (\n\t"os/exec"\n\n\t_ "example.org/hello/broken"\n)') % "found"
    made = project.create(tmp_path, main=main.replace("{ exec", "{ undefined(); exec"))
    made.write("broken/broken.go", "package broken\n\nfunc f() { this is no Go }\n")
    done = made.run("children", "--target", "amd64", env=cache)
    assert done.returncode == 1
    assert re.search(r"found +cmd/hello/main.go:\d+ +os/exec.Command", done.stdout)
    assert "hello_amd64: example.org/hello/broken was not read in full" in done.stderr
    assert "undefined: undefined" in done.stderr


def test_a_program_that_starts_nothing_says_so(tmp_path: Path, cache: dict[str, str]) -> None:
    done = project.create(tmp_path).run("children", "--target", "amd64", env=cache)
    assert (done.returncode, done.stdout) == (0, "hello_amd64: starts no program\n")


def test_a_module_that_go_cannot_list_is_an_error(tmp_path: Path, cache: dict[str, str]) -> None:
    made = project.create(tmp_path)
    made.write("go.mod", "module example.org/hello\n\ngo 1.21\n\nrequire nonsense\n")
    done = made.run("children", "--target", "amd64", env=cache)
    assert done.returncode == 3
    assert "BM206 hello_amd64: go list failed" in done.stderr


# --- in verify


def test_verify_warns_of_programs_that_exec_does_not_list(tmp_path: Path, cache: dict[str, str]) -> None:
    main = """\
package main

import (
	"os"
	"os/exec"
)

func main() {
	exec.Command("curl").Run()
	exec.Command(os.Args[1]).Run()
}

func nobodyCallsThis() { exec.Command("unlinked").Run() }
"""
    made = project.create(tmp_path, main=main)
    assert made.run("build", "--target", "amd64", env=cache).returncode == 0
    done = made.run("verify", "--target", "amd64", env=cache)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "BM606 hello_amd64: starts curl, which binaries.hello.exec does not list" in done.stdout
    assert "evidence: cmd/hello/main.go:9 os/exec.Command\n" in done.stdout
    assert "BM607 hello_amd64: starts programs whose names are not constant" in done.stdout
    assert "cmd/hello/main.go:10 os/exec.Command(os.Args[1])" in done.stdout
    assert "unlinked" not in done.stdout
    made.write("matrix.toml", project.MATRIX.replace("[targets.amd64]", 'exec = ["curl"]\n\n[targets.amd64]'))
    done = made.run("verify", "--target", "amd64", env=cache)
    assert "BM606" not in done.stdout
    assert "BM605 hello_amd64: no root declared: programs in exec not judged" in done.stdout


def test_verify_without_go_says_what_it_did_not_do(tmp_path: Path, cache: dict[str, str]) -> None:
    made = project.create(tmp_path, main=STARTS % "curl")
    assert made.run("build", "--target", "amd64", env=cache).returncode == 0
    environment = {"PATH": "/nowhere", "BUILDMATRIX_CACHE": str(tmp_path / "cache")}
    made.write("matrix.toml", project.MATRIX.replace("[go]", '[go]\ntoolchain = "1.99.0"'))
    done = made.run("verify", "--target", "amd64", env=environment)
    assert "BM608 hello_amd64: the programs that it starts were not looked for" in done.stdout
    assert "BM606" not in done.stdout


# --- parts


def site(program: str = "curl", **changes: Any) -> Site:
    return replace(
        Site(
            package="example.org/x", file="x.go", line=1, function="os/exec.Command", program=program,
            constant=True, expression=f'"{program}"', scope="main.main",
        ),
        **changes,
    )  # fmt: skip


def compared(*sites: Site, listed: tuple[str, ...] = (), problems: tuple[Problem, ...] = ()) -> list[tuple[str, str]]:
    cell = factory.cell()
    cell = replace(cell, binary=replace(cell.binary, exec=listed))
    found = undeclared.compare(cell, Found(sites=sites, problems=problems))
    return [(finding.rule, finding.what) for finding in found]


@pytest.mark.parametrize(
    ("program", "names", "known"),
    [
        ("curl", ("curl",), True),
        ("curl", ("/usr/bin/curl",), True),
        ("/usr/bin/curl", ("/usr/bin/curl",), True),
        ("/usr/bin/curl", ("curl",), False),
        ("curl", ("/usr/bin/curly",), False),
        ("/bin/sh", ("/usr/bin/sh",), False),
    ],
)
def test_a_name_stands_for_a_listed_path_but_not_the_other_way(
    program: str, names: tuple[str, ...], known: bool
) -> None:
    assert bool(compared(site(program), listed=names)) is not known


def test_each_program_is_told_once_and_unknown_ones_together() -> None:
    unknown = site("", constant=False, expression="name")
    found = compared(site(), site(line=2), site("wget"), unknown, replace(unknown, line=9), site("./tool"))
    assert [rule for rule, _ in found] == ["BM606", "BM606", "BM607"]
    assert "starts curl" in found[0][1]


def test_severities_do_not_fail_a_run() -> None:
    problem = Problem(package="p", text="broken")
    found = undeclared.compare(factory.cell(), Found(sites=(site(), site("", constant=False)), problems=(problem,)))
    assert [(item.rule, item.severity) for item in found] == [
        ("BM606", Severity.WARNING),
        ("BM607", Severity.NOTE),
        ("BM608", Severity.NOTE),
    ]


def test_functions_that_are_not_linked_do_not_count() -> None:
    data = b"\0main.main\0syscall.forkExec\0"
    assert undeclared.is_linked(site(), data)
    assert not undeclared.is_linked(site(scope="main.other"), data)
    assert undeclared.is_linked(site(scope=""), data)


class Recorded:
    """A runner that answers with fixed outputs and keeps what it was asked."""

    def __init__(self, *outputs: str) -> None:
        self.outputs = iter(outputs)
        self.asked: list[tuple[str, ...]] = []

    def run(
        self, argv: tuple[str, ...], *, env: Mapping[str, str], cwd: Path, timeout: float | None = None
    ) -> Completed:
        self.asked.append(argv)
        if argv[1] == "build":
            (cwd / "finder").write_text("")
        return Completed(argv=argv, status=0, stdout=next(self.outputs), stderr="")


@pytest.fixture
def planned(tmp_path: Path) -> Iterator[tuple[Any, Any, dict[str, str]]]:
    from buildmatrix import plan

    matrix = factory.matrix_of(goarch="arm64", tags=["netgo"], ldflags=["-X main.x=y"], root=tmp_path)
    made = plan.make(
        matrix, matrix.cells, dist=tmp_path / "dist", version="1", go=factory.toolchain(), compilers={}, passed={},
        cores=1, memory=1 << 33,
    )  # fmt: skip
    yield made.cells[0], made, {"BUILDMATRIX_CACHE": str(tmp_path / "cache"), "HOME": str(tmp_path)}


REPORT = json.dumps({"schema": 1, "sites": [], "problems": []})


def test_the_commands_and_the_second_time(planned: tuple[Any, Any, dict[str, str]]) -> None:
    cell, made, environment = planned
    runner = Recorded("", "packages", REPORT)
    assert children.find(cell, made, "digest", runner, environment) == Found(sites=(), problems=())
    build, listing, finder = runner.asked
    assert build[1:] == ("build", "-trimpath", "-buildvcs=false", "-o", "finder", ".")
    assert listing[1:4] == ("list", "-e", "-deps")
    assert "-tags=netgo" in listing
    assert listing[-1] == "./cmd/app"
    assert not any("ldflags" in word for word in listing), "the version would throw the cache away"
    assert finder[-1] == "arm64"
    assert children.find(cell, made, "digest", Recorded(), environment) == Found(sites=(), problems=())
    changed = Recorded("packages", REPORT)
    children.find(cell, made, "another digest", changed, environment)
    assert len(changed.asked) == 2


def test_a_damaged_cache_is_made_again(planned: tuple[Any, Any, dict[str, str]]) -> None:
    cell, made, environment = planned
    children.find(cell, made, "digest", Recorded("", "packages", REPORT), environment)
    (kept,) = Path(environment["BUILDMATRIX_CACHE"], "children").glob("found-*.json")
    for text in ("", "{", "[]", '{"schema": 0}', '{"schema": 1, "sites": [{}], "problems": []}'):
        kept.write_text(text)
        again = Recorded("packages", REPORT)
        children.find(cell, made, "digest", again, environment)
        assert len(again.asked) == 2


def test_what_was_not_understood_in_full_is_not_kept(planned: tuple[Any, Any, dict[str, str]]) -> None:
    cell, made, environment = planned
    report = json.dumps({"schema": 1, "sites": [], "problems": [{"package": "p", "text": "no network"}]})
    for outputs in (("", "packages", report), ("packages", report)):
        assert children.find(cell, made, "digest", Recorded(*outputs), environment).problems


def test_a_finder_that_says_nonsense_is_an_error(planned: tuple[Any, Any, dict[str, str]]) -> None:
    cell, made, environment = planned
    with pytest.raises(errors.PackagesUnlisted):
        children.find(cell, made, "digest", Recorded("", "packages", "nonsense"), environment)
