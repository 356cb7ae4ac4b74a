"""Average precision of profiles as copairs publishes it: are positives more similar to a profile than negatives?

Profiles and labels are arrays; pairs are never listed. Means over replicates and their p-values are in
`cellassets.benchmarks.published.copairs_null`.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from cellassets.benchmarks.published.checked import Names, checked_names, matrix_arguments
from cellassets.benchmarks.published.groups import combined_codes, grouped_blocks
from cellassets.errors import BenchmarkError
from cellassets.finite import finite_arguments, require_finite
from cellassets.mapping.relate import unit_rows

Profiles = Float[np.ndarray, "profile feature"]
Codes = Int[np.ndarray, "profile"]
Rows = Int[np.ndarray, "query"]
Ordered = Float[np.ndarray, "query rank"]  # 1 - cosine, ascending, inf where there is no partner


@dataclass(frozen=True)
class PairRule:
    """Which profiles are partners of each other: all of `same` are equal, none of `different` is equal.

    Attributes:
        same: labels that both profiles share; without labels every two profiles may be partners.
        different: labels that must all differ.
        is_partner: profiles that may be partners; None: all.
    """

    same: tuple[Names, ...] = ()
    different: tuple[Names, ...] = ()
    is_partner: Bool[np.ndarray, "profile"] | None = None

    def checked(self, n_profiles: int) -> "PairRule":
        """Returns the rule with labels as arrays.

        Raises:
            BenchmarkError: a label is missing, or there are more or fewer labels than profiles.
        """
        same, different = (
            tuple(checked_names("average_precision", labels, n_profiles, what="labels") for labels in of_rule)
            for of_rule in (self.same, self.different)
        )
        return PairRule(same, different, self.is_partner)


@dataclass(frozen=True)
class AveragePrecision:
    """One entry per profile; a profile without a positive partner has NaN and counts of 0."""

    value: Float[np.ndarray, "profile"]
    normalised: Float[np.ndarray, "profile"]
    n_positives: Int[np.ndarray, "profile"]
    n_total: Int[np.ndarray, "profile"]


@matrix_arguments("profiles")
@finite_arguments(BenchmarkError, profiles=("perturbation", "profile of"))
def phenotypic_activity(
    profiles: Profiles,
    perturbation: Names,
    is_control: Bool[np.ndarray, "_"],
    *,
    positives: PairRule | None = None,
    negatives: PairRule | None = None,
) -> AveragePrecision:
    """Returns how well each treated profile finds its replicates before negative controls.

    Args:
        profiles: one vector per well.
        perturbation: name that replicates share.
        is_control: negative controls.
        positives: further labels that replicates must share or differ in, such as `PairRule(different=(plate,))`.
        negatives: the same for a treated well and a control, such as `PairRule(same=(plate,))`.

    Raises:
        BenchmarkError: no two treated profiles are replicates, there is no negative control, a label is missing, or a
            vector is not finite.

    Source: Kalinin et al. (2025), Nat. Commun. 16:5181, phenotypic activity.
    """
    positives, negatives = positives or PairRule(), negatives or PairRule()
    is_control = checked_names("phenotypic_activity", is_control, len(profiles), what="is_control").astype(bool)
    return average_precision(
        profiles,
        positives=PairRule((perturbation, *positives.same), positives.different, ~is_control),
        negatives=PairRule(negatives.same, negatives.different, is_control),
        is_query=~is_control,
    )


@matrix_arguments("profiles")
@finite_arguments(BenchmarkError, profiles=("perturbation", "profile of"))
def phenotypic_consistency(profiles: Profiles, label: Names, perturbation: Names) -> AveragePrecision:
    """Returns how well each profile finds other perturbations of its label before those of other labels.

    Args:
        profiles: one vector per perturbation, or per well.
        label: a target, a complex, a mechanism of action.
        perturbation: profiles of one perturbation are not positives of each other.

    Raises:
        BenchmarkError: no label has two perturbations, all have one label, a label is missing, or a vector is not
            finite.

    Source: Kalinin et al. (2025), Nat. Commun. 16:5181, phenotypic consistency.
    """
    return average_precision(
        profiles, positives=PairRule((label,), (perturbation,)), negatives=PairRule(different=(label,))
    )


@matrix_arguments("profiles")
def average_precision(
    profiles: Profiles,
    *,
    positives: PairRule,
    negatives: PairRule,
    is_query: Bool[np.ndarray, "profile"] | None = None,
) -> AveragePrecision:
    """Returns the average precision of each profile's positives among its positives and negatives, by cosine.

    A cosine is rounded to single precision, subtracted from 1 and rounded again; a positive and a negative that are
    then equal count as if the positive were the more similar. That is how copairs sorts.

    Args:
        profiles: vectors; one of length 0 has cosine 0 to all.
        positives: rule of the positive pairs.
        negatives: rule of the negative pairs.
        is_query: profiles to score; None: all.

    Raises:
        BenchmarkError: no profile has a positive partner, none that has one has a negative partner, a label is missing,
            or a vector is not finite.

    Source: Kalinin et al. (2025), Nat. Commun. 16:5181; copairs 0.5.5.
    """
    require_finite("average_precision", profiles, kind="profile", error=BenchmarkError)
    positives, negatives = (rule.checked(len(profiles)) for rule in (positives, negatives))
    queries = np.arange(len(profiles)) if is_query is None else np.flatnonzero(is_query)
    own = _OwnPartners(profiles, positives, queries)
    queries = np.flatnonzero(own.counts)
    if len(queries) == 0:
        message = f"average_precision: none of {len(profiles)} profiles has a positive partner; are there replicates?"
        raise BenchmarkError(message)
    n_total = own.counts.copy()
    values = np.full(len(profiles), np.nan)
    values[queries] = 1.0  # stays where there is no negative
    for rows, ordered in _ordered_partners(profiles, negatives, queries):
        padded = own.of(rows)
        ranks = np.arange(1, padded.shape[1] + 1)
        precision = np.where(np.isfinite(padded), ranks / (ranks + _n_smaller(ordered, padded)), 0.0)
        values[rows] = precision.sum(axis=1) / own.counts[rows]
        n_total[rows] += np.isfinite(ordered).sum(axis=1)
    if (n_total == own.counts).all():
        message = (
            f"average_precision: none of the {len(queries)} profiles with a positive partner has a negative one; are "
            "there negative controls, or other labels?"
        )
        raise BenchmarkError(message)
    return AveragePrecision(values, normalised(values, own.counts, n_total), own.counts, n_total)


def normalised(
    average_precision: Float[np.ndarray, "profile"],
    n_positives: Int[np.ndarray, "profile"],
    n_total: Int[np.ndarray, "profile"],
) -> Float[np.ndarray, "profile"]:
    """Returns the average precisions scaled so that a random order has mean 0 and the best is 1.

    Args:
        average_precision: NaN gives NaN.
        n_positives: partners to find.
        n_total: all partners.

    Source: expectation of average precision in random order, Bestgen (2015), in the form of copairs 0.5.5.
    """
    total = np.maximum(n_total, 1)
    harmonic = np.cumsum(1 / np.arange(1, total.max() + 1))[total - 1]
    share = np.divide(n_positives - 1, total - 1, out=np.ones(len(total)), where=total > 1)
    expected = (share * (total - harmonic) + harmonic) / total
    scaled = (average_precision - expected) / np.maximum(1 - expected, 1e-10)
    return np.clip(np.where(n_positives == n_total, 0.0 * average_precision, scaled), -1.0, 1.0)


class _OwnPartners:
    """The positive partners of every query, one list after the other, each in order."""

    def __init__(self, profiles: Profiles, rule: PairRule, queries: Rows) -> None:
        self.counts = np.zeros(len(profiles), dtype=np.int64)
        self._starts = np.zeros(len(profiles), dtype=np.int64)
        parts, n_held = [np.zeros(0, dtype=np.float32)], 0
        for rows, ordered in _ordered_partners(profiles, rule, queries):
            is_partner = np.isfinite(ordered)
            self.counts[rows] = is_partner.sum(axis=1)
            self._starts[rows] = n_held + np.cumsum(self.counts[rows]) - self.counts[rows]
            parts.append(ordered[is_partner])
            n_held += len(parts[-1])
        self._ordered = np.concatenate(parts)

    def of(self, rows: Rows) -> Ordered:
        """Returns the lists of some profiles, each padded with inf."""
        place = np.arange(self.counts[rows].max())
        index = np.minimum(self._starts[rows][:, None] + place, len(self._ordered) - 1)
        return np.where(place < self.counts[rows][:, None], self._ordered[index], np.float32(np.inf))


def _ordered_partners(profiles: Profiles, rule: PairRule, queries: Rows) -> Iterator[tuple[Rows, Ordered]]:
    """Blocks of queries, and the sorted distances of their partners."""
    code = combined_codes(*map(np.asarray, rule.same)) if rule.same else np.zeros(len(profiles), dtype=np.int64)
    candidates = np.arange(len(profiles)) if rule.is_partner is None else np.flatnonzero(rule.is_partner)
    different = [combined_codes(np.asarray(labels)) for labels in rule.different]
    held, unit = np.zeros(0, dtype=np.int64), profiles[:0]
    for places, partner_places in grouped_blocks(code[queries], code[candidates]):
        rows, partners = queries[places], candidates[partner_places]
        if not np.array_equal(held, partners):
            held, unit = partners, unit_rows(profiles[partners])
        distances = np.float32(1) - (unit_rows(profiles[rows]) @ unit.T).astype(np.float32)
        is_out = rows[:, None] == partners
        if rule.same:
            is_out |= code[rows][:, None] != code[partners]
        for codes in different:
            is_out |= codes[rows][:, None] == codes[partners]
        distances[is_out] = np.inf
        distances.sort(axis=1)
        yield rows, distances


def _n_smaller(
    ordered: Float[np.ndarray, "query partner"], values: Float[np.ndarray, "query rank"]
) -> Int[np.ndarray, "query rank"]:
    """How many of each query's ordered entries are smaller than each of its values, by bisection."""
    low, high = np.zeros(values.shape, dtype=np.int64), np.full(values.shape, ordered.shape[1])
    for _ in range(int(ordered.shape[1]).bit_length()):
        middle = (low + high) // 2
        entry = np.take_along_axis(ordered, np.minimum(middle, ordered.shape[1] - 1), axis=1)
        is_smaller = (entry < values) & (middle < high)
        low, high = np.where(is_smaller, middle + 1, low), np.where(is_smaller, high, middle)
    return low
