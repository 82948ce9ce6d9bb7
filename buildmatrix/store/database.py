"""Opens a store by URL, brings its tables up to date, writes and reads rows.

Writers may be many: SQLite's take turns (BEGIN IMMEDIATE, and up to a minute's patience), PostgreSQL's meet at the
primary key. A row that is there already, with the same result, is left alone; with another result it is an error.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from buildmatrix import errors
from buildmatrix.store.rows import Validation, checked

if TYPE_CHECKING:
    from sqlalchemy import URL, Connection, Engine

PATIENCE = 60
"""Seconds that a writer waits for another."""

_LOCK = 0x626D_6176
"""PostgreSQL's advisory lock that whoever migrates holds."""

_AT_ONCE = 500
_COLUMNS = tuple(field.name for field in fields(Validation))


class Store:
    """One open store. Use it as a context manager."""

    def __init__(self, url: str) -> None:
        """Open `url`, such as ``sqlite:///faults.db`` or ``postgresql+psycopg://…``, and migrate it.

        Raises StoreFailed where that cannot be done, ToolMissing without the extra that it needs.
        """
        self._url = _parsed(url)
        with _explained(self._shown):
            self._engine = _engine(self._url)
            try:
                self._migrate()
            except BaseException:
                self._engine.dispose()
                raise

    @property
    def _shown(self) -> str:
        return self._url.render_as_string(hide_password=True)

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._engine.dispose()

    def _migrate(self) -> None:
        from alembic import command
        from alembic.config import Config
        from sqlalchemy import text

        settings = Config()
        settings.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
        with self._engine.begin() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
            settings.attributes["connection"] = connection
            command.upgrade(settings, "head")

    def write(self, rows: Iterable[Validation]) -> int:
        """Add rows, all or none; returns how many were new. Raises RowInvalid and StoreConflict."""
        batch = [checked(row) for row in rows]
        with _explained(self._shown), self._engine.begin() as connection:
            return sum(_insert(connection, batch[at : at + _AT_ONCE]) for at in range(0, len(batch), _AT_ONCE))

    def read(
        self, *, artifact: str | None = None, arch: str | None = None, fault: str | None = None
    ) -> tuple[Validation, ...]:
        """Rows in the order of their time, then of their identity."""
        from sqlalchemy import select

        from buildmatrix.store.model import ArchFaultValidation as Row

        query = select(Row.__table__).order_by(Row.started_at, Row.id)
        for column, value in ((Row.artifact, artifact), (Row.arch, arch), (Row.fault, fault)):
            if value is not None:
                query = query.where(column == value)
        with _explained(self._shown), self._engine.connect() as connection:
            return tuple(_decoded(found._mapping) for found in connection.execute(query))


def _insert(connection: Connection, batch: Sequence[Validation]) -> int:
    from sqlalchemy import select
    from sqlalchemy.dialects import postgresql, sqlite

    from buildmatrix.store.model import ArchFaultValidation as Row

    unique = {row.identity: row for row in batch}
    table = Row.__table__
    values = [{"id": identity, **_encoded(row)} for identity, row in unique.items()]
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    added = insert(Row).values(values).on_conflict_do_nothing(index_elements=["id"]).returning(Row.id)
    new = len(connection.execute(added).all())
    stored = connection.execute(select(table).where(Row.id.in_(list(unique))))
    for found in stored:
        row, there = unique[found.id], _decoded(found._mapping)
        if there != _decoded(_encoded(row)):
            raise errors.StoreConflict(
                f"{row.artifact}: got {row.failure_rate_percent:g} % for {row.fault} on {row.arch} at "
                f"{row.started_at.isoformat()}, expected {there.failure_rate_percent:g} % as stored",
                why="one measurement cannot have two results", fix="give each campaign its own start time",
            )  # fmt: skip
    if any(unique[row.identity] != row for row in batch):
        raise errors.StoreConflict("got two results for one measurement in one write, expected one")
    return new


def _encoded(row: Validation) -> dict[str, Any]:
    values = {name: getattr(row, name) for name in _COLUMNS}
    return {**values, "started_at": row.started_at.astimezone(UTC)}


def _decoded(found: Any) -> Validation:
    """A stored row; SQLite gives times back without their zone, which is UTC."""
    values = {name: found[name] for name in _COLUMNS}
    when: datetime = values["started_at"]
    return Validation(**{**values, "started_at": when.replace(tzinfo=when.tzinfo or UTC).astimezone(UTC)})


def _parsed(url: str) -> URL:
    try:
        from sqlalchemy.engine import make_url
        from sqlalchemy.exc import ArgumentError
    except ImportError as error:
        raise errors.ToolMissing(
            "the validation store needs SQLAlchemy and Alembic", fix="pip install 'buildmatrix[store]'"
        ) from error
    try:
        made = make_url(url)
    except ArgumentError as error:
        raise errors.UsageError("--store: got no URL, expected sqlite:///FILE or postgresql+psycopg://…") from error
    if made.drivername in ("postgresql", "postgres"):
        made = made.set(drivername="postgresql+psycopg")
    if made.drivername not in ("sqlite", "postgresql+psycopg"):
        raise errors.UsageError(f"--store: got {made.drivername}, expected sqlite or postgresql+psycopg")
    return made


def _engine(url: URL) -> Engine:
    from sqlalchemy import create_engine, event

    if url.drivername != "sqlite":
        return create_engine(url, pool_pre_ping=True, connect_args={"connect_timeout": PATIENCE})
    if url.database and url.database != ":memory:":
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url, connect_args={"timeout": PATIENCE})

    # The driver's own transactions begin too late to keep writers apart (SQLAlchemy's page on pysqlite).
    @event.listens_for(engine, "connect")
    def _connect(connection: Any, _record: object) -> None:
        connection.isolation_level = None

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


@contextlib.contextmanager
def _explained(shown: str) -> Iterator[None]:
    from alembic.util.exc import CommandError
    from sqlalchemy.exc import NoSuchModuleError, SQLAlchemyError

    try:
        yield
    except (ImportError, NoSuchModuleError) as error:
        raise errors.ToolMissing(
            f"{shown}: its driver is not installed", why=str(error), fix="pip install 'buildmatrix[postgres]'"
        ) from error
    except CommandError as error:
        raise errors.StoreFailed(
            f"{shown}: got tables of another version", why=str(error), fix="use the newest buildmatrix on this store"
        ) from error
    except (SQLAlchemyError, OSError) as error:
        raise errors.StoreFailed(
            f"{shown}: the store cannot be used", why=str(getattr(error, "orig", None) or error).strip(),
            fix="check that the server runs, and that the user may create tables there",
        ) from error  # fmt: skip
