"""Percent matching: of how many genes (or sets, or targets) do the perturbations correlate more than random ones?"""

from dataclasses import replace

import numpy as np
from jaxtyping import Float

from cellassets.benchmarks.definition import Score
from cellassets.benchmarks.judged import JudgedMap
from cellassets.benchmarks.known_measures.hits import hits_above_null
from cellassets.benchmarks.retrieval.labelled_profiles import LabelledProfiles, labelled_profiles
from cellassets.benchmarks.retrieval.phenotypic_consistency import PhenotypicConsistencyParameters
from cellassets.benchmarks.rows import summary_score, unit_scores
from cellassets.benchmarks.strata import check_exchange, exchange_groups
from cellassets.benchmarks.ties import with_p_values_of
from cellassets.statistics.correlation import Correlations, OwnedPairs, centred_units
from cellassets.statistics.permutation import mean_over_nodes, settled_ties

MAX_LABEL_PAIRS = 500  # of one label; more do not change its median, and take longer


class MatchingParameters(PhenotypicConsistencyParameters):
    """Which label perturbations share, as for `phenotypic_consistency`."""


def percent_matching(judged: JudgedMap, parameters: MatchingParameters) -> list[Score]:
    """Returns the share of labels whose median correlation is above the 95th percentile of its null distribution.

    The pairs of a label are its different perturbations: guides of a gene, members of a set, compounds of a target; two
    doses of one compound are not a pair. In the null distribution perturbations of the same plates exchange labels.
    `median_correlation` is the mean of the medians.

    Raises:
        NotApplicable: no two perturbations of the map share a label, or no two are on the same plates.

    Source: percent matching of Way et al. (2022), Cell Syst. 13:911, where the null distribution is of groups of
    perturbations from any plates.
    """
    rng = np.random.default_rng(parameters.seed)
    found = labelled_profiles(
        judged,
        parameters.label,
        exchange_groups(judged, parameters),
        max_members=parameters.max_members,
        max_perturbations=parameters.max_perturbations,
        rng=rng,
    )
    check_exchange("percent_matching", found.exchange, what="perturbations")
    draws = _draws(found, parameters.n_permutations, rng)
    names, nodes = list(found.members), np.arange(len(found.members))[:, None]
    n_members = np.array([len(members) for members in found.members.values()])
    hits, finer = hits_above_null(draws)
    rows = [
        summary_score("matching_frac", mean_over_nodes(hits[0], nodes), hits, within=(0.0, 1.0)),
        *unit_scores("matching_frac", names, hits, n_wells=n_members, end=1.0),
    ]
    rows = [
        *with_p_values_of(rows, finer),
        summary_score("median_correlation", mean_over_nodes(draws[0], nodes), draws, within=(-1.0, 1.0)),
        *unit_scores("median_correlation", names, draws, n_wells=n_members, end=1.0),
    ]
    return [replace(row, unit="perturbation") for row in rows]


def _draws(found: LabelledProfiles, n_permutations: int, rng: np.random.Generator) -> Float[np.ndarray, "draw label"]:
    """The median of each label as observed (row 0), and with labels exchanged within strata."""
    pairs = _label_pairs(found, rng)
    correlations = Correlations(centred_units(found.profiles))
    draws = np.empty((1 + n_permutations, len(found.members)))
    for number in range(len(draws)):
        placed = found.permuted(rng) if number else np.arange(len(found.profiles))
        draws[number] = pairs.medians(correlations.of(placed[pairs.first], placed[pairs.second]))
    return settled_ties(draws)


def _label_pairs(found: LabelledProfiles, rng: np.random.Generator) -> OwnedPairs:
    """Pairs of each label's perturbations with different identities; some of them where there are very many."""
    first, second = [], []
    for members in found.members.values():
        one, other = (members[side] for side in np.triu_indices(len(members), 1))
        is_kept = found.identity[one] != found.identity[other]
        one, other = one[is_kept], other[is_kept]
        if len(one) > MAX_LABEL_PAIRS:
            drawn = rng.choice(len(one), MAX_LABEL_PAIRS, replace=False)
            one, other = one[drawn], other[drawn]
        first.append(one)
        second.append(other)
    counts = np.array([len(own) for own in first])
    return OwnedPairs(np.concatenate(first), np.concatenate(second), counts)
