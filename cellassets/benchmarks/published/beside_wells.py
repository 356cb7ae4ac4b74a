"""Published statistics of wells beside the scores of a map: EFAAR's consistency and magnitude, copairs' precision.

The statistics themselves are in `efaar_wells` and `copairs`. Each function here takes a judged map and the parameters
of the benchmark that it stands beside.
"""

import numpy as np
import polars as pl
from jaxtyping import Bool, Float, Shaped

from cellassets.benchmarks.definition import PublishedValue
from cellassets.benchmarks.judged import JudgedMap
from cellassets.benchmarks.published import copairs, copairs_null, efaar_wells
from cellassets.benchmarks.replicates.magnitude import MagnitudeParameters
from cellassets.benchmarks.retrieval.phenotypic_activity import ActivityParameters
from cellassets.benchmarks.retrieval.phenotypic_consistency import PhenotypicConsistencyParameters
from cellassets.configuration import Parameters
from cellassets.errors import NotApplicable
from cellassets.mapping.aggregate import group_mean
from cellassets.mapping.controls import is_negative_control
from cellassets.mapping.relate import is_combination
from cellassets.statistics.significance import SIGNIFICANCE_LEVEL

CONTROL = "negative control"
EFAAR, COPAIRS = "Celik et al. 2024 (EFAAR)", "Kalinin et al. 2025 (copairs)"


def perturbation_consistency(judged: JudgedMap, _parameters: Parameters) -> list[PublishedValue]:
    """Returns the mean of EFAAR's consistency over perturbations with two wells.

    It has no p-value here: the published one needs a list of genes that the cells do not express.
    """
    wells, names = judged.vectors[judged.is_treatment], np.array(judged.units)[judged.is_treatment]
    return _mean_of("mean cosine of replicates", efaar_wells.perturbation_consistency(wells, names))


def perturbation_magnitude(judged: JudgedMap, parameters: MagnitudeParameters) -> list[PublishedValue]:
    """Returns the mean of EFAAR's energy distance to the negative controls over perturbations with five wells.

    All negative controls count, as published, also those that alignment was fitted on. It has no p-value here: the
    published one needs a list of genes that the cells do not express.

    Raises:
        BenchmarkError: there is no negative control.
    """
    is_control, is_used = _controls_and_used(judged)
    names = np.where(is_control, CONTROL, np.array(judged.units))[is_used]
    table = efaar_wells.perturbation_magnitude(judged.vectors[is_used], names, control=CONTROL, seed=parameters.seed)
    return _mean_of("mean energy distance to controls", table)


def phenotypic_activity(judged: JudgedMap, parameters: ActivityParameters) -> list[PublishedValue]:
    """Returns copairs' mean average precision of replicates against all negative controls, and the share retrieved.

    Raises:
        BenchmarkError: no perturbation has two wells.
    """
    is_control, is_used = _controls_and_used(judged)
    names = np.array(judged.units)[is_used]
    scores = copairs.phenotypic_activity(judged.vectors[is_used], names, is_control[is_used])
    return _retrieved(scores, names, parameters.seed)


def phenotypic_consistency(judged: JudgedMap, parameters: PhenotypicConsistencyParameters) -> list[PublishedValue]:
    """Returns copairs' mean average precision of the guides of a gene among all guides, and the share retrieved.

    Where there are more guides than `max_perturbations`, the guides of a random part of the genes are used.

    Raises:
        NotApplicable: the label is not a gene; copairs has one label per profile, sets and targets overlap.
        BenchmarkError: no gene has two guides.
    """
    if parameters.label != "gene":
        message = f"phenotypic_consistency by {parameters.label}: the published statistic is of one label per profile"
        raise NotApplicable(message)
    is_single = [not is_combination(name) for name in judged.wells["gene_symbol"].fill_null("").to_list()]
    is_kept = judged.wells["perturbation_kind"].eq("gene").to_numpy() & judged.is_treatment & np.array(is_single)
    profiles, guides, genes = guide_profiles(judged, is_kept)
    if len(guides) > parameters.max_perturbations:  # time and memory grow with the square of their number
        names, code, sizes = np.unique(genes, return_inverse=True, return_counts=True)
        order = np.random.default_rng(parameters.seed).permutation(len(names))
        drawn = order[np.cumsum(sizes[order]) <= parameters.max_perturbations]
        is_drawn = np.isin(code, drawn)
        profiles, guides, genes = profiles[is_drawn], guides[is_drawn], genes[is_drawn]
    return _retrieved(copairs.phenotypic_consistency(profiles, genes, guides), genes, parameters.seed)


def guide_profiles(
    judged: JudgedMap, is_kept: Bool[np.ndarray, "well"]
) -> tuple[Float[np.ndarray, "guide feature"], Shaped[np.ndarray, "guide"], Shaped[np.ndarray, "guide"]]:
    """Returns the mean vector of each guide, the guides, and the gene of each guide.

    Args:
        judged: the map.
        is_kept: wells of genes.

    Raises:
        NotApplicable: there is no such well.
    """
    if not is_kept.any():
        message = "the map has no wells of genes"
        raise NotApplicable(message)
    guides = judged.wells["perturbation_id"].to_numpy()[is_kept]
    names, first, code = np.unique(guides, return_index=True, return_inverse=True)
    genes = judged.wells["gene_symbol"].to_numpy()[is_kept][first]
    return group_mean(judged.vectors[is_kept], code, len(names)), names, genes


def _controls_and_used(judged: JudgedMap) -> tuple[Bool[np.ndarray, "well"], Bool[np.ndarray, "well"]]:
    """Which wells are negative controls, and which are those or treated."""
    is_control = is_negative_control(judged.wells)
    return is_control, is_control | judged.is_treatment


def _mean_of(statistic: str, table: pl.DataFrame) -> list[PublishedValue]:
    """The mean over the perturbations that have a value; none where there is none."""
    values = table["value"].drop_nans()
    if values.is_empty():
        message = f"{statistic}: none of {table.height} perturbations has enough wells"
        raise NotApplicable(message)
    return [PublishedValue(statistic, EFAAR, float(values.to_numpy().mean()), len(values))]


def _retrieved(
    scores: copairs.AveragePrecision, group: Shaped[np.ndarray, "profile"], seed: int
) -> list[PublishedValue]:
    """The mean over groups, and the share of groups that copairs calls retrieved (q-value at most 0.05)."""
    found = copairs_null.mean_average_precision(scores, group, seed=seed)
    share = float((found["q_value"].to_numpy() <= SIGNIFICANCE_LEVEL).mean())
    mean = float(found["value"].to_numpy().mean())
    return [
        PublishedValue("mean average precision", COPAIRS, mean, found.height),
        PublishedValue("share retrieved", COPAIRS, share, found.height),
    ]
