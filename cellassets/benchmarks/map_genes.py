"""The genes of a map: one row per gene, without controls and without combinations of genes."""

from dataclasses import dataclass

import numpy as np
import polars as pl
from jaxtyping import Float, Int

from cellassets.benchmarks.definition import NameParameters
from cellassets.benchmarks.judged import JudgedMap
from cellassets.benchmarks.strata import plate_strata
from cellassets.errors import BenchmarkError
from cellassets.mapping.relate import is_combination
from cellassets.tables.parquet import vectors


@dataclass(frozen=True)
class MapGenes:
    """Genes sorted by name. Genes with one `stratum` share their plates."""

    names: list[str]
    vectors: Float[np.ndarray, "gene feature"]
    stratum: Int[np.ndarray, "gene"]
    n_wells: Int[np.ndarray, "gene"]


def map_genes(judged: JudgedMap, benchmark_name: str, parameters: NameParameters | None = None) -> MapGenes:
    """Returns the genes of a map.

    Args:
        judged: the map.
        benchmark_name: the benchmark that is computed, for the message.
        parameters: which genes exchange names; None for genes of the same plates.

    Raises:
        BenchmarkError: the map has several rows of one gene.
    """
    table = judged.map_table.filter((pl.col("perturbation_kind") == "gene") & pl.col("control_kind").is_null())
    table = table.with_columns(pl.coalesce("gene_symbol", "perturbation_id").alias("name")).sort("name")
    is_one = [not is_combination(name) for name in table["name"].to_list()]
    table = table.filter(pl.Series(is_one, dtype=pl.Boolean))
    if table["name"].n_unique() < table.height:
        message = f"{benchmark_name}: the map has several rows of one gene; set aggregate_by: gene in mapping.yaml"
        raise BenchmarkError(message)
    return MapGenes(
        names=table["name"].to_list(),
        vectors=vectors(table),
        stratum=plate_strata(judged, table["perturbation_id"].to_list(), parameters),
        n_wells=table["n_wells"].cast(pl.Int64).to_numpy(),
    )
