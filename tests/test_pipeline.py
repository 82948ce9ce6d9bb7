"""The main job on a small real module: build, skip, rebuild, fail, and what is left behind."""

import json
import os
import subprocess
import time
from pathlib import Path

import pytest

from buildmatrix import witness
from tests import project
from tests.project import Project

CELL_FILES = (
    "hello",
    "hello.sigstore.json",
    "provenance.intoto.json",
    "provenance.intoto.json.sigstore.json",
    "record.json",
    "record.json.sigstore.json",
    "sbom.cdx.json",
    "sbom.cdx.json.sigstore.json",
    "sbom.spdx.json",
    "sbom.spdx.json.sigstore.json",
    "signatures.json",
)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project whose two cells are built; tests only read it."""
    made = project.create(tmp_path_factory.mktemp("hello"))
    done = made.run("build")
    assert done.returncode == 0, done.stdout + done.stderr
    return made


@pytest.fixture
def hello(tmp_path: Path) -> Project:
    return project.create(tmp_path)


def test_build_leaves_artifacts_records_and_index(built: Project) -> None:
    names = sorted(str(path.relative_to(built.dist)) for path in built.dist.rglob("*") if path.is_file())
    assert [name for name in names if not name.startswith(".state/")] == [
        "artifacts.json",
        "checksums.txt",
        "effective.toml",
        *(f"hello_{target}/{name}" for target in ("amd64", "arm64") for name in CELL_FILES),
        "metadata.json",
    ]


def test_the_version_is_in_the_binary(built: Project) -> None:
    assert b"1.2.3" in built.artifact("amd64").read_bytes()


def test_the_native_binary_runs(built: Project) -> None:
    done = subprocess.run([built.artifact("amd64")], capture_output=True, text=True, check=True)
    assert done.stdout == "1.2.3\n"


def test_sha256sum_accepts_the_checksums(built: Project) -> None:
    subprocess.run(["sha256sum", "--strict", "-c", "checksums.txt"], cwd=built.dist, check=True, capture_output=True)


def test_artifacts_json_has_the_usual_field_names(built: Project) -> None:
    entries = json.loads((built.dist / "artifacts.json").read_text())
    signatures = [item for item in entries if item["type"] == "Signature"]
    assert sorted(item["path"] for item in signatures) == sorted(
        f"hello_{arch}/{name}" for arch in ("amd64", "arm64") for name in CELL_FILES if name.endswith(".sigstore.json")
    )
    files = [item for item in entries if item["type"] != "Signature"]
    assert [(item["goarch"], item["type"], item["path"]) for item in files] == [
        (arch, kind, f"hello_{arch}/{name}")
        for arch in ("amd64", "arm64")
        for kind, name in (
            ("Binary", "hello"),
            ("SBOM", "sbom.cdx.json"),
            ("SBOM", "sbom.spdx.json"),
            ("Provenance", "provenance.intoto.json"),
        )
    ]
    assert all(item["goos"] == "linux" for item in entries)
    assert entries[0]["goamd64"] == "v1"
    assert all((built.dist / item["path"]).stat().st_size == item["size"] for item in entries)


def test_records_hold_no_path_of_this_machine(built: Project) -> None:
    for path in built.dist.rglob("*"):
        if path.is_file() and path.suffix in (".json", ".toml", ".txt"):
            assert str(built.root) not in path.read_text()
            assert str(Path.home()) not in path.read_text()


def test_a_second_build_skips_and_changes_nothing(built: Project) -> None:
    before = project.snapshot(built.dist)
    done = built.run("build")
    assert done.returncode == 0
    assert done.stdout.count("unchanged ") == 2
    assert project.snapshot(built.dist) == before


def test_an_environment_that_leaks_does_not_reach_the_build(built: Project, tmp_path: Path) -> None:
    other = project.create(tmp_path)
    leaks = {
        "GOFLAGS": "-tags=leak",
        "GOAMD64": "v3",
        "GOARCH": "386",
        "CGO_ENABLED": "1",
        "GOEXPERIMENT": "norangefunc",
    }
    done = other.run("build", env=leaks)
    assert done.returncode == 0, done.stderr
    assert other.artifact("amd64").read_bytes() == built.artifact("amd64").read_bytes()


def test_a_changed_source_rebuilds_every_cell(hello: Project) -> None:
    hello.run("build", "-t", "amd64")
    before = hello.artifact("amd64").read_bytes()
    hello.write("cmd/hello/main.go", project.MAIN.replace('"\\n"', '"!\\n"'))
    done = hello.run("build", "-t", "amd64")
    assert "1 built" in done.stdout
    assert hello.artifact("amd64").read_bytes() != before


@pytest.mark.parametrize("damage", ["artifact", "record", "missing"])
def test_what_was_damaged_is_built_again(hello: Project, damage: str) -> None:
    hello.run("build", "-t", "amd64")
    path, record = hello.artifact("amd64"), hello.artifact("amd64").with_name("record.json")
    good = path.read_bytes()
    if damage == "artifact":
        path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    elif damage == "record":
        record.write_text("{}")
    else:
        path.unlink()
    done = hello.run("build", "-t", "amd64")
    assert "1 built" in done.stdout, done.stdout + done.stderr
    assert path.read_bytes() == good


def test_a_change_that_keeps_size_and_time_is_still_seen(hello: Project) -> None:
    """A no-change run remembers hashes by what lstat says, and ctime cannot be set back."""
    hello.run("build", "-t", "amd64")
    path = hello.artifact("amd64")
    good, times = path.read_bytes(), path.stat()
    time.sleep(2.1)
    assert "1 unchanged" in hello.run("build", "-t", "amd64").stdout
    assert (hello.dist / ".state" / "hello_amd64.hashed").is_file()
    assert "1 unchanged" in hello.run("build", "-t", "amd64").stdout
    path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert "1 built" in hello.run("build", "-t", "amd64").stdout
    assert path.read_bytes() == good


def test_a_file_written_a_moment_ago_is_hashed_again(tmp_path: Path) -> None:
    """Reading began within a tick of the last change: what was read may not be what is there now."""
    path, state = tmp_path / "program", tmp_path / "program.hashed"
    path.write_bytes(b"1")
    changed = path.lstat().st_ctime_ns
    witness.remember(state, path, "digest", began=changed + 3_000_000_000)
    assert witness.recall(state, path) == "digest"
    witness.remember(state, path, "digest", began=changed + 1_000_000_000)
    assert witness.recall(state, path) is None


def test_a_package_that_does_not_compile_fails_alone(hello: Project) -> None:
    hello.run("build")
    before = project.snapshot(hello.dist)
    hello.write("cmd/hello/only_arm64.go", "package main\n\nfunc broken() { return 1 }\n")
    done = hello.run("build")
    assert done.returncode == 4
    assert "FAIL  hello_arm64" in done.stdout
    assert "ok    hello_amd64" in done.stdout
    assert "BM301 hello_arm64: go build failed" in done.stdout
    assert "too many return values" in done.stdout
    after = project.snapshot(hello.dist)
    assert after["hello_arm64/hello"] == before["hello_arm64/hello"]
    assert not (hello.dist / ".partial").exists()


def test_fail_fast_starts_no_further_cell(hello: Project) -> None:
    text = project.MATRIX.replace("[targets.amd64]", "[targets.a386]\ngoarch = '386'\n\n[targets.amd64]")
    hello.write("matrix.toml", text + "\n[targets.riscv64]\ngoarch = 'riscv64'\n")
    hello.write("cmd/hello/main.go", "package main\n\nfunc main() { undefined() }\n")
    done = hello.run("build", "--fail-fast")
    assert done.returncode == 4
    assert "not built, another cell failed first" in done.stdout


def test_a_missing_module_names_the_remedy(hello: Project) -> None:
    hello.write("cmd/hello/main.go", 'package main\n\nimport _ "example.org/nowhere"\n\nfunc main() {}\n')
    done = hello.run("build", "-t", "amd64")
    assert done.returncode == 4
    assert "no required module provides package example.org/nowhere" in done.stdout
    assert "fix: run go mod tidy" in done.stdout


def test_a_package_that_is_not_there_names_the_key(hello: Project) -> None:
    hello.write("matrix.toml", project.MATRIX.replace("./cmd/hello", "./cmd/other"))
    done = hello.run("build", "-t", "amd64")
    assert done.returncode == 4
    assert "correct binaries.hello.package (./cmd/other)" in done.stdout


def test_a_library_package_is_no_program(hello: Project) -> None:
    hello.write("lib/lib.go", "package lib\n")
    hello.write("matrix.toml", project.MATRIX.replace("./cmd/hello", "./lib"))
    done = hello.run("build", "-t", "amd64")
    assert done.returncode == 4
    assert "point binaries.hello.package at a package main" in done.stdout


def test_a_missing_go_mod_is_a_configuration_error(hello: Project) -> None:
    (hello.root / "go.mod").unlink()
    done = hello.run("build")
    assert done.returncode == 2
    assert "BM205" in done.stderr


def test_a_go_mod_that_asks_for_more_than_there_is(hello: Project) -> None:
    hello.write("go.mod", "module example.org/hello\n\ngo 1.99\n")
    done = hello.run("build")
    assert done.returncode == 3
    assert "expected at least 1.99" in done.stderr


def test_shell_metacharacters_reach_the_program_unharmed(hello: Project) -> None:
    version = "1.0+$(touch_pwned)"
    hello.write("matrix.toml", project.MATRIX.replace('"1.2.3"', f'"{version}"'))
    refused = hello.run("build", "-t", "amd64")
    assert refused.returncode == 2
    assert "project.version" in refused.stderr
    text = project.MATRIX.replace(
        '"-X main.version={version}"', """ "-X 'main.version=a;b $(touch pwned) `id` & |'" """
    )
    hello.write("matrix.toml", text)
    done = hello.run("build", "-t", "amd64")
    assert done.returncode == 0, done.stdout + done.stderr
    ran = subprocess.run([hello.artifact("amd64")], capture_output=True, text=True, check=True)
    assert ran.stdout == "a;b $(touch pwned) `id` & |\n"
    assert not list(hello.root.rglob("pwned"))


def test_page_size_promise_that_the_linker_breaks(hello: Project) -> None:
    """An arm64 program whose segments are aligned for 4 KiB pages must not pass for larger ones."""
    flags = 'ldflags = ["-R 4096 -T 0x12000"]'
    hello.write("matrix.toml", project.MATRIX.replace('goarch = "arm64"', f'goarch = "arm64"\n{flags}'))
    done = hello.run("build", "-t", "arm64")
    assert done.returncode == 1
    assert "BM512 hello_arm64: cannot be mapped with 16 and 64 KiB pages (got addresses and offsets" in done.stdout
    again = hello.run("build", "-t", "arm64")
    assert again.returncode == 1, "a skipped cell is checked again"


def test_a_read_only_dist_says_so(hello: Project) -> None:
    (hello.root / "dist").write_text("in the way")
    done = hello.run("build")
    assert done.returncode == 4
    assert "BM303" in done.stdout
    assert "--dist" in done.stdout


def test_two_builds_in_one_dist_both_succeed(hello: Project) -> None:
    running = [hello.start("build") for _ in range(3)]
    outputs = [process.communicate(timeout=300)[0] for process in running]
    assert [process.returncode for process in running] == [0, 0, 0], outputs
    assert hello.run("verify").returncode == 0


def test_force_builds_what_is_unchanged(hello: Project) -> None:
    hello.run("build", "-t", "amd64")
    assert "1 built" in hello.run("build", "-t", "amd64", "--force").stdout


def test_a_timeout_ends_the_compiler(hello: Project) -> None:
    done = hello.run("build", "-t", "amd64", "--timeout", "0.01")
    assert done.returncode == 4
    assert "BM304" in done.stdout
    assert not (hello.dist / ".partial").exists()


def test_a_pure_go_pie_names_the_targets_loader_on_any_host(hello: Project) -> None:
    hello.write(
        "matrix.toml", project.MATRIX.replace('goarch = "arm64"', 'goarch = "arm64"\npie = true\nstatic = false')
    )
    done = hello.run("build", "-t", "arm64")
    assert done.returncode == 0, done.stdout
    assert b"/lib/ld-linux-aarch64.so.1\0" in hello.artifact("arm64").read_bytes()
