"""Tables of profiles in AnnData: `.h5ad` files and `.zarr` folders, of which only the needed parts are read.

`obs` has the key columns. A matrix has the features: `X`, a layer, or an element of `obsm`. The package anndata is
optional. `profile_rows.py` asks for keys and features; `anndata_frames.py` and `anndata_matrices.py` read the parts.
"""

import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl

from cellassets.errors import ProfilesError
from cellassets.profiles.anndata_frames import INDEX, StoredFrame, kind_of
from cellassets.profiles.anndata_matrices import Rows, StoredMatrix
from cellassets.profiles.declaration import AnndataMatrix
from cellassets.tables.anndata_package import require_anndata

# h5py, zarr and their codecs report damage in many ways
DAMAGE = (OSError, ValueError, RuntimeError, LookupError, EOFError, zlib.error)
N_SHOWN = 12


class AnnDataTable:
    """One AnnData file, whose parts were looked at. It is opened again for each reading.

    Attributes:
        path: the file or folder.
        keys: names of columns that can be keys: those of `obs`, `_index` for its index, and those of the matrix.
        features: names of the columns of the matrix.
    """

    def __init__(self, path: Path, matrix: AnndataMatrix) -> None:
        """Looks at the parts of a file.

        Args:
            path: file or folder.
            matrix: where the features are.

        Raises:
            PackageMissing: anndata is not installed.
            ProfilesError: it is not AnnData, lacks the matrix, or its parts do not fit together.
        """
        require_anndata()
        self.path, self._matrix = path, matrix
        with _opened(path) as root:
            obs, features = StoredFrame(f"{path}, obs", root["obs"]), self._features(root)
            if obs.n_rows != features.n_rows:
                message = (
                    f"{path}: obs has {obs.n_rows} rows, and {matrix.matrix} has {features.n_rows}; expected the same "
                    "number. Write the file again with anndata"
                )
                raise ProfilesError(message)
            if obs.n_rows == 0:
                message = f"{path}: obs has no row; expected one row per well, site or cell"
                raise ProfilesError(message)
            self.features = features.features
            self.keys = [*obs.keys, *features.features]

    def key_columns(self, names: list[str]) -> pl.DataFrame:
        """Returns columns of `obs`, or of the matrix where `obs` lacks them: pycytominer writes all numbers there.

        Raises:
            ProfilesError: a column cannot be read.
        """
        with _opened(self.path) as root:
            obs, features = StoredFrame(f"{self.path}, obs", root["obs"]), self._features(root)
            return pl.DataFrame([(obs if name in obs.keys else features).column(name) for name in names])

    def values(self, groups: Iterable[Rows], features: list[str]) -> Iterator[pl.DataFrame]:
        """Yields these features of each group of rows.

        Args:
            groups: increasing numbers of rows, from 0.
            features: some of `features`.

        Raises:
            ProfilesError: a value cannot be read.
        """
        with _opened(self.path) as root:
            found = self._features(root)
            for rows in groups:
                yield found.select(rows, features)

    def _features(self, root: Any) -> StoredMatrix | StoredFrame:
        """The matrix with the features; a table where `obsm` has one."""
        kind, _, name = self._matrix.matrix.partition("/")
        place = f"{self.path}, {self._matrix.matrix}"
        if self._matrix.matrix not in (available := _matrices(root)):
            message = f"{place}: no such matrix; the file has {_some(available)}. Name one in `anndata: matrix:`"
            raise ProfilesError(message)
        stored = root[self._matrix.matrix]
        if kind == "obsm" and kind_of(stored).startswith("dataframe"):
            return StoredFrame(place, stored)
        return StoredMatrix(place, stored, name if kind == "obsm" else self._names_in_var(root))

    def _names_in_var(self, root: Any) -> list[str]:
        """The names of the columns of `X` or a layer."""
        place, column = f"{self.path}, var", self._matrix.var_column or INDEX
        var = StoredFrame(place, root["var"])
        if column not in var.keys:
            message = f"{place}: no column {column!r}; it has {_some(var.keys)}. Name one in `anndata: var_column:`"
            raise ProfilesError(message)
        names = [str(name) for name in var.column(column)]
        name, n_found = max(Counter(names).items(), key=lambda found: found[1], default=("", 0))
        if n_found > 1:
            message = (
                f"{place}: {n_found} features are called {name!r}; expected different names. Rename them, or name a "
                "column with different names in `anndata: var_column:`"
            )
            raise ProfilesError(message)
        return names


def groups_of_rows(rows: pl.DataFrame, keys: list[str], *, n_rows: int) -> list[pl.DataFrame]:
    """Returns the rows in groups of about this size; rows with the same keys are in one group, in their order.

    Args:
        rows: `row`, the number of the row in the file, and the keys.
        keys: columns whose values belong together, such as plate, well and site.
        n_rows: a new group begins when this number of rows is reached.
    """
    by_keys = rows.sort(pl.col("row").min().over(keys), "row").with_row_index("group")
    number = pl.col("group").min().over(keys) // n_rows
    groups = by_keys.with_columns(number).partition_by("group", maintain_order=True, include_key=False)
    return [group.sort("row") for group in groups]


def _matrices(root: Any) -> list[str]:
    """The matrices of a file, as a declaration names them."""
    inner = [f"{part}/{name}" for part in ("layers", "obsm") if part in root for name in root[part]]
    return [*(["X"] if "X" in root else []), *sorted(inner)]


def _some(names: list[str]) -> str:
    more = f" and {len(names) - N_SHOWN} more" if len(names) > N_SHOWN else ""
    return (", ".join(names[:N_SHOWN]) or "none") + more


def _require_tables(path: Path, root: Any) -> None:
    found = sorted(root) if hasattr(root, "keys") else [f"one array of the shape {root.shape}"]
    if not {"obs", "var"} <= set(found):
        message = f"{path}: not AnnData: expected obs, var and X, as anndata writes them; found {_some(found)}"
        raise ProfilesError(message)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """The root of an AnnData file; what h5py, zarr and anndata raise becomes a `ProfilesError` that names the file."""
    try:
        with _open(path) as root:
            _require_tables(path, root)
            yield root
    except ProfilesError:
        raise
    except DAMAGE as error:
        message = f"{path}: cannot be read as AnnData: {error}; copy the file again, or write it again with anndata"
        raise ProfilesError(message) from error


@contextmanager
def _open(path: Path) -> Iterator[Any]:
    if path.suffix.lower() == ".zarr":
        import zarr

        yield zarr.open(str(path), mode="r")
    else:
        import h5py

        with h5py.File(path, "r") as file:
            yield file
