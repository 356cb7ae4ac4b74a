"""Matrices inside AnnData files: `X`, a layer, or an element of `obsm`, of which some rows are read at a time.

`anndata_tables.py` opens the files and knows what the columns are called.
"""

from functools import cached_property
from math import prod
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Int64, Shaped

from cellassets.errors import ProfilesError
from cellassets.profiles.anndata_frames import kind_of

SPARSE = ("csr_matrix 0.1.0", "csc_matrix 0.1.0")
TEXTS = "OSTU"  # kinds of numpy's types
Rows = Int64[np.ndarray, "row"]


class StoredMatrix:
    """A dense or sparse matrix in an open AnnData file.

    Attributes:
        place: file and part, for messages.
        n_rows: number of rows.
        features: names of the columns.
    """

    def __init__(self, place: str, stored: Any, names: list[str] | str) -> None:
        """Looks at the kind and the shape.

        Args:
            place: file and part.
            stored: array or group, of h5py or zarr.
            names: names of the columns, or the first part of them: `X_pca` for `X_pca_0`, `X_pca_1` and so on.

        Raises:
            ProfilesError: it is not a matrix of real numbers with these columns, or a part of it is missing on disk.
        """
        self.place, self._stored = place, stored
        self._is_sparse = kind_of(stored) in SPARSE
        values = stored["data"] if self._is_sparse else stored
        if not hasattr(values, "dtype"):
            message = f"{place}: found an element of the kind {kind_of(stored)!r}; expected a matrix, dense, CSR or CSC"
            raise ProfilesError(message)
        shape = stored.attrs["shape"] if self._is_sparse else stored.shape
        if len(shape) != 2:
            message = f"{place}: found an array of the shape {tuple(shape)}; expected a matrix of rows and features"
            raise ProfilesError(message)
        self.n_rows, n_columns = map(int, shape)
        self.features = [f"{names}_{number}" for number in range(n_columns)] if isinstance(names, str) else names
        if len(self.features) != n_columns:
            message = f"{place}: {n_columns} columns, but var has {len(names)} rows; expected the same number"
            raise ProfilesError(message)
        if values.dtype.kind not in "biuf":
            found = "text" if values.dtype.kind in TEXTS else f"values of the type {values.dtype}"
            message = f"{place}: expected real numbers, found {found}; name another matrix in `anndata`"
            raise ProfilesError(message)
        _refuse_missing_chunks(place, values)

    def column(self, name: str) -> pl.Series:
        """Returns a column; a sparse matrix is read as a whole for it."""
        number = self._numbers[name]
        values = self._whole()[:, [number]].toarray()[:, 0] if self._is_sparse else self._stored[:, number]
        return pl.Series(name, values)

    def select(self, rows: Rows, names: list[str]) -> pl.DataFrame:
        """Returns some rows of some columns.

        Args:
            rows: which rows, from 0, increasing. Rows that follow each other are read at once.
            names: some of `features`.
        """
        columns = np.array([self._numbers[name] for name in names])
        return pl.from_numpy(self._rows(rows)[:, columns], schema=names, orient="row")

    def _rows(self, rows: Rows) -> Shaped[np.ndarray, "row column"]:
        first, last = int(rows[0]), int(rows[-1])
        chosen = slice(first, last + 1) if last - first + 1 == len(rows) else rows
        if self._is_sparse:
            found = self._sparse[chosen]
            found.check_format()  # where a column number is too large, scipy would write beyond the end of an array
            return found.toarray()
        return np.asarray(getattr(self._stored, "oindex", self._stored)[chosen])

    @cached_property
    def _numbers(self) -> dict[str, int]:
        """The number of each column."""
        return {name: number for number, name in enumerate(self.features)}

    @cached_property
    def _sparse(self) -> Any:
        """The sparse matrix, from which rows are taken; in memory if it is stored by column."""
        from anndata.io import sparse_dataset

        found = sparse_dataset(self._stored)
        return found if found.format == "csr" else self._whole().tocsr()

    def _whole(self) -> Any:
        """The sparse matrix in memory."""
        from anndata.io import sparse_dataset

        found = sparse_dataset(self._stored).to_memory()
        found.check_format()
        return found


def _refuse_missing_chunks(place: str, array: Any) -> None:
    """Refuses an array of Zarr that lacks a chunk, which would be read as zeros."""
    if not hasattr(array, "nchunks_initialized"):
        return
    block = array.shards or array.chunks
    n_expected = prod(-(-size // length) for size, length in zip(array.shape, block, strict=True))
    n_found = array.nchunks_initialized // prod(a // b for a, b in zip(block, array.chunks, strict=True))
    if n_found < n_expected:
        message = (
            f"{place}: {n_expected - n_found} of {n_expected} chunks are missing; they are lost, or were left out "
            "because all their values are 0. Copy the folder again, or write it as .h5ad"
        )
        raise ProfilesError(message)
