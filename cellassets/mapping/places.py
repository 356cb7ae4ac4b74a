"""The place of each well on its plate and the chromosome arm of its gene, which some alignment steps need."""

from dataclasses import dataclass

import numpy as np
import polars as pl
from jaxtyping import Bool, Int

from cellassets.errors import AlignmentError
from cellassets.screens.well import GEOMETRIES, well_place


@dataclass(frozen=True)
class WellPlaces:
    """Plate, row and column (0-based) of every well; `is_outer` marks the wells at the edge of the plate."""

    plate_names: tuple[str, ...]
    plate_index: Int[np.ndarray, "well"]
    row: Int[np.ndarray, "well"]
    column: Int[np.ndarray, "well"]
    is_outer: Bool[np.ndarray, "well"]


@dataclass(frozen=True)
class GeneArms:
    """Gene of every well and arm of every gene; -1 for a well without a perturbed gene, or with an unknown one.

    `is_expressed` has one value per gene; it is None if the table has no such column.
    """

    gene_names: tuple[str, ...]
    gene_index: Int[np.ndarray, "well"]
    arm_names: tuple[str, ...]
    arm_of_gene: Int[np.ndarray, "gene"]
    is_expressed: Bool[np.ndarray, "gene"] | None

    @property
    def arm_index(self) -> Int[np.ndarray, "well"]:
        """Arm of every well; -1 if it has none."""
        return np.append(self.arm_of_gene, -1)[self.gene_index]


def well_places(wells: pl.DataFrame) -> WellPlaces:
    """Returns the place of every well; each plate has the smallest standard format that holds its wells.

    Args:
        wells: rows with experiment_id, plate_id and a normalised well_id.
    """
    labels = wells.select(pl.concat_str("experiment_id", "plate_id", separator="/")).to_series()
    names, index = np.unique(labels.to_numpy(), return_inverse=True)
    well_names, well_index = np.unique(wells["well_id"].to_numpy(), return_inverse=True)
    row, column = np.array([well_place(str(name)) for name in well_names])[well_index].T
    n_rows, n_columns = np.zeros(len(names), dtype=np.int64), np.zeros(len(names), dtype=np.int64)
    np.maximum.at(n_rows, index, row + 1)
    np.maximum.at(n_columns, index, column + 1)
    size = np.array([_geometry(*most) for most in zip(n_rows.tolist(), n_columns.tolist(), strict=True)])[index]
    is_outer = (row == 0) | (column == 0) | (row == size[:, 0] - 1) | (column == size[:, 1] - 1)
    return WellPlaces(tuple(str(name) for name in names), index, row, column, is_outer)


def _geometry(n_rows: int, n_columns: int) -> tuple[int, int]:
    return next((g for g in GEOMETRIES if n_rows <= g[0] and n_columns <= g[1]), GEOMETRIES[-1])


def gene_arms_of_wells(wells: pl.DataFrame, table: pl.DataFrame) -> GeneArms:
    """Returns the chromosome arm of the gene of every treated well.

    Args:
        wells: rows with the perturbation columns.
        table: gene_symbol (each gene once), chromosome_arm (such as 7q), and optionally is_expressed.

    Raises:
        AlignmentError: the table lacks a column, has a gene twice, or has none of the genes of the wells.
    """
    missing = {"gene_symbol", "chromosome_arm"} - set(table.columns)
    if missing:
        message = (
            f"gene_arms: found the columns {table.columns}, expected gene_symbol and chromosome_arm; add "
            f"{sorted(missing)}"
        )
        raise AlignmentError(message)
    table = table.drop_nulls(["gene_symbol", "chromosome_arm"]).unique(maintain_order=True)
    repeated = table.filter(pl.col("gene_symbol").is_duplicated())["gene_symbol"].unique().sort().to_list()
    if repeated:
        message = f"gene_arms: genes {repeated[:10]} have several different rows, expected one; keep one row per gene"
        raise AlignmentError(message)
    is_gene = wells["control_kind"].is_null() & (wells["perturbation_kind"] == "gene")
    symbols = wells.select(pl.when(pl.Series(is_gene)).then("gene_symbol")).to_series()
    table = table.join(symbols.unique().to_frame("gene_symbol"), on="gene_symbol", how="semi").sort("gene_symbol")
    if table.is_empty():
        message = (
            "gene_arms: it has none of the genes of the wells, such as "
            f"{symbols.drop_nulls().unique().sort().to_list()[:5]}; give a table with the gene symbols of the screen"
        )
        raise AlignmentError(message)
    number = dict(zip(table["gene_symbol"], range(table.height), strict=True))
    gene_index = symbols.replace_strict(number, default=-1, return_dtype=pl.Int64).fill_null(-1).to_numpy()
    arm_names, arm_of_gene = np.unique(table["chromosome_arm"].to_numpy(), return_inverse=True)
    is_expressed = table["is_expressed"].cast(pl.Boolean).to_numpy() if "is_expressed" in table.columns else None
    return GeneArms(tuple(table["gene_symbol"]), gene_index, tuple(map(str, arm_names)), arm_of_gene, is_expressed)


def one_place_frac(wells: pl.DataFrame) -> float:
    """Returns the share of perturbations whose replicates all have the same well position, on all plates.

    If this share is high, the effect of a position cannot be distinguished from the effect of a perturbation:
    replicates are alike because of their position alone, and permutations within plates do not reproduce this.

    Args:
        wells: WELL_EMBEDDINGS rows; controls and perturbations with one well do not count.
    """
    treated = wells.filter(pl.col("control_kind").is_null())
    places = treated.group_by("perturbation_id").agg(pl.len(), pl.col("well_id").n_unique().alias("n_places"))
    replicated = places.filter(pl.col("len") > 1)
    return float((replicated["n_places"] == 1).sum() / replicated.height) if replicated.height else 0.0
