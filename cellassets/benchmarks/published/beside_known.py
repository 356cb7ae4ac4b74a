"""Published statistics beside the measures that profiling papers report: cytominer-eval's and copairs'.

The statistics themselves are in `cytominer` and `copairs`. Each function here takes a judged map and the parameters of
the benchmark that it stands beside.
"""

import numpy as np
from jaxtyping import Int

from cellassets.benchmarks.definition import PermutationParameters, PublishedValue
from cellassets.benchmarks.judged import JudgedMap
from cellassets.benchmarks.jump.positive_controls import PositiveControlParameters, of_positive_controls
from cellassets.benchmarks.known_measures.grit import GritParameters
from cellassets.benchmarks.known_measures.mp_value import MpValueParameters
from cellassets.benchmarks.known_measures.percent_matching import MatchingParameters
from cellassets.benchmarks.published import beside_wells, cytominer
from cellassets.errors import NotApplicable
from cellassets.mapping.controls import is_negative_control
from cellassets.mapping.relate import is_combination
from cellassets.statistics.significance import SIGNIFICANCE_LEVEL

CYTOMINER = "cytominer-eval 0.1"
MAX_PROFILES = 4000  # time and memory grow with the square of their number
MAX_CONTROLS = 512
MAX_TESTED = 200  # treatments with an mp-value; each takes a singular value decomposition


def percent_replicating(judged: JudgedMap, parameters: PermutationParameters) -> list[PublishedValue]:
    """Returns cytominer-eval's share of replicate pairs above the 95th percentile of all other pairs.

    Where there are more than 4,000 treated wells, those of a random part of the treatments are used.
    """
    names = judged.wells["perturbation_id"].to_numpy()
    rows = np.flatnonzero(judged.is_treatment)
    rows = rows[_whole_groups(names[rows], MAX_PROFILES, parameters.seed)]
    share, n_pairs = cytominer.replicate_reproducibility(judged.vectors[rows], names[rows])
    return [PublishedValue("share of replicate pairs above 95% of others", CYTOMINER, share, n_pairs)]


def percent_matching(judged: JudgedMap, parameters: MatchingParameters) -> list[PublishedValue]:
    """Returns cytominer-eval's share of pairs of guides of a gene above the 95th percentile of all other pairs.

    Raises:
        NotApplicable: the label is not a gene; the reference has one label per profile, sets and targets overlap.
    """
    if parameters.label != "gene":
        message = f"percent_matching by {parameters.label}: the published statistic is of one label per profile"
        raise NotApplicable(message)
    is_single = np.array([not is_combination(name) for name in judged.wells["gene_symbol"].fill_null("").to_list()])
    is_kept = judged.wells["perturbation_kind"].eq("gene").to_numpy() & judged.is_treatment & is_single
    profiles, _, genes = beside_wells.guide_profiles(judged, is_kept)
    rows = _whole_groups(genes, MAX_PROFILES, parameters.seed)
    share, n_pairs = cytominer.replicate_reproducibility(profiles[rows], genes[rows])
    return [PublishedValue("share of matching pairs above 95% of others", CYTOMINER, share, n_pairs)]


def grit(judged: JudgedMap, parameters: GritParameters) -> list[PublishedValue]:
    """Returns cytominer-eval's mean grit of treated wells, against negative controls of all plates, fitted ones too.

    Where there are more than 4,000 treated wells, those of a random part of the treatments are used.
    """
    names = judged.wells["perturbation_id"].to_numpy()
    treated = np.flatnonzero(judged.is_treatment)
    treated = treated[_whole_groups(names[treated], MAX_PROFILES, parameters.seed)]
    rows = np.concatenate([treated, _drawn_controls(judged, parameters.seed)])
    is_control = np.arange(len(rows)) >= len(treated)
    values = cytominer.grit(judged.vectors[rows], names[rows], is_control)[: len(treated)]
    is_known = np.isfinite(values)
    if not is_known.any():
        message = f"grit: none of {len(treated)} treated wells has a replicate"
        raise NotApplicable(message)
    return [PublishedValue("mean grit of wells", CYTOMINER, float(values[is_known].mean()), int(is_known.sum()))]


def mp_value(judged: JudgedMap, parameters: MpValueParameters) -> list[PublishedValue]:
    """Returns the share of treatments with cytominer-eval's mp-value of at most 0.05, against controls of all plates.

    Where there are more than 200 treatments a random part is tested.
    """
    names = judged.wells["perturbation_id"].to_numpy()
    treated = np.unique(names[judged.is_treatment])
    drawn = np.random.default_rng(parameters.seed).permutation(len(treated))[:MAX_TESTED]
    controls = judged.vectors[_drawn_controls(judged, parameters.seed)]
    values = [
        cytominer.mp_value(judged.vectors[judged.is_treatment & (names == name)], controls, seed=parameters.seed)
        for name in treated[np.sort(drawn)]
    ]
    share = float((np.array(values) <= SIGNIFICANCE_LEVEL).mean())
    return [PublishedValue("share with mp-value at most 0.05", CYTOMINER, share, len(values))]


def positive_controls(judged: JudgedMap, parameters: PositiveControlParameters) -> list[PublishedValue]:
    """Returns copairs' mean average precision of positive controls against negative ones, and the share retrieved."""
    return beside_wells.phenotypic_activity(of_positive_controls(judged), parameters)


def _drawn_controls(judged: JudgedMap, seed: int) -> Int[np.ndarray, "control"]:
    """Negative controls of all plates; a random part where there are many."""
    controls = np.flatnonzero(is_negative_control(judged.wells))
    return np.sort(np.random.default_rng(seed).permutation(controls)[:MAX_CONTROLS])


def _whole_groups(group: np.ndarray, max_profiles: int, seed: int) -> Int[np.ndarray, "kept"]:
    """Places of all profiles; where there are too many, those of a random part of the groups."""
    _, code, sizes = np.unique(group, return_inverse=True, return_counts=True)
    order = np.random.default_rng(seed).permutation(len(sizes))
    is_kept = np.zeros(len(sizes), dtype=bool)
    is_kept[order[np.cumsum(sizes[order]) <= max_profiles]] = True
    return np.flatnonzero(is_kept[code])
