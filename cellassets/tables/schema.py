"""Schema of a table: names, types and units of its columns, and the check of a table against them.

The schemas of all tables are in `cellassets.tables.schemas`.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from cellassets.errors import SchemaError

if TYPE_CHECKING:
    DataType = pl.DataType
else:
    DataType = object  # beartype checks signatures in the tests and rejects polars' own class as a hint


@dataclass(frozen=True)
class Column:
    """One column: name, polars type, meaning with its unit, and whether it may be null."""

    name: str
    dtype: DataType
    meaning: str
    is_nullable: bool = False


@dataclass(frozen=True)
class TableSchema:
    """The columns of one table.

    Only the inner type of `pl.Array` columns is checked: their length depends on the model.
    """

    name: str
    columns: tuple[Column, ...]

    @property
    def names(self) -> list[str]:
        """Column names in the order of the schema."""
        return [column.name for column in self.columns]

    def empty(self) -> pl.DataFrame:
        """Returns a table with these columns and no rows."""
        return pl.DataFrame(schema={column.name: column.dtype for column in self.columns})

    def conform(self, table: pl.DataFrame, *, source: str) -> pl.DataFrame:
        """Returns `table` with exactly these columns in this order, cast to their types.

        Raises:
            SchemaError: a column is missing, cannot be cast, or contains nulls although it must not. The message names
                `source`.
        """
        missing = [name for name in self.names if name not in table.columns]
        if missing:
            message = (
                f"{source}: not a {self.name} table: lacks {missing}, has {table.columns}; if an earlier version "
                "published it, materialise it again"
            )
            raise SchemaError(message)
        return table.select(self._conform_column(table[c.name], c, source) for c in self.columns)

    def _conform_column(self, values: pl.Series, column: Column, source: str) -> pl.Series:
        expected, found = column.dtype, values.dtype
        is_vector = isinstance(expected, pl.Array) and isinstance(found, pl.Array) and found.inner == expected.inner
        if not is_vector:
            try:
                values = values.cast(column.dtype)
            except pl.exceptions.PolarsError as error:
                message = f"{source}: {column.name} is {values.dtype}, expected {column.dtype} ({column.meaning})"
                raise SchemaError(message) from error
        if not column.is_nullable and values.null_count():
            row = int(values.is_null().arg_true()[0])
            message = (
                f"{source}: {column.name} is null in row {row}; nulls are not allowed there in a {self.name} table"
            )
            raise SchemaError(message)
        return values
