"""The exact command of a cell, and that nothing of the caller's environment decides its output."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from buildmatrix import command, errors, schema
from buildmatrix.command import Command, go_command, passed_through
from buildmatrix.toolchain import CCompiler
from tests import factory


def make(compiler: CCompiler | None = None, *, passed: dict[str, str] | None = None, **settings: Any) -> Command:
    """The command of one cell in /project."""
    matrix = factory.matrix_of("t", **settings)
    return go_command(
        matrix.cells[0],
        matrix,
        go=factory.toolchain(),
        compiler=compiler,
        version="1.2.3",
        output=Path("/project/dist/.partial/app_t/app"),
        passed=passed or {},
        parallel=2,
    )


GOLDEN: dict[str, tuple[CCompiler | None, dict[str, Any]]] = {
    "pure": (None, {"go": {"ldflags": ["-s", "-X main.version={version}"]}}),
    "level": (None, {"goarch": "arm64", "level": "v8.2,crypto", "flags": ["-race=false"], "tags": ["a", "b"]}),
    "windows": (None, {"goos": "windows"}),
    "s390x": (None, {"goarch": "s390x", "env": {"GOEXPERIMENT": "x"}}),
    "pie": (None, {"pie": True, "static": False}),
    "glibc": (factory.compiler(), {"goarch": "arm64", "cgo": True, "cflags": ["-DX=1"]}),
    "musl": (factory.compiler(), {"goarch": "arm64", "cgo": True, "libc": "musl"}),
    "rpath": (factory.compiler(), {"goarch": "arm64", "cgo": True, "rpath": ["$ORIGIN/../lib", "/opt/lib"]}),
    "spaces": (
        factory.compiler(command=("/opt/my tools/zig", "cc", "-target", "x"), cxx=("/opt/my tools/zig", "c++")),
        {"goarch": "arm64", "cgo": True},
    ),
}


def test_commands_of_several_targets(golden: Callable[[str, str], None]) -> None:
    lines = []
    for name, (compiler, settings) in GOLDEN.items():
        made = make(compiler, **settings)
        lines += [f"# {name}", *(f"{key}={value}" for key, value in made.environment), f"cd {made.cwd}", *made.argv]
        lines += ["recorded", *made.recorded, *(f"{key}={value}" for key, value in made.settings), ""]
    golden("commands.txt", "\n".join(lines))


LEAKS = {
    "GOFLAGS": "-tags=leak", "GOAMD64": "v4", "GOARM64": "v9.5", "GOEXPERIMENT": "leak", "GODEBUG": "leak=1",
    "CGO_CFLAGS": "-O0", "CGO_LDFLAGS": "-lleak", "CGO_ENABLED": "1", "CC": "leak", "GOOS": "plan9", "GOARCH": "386",
    "GOTOOLCHAIN": "go1.1", "GOWORK": "/leak/go.work", "GOROOT": "/leak", "GCCGO": "leak", "PKG_CONFIG": "leak",
    "LD_PRELOAD": "/leak.so", "LD_LIBRARY_PATH": "/leak", "LC_ALL": "de_DE", "SOURCE_DATE_EPOCH": "1", "CPATH": "/leak",
    "C_INCLUDE_PATH": "/leak", "LIBRARY_PATH": "/leak", "GOCOVERDIR": "/leak", "GOFIPS140": "latest", "PWD": "/leak",
    "CGO_CFLAGS_ALLOW": ".*", "AWS_SECRET_ACCESS_KEY": "secret", "CCC_OVERRIDE_OPTIONS": "leak",
}  # fmt: skip


def test_the_callers_environment_decides_nothing(tmp_path: Path) -> None:
    caller = {**LEAKS, "PATH": "/bin", "HOME": str(tmp_path), "GOPROXY": "https://proxy.example.org"}
    made = make(passed=passed_through(caller, tmp_path))
    environment = dict(made.environment)
    assert "leak" not in json.dumps(environment)
    assert not any(environment.get(name) == value for name, value in LEAKS.items())
    assert environment["GOPROXY"] == "https://proxy.example.org"
    assert environment["GOAMD64"] == "v1"
    assert environment["GOENV"] == environment["GOWORK"] == "off"
    assert made.settings == make().settings
    assert made.recorded == make().recorded


def test_only_names_of_the_allow_list_pass(tmp_path: Path) -> None:
    every = dict.fromkeys((*command.PASSED_THROUGH, *LEAKS, *schema.CONTROLLED), "x")
    assert set(passed_through(every, tmp_path)) <= set(command.PASSED_THROUGH)


def test_what_go_env_stored_decides_nothing_but_proxies(tmp_path: Path) -> None:
    stored = tmp_path / ".config" / "go" / "env"
    stored.parent.mkdir(parents=True)
    lines = [f"{name}={value}" for name, value in LEAKS.items()]
    stored.write_text("\n".join((*lines, "# GONOSUMDB=x", "GOPROXY=https://stored.example.org", "GOPRIVATE=a,b", "")))
    passed = passed_through({"HOME": str(tmp_path)}, tmp_path)
    assert passed["GOPROXY"] == "https://stored.example.org"
    assert passed["GOPRIVATE"] == "a,b"
    assert set(passed) == {"HOME", "GOPROXY", "GOPRIVATE", "ZIG_GLOBAL_CACHE_DIR", "ZIG_LOCAL_CACHE_DIR"}
    assert passed_through({"HOME": str(tmp_path), "GOPROXY": "direct"}, tmp_path)["GOPROXY"] == "direct"
    assert "GOPROXY" not in passed_through({"HOME": str(tmp_path), "GOENV": "off"}, tmp_path)
    elsewhere = {"GOENV": str(stored), "HOME": "/nowhere"}
    assert passed_through(elsewhere, tmp_path)["GOPROXY"] == "https://stored.example.org"


@pytest.mark.parametrize("data", [b"\xff\xfe", b"", b"no equals sign"])
def test_a_damaged_go_env_file_is_no_obstacle(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "env").write_bytes(data)
    assert "GOPROXY" not in passed_through({"GOENV": str(tmp_path / "env")}, tmp_path)


def test_records_hold_no_machine_paths() -> None:
    made = make(factory.compiler(), goarch="arm64", cgo=True)
    recorded = json.dumps([made.recorded, made.settings])
    assert "/opt" not in recorded
    assert "/project" not in recorded
    assert dict(made.settings)["CC"] == "aarch64-linux-gnu-gcc"
    assert dict(made.environment)["CC"] == "/opt/cross/bin/aarch64-linux-gnu-gcc"


def test_passed_variables_are_not_recorded() -> None:
    assert make(passed={"GOPROXY": "https://user:secret@example.org"}).settings == make().settings


def test_a_targets_own_environment_wins_over_what_is_passed() -> None:
    made = make(passed={"GOPROXY": "direct"}, env={"GOPROXY": "off"})
    assert dict(made.environment)["GOPROXY"] == "off"
    assert dict(made.settings)["GOPROXY"] == "off"


def test_every_level_variable_is_always_set() -> None:
    assert dict(make(goarch="arm").settings)["GOARM"] == "7"
    assert dict(make(goarch="386").settings)["GO386"] == "sse2"
    assert dict(make(goarch="riscv64").settings)["GORISCV64"] == "rva20u64"


def go_split(text: str) -> list[str]:
    """cmd/internal/quoted.Split: quotes around words, no escapes, none inside words."""
    words = []
    while text := text.lstrip(" \t\n"):
        if text[0] in "'\"":
            word, mark, text = text[1:].partition(text[0])
            assert mark, "unterminated"
        else:
            word = text.split()[0]
            text = text[len(word) :]
        words.append(word)
    return words


@pytest.mark.parametrize("name", GOLDEN)
def test_linker_flags_survive_gos_splitter(name: str) -> None:
    compiler, settings = GOLDEN[name]
    made = make(compiler, **settings)
    (ldflags,) = [word.removeprefix("-ldflags=") for word in made.argv if word.startswith("-ldflags=")]
    external = [word for word in go_split(ldflags) if word.startswith("-extldflags=")]
    assert len(external) == (compiler is not None)
    if settings.get("libc") == "musl":
        assert external == ["-extldflags=-static -Wl,-z,max-page-size=65536"]
    if "rpath" in settings:
        rpaths = [word for word in go_split(external[0].removeprefix("-extldflags=")) if "-rpath," in word]
        assert [word.rpartition(",")[2] for word in rpaths] == settings["rpath"]


def test_compilers_in_folders_with_spaces_survive_gos_splitter() -> None:
    compiler, settings = GOLDEN["spaces"]
    environment = dict(make(compiler, **settings).environment)
    assert go_split(environment["CC"]) == ["/opt/my tools/zig", "cc", "-target", "x"]
    assert go_split(environment["CXX"]) == ["/opt/my tools/zig", "c++"]


def test_words_that_go_cannot_quote_are_refused() -> None:
    with pytest.raises(errors.UsageError, match="both kinds of quotes"):
        make(factory.compiler(), cgo=True, extldflags=["-Wl,'a' \"b\""])
    assert '\'-extldflags=-La "b" ' in " ".join(make(factory.compiler(), cgo=True, extldflags=['-La "b"']).argv)


@pytest.mark.skipif(shutil.which("go") is None, reason="no Go on PATH")
def test_go_itself_reads_the_environment_as_planned(tmp_path: Path) -> None:
    """What `go env` says under a command's environment is the plan, whatever the caller's shell says."""
    program = str(shutil.which("go"))
    caller = {**LEAKS, "PATH": "/bin:/usr/bin", "HOME": str(tmp_path), "GOCACHE": str(tmp_path / "cache")}
    made = make(passed=passed_through(caller, tmp_path), goarch="arm64", level="v8.1")
    names = (
        "GOOS",
        "GOARCH",
        "GOARM64",
        "GOFLAGS",
        "CGO_ENABLED",
        "GOEXPERIMENT",
        "GOTOOLCHAIN",
        "CGO_CFLAGS",
    )
    done = subprocess.run(
        (program, "env", "-json", *names), env=dict(made.environment), capture_output=True, check=True, cwd=tmp_path
    )
    assert json.loads(done.stdout) == {
        "GOOS": "linux", "GOARCH": "arm64", "GOARM64": "v8.1", "GOFLAGS": "", "CGO_ENABLED": "0", "GOEXPERIMENT": "",
        "GOTOOLCHAIN": "local", "CGO_CFLAGS": "-O2 -g",
    }  # fmt: skip
