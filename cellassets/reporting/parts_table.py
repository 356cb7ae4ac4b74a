"""The table of a report that shows a model's scores on wells that it has seen beside those on wells that it has not."""

from collections.abc import Sequence
from typing import Any

import polars as pl

from cellassets.benchmarks.parts import EXPOSURES, TITLES
from cellassets.benchmarks.registry import BENCHMARKS


def parts_table(rows: pl.DataFrame, benchmarks: Sequence[str], *, is_trained: bool = True) -> dict[str, Any] | None:
    """Returns columns and rows of the table; None where the model has one score per benchmark.

    Each column is a part: its title, its experiments, and the share of its perturbations that are new to the model. For
    a model that was not trained that share says nothing, and is left out.

    Args:
        rows: LEADERBOARD rows of one model and one dataset.
        benchmarks: names in the order of the rows.
        is_trained: false for a model that was not trained on any wells.
    """
    by_exposure = pl.col("exposure").replace_strict({name: place for place, name in enumerate(EXPOSURES)})
    keys = ["part_id", "exposure", "experiments", "n_experiments", "unseen_perturbations_frac"]
    parts = rows.select(keys).unique("part_id").sort(-by_exposure, -pl.col("n_experiments"), "part_id")
    if parts.height < 2:
        return None
    values = {(row["benchmark_name"], row["part_id"]): row for row in rows.iter_rows(named=True)}
    return {
        "columns": [
            {
                **part,
                "title": TITLES[part["exposure"]],
                "unseen_perturbations": _unseen_perturbations(part) if is_trained else "",
            }
            for part in parts.iter_rows(named=True)
        ],
        "rows": [
            {"title": BENCHMARKS[name].title, "cells": [values.get((name, part)) for part in parts["part_id"]]}
            for name in benchmarks
        ],
    }


def _unseen_perturbations(part: dict[str, Any]) -> str:
    """The share of perturbations that are new to a trained model, in words; nothing where it is 0 or not known."""
    share = part["unseen_perturbations_frac"]
    if part["exposure"] == "unknown" or not share:
        return ""
    return "unseen perturbations" if share == 1 else f"{100 * share:.0f}% unseen perturbations"
