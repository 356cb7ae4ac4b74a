"""Tables inside AnnData files: `obs`, `var`, and those in `obsm`. Columns that nobody asks for are not read.

`anndata_tables.py` opens the files.

Source: specification of anndata, "on-disk format", data frames of version 0.2.0.
"""

from functools import cache, cached_property
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Int64

from cellassets.errors import ProfilesError

INDEX = "_index"
FRAME_KIND = "dataframe 0.2.0"
COLUMN_KINDS = (
    *("array 0.2.0", "string-array 0.2.0", "categorical 0.2.0"),
    *("nullable-integer 0.1.0", "nullable-boolean 0.1.0", "nullable-string-array 0.1.0"),
)


class StoredFrame:
    """A table in an open AnnData file.

    Attributes:
        place: file and part, for messages.
        features: names of its columns, without the index.
        keys: `_index`, the name of the index if it has one, and the names of the columns.
    """

    def __init__(self, place: str, stored: Any) -> None:
        """Looks at the names of the columns.

        Args:
            place: file and part.
            stored: group of h5py or zarr.

        Raises:
            ProfilesError: it is not a table, or has the form of an earlier version of anndata.
        """
        if (kind := kind_of(stored)) != FRAME_KIND:
            message = (
                f"{place}: found an element of the kind {kind!r}; expected a table as anndata 0.8 and later write it. "
                "Read the file with anndata and write it again"
            )
            raise ProfilesError(message)
        self.place, self._stored = place, stored
        self._index = str(stored.attrs["_index"])
        self.features = [str(name) for name in stored.attrs["column-order"]]
        self.keys = list(dict.fromkeys([INDEX, self._index, *self.features]))
        self._column = cache(self.column)

    @cached_property
    def n_rows(self) -> int:
        """The number of rows, by the index."""
        index = self._stored[self._index]
        return int(index.shape[0]) if hasattr(index, "shape") else len(self.column(INDEX))

    def column(self, name: str) -> pl.Series:
        """Returns a column; `_index` is the index.

        Raises:
            ProfilesError: it is of a kind that is neither numbers nor texts.
        """
        from anndata.io import read_elem

        stored = self._stored[self._index if name == INDEX else name]
        if (kind := kind_of(stored)) not in COLUMN_KINDS:
            message = f"{self.place}, column {name}: expected numbers or texts, found values of the kind {kind!r}"
            raise ProfilesError(message)
        return _as_series(read_elem(stored)).alias(name)

    def select(self, rows: Int64[np.ndarray, "row"], names: list[str]) -> pl.DataFrame:
        """Returns some rows of some columns, which stay in memory for the next call."""
        return pl.DataFrame([self._column(name) for name in names])[rows]


def kind_of(stored: Any) -> str:
    """Returns what an element is and the version of its form, such as `dataframe 0.2.0`."""
    found = [str(stored.attrs[name]) for name in ("encoding-type", "encoding-version") if name in stored.attrs]
    return " ".join(found) or "unknown"


def _as_series(values: Any) -> pl.Series:
    """Values of numpy or pandas as polars has them; categories become what they are names of."""
    import pandas as pd

    if isinstance(values, pd.Categorical):
        codes = pl.Series(values.codes, dtype=pl.Int64)
        return _as_series(values.categories.array).gather(codes.set(codes < 0, None))
    if not isinstance(values, np.ndarray):
        values = values.to_numpy(object, na_value=None)
    return pl.Series(values, nan_to_null=True) if values.dtype.kind in "biuf" else pl.Series(values.tolist())
