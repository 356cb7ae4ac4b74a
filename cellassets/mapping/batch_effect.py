"""Measures how much batch effect is left after a step of alignment, and how much biology: BATCH_EFFECT rows.

Both are nearest-neighbour rates, by the cosine of embeddings that are centred on the controls. Similarities are
computed in blocks, and at most `n_queries` wells look for their neighbour, so that a map of any size takes seconds.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl
from jaxtyping import Bool, Float, Int

from cellassets.errors import AlignmentError
from cellassets.finite import finite_arguments
from cellassets.mapping.neighbours import nearest_elsewhere
from cellassets.mapping.relate import unit_rows
from cellassets.tables.schemas import BATCH_EFFECT


@dataclass(frozen=True)
class JudgedWells:
    """The wells that the batch effect is measured on.

    `is_control` marks the negative controls that alignment was not fitted on; `is_treatment` marks the wells with a
    perturbation; wells with the same `unit_index` are replicates.
    """

    batch_index: Int[np.ndarray, "well"]
    unit_index: Int[np.ndarray, "well"]
    is_control: Bool[np.ndarray, "well"]
    is_treatment: Bool[np.ndarray, "well"]


@finite_arguments(AlignmentError)
def batch_effect_rows(
    step: str, embeddings: Float[np.ndarray, "well feature"], judged: JudgedWells, *, n_queries: int, seed: int
) -> pl.DataFrame:
    """Returns the BATCH_EFFECT rows of one step.

    `batch_accuracy` is the share of held-out negative controls whose nearest other held-out control is from the same
    batch. Chance is sum n_b (n_b - 1) / (n (n - 1)), the leave-one-out form of the sum of squared batch shares.
    `replicate_retrieval` is the share of treated wells whose nearest well in another batch has the same perturbation.
    Chance is the mean share of such wells in other batches.

    Args:
        step: name of the step that made these embeddings.
        embeddings: one row per well.
        judged: the wells that count.
        n_queries: maximum number of wells that look for their neighbour; if there are more, they are sampled.
        seed: seed of the sample.
    """
    origin = embeddings[judged.is_control].mean(axis=0) if judged.is_control.any() else 0.0
    unit = unit_rows(embeddings - origin)
    rows = []
    controls = np.flatnonzero(judged.is_control)
    if len(controls) > 1:
        rows.append(("batch_accuracy", *_batch_accuracy(unit[controls], judged.batch_index[controls], n_queries, seed)))
    treated = np.flatnonzero(judged.is_treatment)
    retrieval = _replicate_retrieval(
        unit[treated], judged.batch_index[treated], judged.unit_index[treated], n_queries, seed
    )
    if retrieval is not None:
        rows.append(("replicate_retrieval", *retrieval))
    columns = ["metric", "value", "chance", "n_wells"]
    table = pl.DataFrame(rows, schema=columns, orient="row").with_columns(pl.lit(step).alias("step"))
    return BATCH_EFFECT.conform(table, source=f"batch effect after {step}")


def _batch_accuracy(
    unit: Float[np.ndarray, "well feature"], batch: Int[np.ndarray, "well"], n_queries: int, seed: int
) -> tuple[float, float, int]:
    queries = sampled(np.arange(len(unit)), n_queries, seed)
    nearest = nearest_elsewhere(unit, queries, np.arange(len(unit)))[:, 0]
    counts = np.bincount(batch)
    chance = float((counts * (counts - 1)).sum() / (len(unit) * (len(unit) - 1)))
    return float((batch[nearest] == batch[queries]).mean()), chance, len(queries)


def _replicate_retrieval(
    unit: Float[np.ndarray, "well feature"],
    batch: Int[np.ndarray, "well"],
    label: Int[np.ndarray, "well"],
    n_queries: int,
    seed: int,
) -> tuple[float, float, int] | None:
    """Value, chance and n; None if no perturbation is in two batches."""
    asking, n_same = replicates_elsewhere(label, batch)
    if not len(asking):
        return None
    queries = sampled(asking, n_queries, seed)
    nearest = nearest_elsewhere(unit, queries, batch)[:, 0]
    n_elsewhere = len(unit) - np.bincount(batch)[batch[queries]]
    value = float((label[nearest] == label[queries]).mean())
    return value, float((n_same[queries] / n_elsewhere).mean()), len(queries)


def replicates_elsewhere(
    label: Int[np.ndarray, "well"], group: Int[np.ndarray, "well"]
) -> tuple[Int[np.ndarray, "asking"], Int[np.ndarray, "well"]]:
    """Returns the wells that have replicates in other groups, and the number of such replicates for every well.

    Args:
        label: wells with the same label are replicates.
        group: batch or plate of every well.
    """
    _, cell, counts = np.unique(np.stack([label, group]), axis=1, return_inverse=True, return_counts=True)
    n_same = np.bincount(label)[label] - counts[cell.reshape(-1)]
    return np.flatnonzero(n_same > 0), n_same


def sampled(rows: Int[np.ndarray, "row"], n_most: int, seed: int) -> Int[np.ndarray, "sample"]:
    """Returns at most `n_most` of the rows, drawn at random, in their original order."""
    if len(rows) <= n_most:
        return rows
    return np.sort(np.random.default_rng(seed).choice(rows, n_most, replace=False))
