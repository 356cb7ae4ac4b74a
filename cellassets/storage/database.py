"""Connections to a database, SQLite or Postgres, whose tables are created when they do not exist.

Every call opens a connection and closes it again. So a forked process shares no connection with its parent, and
the next call notices if a SQLite file was deleted by hand.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cellassets.errors import ConfigError, StorageUnwritable

if TYPE_CHECKING:
    from sqlalchemy import URL, Connection, Engine

SQLITE_TIMEOUT_S = 60
CONNECT_TIMEOUT_S = 10  # a Postgres server that is gone without a word would be waited for during minutes
# what SQLite says. Source: sqlite3ErrStr of SQLITE_FULL, SQLITE_READONLY, SQLITE_CANTOPEN and SQLITE_IOERR; the last
# one comes when a full disk has no space for its shared memory
UNWRITABLE = (
    *("database or disk is full", "attempt to write a readonly database"),
    *("unable to open database file", "disk I/O error"),
)
CREATING = 7_302_911  # any number: the advisory lock that Postgres holds while tables are created


@contextmanager
def connected(url: str, table: str, statements: Sequence[str]) -> Iterator["Connection"]:
    """Yields a connection without a transaction to a database that has its tables.

    Args:
        url: SQLAlchemy URL of a SQLite file or a Postgres database.
        table: the table that is created last.
        statements: SQL that creates and fills all tables; it runs if `table` does not exist.

    Raises:
        ConfigError: the URL is wrong, or the driver of the database is not installed.
        StorageUnwritable: the disk of a SQLite file is full or read-only.
    """
    engine = _engine(url)
    with _explained(engine), engine.connect() as connection:
        if not engine.dialect.has_table(connection, table):
            _create(connection, table, statements)
        connection.rollback()
        yield connection


@contextmanager
def _explained(engine: "Engine") -> Iterator[None]:
    """Turns SQLite's refusal to write into an error that names the file and says what to do."""
    from sqlalchemy.exc import OperationalError

    try:
        yield
    except OperationalError as error:
        reason = next((reason for reason in UNWRITABLE if reason in str(error.orig)), None)
        if reason is None or engine.dialect.name != "sqlite":
            raise
        message = f"{engine.url.database}: {reason}; free space there, or mount it for writing, then ask for it again"
        raise StorageUnwritable(message) from error


def _create(connection: "Connection", table: str, statements: Sequence[str]) -> None:
    connection.rollback()
    # One connection at a time, and nobody sees only some of the tables. In Postgres 'IF NOT EXISTS' is not enough: two
    # connections that create the same table at once fail, and a later 'CREATE INDEX' waits for writers in a deadlock.
    is_sqlite = connection.dialect.name == "sqlite"
    connection.exec_driver_sql("BEGIN IMMEDIATE" if is_sqlite else f"SELECT pg_advisory_xact_lock({CREATING})")
    if not connection.dialect.has_table(connection, table):
        for statement in statements:
            connection.exec_driver_sql(statement)
    connection.commit()


@lru_cache(maxsize=32)
def _engine(url: str) -> "Engine":
    from sqlalchemy import create_engine, event
    from sqlalchemy.pool import NullPool

    place = _parsed(url)
    is_sqlite = place.get_backend_name() == "sqlite"
    limits = {"timeout": SQLITE_TIMEOUT_S} if is_sqlite else {"connect_timeout": CONNECT_TIMEOUT_S}
    try:
        engine = create_engine(place, poolclass=NullPool, connect_args=limits)
    except ModuleNotFoundError as error:
        message = f"{place.render_as_string()}: its driver is not installed ({error}); install requirements.lock"
        raise ConfigError(message) from error
    if is_sqlite:
        event.listen(engine, "do_connect", lambda *_ignored: _make_folder(place))
        event.listen(engine, "connect", _set_up_sqlite)
    return engine


def _parsed(url: str) -> "URL":
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    expected = "expected sqlite:///PATH or postgresql+psycopg2://USER@HOST/NAME"
    try:
        place = make_url(url)
    except ArgumentError as error:
        message = f"{url!r} is not a database URL; {expected}"
        raise ConfigError(message) from error
    if place.drivername in ("postgres", "postgresql"):  # SQLAlchemy 2.1 takes another driver unless one is named
        place = place.set(drivername="postgresql+psycopg2")
    if place.get_driver_name() not in ("pysqlite", "psycopg2"):
        message = f"{place.render_as_string()}: found a database of kind {place.drivername!r}; {expected}"
        raise ConfigError(message)
    return place


def _make_folder(place: "URL") -> None:
    Path(str(place.database)).parent.mkdir(parents=True, exist_ok=True)


def _set_up_sqlite(connection: Any, _record: Any) -> None:
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
