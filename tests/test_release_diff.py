"""What changed between two releases: cells of dist folders, images of layouts and registries."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from buildmatrix import cli, errors
from buildmatrix.commands import diff
from buildmatrix.facts import GoInfo, GoModule
from buildmatrix.oci import graph
from buildmatrix.oci.layout import Layout
from buildmatrix.release import difference, units
from buildmatrix.release.difference import Difference
from buildmatrix.release.units import CELLS, IMAGES, Program, Side, Unit
from buildmatrix.sbom.model import Bill, Component
from tests import factory, image_lab
from tests.image_lab import HandMade, Member
from tests.project import Project, create
from tests.registry_server import RegistryServer
from tests.release_lab import ReleaseLab


def bill(*components: Component) -> Bill:
    return Bill(subject=Component(ref="top", kind="container", name="app"), components=components, tools=(), epoch=None)


def package(name: str, version: str, licence: str = "") -> Component:
    return Component(
        ref=name, kind="library", name=name, version=version, purl=f"pkg:deb/debian/{name}@{version}", stated=licence
    )


def program(**values: object) -> Program:
    plain = Program(needed=("libc.so.6",), floor="2.28", level="GOAMD64=v1", go="go1.26.8", modules={"a": "v1.0.0"})
    return replace(plain, **values)  # type: ignore[arg-type]


def side(**values: object) -> Side:
    plain = Unit(name="linux/amd64", size=1000, files={"/app": "1" * 64}, programs={"/app": program()}, bill=bill())
    return Side(name="one", kind=IMAGES, units={"linux/amd64": replace(plain, **values)})  # type: ignore[arg-type]


def found(old: Side, new: Side) -> list[tuple[str, str, str, str]]:
    return [(item.kind, item.what, item.old, item.new) for item in difference.differences(old, new)]


def test_equal_releases_have_no_difference() -> None:
    assert found(side(), side()) == []


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"size": 1500}, [("size", "", "1000", "1500")]),
        ({"programs": {"/app": program(go="go1.27")}}, [("go", "/app", "go1.26.8", "go1.27")]),
        ({"programs": {"/app": program(modules={"a": "v1.1.0"})}}, [("module", "/app: a", "v1.0.0", "v1.1.0")]),
        (
            {"programs": {"/app": program(modules={"b": "v1"})}},
            [("module", "/app: a", "v1.0.0", ""), ("module", "/app: b", "", "v1")],
        ),
        (
            {"programs": {"/app": program(needed=("libm.so.6",))}},
            [("needed", "/app", "libc.so.6", ""), ("needed", "/app", "", "libm.so.6")],
        ),
        ({"programs": {"/app": program(floor="2.34")}}, [("floor", "/app", "2.28", "2.34")]),
        ({"programs": {"/app": program(level="GOAMD64=v3")}}, [("level", "/app", "GOAMD64=v1", "GOAMD64=v3")]),
        ({"files": {"/app": "2" * 64}}, [("file", "/app", "1" * 64, "2" * 64)]),
        (
            {"files": {"/b": "→ /app", "/app": "1" * 64}},
            [("file", "/b", "", "→ /app")],
        ),
    ],
)
def test_each_kind_of_difference(values: dict[str, object], expected: list[tuple[str, str, str, str]]) -> None:
    assert found(side(), side(**values)) == expected


def test_packages_come_from_the_bill_and_files_and_modules_do_not() -> None:
    module = Component(ref="m", kind="library", name="a", version="v1", purl="pkg:golang/a@v1")
    file = Component(ref="f", kind="file", name="app", version="")
    old = side(bill=bill(package("zlib", "1.2"), package("gone", "1"), module, file))
    new = side(bill=bill(package("zlib", "1.3", "Zlib"), package("new", "2"), replace(module, version="v2")))
    assert found(old, new) == [
        ("sbom", "gone", "1", ""),
        ("sbom", "new", "", "2"),
        ("sbom", "zlib", "1.2", "1.3"),
        ("sbom", "zlib (licence)", "", "Zlib"),
    ]


def test_an_architecture_that_came_or_went() -> None:
    two = side()
    more = replace(two, units={**two.units, "linux/arm64": replace(two.units["linux/amd64"], name="linux/arm64")})
    assert found(two, more) == [("unit", "", "", "there")]
    assert found(more, two) == [("unit", "", "there", "")]


def test_cells_are_not_compared_with_images() -> None:
    with pytest.raises(errors.UsageError, match="two kinds"):
        difference.differences(side(), replace(side(), kind=CELLS))


def test_what_a_program_says_of_itself() -> None:
    planned = factory.cell(level="v3")
    info = GoInfo(
        version="go1.26.8",
        modules=(
            GoModule(path="a", version="v1"),
            GoModule(path="b", version="v1", replace=GoModule(path="c", version="v9")),
            GoModule(path="d", version="v1", replace=GoModule(path="d", version="v2")),
        ),
        settings=(("GOARCH", "amd64"), ("GOAMD64", planned.target.level)),
    )
    facts = replace(factory.facts(planned), go=info)
    said = units.program_of(facts)
    assert said.level == "GOAMD64=v3" and said.modules == {"a": "v1", "b": "c v9", "d": "v2"}


# From bytes


@pytest.fixture
def server() -> Iterator[RegistryServer]:
    with RegistryServer() as running:
        yield running


def test_an_image_in_a_registry_against_one_in_a_layout(server: RegistryServer, tmp_path: Path) -> None:
    old, new = ReleaseLab(server, tmp_path, version="1.2.2"), ReleaseLab(server, tmp_path)
    old.publish()
    new.files["linux/arm64"] = [("usr/local/bin/app", "pie-glibc-arm64"), ("opt/link", "library-arm64")]
    new.build()
    with old.open() as registry:
        repository = registry.repository("team/app")
        before = units.of_images(repository, graph.resolve(repository, "1.2.2"))
    after = units.of_layout(Layout(tmp_path / "layout-1.2.3"))
    rows = difference.differences(before, after)
    files = {(item.unit, item.what) for item in rows if item.kind == "file"}
    app, version = "/usr/local/bin/app", "/etc/version"
    assert files == {
        ("linux/amd64", version), ("linux/arm64", version), ("linux/arm64", app), ("linux/arm64", "/opt/link"),
    }  # fmt: skip
    digest = hashlib.sha256(image_lab.elf("pie-glibc-arm64")).hexdigest()
    assert next(item.new for item in rows if item.what == app and item.kind == "file") == digest
    assert Difference(unit="linux/arm64", kind="needed", what=app, new="libc.so.6") in rows
    assert any(item.kind == "floor" and item.unit == "linux/arm64" and item.new for item in rows)
    assert not any(item.kind in ("needed", "floor") and item.unit == "linux/amd64" for item in rows)


def test_files_of_any_size_are_compared_by_content(tmp_path: Path) -> None:
    """Large files that are no programs count by their bytes, too."""
    sides = []
    for name, last in (("one", b"1"), ("two", b"2")):
        made = HandMade(Layout(tmp_path / name))
        data = Member(name="srv/data", data=bytes(300_000) + last, mode=0o644)
        link = Member(name="srv/link", type=b"2", link=f"/srv/{name}")
        made.add("linux/amd64", image_lab.layer(data, link))
        made.top()
        sides.append(units.of_layout(Layout(tmp_path / name)))
    rows = difference.differences(*sides)
    assert [(item.kind, item.what) for item in rows if item.kind == "file"] == [
        ("file", "/srv/data"), ("file", "/srv/link"),
    ]  # fmt: skip


def test_a_layer_that_is_damaged_is_an_error_and_not_a_difference(server: RegistryServer, tmp_path: Path) -> None:
    lab = ReleaseLab(server, tmp_path)
    lab.publish()
    with lab.open() as registry:
        repository = registry.repository("team/app")
        layer = repository.manifest(lab.children["linux/arm64"].digest).manifest().layers[0]
        server.corrupt("GET", f"/blobs/{layer.digest}", times=None)
        with pytest.raises(errors.BuildmatrixError):
            units.of_images(repository, graph.resolve(repository, "1.2.3"))


def test_a_layout_with_several_images_asks_for_a_tag(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "many").create()
    entries = []
    for name in ("static-amd64", "static-pie-amd64"):
        made = HandMade(layout)
        made.add("linux/amd64", image_lab.layer(Member(name="app", data=image_lab.elf(name))))
        entries.append(replace(made.top(), annotations={"org.opencontainers.image.ref.name": name}))
    layout.write_index(entries)
    with pytest.raises(errors.UsageError, match="expected one"):
        units.of_layout(layout)
    assert units.of_layout(layout, "static-amd64").units["linux/amd64"].programs


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two dist folders of one project, the second of another version and CPU level."""
    made: Project = create(tmp_path_factory.mktemp("pair"))
    assert made.run("build").returncode == 0
    old = made.root / "old"
    shutil.copytree(made.dist, old)
    text = (made.root / "matrix.toml").read_text()
    text = text.replace('"1.2.3"', '"1.3.0"').replace('goarch = "amd64"', 'goarch = "amd64"\nlevel = "v3"')
    made.write("matrix.toml", text)
    assert made.run("build").returncode == 0
    return old, made.dist


def test_two_dist_folders(pair: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    old, new = map(str, pair)
    assert cli.main(["diff", old, new, "--json"]) == 1
    said = json.loads(capsys.readouterr().out)
    rows = [(item["unit"], item["kind"], item["what"], item["old"], item["new"]) for item in said["differences"]]
    assert ("hello_amd64", "level", "hello", "GOAMD64=v1", "GOAMD64=v3") in rows
    assert not any(unit == "hello_arm64" and kind == "level" for unit, kind, *_ in rows)
    assert {unit for unit, kind, what, *_ in rows if kind == "file" and what == "hello"} == {
        "hello_amd64",
        "hello_arm64",
    }
    assert said["schema"] == 1 and said["units"]["hello_arm64"]["new"]["programs"]["hello"]["go"].startswith("go1.")
    assert cli.main(["diff", old, old]) == 0


@pytest.mark.parametrize("columns", ["80", "40", "24"])
def test_the_table_fits(
    pair: tuple[Path, Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert cli.main(["diff", *map(str, pair)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= int(columns), lines
    assert "GOAMD64=v1 → GOAMD64=v3" in " ".join(" ".join(lines).split())


def test_a_name_that_would_steer_a_terminal_is_shown_escaped() -> None:
    old, new = side(files={}), side(files={"/\x1b[2Jevil": "1" * 64})
    lines = list(diff.table(old, new, difference.differences(old, new), 80))
    assert not any("\x1b" in line for line in lines) and any("evil" in line for line in lines)


@pytest.mark.parametrize(("size", "words"), [(1500, "1.0 kB → 1.5 kB (+50.0%)"), (1000001, "→ 1.0 MB (+1 B)")])
def test_sizes_in_words(size: int, words: str) -> None:
    old = side(size=1000 if size < 2000 else 1000000)
    assert words in "\n".join(diff.table(old, side(size=size), difference.differences(old, side(size=size)), 80))


def test_a_folder_that_is_neither(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["diff", str(tmp_path), str(tmp_path)]) == 2
    assert "expected a dist folder or an OCI layout" in capsys.readouterr().err
    assert cli.main(["diff", "/nonexistent/dist", str(tmp_path)]) == 2
