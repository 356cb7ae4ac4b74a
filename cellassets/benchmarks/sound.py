"""Whether a map can be judged at all: its values are finite, and it does not give everything the same vector.

Every benchmark checks this first (`Benchmark.rows`). Maps that distinguish little, but something, are judged: ties
never count in a map's favour.
"""

import numpy as np
import polars as pl
from jaxtyping import Float

from cellassets.benchmarks.judged import JudgedMap
from cellassets.errors import BenchmarkError
from cellassets.finite import finite_arguments, require_finite
from cellassets.mapping.filter import WELL_KEYS
from cellassets.tables.parquet import vectors

# 16 times the rounding error of single precision (2^-24), in which vectors are stored
EQUAL_VECTORS = 2.0**-20


def check_sound(benchmark_name: str, judged: JudgedMap) -> None:
    """Returns nothing if a map can be judged.

    A collapsed map is refused and not scored: where lower is better, chance would be the best score.

    Args:
        benchmark_name: the benchmark that is computed, for the message.
        judged: the map.

    Raises:
        BenchmarkError: a well or a perturbation has a vector that is not finite, a well is there twice, or the map is
            collapsed: all wells, or all perturbations, have the same vector up to rounding.
    """
    if not np.isfinite(judged.vectors).all():
        names = _well_names(judged.wells)
        require_finite(benchmark_name, judged.vectors, names=names, kind="well", error=BenchmarkError)
    _check_wells_once(benchmark_name, judged.wells)
    treated = judged.map_table.filter(pl.col("control_kind").is_null())
    of_others = [(f"{benchmark_name}, map of {name}", table) for name, table in judged.other_maps.items()]
    for where, table in ((benchmark_name, judged.map_table), *of_others):
        require_finite(
            where,
            vectors(table),
            names=table["perturbation_id"].to_list(),
            kind="perturbation",
            error=BenchmarkError,
        )
    for kind, values in (("wells", judged.vectors), ("perturbations", vectors(treated))):
        if is_collapsed(values):
            message = (
                f"{benchmark_name}: the map is collapsed: all {len(values)} {kind} have the same vector, up to "
                "rounding; the model distinguishes nothing, and every score would be one of ties; check its training"
            )
            raise BenchmarkError(message)


@finite_arguments(BenchmarkError)
def is_collapsed(values: Float[np.ndarray, "row feature"]) -> bool:
    """Returns whether all rows are one vector, up to rounding; one row alone is not."""
    if len(values) < 2:
        return False
    return bool(np.abs(values - values[0]).max() <= EQUAL_VECTORS * np.abs(values).max())


def _check_wells_once(benchmark_name: str, wells: pl.DataFrame) -> None:
    is_repeated = wells.select(pl.struct(WELL_KEYS).is_duplicated()).to_series()
    if is_repeated.any():
        twice = _well_names(wells.filter(is_repeated))
        message = (
            f"{benchmark_name}: well {twice[0]} is in the map more than once ({len(twice)} such rows); a copy of a "
            "well is not a replicate; leave the copies out"
        )
        raise BenchmarkError(message)


def _well_names(wells: pl.DataFrame) -> list[str]:
    return wells.select(pl.concat_str(WELL_KEYS, separator="/")).to_series().to_list()
