"""Leftover batch effect: can batch and plate be predicted after alignment, and is the biology still there?"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Float, Int
from pydantic import Field

from cellassets.benchmarks.batches.block_probe import BlockProbe, whitened
from cellassets.benchmarks.definition import PermutationParameters, Score
from cellassets.benchmarks.judged import JudgedMap
from cellassets.benchmarks.replicates.against_controls import at_most
from cellassets.benchmarks.retrieval.held_out_batch import some_plates
from cellassets.benchmarks.rows import below_chance, summary_score, unit_scores
from cellassets.benchmarks.ties import ties_broken, with_p_values_of
from cellassets.errors import BenchmarkError, NotApplicable
from cellassets.mapping.batch_effect import replicates_elsewhere
from cellassets.mapping.moments import group_sums
from cellassets.mapping.neighbours import nearest_elsewhere
from cellassets.mapping.relate import unit_rows
from cellassets.statistics.permutation import Mean, mean_over_nodes, permuted_within
from cellassets.statistics.plate_assignments import Assignments, plate_assignments

Draws = Float[np.ndarray, "draw batch"]


class LeftoverBatchParameters(PermutationParameters):
    """Which wells are judged, and how many.

    `wells`: held-out controls are alike in every batch; use `treated_wells` only where every perturbation is on every
    plate. `max_wells_per_plate` wells of a plate count; the others are left out at random. `n_neighbours` is the size
    of a neighbourhood. `max_queries` limits the treated wells that are searched for a replicate in another batch.
    """

    wells: Literal["held_out_controls", "treated_wells"] = Field(
        default="held_out_controls",
        description="The wells that are predicted; treated wells only if every perturbation is on every plate",
    )
    max_wells_per_plate: int = Field(default=64, ge=2, description="Wells of a plate, at most")
    n_neighbours: int = Field(default=10, ge=2, description="Neighbours that batch mixing looks at")
    max_queries: int = Field(
        default=5000, ge=10, description="Treated wells that look for a replicate in another batch, at most"
    )


def leftover_batch_effect(judged: JudgedMap, parameters: LeftoverBatchParameters) -> list[Score]:
    """Returns how well batch and plate are predicted after alignment, and batch mixing and biology kept beside them.

    `batch_predictability`: share of a batch's wells whose batch a linear probe predicts from wells of other plates.

    `batch_over_correction`: by how much `batch_predictability` is below the mean of its null distribution; its p-value
    is the lower tail of the same draws.

    `plate_predictability`: share of wells whose plate it predicts, among the plates of their batch, from other wells.

    `batch_mixing`: among the nearest wells of other plates, the share of other batches, divided by the share that their
    numbers alone would give: 1 where batches are mixed, 0 where they are separate.

    `biology_kept`: share of treated wells whose nearest well in another batch has the same perturbation.

    Null distributions: batches of plates permuted, plates as a whole (all assignments once, where they are few); plates
    of wells permuted within batches; perturbations of treated wells permuted within plates. The p-value of
    `batch_mixing` counts draws that mix no better; the others count draws that are at least as large.

    Raises:
        NotApplicable: fewer than two batches have two plates; batch and plate are then the same thing.
        BenchmarkError: there are no wells to judge.

    Source: mixing is the nearest-neighbour statistic of Schilling (1986), J. Am. Stat. Assoc. 81:799, among the wells
    of other plates.
    """
    rng = np.random.default_rng(parameters.seed)
    wells = _plate_wells(judged, parameters, rng)
    assignments = plate_assignments(wells.batch_of_plate, parameters.n_permutations, rng)
    return [
        *_batch_scores(wells, assignments),
        *_plate_scores(wells, parameters.n_permutations, rng),
        *_mixing_scores(wells, assignments, parameters.n_neighbours),
        *_biology_scores(judged, parameters, rng),
    ]


@dataclass(frozen=True)
class PlateWells:
    """Wells that differ only in plate and batch; every batch has at least two plates.

    Attributes:
        vectors: one row per well, centred on all held-out controls.
        plate: number of each well's plate.
        batches: names of the batches.
        batch_of_plate: number of each plate's batch.
    """

    vectors: Float[np.ndarray, "well feature"]
    plate: Int[np.ndarray, "well"]
    batches: list[str]
    batch_of_plate: Int[np.ndarray, "plate"]


def _plate_wells(judged: JudgedMap, parameters: LeftoverBatchParameters, rng: np.random.Generator) -> PlateWells:
    of_kind = {"held_out_controls": judged.is_held_out_control, "treated_wells": judged.is_treatment}
    rows = np.flatnonzero(of_kind[parameters.wells])
    if not len(rows):
        message = (
            f"leftover_batch_effect: none of {judged.wells.height} wells are {parameters.wells}; raise "
            "held_out_controls_frac in mapping.yaml, or set wells: treated_wells"
        )
        raise BenchmarkError(message)
    rows = rows[at_most(judged.plate_index[rows], parameters.max_wells_per_plate, rng)]
    batches, batch = np.unique(judged.wells["batch_id"].to_numpy()[rows], return_inverse=True)
    on_plate = np.unique(np.stack([batch, judged.plate_index[rows]]), axis=1)
    n_plates = np.bincount(on_plate[0], minlength=len(batches))
    if (n_plates >= 2).sum() < 2:
        message = (
            f"leftover_batch_effect: of {len(batches)} batches {(n_plates >= 2).sum()} have {parameters.wells} on two "
            "plates; with one plate per batch, batch and plate are the same thing; expected two batches with two plates"
        )
        raise NotApplicable(message)
    rows = rows[n_plates[batch] >= 2]
    return _numbered(judged, rows)


def _numbered(judged: JudgedMap, rows: Int[np.ndarray, "well"]) -> PlateWells:
    _, first, plate = np.unique(judged.plate_index[rows], return_index=True, return_inverse=True)
    of_plates = judged.wells[rows[first]]
    batches, batch = np.unique(of_plates["batch_id"].to_numpy(), return_inverse=True)
    return PlateWells(judged.vectors[rows] - _origin(judged), plate, batches.tolist(), batch)


def _origin(judged: JudgedMap) -> Float[np.ndarray, "feature"]:
    """The mean of the held-out controls, as in the batch effect of a map."""
    controls = judged.vectors[judged.is_held_out_control].astype(np.float64)
    return controls.mean(axis=0) if len(controls) else np.zeros(judged.vectors.shape[1])


def _means(values: np.ndarray, group: Int[np.ndarray, "row"]) -> Float[np.ndarray, "group"]:
    return np.bincount(group, values) / np.bincount(group)


def _rows(metric: str, wells: PlateWells, values: Draws, judged_by: Draws, *, end: float = 1.0) -> list[Score]:
    """A summary and one row per batch, with p-values from another statistic of the same draws.

    Plates of one batch share the leftover batch effect, so the mean is taken over batches and not over plates. `end` is
    the value where batches are separate: 1 for shares of wells, and 0 for the mixing, which can be above 1.
    """
    mean = mean_over_nodes(values[0], np.arange(len(wells.batches))[:, None])
    summary = replace(summary_score(metric, mean, values, within=(0.0, end or np.inf), end=end), unit="batch")
    n_wells = np.bincount(wells.batch_of_plate[wells.plate])
    return with_p_values_of([summary, *unit_scores(metric, wells.batches, values, n_wells=n_wells, end=end)], judged_by)


def _batch_scores(wells: PlateWells, assignments: Assignments) -> list[Score]:
    rows = whitened(wells.vectors, np.zeros(len(wells.plate), dtype=np.int64))
    probe = BlockProbe(rows, wells.plate)
    draws = np.empty((2, len(assignments), len(wells.batches)))
    for draw, batch in enumerate(assignments):
        draws[:, draw] = [_means(_means(found, wells.plate), batch) for found in probe.answers(batch)]
    judged_by = ties_broken(draws[0], draws[1])
    scores = _rows("batch_predictability", wells, draws[0], judged_by)
    return [*scores, below_chance("batch_over_correction", scores[0], judged_by.mean(axis=1))]


def _plate_scores(wells: PlateWells, n_permutations: int, rng: np.random.Generator) -> list[Score]:
    """Plates within their batch, of batches with two wells on every plate; no rows if there is no such batch."""
    counts = np.bincount(wells.plate)
    is_full = np.bincount(wells.batch_of_plate, counts < 2) == 0
    if not is_full.any():
        return []
    here = np.flatnonzero(is_full[wells.batch_of_plate[wells.plate]])
    plate = np.unique(wells.plate[here], return_inverse=True)[1]
    batch = np.unique(wells.batch_of_plate[wells.plate[here]], return_inverse=True)[1]
    kept = PlateWells(
        wells.vectors[here],
        plate,
        [name for name, full in zip(wells.batches, is_full, strict=True) if full],
        batch[np.unique(plate, return_index=True)[1]],
    )
    rows = whitened(kept.vectors, batch)
    probes = [(own, BlockProbe(rows[own], np.arange(len(own)))) for own in _rows_by(batch)]
    labels = [plate, *(plate[permuted_within(batch, rng)] for _ in range(n_permutations))]
    draws = np.empty((2, len(labels), len(kept.batches)))
    for draw, label in enumerate(labels):
        values = np.empty((2, len(label)))
        for own, probe in probes:
            values[:, own] = probe.answers(label[own] - label[own].min())
        draws[:, draw] = [_means(_means(value, label), kept.batch_of_plate) for value in values]
    return _rows("plate_predictability", kept, draws[0], ties_broken(draws[0], draws[1]))


def _rows_by(group: Int[np.ndarray, "well"]) -> list[Int[np.ndarray, "row"]]:
    return [np.flatnonzero(group == number) for number in range(int(group.max()) + 1)]


def _mixing_scores(wells: PlateWells, assignments: Assignments, n_neighbours: int) -> list[Score]:
    """Among the nearest wells of other plates, the share of other batches, divided by its expectation.

    Ties are broken by the mean cosine to the wells of other plates of the same batch.
    """
    counts = np.bincount(wells.plate)
    n_nearest = min(n_neighbours, int(counts.min()))  # all of them can then be of the well's own batch
    unit = unit_rows(wells.vectors)
    nearest = nearest_elsewhere(unit, np.arange(len(unit)), wells.plate, n_neighbours=n_nearest)
    between = np.zeros((len(counts), len(counts)))
    np.add.at(between, (wells.plate[:, None], wells.plate[nearest]), 1.0)
    share = between / between.sum(axis=1, keepdims=True)
    expected = np.where(np.eye(len(counts), dtype=bool), 0.0, counts)
    expected /= expected.sum(axis=1, keepdims=True)
    sums = group_sums(unit, wells.plate, len(counts)) / counts[:, None]
    cosines = sums @ sums.T
    draws = np.empty((2, len(assignments), len(wells.batches)))
    for draw, batch in enumerate(assignments):
        is_same = (batch[:, None] == batch) & ~np.eye(len(batch), dtype=bool)
        mixing = (1 - (share * is_same).sum(axis=1)) / (1 - (expected * is_same).sum(axis=1))
        alike = (1 + (cosines * is_same).sum(axis=1) / is_same.sum(axis=1)) / 2
        draws[:, draw] = _means(mixing, batch), _means(alike, batch)
    return _rows("batch_mixing", wells, draws[0], ties_broken(-draws[0], draws[1]), end=0.0)


def _biology_scores(judged: JudgedMap, parameters: LeftoverBatchParameters, rng: np.random.Generator) -> list[Score]:
    """Replicate retrieval across batches, with labels permuted within plates; no rows without replicates."""
    treated = np.flatnonzero(judged.is_treatment)
    label = np.unique(np.array(judged.units)[treated], return_inverse=True)[1]
    batch = np.unique(judged.wells["batch_id"].to_numpy()[treated], return_inverse=True)[1]
    asking, _ = replicates_elsewhere(label, batch)
    if not len(asking):
        return []
    is_askable = np.zeros((label.max() + 1, batch.max() + 1), dtype=bool)
    is_askable[label[asking], batch[asking]] = True
    plate = judged.plate_index[treated]
    is_tested = np.isin(plate, np.unique(plate[asking]))
    tested = np.flatnonzero(some_plates(plate, is_tested, parameters.max_queries, rng))
    unit = unit_rows(judged.vectors[treated] - _origin(judged)).astype(np.float32)
    nearest = nearest_elsewhere(unit, tested, batch)[:, 0]

    def retrieved(label: Int[np.ndarray, "well"]) -> Mean:
        is_asked = is_askable[label[tested], batch[tested]]
        hits = (label[nearest] == label[tested])[is_asked].astype(np.float64)
        return mean_over_nodes(hits, label[tested][is_asked][:, None])

    observed = retrieved(label)
    permuted = [retrieved(label[permuted_within(plate, rng)]).value for _ in range(parameters.n_permutations)]
    draws = np.array([observed.value, *permuted])[:, None]
    return [replace(summary_score("biology_kept", observed, draws, within=(0.0, 1.0)), unit="well")]
