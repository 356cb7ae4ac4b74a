"""How much of the batch effect is left, and how much biology is kept: BATCH_EFFECT rows for one step of alignment.

Both are nearest-neighbour rates by the cosine of embeddings centred on the controls. Similarities are computed in
blocks; at most `n_queries` wells ask for their neighbour, so a map of any size is judged in seconds.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl
from jaxtyping import Bool, Float, Int

from cellassets.mapping.relate import unit_rows
from cellassets.tables.schemas import BATCH_EFFECT

BLOCK_VALUES = 1 << 24  # similarities held at once: 128 MiB of float64


@dataclass(frozen=True)
class JudgedWells:
    """Which wells the batch effect is judged on.

    `is_control` are negative controls that alignment was not fitted on; `is_treatment` wells with a perturbation;
    `unit_index` says which wells are replicates.
    """

    batch_index: Int[np.ndarray, "well"]
    unit_index: Int[np.ndarray, "well"]
    is_control: Bool[np.ndarray, "well"]
    is_treatment: Bool[np.ndarray, "well"]


def batch_effect_rows(
    step: str, embeddings: Float[np.ndarray, "well feature"], judged: JudgedWells, *, n_queries: int, seed: int
) -> pl.DataFrame:
    """Returns the BATCH_EFFECT rows of one step.

    `batch_accuracy`: share of held-out negative controls whose nearest other one is of the same batch; chance is
    sum n_b (n_b - 1) / (n (n - 1)), the leave-one-out form of the sum of squared batch shares.
    `replicate_retrieval`: share of treatment wells whose nearest well in another batch has the same perturbation;
    chance is the mean share of such wells there.

    Args:
        step: name of the step after which the embeddings are.
        embeddings: one row a well.
        judged: which wells count.
        n_queries: most wells that ask for their neighbour; more are sampled.
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
    queries = _sample(np.arange(len(unit)), n_queries, seed)
    nearest = _nearest(unit, queries, np.arange(len(unit)))
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
    """Value, chance and n; None where no perturbation sits in two batches."""
    if not len(unit):
        return None
    cells, counts = np.unique(np.stack([label, batch]), axis=1, return_counts=True)
    of_label = np.bincount(label)
    in_cell = {(int(l), int(b)): int(n) for (l, b), n in zip(cells.T, counts, strict=True)}
    n_same = np.array([of_label[l] - in_cell[int(l), int(b)] for l, b in zip(label, batch, strict=True)])
    asking = np.flatnonzero(n_same > 0)
    if not len(asking):
        return None
    queries = _sample(asking, n_queries, seed)
    nearest = _nearest(unit, queries, batch)
    n_elsewhere = len(unit) - np.bincount(batch)[batch[queries]]
    value = float((label[nearest] == label[queries]).mean())
    return value, float((n_same[queries] / n_elsewhere).mean()), len(queries)


def _nearest(
    unit: Float[np.ndarray, "well feature"], queries: Int[np.ndarray, "query"], group: Int[np.ndarray, "well"]
) -> Int[np.ndarray, "query"]:
    """Nearest well that is not of the query's group."""
    n_block = max(1, BLOCK_VALUES // len(unit))
    found = [np.zeros(0, dtype=np.int64)]
    for start in range(0, len(queries), n_block):
        block = queries[start : start + n_block]
        cosines = unit[block] @ unit.T
        cosines[group[block][:, None] == group[None, :]] = -np.inf
        found.append(cosines.argmax(axis=1))
    return np.concatenate(found)


def _sample(rows: Int[np.ndarray, "row"], n_most: int, seed: int) -> Int[np.ndarray, "sample"]:
    if len(rows) <= n_most:
        return rows
    return np.sort(np.random.default_rng(seed).choice(rows, n_most, replace=False))
