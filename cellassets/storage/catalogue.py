"""The catalogue: the current publication of every artefact, in one SQL table, with a number for each change.

Sensors read the rows that changed since their last look, instead of the lake. The commit records are authoritative: the
catalogue can be rebuilt from them at any time (`Lake.scan`). It is SQLite for a local lake, and Postgres in production.

Changes take their numbers from a counter row in the same transaction. The row stays locked until the transaction ends,
so numbers become visible in their order and a reader that has seen number 12 has seen number 11.
"""

import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from sys import intern
from typing import TYPE_CHECKING, Any

from cellassets.storage.artifact import Record
from cellassets.storage.database import connected
from cellassets.storage.plan import Publication, publication_of

if TYPE_CHECKING:
    from sqlalchemy import Connection

KEY_SEPARATOR = "/"  # no partition key contains it
COLUMNS = "kind, keys, plan_fingerprint, fingerprint, generation, summary, sequence"
TABLES = (
    """CREATE TABLE publications (
        kind VARCHAR(200) NOT NULL, keys VARCHAR(1000) NOT NULL, plan_fingerprint VARCHAR(64) NOT NULL,
        fingerprint VARCHAR(64) NOT NULL, generation INTEGER NOT NULL, summary TEXT NOT NULL, sequence BIGINT NOT NULL,
        PRIMARY KEY (kind, keys))""",
    "CREATE INDEX publications_sequence ON publications (sequence)",
    """CREATE TABLE catalogue (
        only_row INTEGER PRIMARY KEY, identity VARCHAR(64) NOT NULL, sequence BIGINT NOT NULL,
        is_scanned INTEGER NOT NULL)""",
)
NUMBERS = "UPDATE catalogue SET sequence = sequence + :n RETURNING sequence"
DELETED = """UPDATE publications
    SET generation = 0, plan_fingerprint = '', fingerprint = '', summary = '{}', sequence = :sequence
    WHERE kind = :kind AND keys = :keys AND generation = :generation"""
N_ROWS_PER_STATEMENT = 100
NEWER = """ON CONFLICT (kind, keys) DO UPDATE SET
    plan_fingerprint = excluded.plan_fingerprint, fingerprint = excluded.fingerprint, generation = excluded.generation,
    summary = excluded.summary, sequence = excluded.sequence
    WHERE publications.generation < excluded.generation"""
Address = tuple[str, tuple[str, ...]]  # kind and keys


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
        """Returns the present state of the catalogue."""
        with self._connection() as connection:
            row = connection.exec_driver_sql("SELECT identity, sequence, is_scanned FROM catalogue").one()
        return State(str(row[0]), int(row[1]), bool(row[2]))

    def since(self, sequence: int) -> list[Publication]:
        """Returns what changed after a number, in the order of the changes; generation 0 means 'removed'."""
        from sqlalchemy import text

        query = text(f"SELECT {COLUMNS} FROM publications WHERE sequence > :after ORDER BY sequence")  # noqa: S608
        with self._connection() as connection:
            return [_publication(row) for row in connection.execute(query, {"after": sequence})]

    def generations(self) -> dict[Address, int]:
        """Returns the generation of every address that the catalogue knows."""
        with self._connection() as connection:
            rows = connection.exec_driver_sql("SELECT kind, keys, generation FROM publications WHERE generation > 0")
            return {(str(row[0]), _split(row[1])): int(row[2]) for row in rows}

    def note(self, records: Sequence[Record], *, deleted: Mapping[Address, int] | None = None) -> None:
        """Adds publications. A publication that is known already, or older than the known one, changes nothing.

        Args:
            records: commit records that are visible in the lake.
            deleted: addresses whose newest known publication was deleted, with its generation. A row that now has
                another generation is not changed.
        """
        from sqlalchemy import text

        gone = list((deleted or {}).items())
        rows = [publication_of(record, json.dumps(record.summary, sort_keys=True)) for record in records]
        if not rows and not gone:
            return
        with self._connection() as connection:
            # the counter first: its row is locked until the transaction ends
            last = int(connection.execute(text(NUMBERS), {"n": len(rows) + len(gone)}).scalar_one())
            numbers = iter(range(last - len(rows) - len(gone) + 1, last + 1))
            for ((kind, keys), generation), number in zip(gone, numbers, strict=False):
                values = {**_address(kind, keys), "generation": generation, "sequence": number}
                connection.execute(text(DELETED), values)
            for start in range(0, len(rows), N_ROWS_PER_STATEMENT):
                _upsert(connection, rows[start : start + N_ROWS_PER_STATEMENT], numbers)

    def mark_scanned(self) -> None:
        """Notes that the whole lake was scanned into this catalogue."""
        with self._connection() as connection:
            connection.exec_driver_sql("UPDATE catalogue SET is_scanned = 1")

    @contextmanager
    def _connection(self) -> Iterator["Connection"]:
        """Yields a transaction. Creates the tables if somebody deleted the database meanwhile."""
        first = f"INSERT INTO catalogue VALUES (1, '{uuid.uuid4().hex}', 0, 0)"  # noqa: S608
        with connected(self.url, "catalogue", (*TABLES, first)) as connection, connection.begin():
            yield connection


def _upsert(connection: "Connection", rows: Sequence[Publication], numbers: Iterator[int]) -> None:
    """Writes rows that are newer than what is known. A statement per row would take a minute for 100,000 rows."""
    from sqlalchemy import text

    values: dict[str, Any] = {}
    for index, row in enumerate(rows):
        own = {
            **_address(row.kind, row.keys),
            "plan_fingerprint": row.plan_fingerprint,
            "fingerprint": row.fingerprint,
            "generation": row.generation,
            "summary": row.summary_json,
            "sequence": next(numbers),
        }
        values |= {f"{name}_{index}": value for name, value in own.items()}
    columns = COLUMNS.split(", ")
    marks = ", ".join(f"({', '.join(f':{name}_{index}' for name in columns)})" for index in range(len(rows)))
    connection.execute(text(f"INSERT INTO publications ({', '.join(columns)}) VALUES {marks} {NEWER}"), values)  # noqa: S608


def _address(kind: str, keys: Sequence[str]) -> dict[str, str]:
    return {"kind": kind, "keys": KEY_SEPARATOR.join(keys)}


def _publication(row: Sequence[Any]) -> Publication:
    kind, keys, plan_fingerprint, fingerprint, generation, summary, change = row
    return Publication(intern(kind), _split(keys), plan_fingerprint, fingerprint, generation, summary, change)


def _split(keys: str) -> tuple[str, ...]:
    return tuple(intern(key) for key in keys.split(KEY_SEPARATOR)) if keys else ()
