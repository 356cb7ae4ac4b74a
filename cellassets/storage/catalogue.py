"""The catalogue: the current publication of every artefact, in one SQL table, with a number for each change.

Sensors read the rows that changed since they looked last instead of the lake. Commit records stay the truth: the
catalogue can be rebuilt from them at any time (`Lake.scan`). SQLite beside a local lake, Postgres in production.

A change takes its number from a counter row in the same transaction. The row stays locked until the transaction ends,
so numbers become visible in their order and a reader that has seen number 12 has seen number 11.
"""

import json
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cellassets.errors import ConfigError
from cellassets.storage.artifact import Record
from cellassets.storage.plan import Publication, publication_of

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

KEY_SEPARATOR = "/"  # no partition key contains it
COLUMNS = "kind, keys, plan_fingerprint, fingerprint, generation, summary"
TABLES = (
    """CREATE TABLE IF NOT EXISTS publications (
        kind VARCHAR(200) NOT NULL, keys VARCHAR(1000) NOT NULL, plan_fingerprint VARCHAR(64) NOT NULL,
        fingerprint VARCHAR(64) NOT NULL, generation INTEGER NOT NULL, summary TEXT NOT NULL, sequence BIGINT NOT NULL,
        PRIMARY KEY (kind, keys))""",
    "CREATE INDEX IF NOT EXISTS publications_sequence ON publications (sequence)",
    """CREATE TABLE IF NOT EXISTS catalogue (
        only_row INTEGER PRIMARY KEY, identity VARCHAR(64) NOT NULL, sequence BIGINT NOT NULL,
        is_scanned INTEGER NOT NULL)""",
)
NEXT = "UPDATE catalogue SET sequence = sequence + 1 RETURNING sequence"


@dataclass(frozen=True)
class State:
    """Which catalogue this is, the number of its newest change, and whether the lake was scanned into it."""

    identity: str
    sequence: int
    is_scanned: bool


@dataclass(frozen=True)
class Catalogue:
    """The table at a database URL. It is created by the first call that needs it."""

    url: str

    def state(self) -> State:
        """Returns where the catalogue stands."""
        with self._connection() as connection:
            row = connection.exec_driver_sql("SELECT identity, sequence, is_scanned FROM catalogue").one()
        return State(str(row[0]), int(row[1]), bool(row[2]))

    def since(self, sequence: int) -> list[Publication]:
        """Returns what changed after a number, in the order of the changes; generation 0 stands for 'removed'."""
        from sqlalchemy import text

        query = text(f"SELECT {COLUMNS} FROM publications WHERE sequence > :after ORDER BY sequence")  # noqa: S608
        with self._connection() as connection:
            return [_publication(row) for row in connection.execute(query, {"after": sequence})]

    def generations(self) -> dict[tuple[str, tuple[str, ...]], int]:
        """Returns the generation of every address that the catalogue knows."""
        with self._connection() as connection:
            rows = connection.exec_driver_sql("SELECT kind, keys, generation FROM publications WHERE generation > 0")
            return {(str(row[0]), _split(row[1])): int(row[2]) for row in rows}

    def note(self, records: Sequence[Record]) -> None:
        """Notes publications. One that is known already, or older than what is known, changes nothing."""
        rows = [publication_of(record, json.dumps(record.summary, sort_keys=True)) for record in records]
        with self._connection() as connection:
            for row in rows:
                _replace(connection, row)

    def forget(self, addresses: Sequence[tuple[str, tuple[str, ...]]]) -> None:
        """Notes that nothing is published at these addresses any more."""
        with self._connection() as connection:
            for kind, keys in addresses:
                _replace(connection, Publication(kind, keys, "", "", 0, "{}"), is_forced=True)

    def mark_scanned(self) -> None:
        """Notes that the whole lake was scanned into this catalogue."""
        with self._connection() as connection:
            connection.exec_driver_sql("UPDATE catalogue SET is_scanned = 1")

    @contextmanager
    def _connection(self) -> Iterator["Connection"]:
        with _engine(self.url).begin() as connection:
            yield connection


def _replace(connection: "Connection", row: Publication, *, is_forced: bool = False) -> None:
    from sqlalchemy import text

    address = {"kind": row.kind, "keys": KEY_SEPARATOR.join(row.keys)}
    # the counter first: its row is locked until the transaction ends
    sequence = connection.exec_driver_sql(NEXT).scalar_one()
    known = connection.execute(
        text("SELECT generation FROM publications WHERE kind = :kind AND keys = :keys"), address
    ).scalar()
    if known is not None and not is_forced and known >= row.generation:
        return
    values = {
        **address,
        "plan_fingerprint": row.plan_fingerprint,
        "fingerprint": row.fingerprint,
        "generation": row.generation,
        "summary": row.summary_json,
        "sequence": sequence,
    }
    connection.execute(text("DELETE FROM publications WHERE kind = :kind AND keys = :keys"), address)
    names = ", ".join(values)
    marks = ", ".join(f":{name}" for name in values)
    connection.execute(text(f"INSERT INTO publications ({names}) VALUES ({marks})"), values)  # noqa: S608


def _publication(row: Sequence[Any]) -> Publication:
    kind, keys, plan_fingerprint, fingerprint, generation, summary = row
    return Publication(kind, _split(keys), plan_fingerprint, fingerprint, int(generation), summary)


def _split(keys: str) -> tuple[str, ...]:
    return tuple(keys.split(KEY_SEPARATOR)) if keys else ()


@lru_cache(maxsize=32)
def _engine(url: str) -> "Engine":
    """The connection pool of a database, with its tables."""
    from sqlalchemy import create_engine, event, make_url
    from sqlalchemy.exc import ArgumentError

    try:
        place = make_url(url)
    except ArgumentError as error:
        message = f"{url!r} is not a database URL; expected sqlite:///PATH or postgresql+psycopg2://USER@HOST/NAME"
        raise ConfigError(message) from error
    if place.get_backend_name() == "sqlite":
        Path(str(place.database)).parent.mkdir(parents=True, exist_ok=True)
        engine = create_engine(place, connect_args={"timeout": 60})
        event.listen(engine, "connect", _set_up_sqlite)
    else:
        engine = create_engine(place, pool_pre_ping=True)
    with engine.begin() as connection:
        for statement in TABLES:
            connection.exec_driver_sql(statement)
    with engine.begin() as connection:
        if connection.exec_driver_sql("SELECT COUNT(*) FROM catalogue").scalar_one() == 0:
            connection.exec_driver_sql(
                f"INSERT INTO catalogue VALUES (1, '{uuid.uuid4().hex}', 0, 0) ON CONFLICT DO NOTHING"  # noqa: S608
            )
    return engine


def _set_up_sqlite(connection: Any, _record: Any) -> None:
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
