"""The ledger: what each attempt to make a partition took, in one SQL table beside the catalogue.

An attempt that was killed stays `running`, with the time of its last report. The ledger cannot be rebuilt from the
lake. Nothing is decided by it.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

from cellassets.storage.database import connected

if TYPE_CHECKING:
    from sqlalchemy import Connection

Outcome = Literal["running", "made", "reused", "refused", "failed", "interrupted"]
TABLES = (
    """CREATE TABLE attempts (
        attempt VARCHAR(32) PRIMARY KEY, run_id VARCHAR(64) NOT NULL, asset VARCHAR(200) NOT NULL,
        experiment VARCHAR(500), dataset VARCHAR(500), model VARCHAR(500), recipe VARCHAR(500),
        started_at VARCHAR(32) NOT NULL, wall_s FLOAT NOT NULL, outcome VARCHAR(20) NOT NULL,
        cores FLOAT NOT NULL, memory_gib FLOAT NOT NULL, gpus INTEGER NOT NULL,
        n_images BIGINT, n_sites BIGINT, currency VARCHAR(3), cost FLOAT)""",
)


@dataclass(frozen=True)
class Attempt:
    """One attempt to make one partition.

    Attributes:
        attempt: its id.
        run_id: Dagster's run.
        asset: the asset.
        experiment: the partition's key on each axis; None for an axis that the asset does not have.
        dataset: see `experiment`.
        model: see `experiment`.
        recipe: see `experiment`.
        started_at: UTC, ISO 8601.
        wall_s: seconds until now, or until it ended.
        outcome: `running`, or how it ended: `made`, `reused` (there already), `refused`, `failed`, `interrupted`.
        cores: processor cores that the pod of the run requests.
        memory_gib: memory that it requests.
        gpus: GPUs that it requests.
        n_images: image files of the partition's experiments; None where it has none.
        n_sites: their sites.
        currency: of the cost; None without prices.
        cost: pod-time times price.
    """

    attempt: str
    run_id: str
    asset: str
    experiment: str | None
    dataset: str | None
    model: str | None
    recipe: str | None
    started_at: str
    wall_s: float
    outcome: Outcome
    cores: float
    memory_gib: float
    gpus: int
    n_images: int | None = None
    n_sites: int | None = None
    currency: str | None = None
    cost: float | None = None


@dataclass(frozen=True)
class Total:
    """What all attempts of one asset with one outcome and one currency took together."""

    asset: str
    outcome: Outcome
    currency: str | None
    n_attempts: int
    wall_s: float
    cost: float
    n_images: int
    n_sites: int


TOTALS = """SELECT asset, outcome, currency, count(*), sum(wall_s), coalesce(sum(cost), 0.0),
    CAST(coalesce(sum(n_images), 0) AS BIGINT), CAST(coalesce(sum(n_sites), 0) AS BIGINT)
    FROM attempts GROUP BY asset, outcome, currency"""
COLUMNS = tuple(Attempt.__dataclass_fields__)


@dataclass(frozen=True)
class Ledger:
    """The table at a database URL. It is created by the first call that needs it."""

    url: str

    def note(self, attempt: Attempt) -> None:
        """Writes an attempt, in place of what was written about it before."""
        from sqlalchemy import text

        values = ", ".join(f":{name}" for name in COLUMNS)
        changes = ", ".join(f"{name} = excluded.{name}" for name in COLUMNS[1:])
        statement = (
            f"INSERT INTO attempts ({', '.join(COLUMNS)}) VALUES ({values}) "  # noqa: S608
            f"ON CONFLICT (attempt) DO UPDATE SET {changes}"
        )
        with self._connection() as connection:
            connection.execute(text(statement), asdict(attempt))

    def attempts(self) -> Sequence[Attempt]:
        """Returns all attempts, oldest first."""
        query = f"SELECT {', '.join(COLUMNS)} FROM attempts ORDER BY started_at, attempt"  # noqa: S608
        with self._connection() as connection:
            return [Attempt(*row) for row in connection.exec_driver_sql(query)]

    def totals(self) -> Sequence[Total]:
        """Returns what attempts took, by asset, outcome and currency."""
        with self._connection() as connection:
            return [Total(*row) for row in connection.exec_driver_sql(TOTALS)]

    @contextmanager
    def _connection(self) -> Iterator["Connection"]:
        with connected(self.url, "attempts", TABLES) as connection, connection.begin():
            yield connection
