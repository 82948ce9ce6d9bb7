"""Go's module text: what ParseBuildInfo accepts and refuses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildmatrix._goinfo import parse
from buildmatrix.facts import GoInfo, GoModule


def test_every_kind_of_line() -> None:
    text = (
        b"path\tcmd/x\nmod\texample.org/x\tv1.0.0\th1:main=\n=>\tfork.org/x\tv1.0.1\th1:fork=\n"
        b"dep\ta.org/a\tv0.1.0\th1:a=\ndep\tb.org/b\tv2.0.0+incompatible\n=>\t/src/b\t(devel)\t\n"
        b"build\t-compiler=gc\nbuild\tCGO_ENABLED=0\nbuild\tempty=\nfuture\tline\n"
    )
    assert parse("go1.24.1", text) == GoInfo(
        version="go1.24.1",
        path="cmd/x",
        main=GoModule(
            path="example.org/x",
            version="v1.0.0",
            sum="h1:main=",
            replace=GoModule(path="fork.org/x", version="v1.0.1", sum="h1:fork="),
        ),
        modules=(
            GoModule(path="a.org/a", version="v0.1.0", sum="h1:a="),
            GoModule(path="b.org/b", version="v2.0.0+incompatible", replace=GoModule(path="/src/b", version="(devel)")),
        ),
        settings=(("-compiler", "gc"), ("CGO_ENABLED", "0"), ("empty", "")),
    )


@pytest.mark.parametrize(
    ("raw", "setting"),
    [
        (rb'k="a b"', ("k", "a b")),
        (rb'k="\"\\\n\t\x41\101\u00e9\U0001f600"', ("k", '"\\\n\tAA\u00e9\U0001f600')),
        (b"k=`raw \\n\r`", ("k", "raw \\n")),
        (rb'"key with = and space"=v', ("key with = and space", "v")),
        (rb'k="\xff"', ("k", "\udcff")),
        (b"k=a=b", ("k", "a=b")),
        (rb'k=""', ("k", "")),
    ],
)
def test_quoted_settings(raw: bytes, setting: tuple[str, str]) -> None:
    assert parse("go1", b"build\t" + raw + b"\n").settings == (setting,)


@pytest.mark.parametrize(
    "line",
    [
        b"mod\tonly-a-path", b"dep\ta\tb\tc\td", b"=>\ta\tb\tc", b"build\t", b"build\tno-equals", b"build\t=v",
        b'build\tk="unterminated', b'build\tk="\\q"', b'build\tk="\\777"', b'build\t"k"v', b"build\tk=`open",
        b'build\tk="\\UFFFFFFFF"', b'build\tk="\\ud800"',
    ],
)  # fmt: skip
def test_lines_that_go_does_not_write(line: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse("go1", line + b"\n")


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\n"), max_size=40))
def test_unquoting_is_the_inverse_of_quoting(value: str) -> None:
    quoted = "".join(f"\\U{ord(c):08x}" if c in '"\\' or not c.isprintable() else c for c in value)
    assert parse("go1", f'build\tk="{quoted}"\n'.encode()).settings == (("k", value),)
