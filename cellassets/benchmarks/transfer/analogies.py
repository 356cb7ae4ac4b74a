"""Analogies: does the sum of two perturbations predict their combination?"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import polars as pl
from jaxtyping import Bool, Float, Int
from pydantic import Field

from cellassets.benchmarks.definition import NameParameters, Score
from cellassets.benchmarks.judged import JudgedMap
from cellassets.benchmarks.rows import summary_score, unit_scores
from cellassets.benchmarks.strata import check_exchange, plate_strata
from cellassets.benchmarks.ties import with_finer_p_values
from cellassets.errors import NotApplicable
from cellassets.mapping.controls import is_negative_control
from cellassets.mapping.relate import COSINE_ROUNDING, combination_parts, unit_rows
from cellassets.screens.landed import PAIR_SEPARATOR
from cellassets.statistics.node_permutation import node_permutations
from cellassets.statistics.permutation import blocks, mean_over_nodes
from cellassets.tables.parquet import vectors

TIE_BREAK = 1e-6  # breaks ties of equal numbers of hits; always less than one hit


class AnalogyParameters(NameParameters):
    """Which candidates a combination is ranked among, and which rank counts as a hit.

    `candidates`: all perturbations of the map except the two parts (`all`), or combinations only (`combinations`).
    """

    candidates: Literal["all", "combinations"] = Field(
        default="all",
        description="What a combination is ranked among: all perturbations except its parts, or combinations only",
    )
    n_hits: int = Field(default=10, ge=1, description="Rank up to which a combination counts as found")


def analogies(judged: JudgedMap, parameters: AnalogyParameters) -> list[Score]:
    """Returns the rank of each combination A+B among candidates, by cosine to the sum of A and B.

    All vectors are relative to the mean of the negative controls. The parts themselves are not candidates, as in
    analogies of words; otherwise they would be the nearest most often. In the null distribution the single
    perturbations that are parts exchange names with others of the same plates. Combinations may share a part; intervals
    and comparisons allow for that.

    Raises:
        NotApplicable: the map has no combination of two perturbations that it also has singly, or no other candidate.

    Source: analogies by vector addition of Mikolov, Yih and Zweig (2013), NAACL-HLT 746; inputs are left out as there.
    """
    table = judged.map_table.filter(pl.col("control_kind").is_null()).sort("perturbation_id")
    asked = _asked(judged, table, parameters)
    check_exchange("analogies", asked.stratum, what="parts of combinations")
    ranks = _ranks(asked, parameters)
    reciprocal, hits = 1.0 / ranks, (ranks <= parameters.n_hits).astype(np.float64)
    first, second = (
        summary_score(metric, mean_over_nodes(draws[0], asked.parts), draws, within=(0.0, 1.0))
        for metric, draws in (("analogy_reciprocal_rank", reciprocal), ("analogy_hits", hits))
    )
    finer = (hits + TIE_BREAK * reciprocal).mean(axis=1)[:, None]
    units = unit_scores("analogy_reciprocal_rank", asked.names, reciprocal, n_wells=asked.n_wells, end=1.0)
    return [first, *with_finer_p_values([second], finer), *(replace(row, unit="pair") for row in units)]


@dataclass(frozen=True)
class _Asked:
    """Combinations and their parts (numbers among the single perturbations that are parts).

    `cosine` is each part's term in the cosine of a sum to a candidate, not divided by the length of the sum, and
    `rounding` its error; candidates that differ by less from the answer are as near as it. `answer` and
    `part_candidate` are the places of combinations and parts among the candidates, -1 for a part that is not a
    candidate.
    """

    names: list[str]
    n_wells: Int[np.ndarray, "combination"]
    parts: Int[np.ndarray, "combination 2"]
    cosine: Float[np.ndarray, "part candidate"]
    rounding: Float[np.ndarray, "part"]
    answer: Int[np.ndarray, "combination"]
    part_candidate: Int[np.ndarray, "part"]
    stratum: Int[np.ndarray, "part"]


def _asked(judged: JudgedMap, table: pl.DataFrame, parameters: AnalogyParameters) -> _Asked:
    names = table["perturbation_id"].to_list()
    place = {name: number for number, name in enumerate(names)}
    split = {name: combination_parts(name) for name in names}
    combined = [
        name for name, parts in split.items() if len(parts) == len(set(parts)) == 2 and place.keys() >= set(parts)
    ]
    is_candidate = np.isin(names, names if parameters.candidates == "all" else combined)
    if not combined or is_candidate.sum() < 4:
        message = (
            f"analogies: {len(combined)} combinations of two perturbations that this map of {len(names)} has singly "
            'too (named such as "A+B"); it needs one, and another candidate'
        )
        raise NotApplicable(message)
    singles = sorted({part for name in combined for part in split[name]})
    values = vectors(table).astype(np.float64) - _origin(judged)
    number = np.where(is_candidate, np.cumsum(is_candidate) - 1, -1)
    rows = [place[name] for name in singles]
    return _Asked(
        names=[PAIR_SEPARATOR.join(split[name]) for name in combined],
        n_wells=table["n_wells"].cast(pl.Int64).to_numpy()[[place[name] for name in combined]],
        parts=np.searchsorted(singles, [split[name] for name in combined]),
        cosine=values[rows] @ unit_rows(values[is_candidate]).T,
        rounding=COSINE_ROUNDING * np.linalg.norm(values[rows], axis=1),
        answer=number[[place[name] for name in combined]],
        part_candidate=number[rows],
        stratum=plate_strata(judged, singles, parameters),
    )


def _origin(judged: JudgedMap) -> Float[np.ndarray, "feature"]:
    """The origin of all vectors: the mean of the negative controls."""
    controls = judged.vectors[is_negative_control(judged.wells)].astype(np.float64)
    return controls.mean(axis=0) if len(controls) else np.zeros(judged.vectors.shape[1])


def _ranks(asked: _Asked, parameters: AnalogyParameters) -> Float[np.ndarray, "draw combination"]:
    """Rank of every combination, the last of a tie, as observed (row 0) and with the parts' names permuted."""
    rng = np.random.default_rng(parameters.seed)
    permutations = node_permutations(asked.stratum, parameters.n_permutations, rng)
    ranks = np.empty((len(permutations), len(asked.names)))
    for draw, permutation in enumerate(permutations):
        parts, start = permutation[asked.parts], 0
        for n_rows in blocks(len(parts), asked.cosine.shape[1]):
            here = slice(start, start + n_rows)
            ranks[draw, here] = _ranks_of(asked, parts[here], asked.answer[here])
            start += n_rows
    return ranks


def _ranks_of(asked: _Asked, parts: Int[np.ndarray, "row 2"], answer: Int[np.ndarray, "row"]) -> Int[np.ndarray, "row"]:
    sums = asked.cosine[parts[:, 0]] + asked.cosine[parts[:, 1]]
    least = sums[np.arange(len(parts)), answer] - asked.rounding[parts].sum(axis=1)
    is_as_near: Bool[np.ndarray, "row candidate"] = sums >= least[:, None]
    ranks = is_as_near.sum(axis=1)
    for part in parts.T:
        candidate = asked.part_candidate[part]
        ranks -= is_as_near[np.arange(len(parts)), candidate] & (candidate >= 0)
    return ranks
