"""Codes, names and exit statuses: unique, documented, and said in full."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from buildmatrix import checks, codes, errors
from buildmatrix.finding import Finding, Severity, worst
from tests import factory

CLASSES = sorted(
    (
        value
        for value in vars(errors).values()
        if isinstance(value, type)
        and issubclass(value, errors.BuildmatrixError)
        and value is not errors.BuildmatrixError
    ),
    key=lambda value: value.code,
)
SOURCES = sorted((factory.ROOT / "buildmatrix").rglob("*.py"))


def test_codes_are_unique_over_errors_checks_and_findings() -> None:
    every = [item.code for item in codes.every()]
    assert len(every) == len(set(every))
    assert len({item.title for item in codes.every()}) == len(every)
    assert set(every) >= {error.code for error in CLASSES} | {check.code for check in checks.CHECKS}


def test_every_error_class_has_a_code_of_its_own() -> None:
    assert all("code" in vars(error) for error in CLASSES)
    assert len({error.code for error in CLASSES}) == len(CLASSES)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(factory.ROOT)))
def test_every_code_that_is_written_somewhere_is_documented(path: Path) -> None:
    known = {item.code for item in codes.every()} | {errors.BuildmatrixError.code}
    assert set(re.findall(r"\bBM[0-9]{3}\b", path.read_text())) <= known


def test_codes_belong_to_a_stage() -> None:
    digits = {str(digit) for digit, _ in codes.STAGES}
    assert all(re.fullmatch(r"BM[1-9][0-9]{2}", item.code) and item.code[2] in digits for item in codes.every())


def test_exit_statuses_are_the_documented_ones() -> None:
    assert (errors.EXIT_OK, errors.EXIT_FINDINGS, errors.EXIT_USAGE, errors.EXIT_MISSING) == (0, 1, 2, 3)
    assert (errors.EXIT_BUILD, errors.EXIT_SIGNING, errors.EXIT_INTERNAL, errors.EXIT_INTERRUPTED) == (4, 5, 70, 130)
    by_stage = {"1": {2}, "2": {2, 3}, "3": {4}, "4": {1, 3}, "7": {1, 5}, "8": {1, 2, 3}, "9": {1, 2, 3}}
    for error in CLASSES:
        assert error.exit_status in by_stage[error.code[2]], error


@pytest.mark.parametrize("error", [error for error in CLASSES if error is not errors.MatrixError])
def test_an_error_says_what_why_and_fix(error: type[errors.BuildmatrixError]) -> None:
    text = str(error("it broke", why="a cause", fix="a remedy"))
    assert text == f"{error.code} it broke\n  why: a cause\n  fix: a remedy"
    assert str(error("it broke")) == f"{error.code} it broke"


def test_a_matrix_error_lists_its_problems() -> None:
    problem = errors.Problem(key="targets.a.level", got="'v9'", expected="one of v1", hint="did you mean 'v1'?")
    text = str(errors.MatrixError("matrix.toml", (problem,)))
    assert text.startswith("BM101 matrix.toml: 1 problem\n")
    assert "  targets.a.level: got 'v9', expected one of v1; did you mean 'v1'?\n" in text
    assert "2 problems" in str(errors.MatrixError("matrix.toml", (problem, problem)))


def test_a_failed_build_carries_its_command_and_output() -> None:
    error = errors.BuildFailed("cell", command=("go", "build"), output="text")
    assert (error.command, error.output, error.why, error.fix) == (("go", "build"), "text", "", "")


def test_a_finding_reads_like_an_error() -> None:
    finding = Finding(rule="BM501", cell="app_arm64", what="wrong", evidence="e", why="w", fix="f")
    assert finding.lines() == ("BM501 app_arm64: wrong", "  evidence: e", "  why: w", "  fix: f")
    assert Finding(rule="BM501", cell="app_arm64", what="wrong").lines() == ("BM501 app_arm64: wrong",)


def test_the_worst_severity_wins() -> None:
    note, warning, error = (
        Finding(rule="BM501", cell="a", what="x", severity=severity)
        for severity in (Severity.NOTE, Severity.WARNING, Severity.ERROR)
    )
    assert worst(()) is None
    assert worst((note,)) is Severity.NOTE
    assert worst((note, warning)) is Severity.WARNING
    assert worst((note, error, warning)) is Severity.ERROR


@pytest.mark.parametrize(("name", "page"), [("errors.md", codes.errors_page), ("checks.md", codes.checks_page)])
def test_the_committed_pages_are_current(name: str, page: object) -> None:
    assert callable(page)
    assert (factory.ROOT / "docs" / name).read_text() == page()
