"""SQL by DuckDB over Parquet files, local or on an object store: one view per kind of table, read-only."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import duckdb
import polars as pl
from upath import UPath

from cellassets.errors import ConfigError
from cellassets.storage.artifact import is_local

NO_TABLES: Mapping[str, pl.DataFrame] = MappingProxyType({})


def query(
    views: Mapping[str, Sequence[UPath]], statement: str, *, tables: Mapping[str, pl.DataFrame] = NO_TABLES
) -> pl.DataFrame:
    """Returns the answer of one SELECT over Parquet files and tables in memory.

    Args:
        views: the files of each view by its name; a view without files does not exist.
        statement: one SELECT statement (WITH, DESCRIBE, SUMMARIZE and SHOW count as such).
        tables: further views, by name.

    Raises:
        ConfigError: the statement is not valid over these views, or it is not one SELECT.
    """
    stores = {path.protocol: path.fs for paths in views.values() for path in paths if not is_local(path)}
    with duckdb.connect(config={"autoinstall_known_extensions": "false"}) as connection:
        for store in stores.values():
            connection.register_filesystem(store)
        known = sorted(name for name, paths in views.items() if paths)
        for view in known:
            listed = ", ".join(quoted(_place(path)) for path in views[view])
            connection.execute(f'CREATE VIEW "{view}" AS SELECT * FROM read_parquet([{listed}], union_by_name = true)')  # noqa: S608
        for view, table in tables.items():
            connection.register(view, table.to_arrow())
        known = sorted([*known, *tables])
        try:
            _refuse_all_but_a_select(connection, statement)
            return pl.DataFrame(connection.sql(statement).to_arrow_table())
        except duckdb.Error as error:
            message = f"not a query over {known}: {error}"
            raise ConfigError(message) from error


def views_of(statement: str) -> set[str]:
    """Returns the names of the views that a statement reads, in lower case; none where that is not known."""
    with duckdb.connect() as connection:
        try:
            return {name.casefold() for name in connection.get_table_names(statement)}
        except duckdb.Error:
            return set()


def quoted(text: str) -> str:
    """Returns a text as a literal of SQL."""
    return "'" + text.replace("'", "''") + "'"


def _place(path: UPath) -> str:
    return path.path if is_local(path) else str(path)


def _refuse_all_but_a_select(connection: duckdb.DuckDBPyConnection, statement: str) -> None:
    kinds = [found.type for found in connection.extract_statements(statement)]
    if kinds != [duckdb.StatementType.SELECT]:
        named = ", ".join(kind.name for kind in kinds) or "nothing"
        message = f"{statement!r} is {named}; expected one SELECT: published tables are only read"
        raise ConfigError(message)
