"""Export of vectors, one row per perturbation, well or site, as an AnnData file.

A table with a column of vectors and where it comes from in; a `.h5ad` or `.zarr` out, through the package anndata. That
package is optional: `pip install 'cellassets[anndata]'`.
"""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from cellassets.errors import ExportError
from cellassets.exporting.target import complete_or_absent
from cellassets.tables.anndata_package import require_anndata
from cellassets.tables.parquet import vectors

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

EMBEDDING = "embedding"


def as_anndata(
    table: pl.DataFrame,
    *,
    name_columns: Sequence[str],
    source: Mapping[str, Any],
    feature_names: Sequence[str] | None = None,
) -> "AnnData":
    """Returns a table as AnnData: the vectors are `X`, the other columns `obs`, and `uns` says where they come from.

    Args:
        table: a row per perturbation, well or site, with its vector in the column `embedding`.
        name_columns: columns that identify a row; their values, joined by "/", are its name.
        source: kept in `uns["cellassets"]`: texts, numbers and lists of them.
        feature_names: names of the features; `embedding_0` and so on by default.

    Raises:
        PackageMissing: anndata is not installed.
        ExportError: two rows have the same name.
    """
    require_anndata()
    from anndata import AnnData

    values = vectors(table)
    names = table.select(pl.concat_str(name_columns, separator="/")).to_series()
    if names.n_unique() != len(names):
        twice = sorted(names.filter(names.is_duplicated()).unique())[:3]
        message = f"rows named {twice} occur more than once; expected one row for each {'/'.join(name_columns)}"
        raise ExportError(message)
    data = AnnData(X=values, obs=_obs(table, names), var=_var(values.shape[1], feature_names))
    data.uns["cellassets"] = {name: value for name, value in source.items() if value is not None}
    return data


def export_anndata(
    table: pl.DataFrame,
    target: Path,
    *,
    name_columns: Sequence[str],
    source: Mapping[str, Any],
    feature_names: Sequence[str] | None = None,
) -> tuple[int, int]:
    """Returns the numbers of rows and features, after writing a table as AnnData (see `as_anndata`).

    Args:
        table: a row per perturbation, well or site, with its vector in the column `embedding`.
        target: new file `.h5ad`, or new folder `.zarr`; it appears when it is complete.
        name_columns: columns that identify a row.
        source: kept in `uns["cellassets"]`.
        feature_names: names of the features.

    Raises:
        PackageMissing: anndata is not installed.
        ExportError: two rows have the same name, or something is at `target` meanwhile.
    """
    data = as_anndata(table, name_columns=name_columns, source=source, feature_names=feature_names)
    from anndata import settings

    with complete_or_absent(target) as partial:
        if target.suffix == ".zarr":
            # Zarr v2, which earlier versions of anndata read too; anndata warns that its next version writes v3
            with settings.override(zarr_write_format=2), warnings.catch_warnings():
                warnings.filterwarnings("ignore", "Writing zarr v2 data will no longer be the default", UserWarning)
                data.write_zarr(partial)
        else:
            data.write_h5ad(partial)
    return data.shape


def _obs(table: pl.DataFrame, names: pl.Series) -> "pd.DataFrame":
    """Returns the columns about each row; texts become categories, since a null is not a text."""
    import pandas as pd

    columns = {
        name: pd.Categorical(values.to_list()) if values.dtype == pl.String else values.to_numpy()
        for name, values in zip(table.columns, table.iter_columns(), strict=True)
        if name != EMBEDDING
    }
    return pd.DataFrame(columns, index=pd.Index(names.to_list(), dtype=object))


def _var(n_features: int, feature_names: Sequence[str] | None) -> "pd.DataFrame":
    import pandas as pd

    names = feature_names or [f"{EMBEDDING}_{number}" for number in range(n_features)]
    return pd.DataFrame(index=pd.Index(names, dtype=object))
