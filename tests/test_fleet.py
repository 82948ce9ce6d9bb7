"""Fleets and roots: what executes where, said of real files before they are shipped."""

from __future__ import annotations

import io
import re
import shutil
import tarfile
from pathlib import Path
from typing import Any

import pytest

from buildmatrix import arch, deployment, fleet, host, schema
from buildmatrix.errors import MatrixError
from buildmatrix.finding import Finding, Severity
from buildmatrix.fleet import Fleet, hosts
from buildmatrix.matrix import Cell, Matrix
from tests import factory, project

ELF = Path(__file__).parent / "fixtures" / "elf"
STATIC = {"arm64": "static-arm64", "amd64": "static-amd64"}


class Place:
    """A project with a root in it, and artifacts that are fixtures."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.artifacts: dict[str, str] = {}

    def put(self, path: str, fixture: str | bytes, mode: int = 0o755) -> Path:
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(fixture if isinstance(fixture, bytes) else (ELF / fixture).read_bytes())
        target.chmod(mode)
        return target

    def link(self, path: str, to: str) -> None:
        (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / path).symlink_to(to)

    def matrix(self, goarch: str = "arm64", **tables: Any) -> Matrix:
        tables = {"targets": {"t": {"goarch": goarch}}, **tables}
        return factory.parse(factory.document(**tables), root=self.folder)

    def judge(self, fixture: str, matrix: Matrix, *, dynamic: bool = False) -> tuple[Finding, ...]:
        """The findings about the only cell, whose artifact is a fixture."""
        path = self.put("dist/app", fixture)
        (cell,) = matrix.cells
        return tuple(Fleet(matrix, lambda _cell: path).findings(cell, dynamic=dynamic))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    (tmp_path / "root").mkdir()
    return Place(tmp_path)


ROOT = {"base": {"path": "root"}}


def binaries(*programs: str) -> dict[str, Any]:
    return {"app": {"package": "./cmd/app", "exec": list(programs)}}


# --- hosts


def test_the_keys_of_a_machine_are_the_words_of_explain() -> None:
    assert [key.name for key in schema.FLEET if key.name not in ("arch", "targets")] == list(_in_order(host._KEYS))


def _in_order(words: tuple[str, ...]) -> list[str]:
    mine = [key.name for key in schema.FLEET]
    return sorted(words, key=mine.index)


@pytest.mark.parametrize("goarch", [row.goarch for row in arch.ARCHITECTURES])
def test_there_are_sensible_machines_for_every_architecture(goarch: str) -> None:
    target = factory.target(goarch=goarch)
    found = hosts.sensible(target)
    assert tuple(machine.page_size for machine in found) == target.page_sizes
    assert {machine.arch for machine in found} == {goarch}
    assert {machine.kernel for machine in found} == {(5, 10)}


def test_a_sensible_machine_has_the_targets_level_and_no_more() -> None:
    (old, *_), (new, *_) = (hosts.sensible(factory.target(goarch="arm64", level=level)) for level in ("v8.0", "v8.1"))
    assert (old.has("lse"), new.has("lse")) == (False, True)
    (extra, *_) = hosts.sensible(factory.target(goarch="arm64", level="v8.0,lse"))
    assert extra.has("lse")
    assert [machine.x86_level() for machine in hosts.sensible(factory.target(level="v3"))] == [3]


def test_machines_are_of_the_targets_architecture_and_globs(place: Place) -> None:
    machines = {
        "a": {"arch": "graviton2", "page": "64k"},
        "b": {"arch": "amd64"},
        "c": {"arch": "arm64", "targets": ["t2"]},
    }
    matrix = place.matrix(targets={"t": {"goarch": "arm64"}, "t2": {"goarch": "arm64"}}, fleet=machines)
    (first, second) = (cell.target for cell in matrix.cells)
    assert [machine.name for machine in hosts.declared(matrix, first)] == ["a"]
    assert [machine.name for machine in hosts.declared(matrix, second)] == ["a", "c"]
    assert hosts.declared(matrix, first)[0].page_size == 65536


# --- problems in matrix.toml


@pytest.mark.parametrize(
    ("table", "key", "words"),
    [
        ({"arch": "gravitom2"}, "arch", "expected an architecture or a preset"),
        ({"arch": "graviton2,page=64k"}, "arch", "preset of `buildmatrix explain --host`"),
        ({"arch": "arm64", "cpu": "haswell"}, "cpu", "expected a level or a model of arm64"),
        ({"arch": "arm64", "page": "8k"}, "page", "one of 4k, 16k, 64k"),
        ({"arch": "arm64", "kernel": "new"}, "kernel", "a release such as 5.10"),
        ({"arch": "arm64", "binfmt": ["qemu-vax"]}, "binfmt", "expected one of"),
        ({"arch": "arm64", "stack": -1}, "stack", "expected one of"),
        ({"arch": "arm64", "targets": ["amd*"]}, "targets[0]", "a glob that matches one of t"),
        ({"arch": "arm64", "pages": "4k"}, "pages", "did you mean 'page'?"),
        ({}, "arch", "it is required"),
    ],
)
def test_a_problem_in_a_fleet_is_told_by_key(place: Place, table: dict[str, Any], key: str, words: str) -> None:
    with pytest.raises(MatrixError) as caught:
        place.matrix(fleet={"x": table})
    assert words in {problem.key: str(problem) for problem in caught.value.problems}[f"fleet.x.{key}"]


@pytest.mark.parametrize(
    ("table", "key", "words"),
    [
        ({"path": "/srv/root"}, "path", "inside the project"),
        ({"path": "../root"}, "path", "inside the project"),
        ({"path": ""}, "path", "inside the project"),
        ({"path": "r", "user": "nobody"}, "user", "UID or UID:GID"),
        ({"path": "r", "where": "bin"}, "where", "an absolute path"),
        ({"path": "r", "path-env": "bin:/usr/bin"}, "path-env", "absolute directories"),
        ({"path": "r", "targets": ["x"]}, "targets[0]", "a glob that matches one of t"),
        ({}, "path", "it is required"),
    ],
)
def test_a_problem_in_a_root_is_told_by_key(place: Place, table: dict[str, Any], key: str, words: str) -> None:
    with pytest.raises(MatrixError) as caught:
        place.matrix(roots={"x": table})
    assert words in {problem.key: str(problem) for problem in caught.value.problems}[f"roots.x.{key}"]


@pytest.mark.parametrize("program", ["./tool", "bin/tool", "", "a\nb"])
def test_started_programs_are_paths_or_names(place: Place, program: str) -> None:
    with pytest.raises(MatrixError) as caught:
        place.matrix(binaries=binaries("sh", program))
    assert [problem.key for problem in caught.value.problems] == ["binaries.app.exec[1]"]


def test_what_is_declared_is_read(place: Place) -> None:
    matrix = place.matrix(
        binaries=binaries("sh"),
        fleet={"x": {"arch": "altra", "compat32": False, "features": ["lse"], "kernel": "5.10"}},
        roots={"base": {"path": "root", "user": "1000:7", "path-env": "/bin", "where": "/opt/bin"}},
    )
    assert matrix.binaries[0].exec == ("sh",)
    assert matrix.fleet[0].words == "altra,kernel=5.10,compat32=no,features=lse"
    assert matrix.roots == (
        deployment.RootImage(
            name="base", path="root", targets=("*",), path_env="/bin", uid=1000, gid=7, where="/opt/bin"
        ),
    )


# --- artifacts


@pytest.mark.parametrize("goarch", STATIC)
def test_a_static_artifact_needs_no_root(place: Place, goarch: str) -> None:
    assert place.judge(STATIC[goarch], place.matrix(goarch)) == ()


def test_a_dynamic_artifact_without_a_root_is_noted_never_silent(place: Place) -> None:
    (note,) = place.judge("pie-glibc-arm64", place.matrix(), dynamic=True)
    assert (note.rule, note.severity) == ("BM605", Severity.NOTE)
    assert note.what == "no root declared: loader and libraries not judged"


def test_a_dynamic_artifact_in_a_root_without_its_loader_fails_with_the_cause(place: Place) -> None:
    (finding,) = place.judge(
        "pie-glibc-arm64", place.matrix(roots=ROOT, fleet={"d2000": {"arch": "d2000"}}), dynamic=True
    )
    assert (finding.rule, finding.severity) == ("BM601", Severity.ERROR)
    assert "execve fails with ENOENT (missing-interpreter)" in finding.what
    assert "in root base on d2000" in finding.what
    assert "/lib/ld-linux-aarch64.so.1" in finding.evidence
    assert "no such file or directory" in finding.why
    assert finding.fix


def test_an_artifact_for_4k_pages_fails_on_a_64k_fleet_alone(place: Place) -> None:
    machines = {"graviton": {"arch": "graviton2"}, "altra": {"arch": "altra-64k"}}
    (finding,) = (item for item in place.judge("pages-4k-arm64", place.matrix(fleet=machines)) if item.rule == "BM601")
    assert finding.severity is Severity.ERROR
    assert finding.what.endswith("in an empty root on altra")
    assert "SIGSEGV" in finding.what


def test_without_a_fleet_every_page_size_of_the_target_is_tried(place: Place) -> None:
    found = [item for item in place.judge("pages-4k-arm64", place.matrix()) if item.rule == "BM601"]
    text = " ".join(finding.what for finding in found)
    assert "16K pages" in text
    assert "64K pages" in text
    assert "4K pages" not in text.replace("64K pages", "")
    settings = {"t": {"goarch": "arm64", "page-sizes": [4096]}}
    assert "BM601" not in {item.rule for item in place.judge("pages-4k-arm64", place.matrix(targets=settings))}


def test_an_artifact_for_another_machine_fails(place: Place) -> None:
    (finding, *_) = place.judge("static-amd64", place.matrix())
    assert "execve fails with ENOEXEC (wrong-machine)" in finding.what


def test_a_fleet_without_the_architecture_is_noted(place: Place) -> None:
    (note,) = place.judge("static-arm64", place.matrix(fleet={"x": {"arch": "amd64"}}))
    assert (note.rule, note.severity) == ("BM609", Severity.NOTE)


def test_a_user_who_may_not_execute_it(place: Place) -> None:
    matrix = place.matrix(roots={"base": {"path": "root", "user": "1000"}})
    assert place.judge("static-arm64", matrix) == ()
    path = place.put("dist/app", "static-arm64", mode=0o700)
    (finding, *_) = Fleet(matrix, lambda _cell: path).findings(matrix.cells[0], dynamic=False)
    assert "EACCES (no-exec-permission)" in finding.what


def test_the_folder_of_installation_goes_through_links_and_hides_nothing(place: Place) -> None:
    place.put("root/opt/real/other", "static-arm64")
    place.link("root/opt/bin", "/opt/real")
    matrix = place.matrix(
        binaries=binaries("/opt/bin/other", "/opt/real/app"), roots={"base": {"path": "root", "where": "/opt/bin"}}
    )
    assert place.judge("static-arm64", matrix) == ()
    assert not (place.folder / "root/opt/real/app").exists()


# --- what artifacts start


def test_everything_right_passes(place: Place) -> None:
    place.put("root/usr/bin/curl", "static-arm64")
    place.put("root/bin/script", b"#!/usr/bin/curl\n")
    assert place.judge("static-arm64", place.matrix(binaries=binaries("/usr/bin/curl", "script"), roots=ROOT)) == ()


def test_a_missing_program_is_named_with_what_was_tried(place: Place) -> None:
    place.put("root/usr/bin/curl", "static-arm64", mode=0o644)
    bare, absolute = place.judge("static-arm64", place.matrix(binaries=binaries("curl", "/usr/bin/wget"), roots=ROOT))
    assert (bare.rule, absolute.rule) == ("BM603", "BM603")
    assert bare.what == "starts curl, which is not in root base"
    assert "/usr/bin/curl: is no executable file (regular, mode 0644)" in bare.evidence
    assert "executable file not found in $PATH" in bare.why
    assert "/usr/bin/wget: /usr/bin/wget does not exist" in absolute.evidence
    assert "binaries.app.exec" in absolute.fix


def test_path_decides_which_program_is_meant(place: Place) -> None:
    place.put("root/opt/tool", "static-arm64")
    roots = {"base": {"path": "root", "path-env": "/bin:/opt"}}
    assert place.judge("static-arm64", place.matrix(binaries=binaries("tool"), roots=roots)) == ()
    place.put("root/bin/tool", "static-amd64")
    (finding,) = place.judge("static-arm64", place.matrix(binaries=binaries("tool"), roots=roots))
    assert "/bin/tool" in finding.what


def test_a_program_of_another_architecture_is_named(place: Place) -> None:
    place.put("root/usr/bin/curl", "static-amd64")
    matrix = place.matrix(binaries=binaries("/usr/bin/curl"), roots=ROOT, fleet={"g": {"arch": "graviton2"}})
    (finding,) = place.judge("static-arm64", matrix)
    assert (finding.rule, finding.severity) == ("BM603", Severity.ERROR)
    assert finding.what.startswith("starts /usr/bin/curl; /usr/bin/curl: does not execute: execve fails with ENOEXEC")
    assert finding.what.endswith("(wrong-machine), in root base on g")


def test_an_emulator_masks_nothing(place: Place) -> None:
    place.put("root/usr/bin/curl", "static-amd64")
    machines = {"g": {"arch": "graviton2", "binfmt": ["qemu-x86_64"]}}
    matrix = place.matrix(binaries=binaries("/usr/bin/curl"), roots=ROOT, fleet=machines)
    found = place.judge("static-arm64", matrix)
    assert [(item.rule, item.severity) for item in found] == [("BM602", Severity.WARNING)]
    assert "runs under emulation" in found[0].what


def test_programs_without_a_root_are_noted(place: Place) -> None:
    (note,) = place.judge("static-arm64", place.matrix(binaries=binaries("curl")))
    assert note.what == "no root declared: programs in exec not judged"


def test_other_systems_are_noted(place: Place) -> None:
    matrix = place.matrix(targets={"t": {"goos": "darwin", "goarch": "arm64"}}, binaries=binaries("sh"))
    (note,) = fleet.elsewhere(matrix.cells[0])
    assert (note.rule, note.what, note.severity) == (
        "BM605",
        "programs in exec are not judged on darwin",
        Severity.NOTE,
    )


def test_other_binaries_of_the_target_are_installed_beside_it(place: Place) -> None:
    both = {**binaries("tool"), "tool": {"package": "./cmd/tool"}}
    matrix = place.matrix(binaries=both, roots=ROOT)
    files = {"app": place.put("dist/app", "static-arm64"), "tool": place.put("dist/tool", "static-arm64")}

    def locate(cell: Cell) -> Path:
        return files[cell.binary.name]

    assert tuple(Fleet(matrix, locate).findings(matrix.cells[0], dynamic=False)) == ()
    files["tool"] = place.folder / "nothing"
    (finding,) = Fleet(matrix, locate).findings(matrix.cells[0], dynamic=False)
    assert finding.what == "starts tool, which is not in root base"


# --- roots


def _tar(path: Path, files: dict[str, str]) -> None:
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as archive:
        for name, fixture in files.items():
            data = (ELF / fixture).read_bytes()
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(data), 0o755
            archive.addfile(member, io.BytesIO(data))


def _short_tar(path: Path) -> None:
    _tar(path, {"usr/bin/curl": "static-arm64"})
    path.write_bytes(path.read_bytes()[: 512 * 4])  # header and data, no end


@pytest.mark.parametrize("name", ["root.tar", "root.tar.gz"])
def test_a_root_may_be_a_tar_archive(place: Place, name: str) -> None:
    _tar(place.folder / name, {"usr/bin/curl": "static-arm64", "usr/bin/wget": "static-amd64"})
    roots = {"base": {"path": name}}
    assert place.judge("static-arm64", place.matrix(binaries=binaries("curl"), roots=roots)) == ()
    (finding,) = place.judge("static-arm64", place.matrix(binaries=binaries("curl", "wget"), roots=roots))
    assert "starts wget" in finding.what


@pytest.mark.parametrize(
    ("path", "make", "words"),
    [
        ("gone", lambda path: None, "cannot be read"),
        ("broken.tar", lambda path: path.write_bytes(b"x" * 2000), "cannot be read as a tar archive"),
        ("short.tar", _short_tar, "ends early"),
        ("away", lambda path: path.symlink_to("/usr"), "leads out of the project"),
    ],
)
def test_a_root_that_cannot_be_read_fails_closed(place: Place, path: str, make: Any, words: str) -> None:
    make(place.folder / path)
    (finding,) = place.judge("static-arm64", place.matrix(roots={"base": {"path": path}}))
    assert (finding.rule, finding.severity) == ("BM604", Severity.ERROR)
    assert words in finding.why


def test_a_file_in_the_way_of_the_installation_fails_closed(place: Place) -> None:
    place.put("root/usr/local", b"file")
    (finding,) = place.judge("static-arm64", place.matrix(roots=ROOT))
    assert (finding.rule, finding.severity) == ("BM604", Severity.ERROR)
    assert "in the way" in finding.why


def test_roots_are_for_the_targets_that_they_name(place: Place) -> None:
    targets = {"t": {"goarch": "arm64"}, "t2": {"goarch": "arm64"}}
    matrix = place.matrix(
        targets=targets, binaries=binaries("curl"), roots={"base": {"path": "root", "targets": ["t2"]}}
    )
    path = place.put("dist/app", "static-arm64")
    judge = Fleet(matrix, lambda _cell: path)
    first, second = (tuple(judge.findings(cell, dynamic=False)) for cell in matrix.cells)
    assert [finding.rule for finding in first] == ["BM605"]
    assert [finding.rule for finding in second] == ["BM603"]


@pytest.mark.integration
def test_a_dynamic_artifact_passes_where_its_loader_and_libraries_are(place: Place) -> None:
    for path in ("/lib64/ld-linux-x86-64.so.2", "/lib/x86_64-linux-gnu/libc.so.6"):
        target = place.folder / "root" / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    assert place.judge("pie-glibc-amd64", place.matrix("amd64", roots=ROOT), dynamic=True) == ()
    (place.folder / "root/lib/x86_64-linux-gnu/libc.so.6").unlink()
    (finding,) = place.judge("pie-glibc-amd64", place.matrix("amd64", roots=ROOT), dynamic=True)
    assert "missing-library" in finding.what


# --- as a user runs it

TOO_NEW = """
[targets.amd64-v3]
goarch = "amd64"
level = "v3"

[fleet.haswell]
arch = "amd64"
cpu = "haswell"

[fleet.nehalem]
arch = "amd64"
cpu = "nehalem"

[roots.base]
path = "base"
targets = ["amd64-v3"]
"""


def test_build_and_verify_tell_what_will_not_execute(tmp_path: Path) -> None:
    matrix = project.MATRIX.replace('package = "./cmd/hello"', 'package = "./cmd/hello"\nexec = ["curl"]') + TOO_NEW
    made = project.create(tmp_path, matrix=matrix)
    (tmp_path / "base").mkdir()
    for command in ("build", "verify"):
        done = made.run(command)
        assert done.returncode == 1, done.stdout + done.stderr
        assert "BM601 hello_amd64-v3: /usr/local/bin/hello: does not execute" in done.stdout
        assert "exits with status 1 (isa-level), in root base on nehalem\n" in done.stdout
        assert "can only be run on AMD64 processors with v3 microarchitecture support" in done.stdout
        assert "BM603 hello_amd64-v3: starts curl, which is not in root base" in done.stdout
        assert "BM601 hello_amd64:" not in done.stdout
        assert "BM605 hello_amd64, hello_arm64: no root declared: programs in exec not judged" in done.stdout
        assert "BM609 hello_arm64: [fleet] has no arm64 machine" in done.stdout
        assert "ok    hello_arm64" in done.stdout
    assert made.run("verify", "--target", "arm64").returncode == 0


def test_code_under_another_segment_is_never_called_sound(tmp_path: Path) -> None:
    """Linked for 4K pages by Go, the text's last page is also the read-only data's first on 64K.

    Where the text ends depends on the Go release; of two texts 4 KiB apart, one ends inside a 64K page.
    """
    targets = "".join(
        f'[targets.t{start}]\ngoarch = "arm64"\nldflags = ["-R 4096 -T {start}"]\npage-sizes = [4096]\n'
        for start in (0x11000, 0x12000)
    )
    machines = '[fleet.altra]\narch = "altra-64k"\n[fleet.graviton2]\narch = "graviton2"\n'
    made = project.create(tmp_path, matrix=f"{project.MATRIX}\n{targets}\n{machines}")
    done = made.run("build", "--target", "t*", "--target", "arm64")
    found = re.findall(r"BM60[12] hello_t\d+: .*", done.stdout)
    assert found, done.stdout + done.stderr
    assert "in an empty root on altra\n" in done.stdout
    assert "graviton2" not in done.stdout
    assert not re.search(r"BM60[12] hello_arm64", done.stdout)


def test_codes_are_in_one_place_each() -> None:
    assert set(fleet.CODES) >= fleet.WARNINGS
