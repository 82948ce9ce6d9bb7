"""One target's settings: defaults, and the combinations that cannot be."""

from __future__ import annotations

from typing import Any

import pytest

from buildmatrix import arch
from buildmatrix.errors import MatrixError
from tests import factory


def problem(**settings: Any) -> dict[str, str]:
    """The problems of one target by key."""
    with pytest.raises(MatrixError) as caught:
        factory.cell("t", **settings)
    return {item.key.removeprefix("targets.t."): str(item) for item in caught.value.problems}


@pytest.mark.parametrize("goos", arch.PORTS)
def test_every_port_resolves_with_defaults(goos: str) -> None:
    for goarch in arch.PORTS[goos]:
        target = factory.target("t", goos=goos, goarch=goarch)
        row = arch.BY_GOARCH[goarch]
        assert (target.architecture, target.level, target.format) == (row, row.default_level, arch.FORMATS[goos])
        assert (target.libc, target.static, target.cgo) == ("none", True, False)
        assert target.page_sizes == (row.page_sizes if goos == "linux" else ())


@pytest.mark.parametrize(
    ("settings", "libc", "static"),
    [
        ({}, "none", True),
        ({"cgo": True}, "glibc", False),
        ({"cgo": True, "libc": "musl"}, "musl", True),
        ({"cgo": True, "static": True}, "glibc", True),
        ({"cgo": True, "libc": "musl", "static": False}, "musl", False),
        ({"pie": True, "static": False}, "none", False),
        ({"cgo": True, "goos": "darwin", "goarch": "arm64", "cc": "clang"}, "none", True),
    ],
)
def test_libc_and_static(settings: dict[str, Any], libc: str, static: bool) -> None:
    target = factory.target("t", **settings)
    assert (target.libc, target.static) == (libc, static)


@pytest.mark.parametrize(
    ("settings", "key", "words"),
    [
        ({"goarch": "x86_64"}, "goarch", "Go calls it 'amd64'"),
        ({"goarch": "vax"}, "goarch", "one of amd64"),
        ({"goos": "windows", "goarch": "s390x"}, "goarch", "with goos 'windows'"),
        ({"level": "v5"}, "level", "one of v1, v2, v3, v4"),
        ({"goarch": "s390x", "level": "z13"}, "level", "no level"),
        ({"goarch": "arm64", "level": "v8.2,sve"}, "level", "[,lse][,crypto]"),
        ({"libc": "glibc"}, "libc", "none without cgo"),
        ({"libc": "none", "cgo": True}, "libc", "glibc or musl with cgo"),
        ({"libc": "musl", "cgo": True, "goos": "darwin", "cc": "clang"}, "libc", "its own"),
        ({"libc-floor": "2.28"}, "libc-floor", "only glibc has a floor"),
        ({"libc-floor": "2.28", "cgo": True, "libc": "musl"}, "libc-floor", "only glibc has a floor"),
        ({"libc-floor": "3.1", "cgo": True}, "libc-floor", "such as 2.28"),
        ({"cgo": True, "goos": "windows"}, "cc", "C compiler for windows"),
        ({"cc": "gcc"}, "cc", "nothing without cgo"),
        ({"cc": "gcc 'a", "cgo": True}, "cc", "quotes closed"),
        ({"cc": " ", "cgo": True}, "cc", "quotes closed"),
        ({"goarch": "arm", "level": "5", "cgo": True}, "level", "hard-float"),
        ({"goarch": "arm", "level": "7,softfloat", "cgo": True}, "level", "hard-float"),
        ({"goarch": "mipsle", "level": "softfloat", "cgo": True}, "level", "hard-float"),
        ({"rpath": ["/lib"]}, "rpath", "static binary"),
        ({"rpath": ["/lib"], "cgo": True, "goos": "darwin", "cc": "clang", "static": False}, "rpath", "darwin"),
        ({"link": "internal", "cgo": True, "libc": "musl"}, "link", "external or auto"),
        ({"link": "internal", "cgo": True, "extldflags": ["-s"]}, "link", "external or auto"),
        ({"static": False}, "static", "true without a libc"),
        ({"page-sizes": [16384]}, "page-sizes", "[4096]"),
        ({"goarch": "arm64", "page-sizes": [8192]}, "page-sizes", "[4096, 16384, 65536]"),
    ],
)
def test_what_cannot_be(settings: dict[str, Any], key: str, words: str) -> None:
    assert words in problem(**settings)[key]


@pytest.mark.parametrize(
    "settings",
    [
        {"goarch": "arm", "level": "5"},
        {"goarch": "arm", "level": "5,hardfloat", "cgo": True},
        {"goarch": "386", "level": "softfloat", "cgo": True},
    ],
)
def test_float_abis_that_agree(settings: dict[str, Any]) -> None:
    assert factory.target("t", **settings).level == settings["level"]


def test_several_problems_of_one_target_come_together() -> None:
    assert set(problem(level="v9", rpath=["/lib"], cc="gcc")) == {"level", "rpath", "cc"}


def test_lists_keep_their_order_and_page_sizes_are_sorted() -> None:
    target = factory.target("t", goarch="arm64", page_sizes=[65536, 4096, 4096], flags=["b", "a"])
    assert target.page_sizes == (4096, 65536)
    assert target.flags == ("b", "a")


def test_the_environment_is_sorted() -> None:
    assert factory.target("t", env={"B": "2", "A": "1"}).env == (("A", "1"), ("B", "2"))
