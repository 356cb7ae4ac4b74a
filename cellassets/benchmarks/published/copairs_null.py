"""Mean average precision of replicates and its p-value as copairs publishes it.

The null distribution depends only on the numbers of positives and partners of each profile. One row of random average
precisions stands for all profiles with the same numbers, so these replicates get the same random number in every draw.
"""

from itertools import pairwise

import numpy as np
import polars as pl
from jaxtyping import Float, Int

from cellassets.benchmarks.published.checked import Names, checked_names, require_count
from cellassets.benchmarks.published.copairs import AveragePrecision
from cellassets.benchmarks.published.groups import BLOCK_VALUES, named_codes
from cellassets.errors import BenchmarkError
from cellassets.statistics.permutation import benjamini_hochberg


def mean_average_precision(
    scores: AveragePrecision, group: Names, *, n_draws: int = 10_000, seed: int = 0
) -> pl.DataFrame:
    """Returns the mean average precision of each group of profiles, its p-value and its q-value.

    Profiles that are all equal have the largest value and the smallest p-value, as in copairs: a positive that ties
    with a negative counts as the more similar one (`average_precision`), and the null distribution has no ties.

    Args:
        scores: of the profiles; those without a positive partner are left out.
        group: name of the group of each profile; the mean is taken over a group.
        n_draws: random orders per configuration (numbers of positives and partners).
        seed: of the draws.

    Returns:
        group, n_profiles, value, normalised, p_value (1 + draws above the value of 1 + draws), q_value (Benjamini and
        Hochberg), in order of the groups.

    Raises:
        BenchmarkError: there are more or fewer groups than profiles, a profile has no group, no profile has a positive
            partner, or `n_draws` is below 1.

    Source: Kalinin et al. (2025), Nat. Commun. 16:5181; copairs 0.5.5.
    """
    require_count("mean_average_precision", n_draws=n_draws)
    group = checked_names("mean_average_precision", group, len(scores.value), what="groups")
    kept = np.flatnonzero(scores.n_positives > 0)
    if len(kept) == 0:
        message = f"mean_average_precision: none of {len(group)} profiles has a positive partner"
        raise BenchmarkError(message)
    names, code = named_codes(group[kept])
    n_profiles = np.bincount(code)
    values = np.bincount(code, scores.value[kept]) / n_profiles
    configurations, which = np.unique(
        np.stack([scores.n_positives[kept], scores.n_total[kept]], axis=1), axis=0, return_inverse=True
    )
    null = np.stack(
        [
            random_average_precisions(int(n_positives), int(n_total), n_draws=n_draws, seed=seed + number)
            for number, (n_positives, n_total) in enumerate(configurations)
        ]
    )
    p_values = _p_values(values, code, which.reshape(-1), null=null)
    columns = {
        "group": names,
        "n_profiles": n_profiles,
        "value": values,
        "normalised": np.bincount(code, scores.normalised[kept]) / n_profiles,
        "p_value": p_values,
        "q_value": benjamini_hochberg(p_values),
    }
    return pl.DataFrame(columns)


def random_average_precisions(
    n_positives: int, n_total: int, *, n_draws: int, seed: int
) -> Float[np.ndarray, "{n_draws}"]:
    """Returns average precisions of random orders.

    Args:
        n_positives: positives, at least 1.
        n_total: positives and negatives.
        n_draws: orders.
        seed: of the draws.

    Raises:
        BenchmarkError: a number is below 1, or there are more positives than partners.
    """
    require_count("random_average_precisions", n_positives=n_positives, n_total=n_total, n_draws=n_draws)
    if n_positives > n_total:
        message = f"random_average_precisions: {n_positives} positives among {n_total}; expected at most all"
        raise BenchmarkError(message)
    rng = np.random.default_rng(seed)
    values, start = np.empty(n_draws), 0
    ranks = np.arange(1, n_positives + 1)
    n_block = max(1, BLOCK_VALUES // n_total)
    while start < n_draws:
        n_rows = min(n_block, n_draws - start)
        places = np.sort(_random_subsets(n_rows, n_positives, n_total, rng=rng), axis=1)
        values[start : start + n_rows] = (ranks / (places + 1)).mean(axis=1)
        start += n_rows
    return values


def _random_subsets(
    n_rows: int, n_chosen: int, n_total: int, *, rng: np.random.Generator
) -> Int[np.ndarray, "{n_rows} {n_chosen}"]:
    """Places chosen without replacement, one subset per row, all subsets equally likely."""
    if n_chosen**2 > n_total:  # most draws with replacement would hold a place twice
        return np.argpartition(rng.random((n_rows, n_total)), n_chosen - 1, axis=1)[:, :n_chosen]
    subsets = rng.integers(n_total, size=(n_rows, n_chosen))
    pending = np.arange(n_rows)
    while len(pending):
        ordered = np.sort(subsets[pending], axis=1)
        pending = pending[(np.diff(ordered, axis=1) == 0).any(axis=1)]
        subsets[pending] = rng.integers(n_total, size=(len(pending), n_chosen))
    return subsets


def _p_values(
    values: Float[np.ndarray, "group"],
    code: Int[np.ndarray, "profile"],
    configuration: Int[np.ndarray, "profile"],
    *,
    null: Float[np.ndarray, "configuration draw"],
) -> Float[np.ndarray, "group"]:
    """Compares each group with the mean, over its profiles, of the row of each one's configuration.

    Both sides are rounded to single precision, as the null is in copairs, so that equal values tie and do not count.
    """
    order = np.lexsort((configuration, code))
    bounds = np.searchsorted(code[order], np.arange(len(values) + 1))
    n_above = np.empty(len(values), dtype=np.int64)
    ordered: dict[int, np.ndarray] = {}
    for number, (first, last) in enumerate(pairwise(bounds)):
        rows, counts = np.unique(configuration[order[first:last]], return_counts=True)
        if len(rows) == 1:  # as in most screens: one sorted row serves all groups
            key = int(rows[0])
            draws = ordered[key] if key in ordered else ordered.setdefault(key, np.sort(null[key]).astype(np.float32))
        else:
            draws = np.sort((counts @ null[rows] / counts.sum()).astype(np.float32))
        n_above[number] = len(draws) - np.searchsorted(draws, np.float32(values[number]), side="right")
    return (1 + n_above) / (1 + null.shape[1])
