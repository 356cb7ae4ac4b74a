"""Trends with the dose, over pairs of wells of one compound on one plate, as observed and with doses permuted."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from jaxtyping import Bool, Float, Int

from cellassets.errors import StatisticsError
from cellassets.finite import finite_arguments, require_finite
from cellassets.statistics.permutation import blocks


@dataclass(frozen=True)
class DoseWells:
    """Wells of compounds at known doses, in any order.

    Attributes:
        names: compounds, sorted.
        row: each well's row among the wells of the map.
        compound: number of each well's compound.
        dose: dose of each well, micromolar.
        plate: number of each well's plate.
        effect: effect of every well of the map, controls and genes included.
    """

    names: list[str]
    row: Int[np.ndarray, "well"]
    compound: Int[np.ndarray, "well"]
    dose: Float[np.ndarray, "well"]
    plate: Int[np.ndarray, "well"]
    effect: Float[np.ndarray, "all"]


@dataclass(frozen=True)
class Trends:
    """Trends by draw, as observed in row 0, and which compounds have one.

    `finer` is the trend plus the covariance of effect and dose, scaled to less than half a pair: it breaks ties, and
    keeps the order of unequal trends.
    """

    finer: Float[np.ndarray, "draw compound"]
    trend: Float[np.ndarray, "draw compound"]
    page: Float[np.ndarray, "draw compound"]
    is_tested: Bool[np.ndarray, "compound"]
    has_page: Bool[np.ndarray, "compound"]


@dataclass(frozen=True)
class _Cells:
    """All cells (a compound on a plate) with one number of wells: effects, and ranks of doses within the compound."""

    compound: Int[np.ndarray, "cell"]
    effect: Float[np.ndarray, "cell well"]
    dose: Int[np.ndarray, "cell well"]
    is_complete: Bool[np.ndarray, "cell"]


def trend_draws(wells: DoseWells, n_permutations: int, rng: np.random.Generator) -> Trends:
    """Returns both trends of every compound, from -1 to 1.

    Args:
        wells: the compounds' wells.
        n_permutations: permutations of the doses within compound and plate.
        rng: source of the permutations.

    Raises:
        StatisticsError: a dose or an effect is not finite.
    """
    of_well = [f"{wells.names[number]}, well" for number in wells.compound.tolist()]
    require_finite("trend_draws", wells.dose, names=of_well, kind="the dose of", error=StatisticsError)
    require_finite("trend_draws", wells.effect, kind="the effect of well", error=StatisticsError)
    n_compounds = len(wells.names)
    sums = np.zeros((3, 1 + n_permutations, n_compounds))
    n_pairs, n_complete, most = np.zeros(n_compounds), np.zeros(n_compounds), np.zeros(n_compounds)
    for cells in _cells(wells):
        sums[:, 0] += _sums(cells, cells.dose[None], n_compounds)[:, 0]
        start = 1
        for n_draws in blocks(n_permutations, cells.dose.size):
            order = rng.random((n_draws, *cells.dose.shape)).argsort(axis=-1)
            doses = np.take_along_axis(cells.dose[None], order, axis=-1)
            sums[:, start : start + n_draws] += _sums(cells, doses, n_compounds)
            start += n_draws
        n_pairs += np.bincount(cells.compound, _n_unequal(cells.dose), n_compounds)
        n_complete += np.bincount(cells.compound, cells.is_complete, n_compounds)
        most += np.bincount(cells.compound, _largest_covariance(cells), n_compounds)
    tie_break = 0.4 * np.divide(sums[2], most, out=np.zeros_like(sums[2]), where=most > 0)
    return Trends(
        finer=(sums[0] + tie_break) / np.maximum(n_pairs, 1),
        trend=sums[0] / np.maximum(n_pairs, 1),
        page=sums[1] / np.maximum(n_complete, 1),
        is_tested=n_pairs > 0,
        has_page=n_complete > 0,
    )


def _sums(
    cells: _Cells, doses: Int[np.ndarray, "draw cell well"], n_compounds: int
) -> Float[np.ndarray, "3 draw compound"]:
    """Signs of pairs, Page's ranks and covariances, summed over the cells of each compound."""
    centred = cells.effect - cells.effect.mean(axis=1, keepdims=True)
    found = (
        pair_signs(cells.effect, doses),
        page_ranks(cells.effect, doses) * cells.is_complete,
        np.einsum("cw,dcw->dc", centred, doses.astype(np.float64)),
    )
    return np.stack([_by_compound(cells, values, n_compounds) for values in found])


def _largest_covariance(cells: _Cells) -> Float[np.ndarray, "cell"]:
    """The largest possible sum of products of centred effects and doses: the product of their lengths."""
    effect, dose = (values - values.mean(axis=1, keepdims=True) for values in (cells.effect, cells.dose))
    return np.linalg.norm(effect, axis=1) * np.linalg.norm(dose, axis=1)


@finite_arguments(StatisticsError)
def pair_signs(
    effect: Float[np.ndarray, "cell well"], dose: Int[np.ndarray, "draw cell well"]
) -> Int[np.ndarray, "draw cell"]:
    """Returns the number of pairs in which the higher dose has the larger effect, minus those with the smaller effect.

    With ties counted half this is 2 J - (pairs of unequal dose), whose mean under permutation is 0.
    """
    total = np.zeros(dose.shape[:2], dtype=np.int32)
    for first, second in combinations(range(effect.shape[1]), 2):
        sign = np.sign(effect[:, second] - effect[:, first]).astype(np.int16)
        total += np.sign(dose[:, :, second] - dose[:, :, first]) * sign
    return total


@finite_arguments(StatisticsError)
def page_ranks(
    effect: Float[np.ndarray, "cell well"], dose: Int[np.ndarray, "draw cell well"]
) -> Float[np.ndarray, "draw cell"]:
    """Returns (L - E[L]) / (max L - E[L]) of each cell for Page's L = sum of dose rank x effect rank.

    Args:
        effect: effect of each well.
        dose: ranks of the wells' doses from 0 on, each once in a cell.
    """
    from scipy.stats import rankdata

    n_wells = effect.shape[1]
    ranks = rankdata(effect, axis=1) - (n_wells + 1) / 2
    largest = n_wells * (n_wells**2 - 1) / 12
    return np.einsum("cw,dcw->dc", ranks, dose.astype(np.float64)) / max(largest, 1.0)


def _cells(wells: DoseWells) -> Iterator[_Cells]:
    """Cells with at least two doses, grouped by their number of wells; independent of the order of the wells."""
    pairs, rank = np.unique(np.stack([wells.compound, wells.dose], axis=1), axis=0, return_inverse=True)
    of_compound = pairs[:, 0].astype(np.int64)
    n_doses = np.bincount(of_compound, minlength=len(wells.names))
    rank = rank.reshape(-1) - (np.cumsum(n_doses) - n_doses)[wells.compound]
    effect = wells.effect[wells.row]
    order = np.lexsort((effect, rank, wells.plate, wells.compound))
    _, starts, sizes = np.unique(
        np.stack([wells.compound, wells.plate], axis=1)[order], axis=0, return_index=True, return_counts=True
    )
    for size in np.unique(sizes):
        members = order[starts[sizes == size][:, None] + np.arange(size)]
        dose = rank[members].astype(np.int16)
        is_kept = dose[:, 0] < dose[:, -1]
        compound = wells.compound[members[:, 0]]
        is_complete = (n_doses[compound] == size) & (dose == np.arange(size)).all(axis=1)
        if is_kept.any():
            yield _Cells(compound[is_kept], effect[members[is_kept]], dose[is_kept], is_complete[is_kept])


def _n_unequal(dose: Int[np.ndarray, "cell well"]) -> Float[np.ndarray, "cell"]:
    """Pairs of wells of unequal dose, for each cell."""
    n_wells = dose.shape[1]
    found = np.zeros(len(dose))
    for first, second in combinations(range(n_wells), 2):
        found += dose[:, first] != dose[:, second]
    return found


def _by_compound(
    cells: _Cells, values: Float[np.ndarray, "draw cell"] | Int[np.ndarray, "draw cell"], n_compounds: int
) -> Float[np.ndarray, "draw compound"]:
    """Sums over the cells of each compound."""
    from scipy.sparse import csr_array

    n_cells = len(cells.compound)
    sums = csr_array((np.ones(n_cells), (cells.compound, np.arange(n_cells))), shape=(n_compounds, n_cells))
    return (sums @ values.T.astype(np.float64)).T
