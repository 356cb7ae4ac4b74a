"""Where wells sit and which chromosome arm their gene is on: what some steps ask for beyond batch and controls."""

from dataclasses import dataclass

import numpy as np
import polars as pl
from jaxtyping import Bool, Int

from cellassets.errors import AlignmentError
from cellassets.screens.well import GEOMETRIES, well_place


@dataclass(frozen=True)
class WellPlaces:
    """Plate, row and column (0-based) of every well; `is_outer` where it is on the plate's outermost ring."""

    plate_names: tuple[str, ...]
    plate_index: Int[np.ndarray, "well"]
    row: Int[np.ndarray, "well"]
    column: Int[np.ndarray, "well"]
    is_outer: Bool[np.ndarray, "well"]


@dataclass(frozen=True)
class GeneArms:
    """Gene and arm of every well; -1 where it has no perturbed gene, or a gene that is not in the table.

    `is_expressed` is one value a gene, None where the table does not tell.
    """

    gene_names: tuple[str, ...]
    gene_index: Int[np.ndarray, "well"]
    arm_names: tuple[str, ...]
    arm_of_gene: Int[np.ndarray, "gene"]
    is_expressed: Bool[np.ndarray, "gene"] | None

    @property
    def arm_index(self) -> Int[np.ndarray, "well"]:
        """Arm of every well, -1 where there is none."""
        return np.append(self.arm_of_gene, -1)[self.gene_index]


def well_places(wells: pl.DataFrame) -> WellPlaces:
    """Returns the place of every well; plates are taken to be the smallest standard ones that hold their wells.

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
    """Returns the chromosome arm of every treated well's gene.

    Args:
        wells: rows with the perturbation columns.
        table: gene_symbol (each once), chromosome_arm such as 7q, and where known is_expressed.

    Raises:
        AlignmentError: the table lacks a column, has a gene twice, or no gene of the wells.
    """
    missing = {"gene_symbol", "chromosome_arm"} - set(table.columns)
    if missing:
        message = f"gene_arms: no column {sorted(missing)} among {table.columns}; it needs gene_symbol, chromosome_arm"
        raise AlignmentError(message)
    table = table.drop_nulls(["gene_symbol", "chromosome_arm"]).unique(maintain_order=True)
    repeated = table.filter(pl.col("gene_symbol").is_duplicated())["gene_symbol"].unique().sort().to_list()
    if repeated:
        message = f"gene_arms: genes {repeated[:10]} have several rows that differ; keep one each"
        raise AlignmentError(message)
    is_gene = wells["control_kind"].is_null() & (wells["perturbation_kind"] == "gene")
    symbols = wells.select(pl.when(pl.Series(is_gene)).then("gene_symbol")).to_series()
    table = table.join(symbols.unique().to_frame("gene_symbol"), on="gene_symbol", how="semi").sort("gene_symbol")
    if table.is_empty():
        message = f"gene_arms: none of its genes is among the wells' ({symbols.drop_nulls().unique().to_list()[:5]}, …)"
        raise AlignmentError(message)
    number = dict(zip(table["gene_symbol"], range(table.height), strict=True))
    gene_index = symbols.replace_strict(number, default=-1, return_dtype=pl.Int64).fill_null(-1).to_numpy()
    arm_names, arm_of_gene = np.unique(table["chromosome_arm"].to_numpy(), return_inverse=True)
    is_expressed = table["is_expressed"].cast(pl.Boolean).to_numpy() if "is_expressed" in table.columns else None
    return GeneArms(tuple(table["gene_symbol"]), gene_index, tuple(map(str, arm_names)), arm_of_gene, is_expressed)


def one_place_frac(wells: pl.DataFrame) -> float:
    """Returns the share of perturbations whose replicates all sit at one position, whatever the plate.

    Where it is high, what a position does to cells cannot be told from what perturbations do: replicates are alike for
    their place alone, and permutations within plates do not keep that.

    Args:
        wells: WELL_EMBEDDINGS rows; controls and perturbations with one well do not count.
    """
    treated = wells.filter(pl.col("control_kind").is_null())
    places = treated.group_by("perturbation_id").agg(pl.len(), pl.col("well_id").n_unique().alias("n_places"))
    replicated = places.filter(pl.col("len") > 1)
    return float((replicated["n_places"] == 1).sum() / replicated.height) if replicated.height else 0.0
