"""Phenotypic activity: does a perturbation's well find its replicates before the negative controls of its plates?"""

from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float, Int
from pydantic import Field

from cellassets.benchmarks.definition import Row
from cellassets.benchmarks.judged import JudgedMap
from cellassets.benchmarks.replicates.against_controls import (
    ComparedWells,
    chosen_within,
    compared_wells,
    joint_part,
    turns_on_plate,
)
from cellassets.benchmarks.replicates.chosen_wells import UnitParameters, chosen_wells
from cellassets.benchmarks.rows import influences_of, summary_score, unit_scores
from cellassets.errors import NotApplicable
from cellassets.mapping.relate import unit_rows
from cellassets.statistics.average_precision import (
    Queries,
    Ranks,
    average_precisions,
    expected_average_precision,
    grouped_queries,
    ranks_of_others,
)
from cellassets.statistics.permutation import mean_over_nodes, permuted_within

METRICS = ("mean_average_precision", "normalised_average_precision")
Measures = Float[np.ndarray, "measure draw unit"]


class ActivityParameters(UnitParameters):
    """Which wells count as replicates, and how many controls they are ranked with.

    With `is_across_plates` only wells on other plates are replicates. At most `max_controls` negative controls, spread
    evenly over the plates, are ranked with a perturbation's wells. `max_joint_wells` limits the treated wells, and the
    controls, of the joint permutations behind the summary's null distribution; where there are more, some perturbations
    are drawn at random.
    """

    is_across_plates: bool = Field(default=False, description="Whether only wells on other plates count as replicates")
    max_controls: int = Field(default=512, ge=3, description="Controls that are ranked with a perturbation, at most")
    max_joint_wells: int = Field(
        default=500, ge=20, description="Treated wells, and controls, in the null distribution of the summary, at most"
    )


def phenotypic_activity(judged: JudgedMap, parameters: ActivityParameters) -> list[Row]:
    """Returns the mean average precision of retrieving a perturbation's wells against the controls of its plates.

    Each well ranks the other wells of its perturbation, and the held-out negative controls of the perturbation's
    plates, by their cosine to it. The null distribution of a perturbation permutes labels between its wells and those
    controls, within plates. The summary's null distribution permutes the labels of all these wells together, because
    perturbations share their controls. In the normalised metric chance is 0.

    Raises:
        BenchmarkError: no perturbation has two wells on plates with three held-out negative controls.
        NotApplicable: only wells on other plates count, and no perturbation is on two plates.

    Source: Kalinin et al. (2025), Nat. Commun. 16:5181 (copairs). Their null distribution draws random ranks and
    averages one draw over the replicates; here labels are permuted within plates.
    """
    rng = np.random.default_rng(parameters.seed)
    compared = _compared(chosen_wells(judged, parameters), parameters, rng)
    own, influences = own_draws(compared, parameters, rng)
    joint, n_joint = _joint_draws(compared, parameters, rng)
    n_wells = np.bincount(compared.unit)
    nodes = np.arange(len(n_wells))[:, None]
    rows: list[Row] = []
    for number, (metric, within) in enumerate(zip(METRICS, ((0.0, 1.0), (-np.inf, 1.0)), strict=True)):
        mean = mean_over_nodes(own[number, 0], nodes, influences=influences[number])
        rows.append(replace(summary_score(metric, mean, joint[number], within=within), n_null_wells=n_joint))
        rows += unit_scores(metric, compared.names, own[number], n_wells=n_wells, end=1.0)
        rows += influences_of(metric, compared.control_names, influences[number])
    return rows


def _compared(judged: JudgedMap, parameters: ActivityParameters, rng: np.random.Generator) -> ComparedWells:
    found = compared_wells("phenotypic_activity", judged, max_controls_per_plate=parameters.max_controls, rng=rng)
    if not parameters.is_across_plates:
        return found
    of_unit = np.unique(np.stack([found.unit, found.plate]), axis=1)[0]
    is_kept = np.bincount(of_unit, minlength=len(found.names)) >= 2
    if not is_kept.any():
        message = (
            f"phenotypic_activity: none of {len(found.names)} perturbations is on two plates, and is_across_plates "
            "asks for replicates on other plates only"
        )
        raise NotApplicable(message)
    return found.only(is_kept)


def _are_replicates(
    unit: Int[np.ndarray, "well"], plate: Int[np.ndarray, "well"], *, is_across_plates: bool
) -> Bool[np.ndarray, "well well"]:
    """Which wells are positives of which."""
    are_alike = unit[:, None] == unit
    np.fill_diagonal(are_alike, val=False)
    return are_alike & (plate[:, None] != plate) if is_across_plates else are_alike


def own_draws(
    compared: ComparedWells, parameters: ActivityParameters, rng: np.random.Generator
) -> tuple[Measures, Float[np.ndarray, "measure control"]]:
    """Returns each perturbation as observed (row 0) and with labels permuted; and the influences of the controls.

    Args:
        compared: perturbations and controls.
        parameters: which wells count, and the number of permutations.
        rng: source of the permutations.
    """
    draws = np.empty((len(METRICS), 1 + parameters.n_permutations, len(compared.names)))
    influences = np.zeros((len(METRICS), len(compared.controls)))
    turn = turns_on_plate(compared.control_plate, rng)
    treated, controls = unit_rows(compared.treated), unit_rows(compared.controls)
    for number in range(len(compared.names)):
        own = np.flatnonzero(compared.unit == number)
        own = own[np.argsort(compared.plate[own], kind="stable")]  # the order that chosen_within returns
        n_most = max(1, parameters.max_controls // len(np.unique(compared.plate[own])))
        others = np.flatnonzero(np.isin(compared.control_plate, compared.plate[own]) & (turn < n_most))
        plates = np.concatenate([compared.plate[own], compared.control_plate[others]])
        ranks = _ranks(np.concatenate([treated[own], controls[others]]), rng)
        permuted = chosen_within(plates, len(own), parameters.n_permutations, rng)
        placed = np.concatenate([np.arange(len(own))[None], permuted])
        groups = _own_queries(compared.plate[own], is_across_plates=parameters.is_across_plates)
        draws[:, :, number] = _own_means(groups, ranks, placed)
        influences[:, others] += _influences(groups, ranks, len(own)) / len(compared.names)
    return draws, influences


def _ranks(wells: Float[np.ndarray, "well feature"], rng: np.random.Generator) -> Ranks:
    """Ranks in which equal cosines are in random order, independent of the labels."""
    order = rng.permutation(len(wells))
    ranks = ranks_of_others(wells[order])
    place = np.argsort(order)
    return ranks[np.ix_(place, place)]


def _own_queries(plate: Int[np.ndarray, "own"], *, is_across_plates: bool) -> list[Queries]:
    """Each well is a query for the others; those on its own plate are left out where only other plates count."""
    n_own = len(plate)
    is_positive = _are_replicates(np.zeros(n_own, dtype=np.int64), plate, is_across_plates=is_across_plates)
    partners = [np.delete(np.arange(n_own), place) for place in range(n_own)]
    flags = [is_positive[place][partners[place]] for place in range(n_own)]
    return grouped_queries(range(n_own), partners, flags)


def _own_means(
    groups: list[Queries], ranks: Ranks, placed: Int[np.ndarray, "draw own"]
) -> Float[np.ndarray, "measure draw"]:
    """Mean average precision of one perturbation, plain and normalised."""
    n_negatives = len(ranks) - placed.shape[1]
    found = np.concatenate([average_precisions(group, ranks, placed, are_others_negatives=True) for group in groups], 1)
    chance = np.concatenate([_chance(group, n_negatives) for group in groups])
    return np.stack([found.mean(axis=1), ((found - chance) / (1 - chance)).mean(axis=1)])


def _chance(group: Queries, n_negatives: int) -> Float[np.ndarray, "query"]:
    n_positives = group.is_positive.sum(axis=1)
    return expected_average_precision(n_positives, np.full(len(n_positives), n_negatives))


def _influences(groups: list[Queries], ranks: Ranks, n_own: int) -> Float[np.ndarray, "measure control"]:
    """By how much the mean would fall without each control: everything ranked after the control moves up by one.

    For the normalised mean the chance level with one negative fewer is used.
    """
    lost, n_queries = np.zeros((len(METRICS), len(ranks) - n_own)), sum(len(group.asking) for group in groups)
    n_negatives = len(ranks) - n_own
    for group in groups:
        to_controls = ranks[group.asking, n_own:]
        listed = np.where(group.is_positive, ranks[group.asking[:, None], group.partner], np.iinfo(ranks.dtype).max)
        listed.sort(axis=1)
        listed = listed[:, : group.is_positive[0].sum()]
        is_ahead = to_controls[:, :, None] < listed[:, None, :]
        n_found = np.arange(1, listed.shape[1] + 1)
        n_looked_at = n_found + is_ahead.sum(axis=1)
        gain = n_found / np.maximum(n_looked_at - 1, 1) - n_found / n_looked_at
        more = np.einsum("qcp,qp->qc", is_ahead, gain / listed.shape[1])
        chance, chance_without = (_chance(group, n)[:, None] for n in (n_negatives, n_negatives - 1))
        now = (n_found / n_looked_at).mean(axis=1)[:, None]
        lost[0] -= more.sum(axis=0)
        lost[1] += ((now - chance) / (1 - chance) - (now + more - chance_without) / (1 - chance_without)).sum(axis=0)
    return lost / n_queries


def _joint_draws(
    compared: ComparedWells, parameters: ActivityParameters, rng: np.random.Generator
) -> tuple[Measures, int | None]:
    """All perturbations: as observed, and with the labels of all wells permuted within plates.

    Also the number of treated wells, where they are a random part.
    """
    treated, controls = joint_part(compared, parameters.max_joint_wells, rng)
    plates = np.concatenate([compared.plate[treated], compared.control_plate[controls]])
    ranks = _ranks(unit_rows(np.concatenate([compared.treated[treated], compared.controls[controls]])), rng)
    permuted = (permuted_within(plates, rng) for _ in range(parameters.n_permutations))
    placed = np.stack([np.arange(len(plates)), *permuted])
    groups, unit = _joint_queries(compared, treated, controls, is_across_plates=parameters.is_across_plates)
    found, chance = np.empty((len(placed), len(treated))), np.zeros(len(treated))
    is_asking = np.zeros(len(treated), dtype=bool)
    for group in groups:
        found[:, group.number] = average_precisions(group, ranks, placed, are_others_negatives=False)
        chance[group.number] = _chance_of_listed(group)
        is_asking[group.number] = True
    unit = np.unique(unit[is_asking], return_inverse=True)[1]
    found, chance = found[:, is_asking], chance[is_asking]
    counts = np.bincount(unit)
    starts = np.cumsum(counts) - counts
    values = np.stack([found, (found - chance) / (1 - chance)])
    n_joint = len(treated) if len(treated) < len(compared.treated) else None
    return np.add.reduceat(values, starts, axis=2) / counts, n_joint


def _chance_of_listed(group: Queries) -> Float[np.ndarray, "query"]:
    return expected_average_precision(group.is_positive.sum(axis=1), (~group.is_positive).sum(axis=1))


def _joint_queries(
    compared: ComparedWells,
    treated: Int[np.ndarray, "treated"],
    controls: Int[np.ndarray, "control"],
    *,
    is_across_plates: bool,
) -> tuple[list[Queries], Int[np.ndarray, "treated"]]:
    """Each treated place lists its replicates and the controls of its perturbation's plates."""
    unit, plate = compared.unit[treated], compared.plate[treated]
    are_replicates = _are_replicates(unit, plate, is_across_plates=is_across_plates)
    control_plate = compared.control_plate[controls]
    partners, flags = [], []
    for place in range(len(treated)):
        positives = np.flatnonzero(are_replicates[place])
        negatives = len(treated) + np.flatnonzero(np.isin(control_plate, plate[unit == unit[place]]))
        partners.append(np.concatenate([positives, negatives]))
        flags.append(np.arange(len(partners[-1])) < len(positives))
    return grouped_queries(range(len(treated)), partners, flags), unit
