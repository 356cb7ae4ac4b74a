"""SQL by DuckDB over Parquet files on a local disk: one view per kind of table, read-only, nothing copied."""

from collections.abc import Mapping, Sequence

import duckdb
import polars as pl
from upath import UPath

from cellassets.errors import ConfigError
from cellassets.storage.artifact import is_local


def query(views: Mapping[str, Sequence[UPath]], statement: str) -> pl.DataFrame:
    """Returns the answer of one SELECT over Parquet files.

    Args:
        views: the files of each view by its name; a view without files does not exist.
        statement: one SELECT statement (WITH, DESCRIBE, SUMMARIZE and SHOW count as such).

    Raises:
        ConfigError: a file is not local, the statement is not valid over these views, or it is not one SELECT.
    """
    remote = [path for paths in views.values() for path in paths if not is_local(path)]
    if remote:
        message = f"{remote[0]}: SQL reads local files only; mount or copy the lake first"
        raise ConfigError(message)
    with duckdb.connect(config={"autoinstall_known_extensions": "false"}) as connection:
        known = sorted(name for name, paths in views.items() if paths)
        for view in known:
            listed = ", ".join("'" + path.path.replace("'", "''") + "'" for path in views[view])
            connection.execute(f'CREATE VIEW "{view}" AS SELECT * FROM read_parquet([{listed}])')  # noqa: S608
        try:
            _refuse_all_but_a_select(connection, statement)
            return pl.DataFrame(connection.sql(statement).to_arrow_table())
        except duckdb.Error as error:
            message = f"not a query over {known}: {error}"
            raise ConfigError(message) from error


def _refuse_all_but_a_select(connection: duckdb.DuckDBPyConnection, statement: str) -> None:
    kinds = [found.type for found in connection.extract_statements(statement)]
    if kinds != [duckdb.StatementType.SELECT]:
        named = ", ".join(kind.name for kind in kinds) or "nothing"
        message = f"{statement!r} is {named}; expected one SELECT: published tables are only read"
        raise ConfigError(message)
