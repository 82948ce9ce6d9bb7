"""What holds for every kind of store: SQLite in the tests, PostgreSQL in the integration tests."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from buildmatrix import errors
from buildmatrix.store.database import Store
from buildmatrix.store.rows import Validation
from buildmatrix.store.trends import wilson
from tests import factory

START = datetime(2026, 11, 26, 14, 0, tzinfo=UTC)


def row(failures: int = 0, runs: int = 20, **changed: object) -> Validation:
    low, high = wilson(failures, runs)
    made = Validation(
        arch="arm64", kernel_version="6.12.1", glibc_version="2.41", failure_rate_percent=100 * failures / runs,
        failure_rate_low=low, failure_rate_high=high, recovery_time_ms=12.5, artifact_digest="a" * 64,
        artifact="archstore", fault="memory-pressure", runs=runs, emulated=False, started_at=START,
        tool_version="1.0", release="v1",
    )  # fmt: skip
    return replace(made, **changed)  # type: ignore[arg-type]


def many(count: int) -> list[Validation]:
    return [row(started_at=START + timedelta(seconds=second)) for second in range(count)]


def what_is_written_is_read(url: str) -> None:
    rows = [row(1), row(2, fault="none", recovery_time_ms=None, emulated=True), row(fault="sigkill", glibc_version="")]
    zone = datetime.fromisoformat("2026-11-26T15:30:00.000001+02:00")
    rows.append(row(started_at=zone))
    with Store(url) as store:
        assert store.write(rows) == 4
    with Store(url) as store:
        read = store.read()
        assert sorted(read, key=lambda item: item.identity) == sorted(rows, key=lambda item: item.identity)
        assert [item.started_at for item in read] == sorted(item.started_at for item in rows)
        assert {item.fault for item in store.read(fault="none")} == {"none"}
        assert not store.read(arch="amd64") and not store.read(artifact="other")


def writing_twice_changes_nothing(url: str) -> None:
    with Store(url) as store:
        assert store.write(many(700)) == 700
        assert store.write(many(710)) == 10
        assert store.write([row(), row()]) == 0
        assert len(store.read()) == 710


def another_result_is_refused_whole(url: str) -> None:
    with Store(url) as store:
        store.write([row(1)])
        with pytest.raises(errors.StoreConflict, match=r"got 10 %.*expected 5 %"):
            store.write([row(fault="new"), row(2)])
        with pytest.raises(errors.StoreConflict, match="two results"):
            store.write([row(1, fault="new"), row(2, fault="new")])
        assert store.read() == (row(1),)


_WRITER = """
import sys
from tests.store_cases import many
from buildmatrix.store.database import Store
with Store(sys.argv[1]) as store:
    for one in many(int(sys.argv[2])):
        store.write([one])
"""


def _writer(url: str, count: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _WRITER, url, str(count)], cwd=factory.ROOT, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def writers_at_once_lose_nothing(url: str) -> None:
    """Four processes make the tables and write the same forty rows."""
    writers = [_writer(url, 40) for _ in range(4)]
    for writer in writers:
        _, said = writer.communicate(timeout=180)
        assert writer.returncode == 0, said
    with Store(url) as store:
        assert store.read() == tuple(many(40))


def a_killed_writer_leaves_whole_rows(url: str) -> None:
    with Store(url):
        pass
    writer = _writer(url, 100_000)
    with Store(url) as store:
        end = time.monotonic() + 60
        while len(store.read()) < 5 and time.monotonic() < end:
            time.sleep(0.05)
        os.kill(writer.pid, signal.SIGKILL)
        writer.communicate()
        read = store.read()
        assert 5 <= len(read) < 100_000
        assert read == tuple(many(len(read)))
        assert store.write(many(len(read) + 1)) == 1


def tables_of_a_later_version_are_left_alone(url: str) -> None:
    from sqlalchemy import create_engine, text

    with Store(url) as store:
        store.write([row()])
        engine = create_engine(store._url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE arch_fault_validation_version SET version_num = '9999'"))
    with pytest.raises(errors.StoreFailed, match="another version"):
        Store(url)
    with engine.begin() as connection:
        assert connection.execute(text("SELECT count(*) FROM arch_fault_validation")).scalar_one() == 1
        connection.execute(text("UPDATE arch_fault_validation_version SET version_num = '0001'"))
    engine.dispose()


def the_database_refuses_what_is_no_row(url: str) -> None:
    from sqlalchemy import text
    from sqlalchemy.exc import IntegrityError

    with Store(url) as store:
        store.write([row()])
        for wrong in ("runs = 0", "failure_rate_percent = 101", "recovery_time_ms = -1", "arch = NULL"):
            with pytest.raises(IntegrityError), store._engine.begin() as connection:
                connection.execute(text(f"UPDATE arch_fault_validation SET {wrong}"))  # noqa: S608  (from above)


def the_model_is_what_migrations_make(url: str) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    from buildmatrix.store.model import Base

    with Store(url) as store, store._engine.begin() as connection:
        settings = MigrationContext.configure(connection, opts={"version_table": "arch_fault_validation_version"})
        assert compare_metadata(settings, Base.metadata) == []


CASES: tuple[Callable[[str], None], ...] = (
    what_is_written_is_read, writing_twice_changes_nothing, another_result_is_refused_whole,
    writers_at_once_lose_nothing, a_killed_writer_leaves_whole_rows, tables_of_a_later_version_are_left_alone,
    the_database_refuses_what_is_no_row, the_model_is_what_migrations_make,
)  # fmt: skip
