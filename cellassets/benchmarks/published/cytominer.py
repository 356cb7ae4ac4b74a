"""Replicate reproducibility, grit and mp-value as cytominer-eval publishes them.

Profiles and names are arrays. Correlations are Pearson's over features. In the reference a profile with equal features
has no correlation (NaN) and its pairs are dropped; here such profiles are refused.
"""

import numpy as np
from jaxtyping import Bool, Float, Int

from cellassets.benchmarks.published.checked import (
    Names,
    checked_names,
    matrix_arguments,
    require_count,
    require_places,
    require_shares,
)
from cellassets.errors import BenchmarkError
from cellassets.finite import finite_arguments

Profiles = Float[np.ndarray, "profile feature"]
Own = Float[np.ndarray, "own feature"]
Controls = Float[np.ndarray, "control feature"]
VARIANCE_FRAC = 0.9
N_PERMUTATIONS = 100
LEAST_SHARE = 1e-12  # of all variance; controls with less have no covariance to divide by


@matrix_arguments("profiles")
@finite_arguments(BenchmarkError)
def replicate_reproducibility(profiles: Profiles, group: Names, *, quantile: float = 0.95) -> tuple[float, int]:
    """Returns the share of pairs within a group that correlate above a quantile of the pairs between groups.

    This is percent replicating where groups are treatments, and percent matching where they are genes or mechanisms.

    Args:
        profiles: one vector per well, or per perturbation.
        group: name that replicates share.
        quantile: of the correlations between groups, from 0 to 1.

    Returns:
        The share, and the number of pairs within groups.

    Raises:
        BenchmarkError: a profile has no correlation or no group, no two profiles are of one group, or all are;
            `quantile` is not a share.

    Source: `replicate_reproducibility` of cytominer-eval 0.1.
    """
    require_shares("replicate_reproducibility", quantile=quantile)
    group = checked_names("replicate_reproducibility", group, len(profiles), what="groups")
    correlations = _correlations(profiles)
    first, second = np.triu_indices(len(profiles), 1)
    is_within = group[first] == group[second]
    if not is_within.any() or is_within.all():
        message = (
            f"replicate_reproducibility: {is_within.sum()} of {len(first)} pairs of profiles are of one group; "
            "expected some, and not all"
        )
        raise BenchmarkError(message)
    values = correlations[first, second]
    threshold = np.quantile(values[~is_within], quantile)
    return float((values[is_within] > threshold).mean()), int(is_within.sum())


@matrix_arguments("profiles")
@finite_arguments(BenchmarkError)
def grit(profiles: Profiles, group: Names, is_control: Bool[np.ndarray, "_"]) -> Float[np.ndarray, "profile"]:
    """Returns the grit of each profile: its mean z-score with other profiles of its group.

    z-scores are correlations in standard deviations from the mean of the profile's correlations with controls.

    Args:
        profiles: one vector per well, or per perturbation.
        group: name that profiles of one group share, such as a gene.
        is_control: the controls; a control is compared with the other controls.

    Returns:
        One value per profile; NaN where there is no other profile of its group.

    Raises:
        BenchmarkError: a profile has no correlation or no group, or there are fewer than three controls.

    Source: `grit` of cytominer-eval 0.1 with one name for each profile, and means over replicates.
    """
    group = checked_names("grit", group, len(profiles), what="groups")
    is_control = checked_names("grit", is_control, len(profiles), what="is_control").astype(bool)
    if is_control.sum() < 3:
        message = f"grit: {is_control.sum()} of {len(profiles)} profiles are controls; expected at least 3"
        raise BenchmarkError(message)
    correlations = _correlations(profiles)
    values = np.full(len(profiles), np.nan)
    for row, own in enumerate(correlations):
        is_other = np.arange(len(profiles)) != row
        to_controls = own[is_control & is_other]
        is_partner = (group == group[row]) & is_other
        if is_partner.any():
            spread = to_controls.std()
            is_flat = spread <= 10 * np.finfo(np.float64).eps * np.abs(to_controls).max()  # as scikit-learn scales
            values[row] = ((own[is_partner] - to_controls.mean()) / (1.0 if is_flat else spread)).mean()
    return values


@matrix_arguments("own", "controls")
@finite_arguments(BenchmarkError)
def mp_value(own: Own, controls: Controls, *, n_permutations: int = N_PERMUTATIONS, seed: int = 0) -> float:
    """Returns the mp-value: the share of permutations of labels whose Mahalanobis distance is at least as large.

    The reference rotates all profiles to the principal components with 90% of their variance, and computes the
    covariance of the permuted controls again in every permutation. Here the same number comes from the products of the
    chosen profiles alone (`mahalanobis_of_chosen`).

    Args:
        own: profiles of a perturbation.
        controls: profiles of negative controls, more than there are components.
        n_permutations: the reference takes 100, and no share is below 1 / 100 but 0.
        seed: of the permutations.

    Raises:
        BenchmarkError: a profile is not finite, the features differ, there is no profile or no permutation, or the
            controls are too few or too alike for a covariance.

    Source: Hutz et al. (2013), J. Biomol. Screen. 18:367; `mp_value` of cytominer-eval 0.1.
    """
    require_count("mp_value", own=len(own), controls=len(controls), n_permutations=n_permutations)
    rng = np.random.default_rng(seed)
    n_profiles = len(own) + len(controls)
    permuted = rng.permuted(np.tile(np.arange(n_profiles), (n_permutations, 1)), axis=1)[:, : len(own)]
    found = mahalanobis_of_chosen(own, controls, np.concatenate([np.arange(len(own))[None], permuted]))
    return float((found[1:] >= found[0]).mean())


@matrix_arguments("own", "controls")
@finite_arguments(BenchmarkError)
def mahalanobis_of_chosen(
    own: Own, controls: Controls, chosen: Int[np.ndarray, "draw own"]
) -> Float[np.ndarray, "draw"]:
    """Returns the squared Mahalanobis distance of the chosen profiles' mean from all others, by the others' covariance.

    With all profiles centred and whitened to scatter I, and with Z the n chosen rows and s their sum, the scatter of
    the m others is I - Z'Z - s s' / m, so the distance is (n + m)^2 / (n^2 m) a / (1 - a / m), where
    a = 1' (I - Z Z')^-1 1 - n (Woodbury, then Sherman and Morrison).

    Args:
        own: profiles of a perturbation.
        controls: profiles of negative controls.
        chosen: places among `own` and then `controls`, as many as there are rows in `own`.

    Raises:
        BenchmarkError: a profile is not finite, the features differ, a place is not among the profiles, or the
            controls are too few or too alike for a covariance.
    """
    n_own, n_controls = len(own), len(controls)
    require_count("mahalanobis_of_chosen", own=n_own, controls=n_controls)
    require_places("mahalanobis_of_chosen", n_own + n_controls, chosen=chosen)
    profiles = np.concatenate([own, controls]).astype(np.float64)
    if not np.isfinite(profiles).all():
        message = f"mp_value: {(~np.isfinite(profiles)).any(axis=1).sum()} of {len(profiles)} profiles are not finite"
        raise BenchmarkError(message)
    components = _components(profiles, n_controls)
    products = components @ components.T
    among = np.eye(n_own) - products[chosen[:, :, None], chosen[:, None, :]]
    is_singular = np.linalg.eigvalsh(among).min() < LEAST_SHARE
    ones = np.ones((len(chosen), n_own, 1))
    inner = np.zeros(len(chosen)) if is_singular else np.linalg.solve(among, ones).sum(axis=(1, 2)) - n_own
    left_over = 1 - inner / n_controls
    if is_singular or left_over.min() < LEAST_SHARE:
        message = "mp_value: controls do not vary where the perturbation differs from them; there is no distance"
        raise BenchmarkError(message)
    return (n_own + n_controls) ** 2 / (n_own**2 * n_controls) * inner / left_over


def _components(profiles: Profiles, n_controls: int) -> Float[np.ndarray, "profile component"]:
    """Principal components with 90% of the variance, whitened to scatter I."""
    centred = profiles - profiles.mean(axis=0)
    left, sizes, _ = np.linalg.svd(centred, full_matrices=False)
    if sizes[0] <= LEAST_SHARE * np.abs(profiles).max():
        message = f"mp_value: all {len(profiles)} profiles are equal; there is no distance"
        raise BenchmarkError(message)
    shares = np.cumsum(sizes**2) / (sizes**2).sum()
    n_kept = int(np.searchsorted(shares, VARIANCE_FRAC, side="right")) + 1
    if n_kept > n_controls - 2:
        message = (
            f"mp_value: {n_controls} controls and {n_kept} principal components; a covariance needs at least "
            f"{n_kept + 2} controls"
        )
        raise BenchmarkError(message)
    return left[:, :n_kept]


def _correlations(profiles: Profiles) -> Float[np.ndarray, "profile profile"]:
    values = profiles.astype(np.float64)
    is_wrong = ~np.isfinite(values).all(axis=1) | (values.max(axis=1) == values.min(axis=1))
    if is_wrong.any():
        message = (
            f"{is_wrong.sum()} of {len(values)} profiles, the first in row {int(is_wrong.argmax())}, have no "
            "correlation with others: they are not finite, or all features are equal"
        )
        raise BenchmarkError(message)
    return np.atleast_2d(np.corrcoef(values))
