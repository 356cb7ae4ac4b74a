"""What a table's columns are called, what type they have and in which unit: one class, and the check.

The tables themselves are listed in `cellassets.tables.schemas`.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from cellassets.errors import SchemaError

if TYPE_CHECKING:
    DataType = pl.DataType
else:
    DataType = object  # beartype, which checks signatures in the tests, refuses polars' own class as a hint


@dataclass(frozen=True)
class Column:
    """One column: its name, its polars type, what it means (with the unit), whether it may be null."""

    name: str
    dtype: DataType
    meaning: str
    is_nullable: bool = False


@dataclass(frozen=True)
class TableSchema:
    """The columns of one table. `pl.Array` columns are checked by their inner type: their width is the model's."""

    name: str
    columns: tuple[Column, ...]

    @property
    def names(self) -> list[str]:
        """Column names in their order."""
        return [column.name for column in self.columns]

    def empty(self) -> pl.DataFrame:
        """A table with these columns and no rows."""
        return pl.DataFrame(schema={column.name: column.dtype for column in self.columns})

    def conform(self, table: pl.DataFrame, *, source: str) -> pl.DataFrame:
        """Returns `table` with exactly these columns in this order, cast where that loses nothing.

        Raises:
            SchemaError: a column is missing, has another type, or holds nulls that it must not; names `source`.
        """
        missing = [name for name in self.names if name not in table.columns]
        if missing:
            message = f"{source}: not a {self.name} table: lacks {missing}, has {table.columns}"
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
            message = f"{source}: {column.name} is null in row {row}; it never may be in a {self.name} table"
            raise SchemaError(message)
        return values
