"""Classification in a held-out batch: a nearest neighbour and a linear probe predict the perturbation of a well."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int
from pydantic import Field

from cellassets.benchmarks.definition import Score
from cellassets.benchmarks.judged import JudgedMap
from cellassets.benchmarks.replicates.chosen_wells import PlateParameters, chosen_wells
from cellassets.benchmarks.rows import summary_score, unit_scores
from cellassets.benchmarks.ties import ties_broken, with_p_values_of
from cellassets.errors import NotApplicable
from cellassets.mapping.batch_effect import replicates_elsewhere
from cellassets.mapping.moments import group_sums, source_moments
from cellassets.mapping.neighbours import nearest_elsewhere
from cellassets.mapping.relate import unit_rows
from cellassets.mapping.source import ArrayWells
from cellassets.statistics.linear_probe import (
    Metric,
    metric_of,
    nearest_class,
    summed_fourth_powers,
)
from cellassets.statistics.permutation import mean_over_nodes, permuted_within

SUMS_AT_ONCE = 1 << 24  # perturbations x groups x features: 64 MiB
Draws = Float[np.ndarray, "draw unit"]


class HeldOutBatchParameters(PlateParameters):
    """What is held out at a time, and how many wells and permutations are used.

    Each `batch` (or `plate`) in turn is the test set; where there are more than `n_splits`, that many are drawn. The
    linear probe is tested on at most `max_probe_wells` wells and permuted `n_probe_permutations` times.
    """

    split_by: Literal["batch", "plate"] = Field(
        default="batch", description="What is held out: one batch, or one plate"
    )
    n_splits: int = Field(
        default=20, ge=1, description="Held-out batches or plates, at most; they are drawn at random if there are more"
    )
    max_probe_wells: int = Field(
        default=20_000, ge=10, description="Held-out wells that the linear probe classifies, at most"
    )
    n_permutations: int = Field(default=499, ge=99)
    n_probe_permutations: int = Field(default=99, ge=99, description="Permutations of the linear probe")


def held_out_batch_classification(judged: JudgedMap, parameters: HeldOutBatchParameters) -> list[Score]:
    """Returns how often the perturbation of a well is predicted from wells of other batches alone.

    Predictions come from the nearest of those wells (cosine), and from a linear probe fitted on them. What is predicted
    is the perturbation: of a gene with several guides, the guide; the value of the gene is the mean over its wells. (A
    gene could be predicted from other wells of the same guide, whatever that guide does.) Each batch is the test set
    once. Wells count whose perturbation is in another batch too. The null distribution permutes labels within
    plates, in test and training wells together. Ties of accuracies are broken by the similarity of a perturbation's
    wells in different batches (nearest neighbour), or by how near its wells are to the mean of their own class (probe).

    Raises:
        NotApplicable: there is one batch, or no perturbation is in two batches.

    Source: the question of RxRx1 (Sypetkowski et al. 2023, arXiv:2301.05768), without training an encoder for it.
    """
    rng = np.random.default_rng(parameters.seed)
    wells = _split_wells(chosen_wells(judged, parameters), parameters, rng)
    is_probed = some_plates(wells.plate, wells.is_tested, parameters.max_probe_wells, rng)
    seed = int(rng.integers(1 << 32))
    by_neighbour = _neighbour_draws(wells, parameters.n_permutations, seed)
    by_probe = _probe_draws(wells, is_probed, parameters.n_probe_permutations, seed)
    return [
        *_scores("nearest_neighbour_accuracy", wells, wells.is_tested, *by_neighbour),
        *_scores("linear_probe_accuracy", wells, is_probed, *by_probe),
    ]


@dataclass(frozen=True)
class SplitWells:
    """Treated wells and how they are split.

    Attributes:
        vectors: one row per well.
        units: names of the units of the map.
        label: number of each well's perturbation.
        unit: number of each perturbation's unit.
        group: number of each well's batch (or plate), which is held out as a whole.
        plate: number of each well's plate; labels are exchangeable within it.
        is_tested: wells of the groups that are held out in turn.
        is_askable: perturbations x groups: other groups have wells of the perturbation to learn from.
    """

    vectors: Float[np.ndarray, "well feature"]
    units: list[str]
    label: Int[np.ndarray, "well"]
    unit: Int[np.ndarray, "label"]
    group: Int[np.ndarray, "well"]
    plate: Int[np.ndarray, "well"]
    is_tested: Bool[np.ndarray, "well"]
    is_askable: Bool[np.ndarray, "label group"]

    @property
    def n_labels(self) -> int:
        """Number of perturbations."""
        return len(self.unit)


def _split_wells(judged: JudgedMap, parameters: HeldOutBatchParameters, rng: np.random.Generator) -> SplitWells:
    treated = np.flatnonzero(judged.is_treatment)
    units, of_well = np.unique(np.array(judged.units)[treated], return_inverse=True)
    pairs = np.stack([of_well, np.unique(judged.wells["perturbation_id"].to_numpy()[treated], return_inverse=True)[1]])
    (unit, _), label = np.unique(pairs, axis=1, return_inverse=True)
    label = label.reshape(-1)
    plate = judged.plate_index[treated]
    by = judged.wells["batch_id"].to_numpy()[treated] if parameters.split_by == "batch" else plate
    groups, group = np.unique(by, return_inverse=True)
    asking, _ = replicates_elsewhere(label, group)
    if not len(asking):
        many = {"batch": "batches", "plate": "plates"}[parameters.split_by]
        message = (
            f"held_out_batch_classification: none of {len(unit)} perturbations has wells in two of {len(groups)} "
            f"{many}; nothing can be learnt when one is held out"
        )
        raise NotApplicable(message)
    is_askable = np.zeros((len(unit), len(groups)), dtype=bool)
    is_askable[label[asking], group[asking]] = True
    asked = np.flatnonzero(is_askable.any(axis=0))
    held_out = rng.permutation(asked)[: parameters.n_splits]
    is_tested = np.isin(group, held_out)
    return SplitWells(judged.vectors[treated], units.tolist(), label, unit, group, plate, is_tested, is_askable)


def some_plates(
    plate: Int[np.ndarray, "well"], is_tested: Bool[np.ndarray, "well"], n_most: int, rng: np.random.Generator
) -> Bool[np.ndarray, "well"]:
    """Returns the wells of random plates: as many plates as have at most `n_most` wells together, and at least one.

    Plates are drawn as a whole, so that a perturbation has equally many of the wells under every permutation within
    plates.

    Args:
        plate: plate of each well.
        is_tested: wells whose plates may be drawn.
        n_most: largest number of wells.
        rng: source of the draws.
    """
    plates, counts = np.unique(plate[is_tested], return_counts=True)
    order = rng.permutation(len(plates))
    n_plates = max(1, int((np.cumsum(counts[order]) <= n_most).sum()))
    return is_tested & np.isin(plate, plates[order[:n_plates]])


def _scores(
    metric: str, wells: SplitWells, is_tested: Bool[np.ndarray, "well"], shares: Draws, finer: Draws
) -> list[Score]:
    """The summary and one row per unit; the finer statistic breaks ties of accuracies in p-values."""
    of_label = _counts(wells, wells.label, is_tested)
    n_wells = np.bincount(wells.unit, of_label, len(wells.units)).astype(np.int64)
    is_kept = n_wells > 0
    names = [name for name, kept in zip(wells.units, is_kept, strict=True) if kept]
    shares, finer = (_of_units(wells, values, of_label)[:, is_kept] for values in (shares, finer))
    n_wells = n_wells[is_kept]
    mean = mean_over_nodes(shares[0], np.arange(len(names))[:, None])
    summary = summary_score(metric, mean, shares, within=(0.0, 1.0))
    rows = [summary, *unit_scores(metric, names, shares, n_wells=n_wells, end=1.0)]
    return with_p_values_of(rows, ties_broken(shares, finer))


def _of_units(
    wells: SplitWells, draws: Float[np.ndarray, "draw label"], n_wells: Int[np.ndarray, "label"]
) -> Float[np.ndarray, "draw all"]:
    """The mean over the tested wells of each unit, from the means of its perturbations."""
    if len(wells.units) == wells.n_labels:
        return draws
    sums = group_sums((draws * n_wells).T, wells.unit, len(wells.units)).T
    return sums / np.maximum(np.bincount(wells.unit, n_wells, len(wells.units)), 1)


def _counts(
    wells: SplitWells, label: Int[np.ndarray, "well"], is_tested: Bool[np.ndarray, "well"]
) -> Int[np.ndarray, "label"]:
    """Tested wells of each perturbation: the same number under every permutation within plates."""
    is_asked = is_tested & wells.is_askable[label, wells.group]
    return np.bincount(label[is_asked], minlength=wells.n_labels)


def _mean_of_asked(
    wells: SplitWells, label: Int[np.ndarray, "well"], tested: Int[np.ndarray, "tested"], values: np.ndarray
) -> Float[np.ndarray, "label"]:
    """Mean of the values over each perturbation's tested wells; 0 for a perturbation without such wells."""
    is_asked = wells.is_askable[label[tested], wells.group[tested]]
    asked = label[tested][is_asked]
    counts = np.bincount(asked, minlength=wells.n_labels)
    return np.bincount(asked, values[is_asked], wells.n_labels) / np.maximum(counts, 1)


def _labels(wells: SplitWells, n_permutations: int, seed: int) -> Iterator[Int[np.ndarray, "well"]]:
    """The labels as observed, and permuted within plates."""
    rng = np.random.default_rng(seed)
    yield wells.label
    for _ in range(n_permutations):
        yield wells.label[permuted_within(wells.plate, rng)]


def _neighbour_draws(wells: SplitWells, n_permutations: int, seed: int) -> tuple[Draws, Draws]:
    """Nearest-neighbour accuracy per perturbation, and similarity of its wells in different groups."""
    unit = unit_rows(wells.vectors).astype(np.float32)
    tested = np.flatnonzero(wells.is_tested)
    nearest = nearest_elsewhere(unit, tested, wells.group)[:, 0]
    found = np.empty((2, 1 + n_permutations, wells.n_labels))
    for draw, label in enumerate(_labels(wells, n_permutations, seed)):
        found[0, draw] = _mean_of_asked(wells, label, tested, label[nearest] == label[tested])
        found[1, draw] = _agreement(wells, unit, label)
    return found[0], found[1]


def _agreement(
    wells: SplitWells, unit: Float[np.ndarray, "well feature"], label: Int[np.ndarray, "well"]
) -> Float[np.ndarray, "label"]:
    """Mean cosine of wells of one perturbation in different groups, scaled to 0 to 1."""
    n_labels, n_groups = wells.is_askable.shape
    cell = label * n_groups + wells.group
    counts = np.bincount(cell, minlength=n_labels * n_groups).reshape(n_labels, n_groups)
    alike, width = np.zeros(n_labels), max(1, SUMS_AT_ONCE // counts.size)
    for start in range(0, unit.shape[1], width):
        sums = group_sums(unit[:, start : start + width], cell, counts.size).reshape(n_labels, n_groups, -1)
        of_label = sums.sum(axis=1, dtype=np.float64)
        alike += (of_label**2).sum(axis=1) - np.einsum("lgf,lgf->l", sums, sums, dtype=np.float64)
    n_pairs = counts.sum(axis=1) ** 2 - (counts**2).sum(axis=1)
    return (1 + np.divide(alike, n_pairs, out=np.zeros(n_labels), where=n_pairs > 0)) / 2


def _probe_draws(
    wells: SplitWells, is_probed: Bool[np.ndarray, "well"], n_permutations: int, seed: int
) -> tuple[Draws, Draws]:
    """Accuracy of the linear probe per perturbation, and how near its wells are to the mean of their own class."""
    splits = _fitted(wells, is_probed)
    tested = np.concatenate([split.rows for split in splits])
    found = np.empty((2, 1 + n_permutations, wells.n_labels))
    for draw, label in enumerate(_labels(wells, n_permutations, seed)):
        total = group_sums(wells.vectors, label, wells.n_labels)
        counts = np.bincount(label, minlength=wells.n_labels)
        answers = [split.answers(wells, label, total, counts) for split in splits]
        for number, values in enumerate(zip(*answers, strict=True)):
            found[number, draw] = _mean_of_asked(wells, label, tested, np.concatenate(values))
    return found[0], found[1]


@dataclass(frozen=True)
class _Split:
    """A held-out group: all its wells, the tested ones, and these in the metric of the training wells."""

    held_out: Int[np.ndarray, "held_out"]
    rows: Int[np.ndarray, "row"]
    test: Float[np.ndarray, "row feature"]
    metric: Metric

    def answers(
        self,
        wells: SplitWells,
        label: Int[np.ndarray, "well"],
        total: Float[np.ndarray, "label feature"],
        counts: Int[np.ndarray, "label"],
    ) -> tuple[Bool[np.ndarray, "row"], Float[np.ndarray, "row"]]:
        """Returns which wells the probe predicts correctly, and how near it is, from sums and counts of all wells."""
        here, n_labels = label[self.held_out], wells.n_labels
        n_training = counts - np.bincount(here, minlength=n_labels)
        sums = total - group_sums(wells.vectors[self.held_out], here, n_labels)
        means = sums / np.maximum(n_training, 1)[:, None]
        return nearest_class(self.test, self.metric.apply(means), label[self.rows], n_training > 0)


def _fitted(wells: SplitWells, is_probed: Bool[np.ndarray, "well"]) -> list[_Split]:
    source, found = ArrayWells(wells.vectors), []
    every = source_moments(source, np.arange(source.n_wells), has_products=True)
    for group in np.unique(wells.group[is_probed]):
        is_here = wells.group == group
        here = np.flatnonzero(is_here)
        training = every.less(source_moments(source, here, has_products=True))
        metric = metric_of(training, summed_fourth_powers(wells.vectors, np.flatnonzero(~is_here), training.mean))
        rows = np.flatnonzero(is_here & is_probed)
        found.append(_Split(here, rows, metric.apply(wells.vectors[rows]), metric))
    return found
