"""Reading Dockerfiles as BuildKit does, and what the lint says about them."""

from __future__ import annotations

import pytest

from buildmatrix.errors import ImageInputInvalid
from buildmatrix.finding import Finding, Severity
from buildmatrix.images import dockerfile, dockerlint
from tests.image_lab import PLATFORMS

GOOD = """\
# syntax=docker/dockerfile:1
ARG VERSION=1.26
FROM --platform=$BUILDPLATFORM golang:${VERSION} AS build
ARG TARGETOS TARGETARCH
RUN --mount=type=cache,target=/root/.cache \\
    # a comment inside

    GOOS=$TARGETOS GOARCH=$TARGETARCH go build -o /app ./cmd/app
FROM scratch
ARG TARGETPLATFORM
COPY --from=build /app /app
COPY --from=dist ${TARGETPLATFORM}/app /other
ENTRYPOINT ["/app"]
"""


def lint(text: str, *, platforms: tuple[str, ...] = PLATFORMS, contexts: tuple[str, ...] = ("dist",)) -> list[Finding]:
    parsed, found = dockerlint.read(text, "Dockerfile", "app")
    if parsed is None:
        return list(found)
    return list(
        dockerlint.lint(
            dockerlint.Subject(
                image="app", path="Dockerfile", parsed=parsed, platforms=platforms, contexts=contexts
            )
        )
    )  # fmt: skip


def told(text: str, **words: tuple[str, ...]) -> list[tuple[str, str]]:
    """Rules with their lines."""
    return [(item.rule, item.what.split(":")[1]) for item in lint(text, **words)]


# Parsing


def test_stages_flags_and_continuations() -> None:
    parsed = dockerfile.parse(GOOD)
    build, final = parsed.stages
    assert (build.name, build.base, build.platform, build.line) == ("build", "golang:${VERSION}", "$BUILDPLATFORM", 3)
    assert (final.label, final.base, final.platform) == ("stage-1", "scratch", "")
    run = build.instructions[1]
    assert (run.word, run.line, run.flag("mount")) == ("RUN", 5, "type=cache,target=/root/.cache")
    assert run.text.endswith("GOARCH=$TARGETARCH go build -o /app ./cmd/app") and "comment" not in run.text
    assert parsed.bases() == ("golang:1.26", "dist")


def test_any_case_is_read() -> None:
    parsed = dockerfile.parse("from scratch as Base\nFrom bAsE\ncopy --from=BASE /a /b\n")
    assert [stage.label for stage in parsed.reached()] == ["base", "stage-1"]
    assert parsed.final.instructions[0].word == "COPY"


def test_the_escape_directive() -> None:
    parsed = dockerfile.parse("# escape=`\nFROM scratch\nRUN one `\n two\nRUN c:\\\nUSER 1\n")
    assert [item.text for item in parsed.final.instructions] == ["one  two", "c:\\", "1"]


def test_a_directive_counts_only_at_the_top() -> None:
    parsed = dockerfile.parse("# a comment\n# escape=`\nFROM scratch\nRUN one \\\n two\n")
    assert [item.text for item in parsed.final.instructions] == ["one  two"]


def test_heredocs_belong_to_their_instruction() -> None:
    text = 'FROM scratch\nRUN <<EOF cat <<-"B"\nFROM nothing\n# kept\nEOF\n\tUSER x\n\tB\nUSER 1\n'
    parsed = dockerfile.parse(text)
    run, user = parsed.final.instructions
    assert run.heredoc == "FROM nothing\n# kept\nUSER x"
    assert (user.word, user.line) == ("USER", 8)


@pytest.mark.parametrize("words", ["echo $((1<<3))", "sh -c 'cat <<EOF'", 'grep x <<< "y"', '["a", "<<EOF"]'])
def test_what_only_looks_like_a_heredoc(words: str) -> None:
    assert [item.word for item in dockerfile.parse(f"FROM scratch\nRUN {words}\nUSER 1\n").final.instructions] == [
        "RUN",
        "USER",
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "got no FROM"),
        ("RUN x\nFROM scratch\n", "line 1: got RUN before the first FROM"),
        ("FROM a b\n", "line 1: got FROM a b"),
        ("FROM a IN b\n", "expected FROM IMAGE or FROM IMAGE AS NAME"),
        ("FROM scratch\nRUN <<EOF\nx\n", "line 2: heredoc without its end"),
        ("# escape=x\nFROM scratch\n", "expected \\ or `"),
    ],
)
def test_what_buildkit_refuses(text: str, words: str) -> None:
    with pytest.raises(ImageInputInvalid, match="line") as caught:
        dockerfile.parse(text)
    assert words in caught.value.what
    assert [item.rule for item in lint(text)] == ["BM870"]


def test_only_stages_that_are_needed_are_reached() -> None:
    text = (
        "FROM a AS one\nFROM b AS two\nFROM one AS three\nFROM c AS four\n"
        "FROM scratch\nCOPY --from=2 /x /x\nRUN --mount=type=bind,from=four,target=/y true\n"
    )
    assert [stage.label for stage in dockerfile.parse(text).reached()] == ["one", "three", "four", "stage-4"]


def test_a_stage_has_the_platform_of_the_one_it_stands_on() -> None:
    parsed = dockerfile.parse(
        "ARG P=linux/arm64\nFROM --platform=$P a AS one\nFROM one\nFROM --platform=$BUILDPLATFORM b\n"
    )
    assert [parsed.platform_of(stage) for stage in parsed.stages] == ["linux/arm64", "linux/arm64", "$BUILDPLATFORM"]


# The lint


def test_a_good_dockerfile_has_no_findings() -> None:
    assert lint(GOOD) == []


def test_a_cross_compiler_that_would_run_emulated() -> None:
    text = GOOD.replace("--platform=$BUILDPLATFORM ", "")
    assert told(text) == [("BM871", "3")]
    assert lint(text)[0].severity is Severity.WARNING


def test_a_plain_stage_without_a_compiler_is_fine() -> None:
    assert lint("FROM debian AS x\nARG TARGETARCH\nRUN echo $TARGETARCH\nFROM scratch\nCOPY --from=x /a /a\n") == []


@pytest.mark.parametrize("where", ["ARG TARGETARCH=amd64\nFROM scratch\n", "FROM scratch\nARG X TARGETOS=linux\n"])
def test_a_default_on_an_automatic_argument(where: str) -> None:
    ((rule, _),) = told(where)
    assert rule == "BM872"


@pytest.mark.parametrize(
    ("name", "words"), [("last", "this stage itself"), ("LAST", "this stage itself"), ("1", "this stage itself"),
                        ("gone", "no stage"), ("7", "no stage")]
)  # fmt: skip
def test_copies_from_what_is_not_there(name: str, words: str) -> None:
    found = lint(f"FROM scratch AS first\nFROM scratch AS last\nCOPY --from={name} /a /a\n")
    assert [item.rule for item in found] == ["BM873"] and words in found[0].what


def test_copies_from_a_later_stage() -> None:
    found = lint("FROM scratch\nCOPY --from=last /a /a\nFROM scratch AS last\n")
    assert [item.rule for item in found] == ["BM873"] and "a later stage" in found[0].what


@pytest.mark.parametrize("name", ["first", "0", "dist", "alpine:3", "registry.example.org/x"])
def test_copies_from_what_is_there(name: str) -> None:
    assert lint(f"FROM scratch AS first\nFROM scratch\nCOPY --from={name} /a /a\n") == []


@pytest.mark.parametrize(
    "body",
    [
        "COPY --from=dist linux/$TARGETARCH/app /app",
        "COPY --from=dist ${TARGETPLATFORM}/app /app",
        "RUN GOARCH=${TARGETARCH} true",
        "RUN <<EOF\necho $TARGETARCH\nEOF",
        "ENV A=$TARGETOS",
    ],
)
def test_an_automatic_argument_without_arg(body: str) -> None:
    found = lint(f"ARG TARGETARCH\nFROM scratch\n{body}\n")
    assert [item.rule for item in found] == ["BM874"] and found[0].severity is Severity.ERROR
    declared = "ARG TARGETARCH TARGETPLATFORM TARGETOS"
    assert lint(f"FROM scratch\n{declared}\n{body}\n") == []


@pytest.mark.parametrize(
    "text",
    [
        "FROM scratch AS a\nARG TARGETARCH\nFROM a\nRUN echo $TARGETARCH\n",
        "FROM scratch\nENV TARGETARCH=x\nRUN echo $TARGETARCH\n",
        "FROM scratch\nRUN TARGETARCH=$(uname -m); echo $TARGETARCH\n",
        "FROM scratch\nRUN echo \\$TARGETARCH\n",
    ],
)
def test_an_argument_that_comes_from_elsewhere(text: str) -> None:
    assert lint(text) == []


@pytest.mark.parametrize("body", ["RUN GOARCH=amd64 true", "ENV GOARCH amd64", 'ENV GOOS=linux GOARCH="amd64"'])
def test_an_architecture_that_is_written_down(body: str) -> None:
    assert [item.rule for item in lint(f"FROM scratch\n{body}\n")] == ["BM875"]
    assert lint(f"FROM scratch\n{body}\n", platforms=("linux/amd64",)) == []


@pytest.mark.parametrize("platform", ["linux/amd64", "$BUILDPLATFORM"])
def test_a_last_stage_of_one_platform(platform: str) -> None:
    text = f"FROM --platform={platform} scratch\nUSER 1\n"
    assert told(text) == [("BM876", "1")]
    assert told("FROM scratch AS x\n" + text.replace("scratch", "scratch AS y") + "FROM y\n") == [("BM876", "4")]


@pytest.mark.parametrize("platform", ["$TARGETPLATFORM", "${TARGETPLATFORM}"])
def test_a_last_stage_of_the_target(platform: str) -> None:
    assert lint(f"FROM --platform={platform} scratch\nUSER 1\n") == []


def test_one_platform_may_be_fixed() -> None:
    assert lint("FROM --platform=linux/arm64/v8 scratch\nUSER 1\n", platforms=("linux/arm64",)) == []
