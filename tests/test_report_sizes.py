"""Sizes come from bytes: sections add up, Go's function table is read in every architecture and byte order."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildmatrix import elf
from buildmatrix.facts import Facts, Format
from buildmatrix.report import pclntab, sizes, treemap
from buildmatrix.report.model import Part
from tests import project

TARGETS = {
    "amd64": 'goarch = "amd64"', "s390x": 'goarch = "s390x"', "386": 'goarch = "386"', "arm64": 'goarch = "arm64"',
    "windows": 'goos = "windows"\ngoarch = "amd64"', "darwin": 'goos = "darwin"\ngoarch = "arm64"',
}  # fmt: skip
HEAD = project.MATRIX.partition("[targets")[0]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> project.Project:
    tables = "".join(f"[targets.{name}]\n{text}\n" for name, text in TARGETS.items())
    made = project.create(tmp_path_factory.mktemp("sizes"), matrix=HEAD + tables)
    done = made.run("build")
    assert done.returncode == 0, done.stdout + done.stderr
    return made


def path_of(built: project.Project, target: str) -> Path:
    return next(path for path in (built.dist / f"hello_{target}").iterdir() if path.stem == "hello" and path.is_file())


@pytest.mark.parametrize("target", TARGETS)
def test_every_byte_of_a_real_program_is_accounted_for(built: project.Project, target: str) -> None:
    path = path_of(built, target)
    found = sizes.measure(path.read_bytes(), elf.read_facts(path))
    assert sum(part.size for part in found.sections) == found.total == path.stat().st_size
    assert len(found.sections) > 3
    names = {part.name: part.size for part in found.packages}
    assert names["main"] > 0
    assert names["runtime"] > 50_000
    assert sum(names.values()) == found.code == sum(part.size for part in found.modules)
    text = next(part.size for part in found.sections if part.name in (".text", "__TEXT,__text"))
    assert 0.9 * text < found.code <= text + 4096, "the function table shares out the code section"
    assert {part.name for part in found.modules} >= {"example.org/hello", sizes.STANDARD}


def test_a_table_that_lies_gives_nothing_and_does_not_hang() -> None:
    head = struct.pack("<I2xBB", 0xFFFFFFF1, 1, 8)
    for values in ((1 << 40, 0, 0, 0, 0, 0, 0, 0), (10, 0, 0, 64, 0, 0, 0, 1 << 30), (3, 0, 0, 0, 0, 0, 0, 72)):
        data = head + struct.pack("<8Q", *values) + b"\xff" * 200
        assert pclntab.code_by_package(data) == {}


@given(st.binary(max_size=400), st.integers(0, 300))
def test_no_bytes_make_the_reader_raise(noise: bytes, at: int) -> None:
    data = bytearray(noise)
    data[at:at] = struct.pack("<I2xBB", 0xFFFFFFF1, 1, 4)
    pclntab.code_by_package(bytes(data))
    for kind in Format:
        found = sizes.measure(bytes(data), Facts(format=kind, size=len(data)))
        assert sum(part.size for part in found.sections) == len(data)


@pytest.mark.parametrize(
    ("symbol", "package"),
    [
        ("runtime.mallocgc", "runtime"),
        ("net/http.(*Server).Serve", "net/http"),
        ("gopkg.in/yaml%2ev3.Unmarshal", "gopkg.in/yaml.v3"),
        ("example.org/a/b.Map[go.shape.string,example.org/c/d.T]", "example.org/a/b"),
        ("type:.eq.example.org/a.T", "example.org/a"),
        ("_rt0_amd64_linux", pclntab.OTHER),
        ("", pclntab.OTHER),
    ],
)
def test_the_package_of_a_function(symbol: str, package: str) -> None:
    assert pclntab.package_of(symbol) == package


@given(st.lists(st.integers(1, 10**9), min_size=1, max_size=60), st.floats(0.3, 5))
def test_rectangles_have_the_areas_of_their_parts_and_do_not_overlap(areas: list[int], aspect: float) -> None:
    parts = treemap.shown([Part(name=f"p{n}", size=size) for n, size in enumerate(areas)])
    assert sum(part.size for part in parts) == sum(areas)
    assert len(parts) <= treemap.MOST
    boxes = treemap.layout(parts, aspect=aspect)
    assert [box.part for box in boxes] == list(parts)
    total = sum(areas)
    for box in boxes:
        assert box.x >= -0.01 and box.y >= -0.01
        assert box.x + box.width <= 100.02
        assert box.y + box.height <= 100.02
        assert abs(box.width * box.height / 10_000 - box.part.size / total) < 0.002
    for index, one in enumerate(boxes):
        for other in boxes[index + 1 :]:
            across = min(one.x + one.width, other.x + other.width) - max(one.x, other.x)
            down = min(one.y + one.height, other.y + other.height) - max(one.y, other.y)
            assert across <= 0.01 or down <= 0.01


def test_nothing_has_no_drawing() -> None:
    assert treemap.layout(treemap.shown([Part(name="a", size=0)]), aspect=2) == ()
