"""The validation store: rows, trends, SQLite and the command."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildmatrix import cli, errors
from buildmatrix.faults import sink
from buildmatrix.faults.row import Origin, make
from buildmatrix.store.database import Store
from buildmatrix.store.rows import Validation, decode, encode, problems
from buildmatrix.store.trends import regressions, trends, wilson
from tests.store_cases import CASES, START, row


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_sqlite(case: Callable[[str], None], tmp_path: Path) -> None:
    case(f"sqlite:///{tmp_path}/deep/store.db")


def test_a_store_that_cannot_be_used_says_so_without_its_password(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no database, but text that is longer than a header" * 10)
    with pytest.raises(errors.StoreFailed, match="cannot be used"):
        Store(f"sqlite:///{tmp_path}/text")
    with pytest.raises(errors.StoreFailed) as caught:
        Store("postgresql://user:hunter2@127.0.0.1:1/none")
    assert "hunter2" not in str(caught.value)
    for url in ("nonsense", "mysql://host/x"):
        with pytest.raises(errors.UsageError):
            Store(url)


def test_rows_as_json() -> None:
    made = row(3, recovery_time_ms=None)
    assert decode(json.loads(json.dumps(encode(made)))) == made


@pytest.mark.parametrize(
    ("name", "value"),
    [("arch", "x86_64"), ("runs", 0), ("runs", True), ("runs", 1.5), ("failure_rate_low", 50.0),
     ("failure_rate_high", 101.0), ("failure_rate_percent", float("nan")), ("recovery_time_ms", -1.0),
     ("recovery_time_ms", "fast"), ("artifact_digest", "sha256:" + "a" * 57), ("fault", ""), ("emulated", 1),
     ("started_at", "yesterday"), ("started_at", "2026-11-26T14:00:00"), ("schema", 2), ("more", 1)],
)  # fmt: skip
def test_what_is_no_row_is_refused(name: str, value: object) -> None:
    with pytest.raises(errors.RowInvalid):
        decode({**encode(row(1)), name: value})


def test_all_that_is_wrong_is_told_at_once() -> None:
    assert len(problems(replace(row(), arch="x", runs=0, fault="", started_at=START.replace(tzinfo=None)))) == 4


def test_the_result_is_no_part_of_the_identity() -> None:
    assert row(1).identity == row(2).identity
    others = [replace(row(), artifact="o"), replace(row(), fault="o"), replace(row(), release="o"),
              replace(row(), tool_version="o"), replace(row(), emulated=True)]  # fmt: skip
    assert len({item.identity for item in (row(), *others)}) == 6


def test_campaigns_go_into_the_store(tmp_path: Path) -> None:
    origin = Origin(
        arch="arm64", kernel_version="6.12", glibc_version="none", artifact_digest="sha256:" + "c" * 64,
        artifact="archstore_arm64", release="v1", workload="archstore", emulated=True,
        started_at="2026-11-26T14:00:00Z", tool_version="1.0",
    )  # fmt: skip
    rows = [
        make(origin, fault=fault, kind="kill", seed=1, runs=7, failures=failures, recoveries=times, note="")
        for fault, failures, times in (("baseline", 0, ()), ("sigkill", 2, (11.5, 14.0)))
    ]
    url = f"sqlite:///{tmp_path}/store.db"
    assert (sink.store(rows, url), sink.store(rows, url)) == (2, 0)
    with Store(url) as store:
        found = {item.fault: item for item in store.read()}
    assert set(found) == {"none", "sigkill"}
    assert (found["sigkill"].failures, found["sigkill"].recovery_time_ms) == (2, 12.75)
    assert found["sigkill"].glibc_version == "" and found["sigkill"].emulated


def test_wilson_against_published_values() -> None:
    """Newcombe, Statistics in Medicine 17 (1998), table I, method 3: 81/263, 15/148, 0/20, 1/29."""
    for failures, runs, low, high in ((81, 263, 25.53, 36.62), (15, 148, 6.24, 16.05), (0, 20, 0, 16.11),
                                      (1, 29, 0.61, 17.18)):  # fmt: skip
        assert wilson(failures, runs) == pytest.approx((low, high), abs=0.01)


@given(st.integers(1, 5000).flatmap(lambda runs: st.tuples(st.integers(0, runs), st.just(runs))))
def test_the_interval_holds_its_rate(pair: tuple[int, int]) -> None:
    low, high = wilson(*pair)
    assert 0 <= low <= 100 * pair[0] / pair[1] <= high <= 100


def releases(*failures: int, runs: int = 200, **changed: object) -> list[Validation]:
    return [
        row(count, runs, release=f"v{number}", started_at=START + timedelta(days=number), **changed)
        for number, count in enumerate(failures, 1)
    ]


def test_trends_call_a_change_only_what_is_more_than_noise() -> None:
    (found,) = trends(releases(2, 4, 60, 1))
    assert [point.change for point in found.points] == ["", "same", "worse", "better"]


def test_campaigns_of_one_release_are_taken_together() -> None:
    rows = [row(1, 10), row(3, 10, started_at=START + timedelta(hours=1), recovery_time_ms=37.5)]
    (found,) = trends(rows)
    point = found.points[0]
    assert (point.runs, point.failure_rate_percent, point.recovery_time_ms) == (20, 20, 25)


def test_emulated_and_native_are_never_put_together() -> None:
    assert len(trends([*releases(0, 0), *releases(50, 50, emulated=True)])) == 2


def test_a_regression_is_found_and_so_is_what_was_not_measured() -> None:
    rows = [*releases(1, 1), *releases(1, 90, fault="sigkill"), *releases(1, fault="disk-full")]
    assert [item.fault for item in regressions(trends(rows), "v2")] == ["disk-full", "sigkill"]


def test_the_command(tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("\n".join(json.dumps(encode(item)) for item in releases(1, 90)) + "\n")
    monkeypatch.setenv("BUILDMATRIX_STORE", f"sqlite:///{tmp_path}/store.db")
    assert cli.main(["faults", "import", str(rows)]) == errors.EXIT_OK
    assert cli.main(["faults", "import", str(rows)]) == errors.EXIT_OK
    assert capsys.readouterr().out == "2 rows read, 2 new\n2 rows read, 0 new\n"
    assert cli.main(["faults", "export"]) == errors.EXIT_OK
    assert sorted(capsys.readouterr().out.splitlines()) == sorted(
        json.dumps(encode(item), sort_keys=True) for item in releases(1, 90)
    )
    assert cli.main(["faults", "report"]) == errors.EXIT_OK
    assert "worse" in capsys.readouterr().out
    assert cli.main(["faults", "report", "--release", "v2", "--json"]) == errors.EXIT_FINDINGS
    assert json.loads(capsys.readouterr().out)["trends"][0]["regression"] is True
    assert cli.main(["faults", "report", "--release", "v1"]) == errors.EXIT_OK
    assert cli.main(["faults", "report", "--release", "v9"]) == errors.EXIT_MISSING
    rows.write_text("no json\n")
    assert cli.main(["faults", "import", str(rows)]) == errors.EXIT_USAGE
    assert "rows.jsonl:1" in capsys.readouterr().err
