"""Targets of compounds on the scale of RxRx3-core: known targets are ranked among drawn genes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from jaxtyping import Float, Int
from pydantic import Field

from cellassets.benchmarks.definition import NameParameters, Score
from cellassets.benchmarks.judged import JudgedMap
from cellassets.benchmarks.map_compounds import MapCompounds, known_targets, map_compounds
from cellassets.benchmarks.map_genes import map_genes
from cellassets.benchmarks.published.rxrx import N_LEAST_NEGATIVES, Candidates, candidate_genes
from cellassets.benchmarks.rows import summary_score, unit_scores
from cellassets.benchmarks.strata import check_exchange
from cellassets.errors import BenchmarkError, NotApplicable
from cellassets.finite import finite_arguments
from cellassets.statistics.node_permutation import Permutations, node_permutations
from cellassets.statistics.permutation import blocks, mean_over_nodes

N_LEAST_COMPOUNDS, N_MOST_CONCENTRATIONS = 5, 10  # a concentration of fewer compounds has no row
METRICS = ("average_precision", "auroc")

Draws = Float[np.ndarray, "draw compound"]


class Rxrx3Parameters(NameParameters):
    """The seed also draws the genes that known targets are ranked among; 42 as published."""

    seed: int = Field(default=42, description="Seed of the drawn genes, 42 as published, and of the permutations")


def rxrx3_core_targets(judged: JudgedMap, parameters: Rxrx3Parameters) -> list[Score]:
    """Returns average precision and AUROC of each compound's known targets among drawn genes.

    The score of a gene is its largest |cosine| to the compound over concentrations. The other genes are drawn from the
    targets of other compounds: twice as many as the compound has targets, and at least 20. `@1uM` marks the same at one
    concentration. Annotations hold no measured activities, so every known target counts as active. In the null
    distribution genes of the same plates, of those that are targets of some compound, exchange names.

    Raises:
        NotApplicable: there is no source of targets, or no compound has a target and 20 other genes.

    Source: compound-gene benchmark of RxRx3-core, Kraus et al. (2025), arXiv:2503.20158; values equal those of
    `cellassets.benchmarks.published.rxrx`. The published random score is replaced by the null distribution.
    """
    asked = _asked(judged, parameters)
    check_exchange("rxrx3_core_targets", asked.stratum, what="genes")
    permutations = node_permutations(asked.stratum, parameters.n_permutations, np.random.default_rng(parameters.seed))
    chosen = np.arange(len(asked.candidates))
    best = _draws(asked, chosen, asked.compounds.largest(asked.similarity)[asked.number], permutations)
    rows = _summaries("", best)
    for concentration, row in _concentrations(asked):
        chosen = np.flatnonzero(row >= 0)
        at_one = _draws(asked, chosen, asked.similarity[row[chosen]], permutations)
        rows += _summaries(f"@{concentration:g}uM", at_one)
    names = [one.compound_id for one in asked.candidates]
    for metric, draws in zip(METRICS, best, strict=True):
        rows += unit_scores(metric, names, draws, n_wells=asked.compounds.n_wells[asked.number], end=1.0)
    return rows


@dataclass(frozen=True)
class _Asked:
    """Compounds with targets, their candidates as places among the target genes, and similarities to these genes.

    `number` is the place of each compound among the map's compounds; genes with one `stratum` share their plates.
    """

    compounds: MapCompounds
    candidates: list[Candidates]
    number: Int[np.ndarray, "compound"]
    similarity: Float[np.ndarray, "row gene"]
    stratum: Int[np.ndarray, "gene"]


def _asked(judged: JudgedMap, parameters: Rxrx3Parameters) -> _Asked:
    genes, compounds = map_genes(judged, "rxrx3_core_targets", parameters), map_compounds(judged)
    targets = known_targets(judged)
    is_target = np.isin(genes.names, targets["gene_symbol"].to_list())
    names = [name for name, kept in zip(genes.names, is_target, strict=True) if kept]
    activities = targets.with_columns(pl.lit(0.0).alias("activity_nm"))
    candidates = [
        one
        for one in candidate_genes(activities, names, seed=parameters.seed)
        if one.compound_id in set(compounds.names)
    ]
    if not candidates:
        message = (
            f"rxrx3_core_targets: the map has {len(compounds.names)} compounds and {len(names)} genes that are known "
            f"targets, and no compound has a target and {N_LEAST_NEGATIVES} other genes among them; add a CSV with "
            "the columns compound_id and gene_symbol by `cellassets annotation add`"
        )
        raise NotApplicable(message)
    candidates = sorted(candidates, key=lambda one: one.compound_id)
    number = np.searchsorted(np.array(compounds.names), [one.compound_id for one in candidates])
    return _Asked(
        compounds, candidates, number, compounds.similarities(genes.vectors[is_target]), genes.stratum[is_target]
    )


def _concentrations(asked: _Asked) -> list[tuple[float, Int[np.ndarray, "compound"]]]:
    """Concentrations of enough compounds, and each compound's row there (-1 where it has none)."""
    concentration = asked.compounds.concentration_um
    found = []
    for value in np.unique(concentration[np.isfinite(concentration)]):
        row = np.full(len(asked.compounds.names), -1)
        at_value = np.flatnonzero(concentration == value)
        row[asked.compounds.compound[at_value]] = at_value
        if (row[asked.number] >= 0).sum() >= N_LEAST_COMPOUNDS:
            found.append((float(value), row[asked.number]))
    return found if 1 < len(found) <= N_MOST_CONCENTRATIONS else []


def _draws(
    asked: _Asked,
    chosen: Int[np.ndarray, "compound"],
    similarity: Float[np.ndarray, "compound gene"],
    permutations: Permutations,
) -> tuple[Draws, Draws]:
    """Average precision and AUROC of the chosen compounds, as observed (row 0) and with genes' names exchanged."""
    shape = len(permutations), len(chosen)
    precision, auroc = np.empty(shape), np.empty(shape)
    sizes = np.array([(asked.candidates[c].n_active, len(asked.candidates[c].genes)) for c in chosen])
    for n_active, n_items in np.unique(sizes, axis=0):
        own = np.flatnonzero((sizes == (n_active, n_items)).all(axis=1))
        items = np.stack([asked.candidates[chosen[place]].genes for place in own])
        start = 0
        for n_draws in blocks(len(permutations), items.size * int(n_active)):
            here = slice(start, start + n_draws)
            scores = similarity[own[:, None], permutations[here][:, items]]
            precision[here, own], auroc[here, own] = retrieval_of_first(scores, int(n_active))
            start += n_draws
    return precision, auroc


@finite_arguments(BenchmarkError)
def retrieval_of_first(
    scores: Float[np.ndarray, "draw compound item"], n_active: int
) -> tuple[Float[np.ndarray, "draw compound"], Float[np.ndarray, "draw compound"]]:
    """Returns average precision and the area under the ROC curve of the first items among all.

    Others with an equal score count as ranked before a first one in the average precision, and as halves in the area.

    Args:
        scores: larger first.
        n_active: number of first items; there are others.
    """
    active, others = np.sort(scores[..., :n_active], axis=-1)[..., ::-1, None], scores[..., None, n_active:]
    is_below = active > others
    n_before = others.shape[-1] - is_below.sum(axis=-1)
    n_found = np.arange(1, n_active + 1)
    area = (is_below + 0.5 * (active == others)).mean(axis=(-2, -1))
    return (n_found / (n_found + n_before)).mean(axis=-1), area


def _summaries(suffix: str, draws: Sequence[Draws]) -> list[Score]:
    rows = []
    for metric, values in zip(METRICS, draws, strict=True):
        mean = mean_over_nodes(values[0], np.arange(values.shape[1])[:, None])
        rows.append(summary_score(f"{metric}{suffix}", mean, values, within=(0.0, 1.0)))
    return rows
