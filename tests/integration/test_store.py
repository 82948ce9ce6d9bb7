"""The validation store in a real PostgreSQL: what holds for SQLite holds there."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import psycopg
import pytest

from buildmatrix.store.database import Store
from tests.integration import postgres
from tests.store_cases import CASES, many, row

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgres.server() as url:
        yield url


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_postgresql(case: Callable[[str], None], server: str) -> None:
    name = case.__name__
    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')  # type: ignore[arg-type,unused-ignore]
    case(f"{server}/{name}")


def test_both_kinds_hold_the_same_rows(server: str, tmp_path: object) -> None:
    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        connection.execute("CREATE DATABASE same")
    rows = [*many(30), row(7, 50, arch="amd64", recovery_time_ms=1 / 3)]
    read = []
    for url in (f"{server}/same", f"sqlite:///{tmp_path}/store.db"):
        with Store(url) as store:
            store.write(rows)
            read.append(store.read())
    assert read[0] == read[1]
