"""Dose response: does the effect of a compound grow with its dose?"""

import numpy as np
import polars as pl
from jaxtyping import Bool, Float

from cellassets.benchmarks.compounds.potency import potency_order
from cellassets.benchmarks.definition import PermutationParameters, Score
from cellassets.benchmarks.effect_size import effect_sizes
from cellassets.benchmarks.judged import JudgedMap
from cellassets.benchmarks.rows import summary_score, unit_scores
from cellassets.benchmarks.ties import with_finer_p_values
from cellassets.errors import NotApplicable
from cellassets.statistics.dose_trend import DoseWells, trend_draws
from cellassets.statistics.permutation import mean_over_nodes


def dose_response(judged: JudgedMap, parameters: PermutationParameters) -> list[Score]:
    """Returns the trend of each compound's effect with its dose, and whether halves of the batches agree on potency.

    The effect of a well is its distance from the controls of its plate. The statistic is the count J of Jonckheere and
    Terpstra: pairs of wells on one plate in which the higher dose has the larger effect; as (J - E[J]) / (max J -
    E[J]). Ties of trends are broken by the covariance of effect and dose, because p-values from few wells would
    otherwise be coarse. `page_trend` is Page's L in the same form, over plates that hold every dose of the compound
    once. Null distribution: doses permuted among the wells of one compound on one plate. Compounds with one dose per
    plate are left out: their doses cannot be distinguished from their plates.

    Raises:
        NotApplicable: no plate holds two doses of a compound.

    Source: Jonckheere (1954), Biometrika 41:133, and Terpstra (1952), Indag. Math. 14:327, summed over plates as
    blocks; Page (1963), J. Am. Stat. Assoc. 58:216.
    """
    wells = _dose_wells(judged)
    trends = trend_draws(wells, parameters.n_permutations, np.random.default_rng(parameters.seed))
    if not trends.is_tested.any():
        message = (
            f"dose_response: of {len(wells.names)} compounds with a known dose none has two doses on one plate; "
            "their effects cannot be distinguished from those of plates"
        )
        raise NotApplicable(message)
    summary, *units = _scores("dose_trend", wells, trends.trend[:, trends.is_tested], trends.is_tested)
    rows = [summary, *with_finer_p_values(units, trends.finer[:, trends.is_tested])]
    if trends.has_page.any():
        rows += _scores("page_trend", wells, trends.page[:, trends.has_page], trends.has_page)
    order = potency_order(judged, wells, parameters.n_permutations, np.random.default_rng((parameters.seed, 1)))
    return rows if order is None else [*rows, order]


def _dose_wells(judged: JudgedMap) -> DoseWells:
    table = judged.wells
    is_dosed = (
        (table["perturbation_kind"] == "compound")
        & pl.Series(judged.is_treatment)
        & table["compound_id"].is_not_null()
        & table["concentration_um"].is_not_null()
    ).to_numpy()
    names, compound = np.unique(table["compound_id"].to_numpy()[is_dosed].astype(str), return_inverse=True)
    return DoseWells(
        names=names.tolist(),
        row=np.flatnonzero(is_dosed),
        compound=compound,
        dose=table["concentration_um"].to_numpy()[is_dosed],
        plate=judged.plate_index[is_dosed],
        effect=effect_sizes(judged),
    )


def _scores(
    metric: str, wells: DoseWells, draws: Float[np.ndarray, "draw compound"], is_kept: Bool[np.ndarray, "all"]
) -> list[Score]:
    names = [wells.names[number] for number in np.flatnonzero(is_kept)]
    n_wells = np.bincount(wells.compound, minlength=len(wells.names))[is_kept]
    mean = mean_over_nodes(draws[0], np.arange(len(names))[:, None])
    summary = summary_score(metric, mean, draws, within=(-1.0, 1.0))
    return [summary, *unit_scores(metric, names, draws, n_wells=n_wells, end=1.0)]
