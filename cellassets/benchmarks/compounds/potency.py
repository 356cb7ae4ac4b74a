"""The order of potency: do two halves of a screen agree on which compounds act at lower doses?"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from cellassets.benchmarks.definition import Score
from cellassets.benchmarks.judged import JudgedMap
from cellassets.benchmarks.strata import strata_of
from cellassets.errors import BenchmarkError
from cellassets.finite import finite_arguments
from cellassets.statistics.dose_trend import DoseWells
from cellassets.statistics.permutation import (
    central,
    permuted_within,
    settled_ties,
    share_of_possible,
    standardised,
    upper_p_values,
)

MIN_COMPOUNDS = 5  # no order of fewer is significant
MAX_DENSE = 300  # up to this number all pairs of compounds are held in memory


def potency_order(judged: JudgedMap, wells: DoseWells, n_permutations: int, rng: np.random.Generator) -> Score | None:
    """Returns Kendall's tau-b between the half-effect doses of two halves of the batches, over compounds.

    Batches, sorted by name, go to the two halves in turn. Null distribution: in one half, compounds with the same
    plates and doses exchange names. (A half-effect dose is always within the tested doses; compounds with different
    doses would agree for that reason alone.) Returns None where fewer than five compounds have two doses in both
    halves, or all have one half-effect dose.

    Args:
        judged: the map.
        wells: the compounds' wells.
        n_permutations: permutations of the null distribution.
        rng: source of the permutations.

    Source: Kendall (1945), Biometrika 33:239.
    """
    batch = np.unique(judged.wells["batch_id"].to_numpy(), return_inverse=True)[1]
    halves = [_half_effect_doses(judged, wells, batch % 2 == half) for half in (0, 1)]
    both = np.flatnonzero(np.isfinite(halves[0]) & np.isfinite(halves[1]))
    first, second = halves[0][both], halves[1][both]
    if len(both) < MIN_COMPOUNDS or np.ptp(first) == 0 or np.ptp(second) == 0:
        return None
    stratum = _strata(wells, batch[wells.row] % 2)[both]
    orders = (np.arange(len(both)), *(permuted_within(stratum, rng) for _ in range(n_permutations)))
    taus = settled_ties(rank_correlations(first, second, orders)[:, None])
    low, high = central(taus[1:, 0])
    return Score(
        "potency_order",
        level="summary",
        value=float(taus[0, 0]),
        null_mean=float(taus[1:].mean()),
        null_low=low,
        null_high=high,
        p_value=float(upper_p_values(taus[0], taus[1:])[0]),
        n_units=len(both),
        unit="perturbation",
        z_score=standardised(float(taus[0, 0]), taus[1:, 0]),
        effect_size=share_of_possible(float(taus[0, 0]), float(taus[1:].mean()), 1.0),
    )


@finite_arguments(BenchmarkError)
def rank_correlations(
    first: Float[np.ndarray, "compound"],
    second: Float[np.ndarray, "compound"],
    orders: Sequence[Int[np.ndarray, "compound"]],
) -> Float[np.ndarray, "order"]:
    """Returns Kendall's tau-b of one variable with another in several orders.

    For few compounds, signs of all pairs are looked up for each order, which takes a tenth of scipy's time. For many,
    scipy is used.

    Args:
        first: one variable, not constant.
        second: the other variable.
        orders: permutations of the other variable.
    """
    from scipy.stats import kendalltau

    if len(first) > MAX_DENSE:
        return np.array([kendalltau(first, second[order]).statistic for order in orders])
    signs = [np.sign(values[:, None] - values) for values in (first, second)]
    most = np.sqrt((signs[0] ** 2).sum() * (signs[1] ** 2).sum())
    return np.array([(signs[0] * signs[1][np.ix_(order, order)]).sum() for order in orders]) / most


@finite_arguments(BenchmarkError)
def half_effect_dose(
    dose: Float[np.ndarray, "dose"],
    effect: Float[np.ndarray, "dose"],
    n_wells: Int[np.ndarray, "dose"],
    baseline: float,
) -> float:
    """Returns the log10 dose at which a rising curve through the effects is half way from the baseline to its top.

    The curve is the isotonic regression of the mean effects, linear between doses. The result is the lowest dose where
    the curve starts above half its height, and the highest where it never rises above the baseline.

    Args:
        dose: log10 of the doses, rising.
        effect: mean effect at each dose.
        n_wells: number of wells at each dose.
        baseline: effect without a compound.

    Source: isotonic regression of Barlow et al. (1972), Statistical Inference under Order Restrictions.
    """
    from scipy.optimize import isotonic_regression

    curve = isotonic_regression(effect, weights=n_wells.astype(np.float64)).x
    if curve[-1] <= baseline:
        return float(dose[-1])
    half = (baseline + curve[-1]) / 2
    above = int(np.argmax(curve >= half))
    if above == 0:
        return float(dose[0])
    return float(np.interp(half, curve[above - 1 : above + 1], dose[above - 1 : above + 1]))


def _strata(wells: DoseWells, half: Int[np.ndarray, "well"]) -> Int[np.ndarray, "compound"]:
    """Compounds of one stratum share their plates, and have the same doses in either half."""
    of_well, is_counted = np.array(wells.names)[wells.compound], np.ones(len(half), dtype=bool)
    plate = strata_of(of_well, wells.plate, is_counted, wells.names)
    doses, dose = np.unique(wells.dose, return_inverse=True)
    is_tested = np.zeros((len(wells.names), 2, len(doses)), dtype=np.int64)
    is_tested[wells.compound, half, dose] = 1
    design = np.column_stack([plate, is_tested.reshape(len(wells.names), -1)])
    return np.unique(design, axis=0, return_inverse=True)[1].reshape(-1)


def _half_effect_doses(judged: JudgedMap, wells: DoseWells, is_here: np.ndarray) -> Float[np.ndarray, "compound"]:
    """Half-effect dose of each compound in some of the wells; NaN with fewer than two doses above 0 there."""
    chosen = np.flatnonzero(is_here[wells.row] & (wells.dose > 0))
    effect = wells.effect[wells.row[chosen]]
    found = np.full(len(wells.names), np.nan)
    if not len(chosen):
        return found
    cells, cell = np.unique(np.stack([wells.compound[chosen], wells.dose[chosen]], axis=1), axis=0, return_inverse=True)
    n_wells = np.bincount(cell.reshape(-1))
    order = np.argsort(effect, kind="stable")  # sums do not depend on the order of the wells
    means = np.bincount(cell.reshape(-1)[order], effect[order]) / n_wells
    unseen = wells.effect[is_here & judged.is_held_out_control]
    baseline = float(np.sort(unseen).mean()) if len(unseen) else float(means.min())
    compounds, starts = np.unique(cells[:, 0].astype(np.int64), return_index=True)
    for compound, own in zip(compounds, np.split(np.arange(len(cells)), starts[1:]), strict=True):
        if len(own) > 1:
            found[compound] = half_effect_dose(np.log10(cells[own, 1]), means[own], n_wells[own], baseline)
    return found
