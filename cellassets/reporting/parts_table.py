"""The table of a report that shows a model's scores on wells that it has seen beside those on wells that it has not."""

from collections.abc import Sequence
from typing import Any

import polars as pl

from cellassets.benchmarks.parts import EXPOSURES, TITLES
from cellassets.benchmarks.registry import BENCHMARKS


def parts_table(rows: pl.DataFrame, benchmarks: Sequence[str]) -> dict[str, Any] | None:
    """Returns columns and rows of the table; None where the model has one score per benchmark.

    Each column is a part: its title, its experiments, and the share of its perturbations that are new to the model.

    Args:
        rows: LEADERBOARD rows of one model and one dataset.
        benchmarks: names in the order of the rows.
    """
    by_exposure = pl.col("exposure").replace_strict({name: place for place, name in enumerate(EXPOSURES)})
    keys = ["part_id", "exposure", "experiments", "n_experiments", "unseen_perturbations_frac"]
    parts = rows.select(keys).unique("part_id").sort(-by_exposure, -pl.col("n_experiments"), "part_id")
    if parts.height < 2:
        return None
    values = {(row["benchmark_name"], row["part_id"]): row for row in rows.iter_rows(named=True)}
    return {
        "columns": [{**part, "title": TITLES[part["exposure"]]} for part in parts.iter_rows(named=True)],
        "rows": [
            {"title": BENCHMARKS[name].title, "cells": [values.get((name, part)) for part in parts["part_id"]]}
            for name in benchmarks
        ],
    }
