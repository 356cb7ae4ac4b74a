"""Phenotypic consistency: do perturbations of one gene, set or target find each other among all others?"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int
from pydantic import Field

from cellassets.benchmarks.definition import NameParameters, Row
from cellassets.benchmarks.judged import JudgedMap
from cellassets.benchmarks.retrieval.labelled_profiles import LabelledProfiles, labelled_profiles
from cellassets.benchmarks.rows import influences_of, summary_score, unit_scores
from cellassets.benchmarks.strata import check_exchange, exchange_groups
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
from cellassets.statistics.permutation import mean_over_nodes

QUERIES_AT_ONCE = 2048
METRICS = ("mean_average_precision", "normalised_average_precision")
Query = tuple[int, int, Int[np.ndarray, "..."], Bool[np.ndarray, "..."]]


class PhenotypicConsistencyParameters(NameParameters):
    """Which label perturbations share: their `gene`, an annotated `set`, or an annotated `target` of compounds.

    A label with more than `max_members` perturbations is left out. Where more than `max_perturbations` perturbations
    have a label, some labels are drawn at random.
    """

    label: Literal["gene", "set", "target"] = Field(default="gene", description="What perturbations have in common")
    max_members: int = Field(default=200, ge=2, description="A label with more perturbations is left out")
    max_perturbations: int = Field(
        default=6000, ge=10, description="Labelled perturbations, at most; labels are drawn at random if there are more"
    )


def phenotypic_consistency(judged: JudgedMap, parameters: PhenotypicConsistencyParameters) -> list[Row]:
    """Returns the mean average precision of retrieving perturbations of the same label among all others.

    Each perturbation of a label ranks all others by their cosine to it. Positives are those of the label. Those that
    share another label with it, and other doses of the same compound, are neither positive nor negative. In the null
    distribution perturbations (compounds with all their doses) of the same plates exchange labels, all labels together.

    Raises:
        NotApplicable: no two perturbations of the map share a label, or all share one.

    Source: Kalinin et al. (2025), Nat. Commun. 16:5181 (copairs), with a null distribution that keeps the plates and
    the overlap of labels.
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
    check_exchange("phenotypic_consistency", found.exchange, what="perturbations")
    queries = list(_queries(found))
    if not queries:
        message = (
            f"phenotypic_consistency by {parameters.label}: all perturbations share one label; there are no negatives"
        )
        raise NotApplicable(message)
    order = rng.permutation(len(found.profiles))  # equal cosines are ranked in random order
    ranks = ranks_of_others(unit_rows(found.profiles[order]))[np.ix_(np.argsort(order), np.argsort(order))]
    draws, is_kept = _draws(found, queries, ranks, parameters.n_permutations, rng)
    influences = _influences(queries, ranks, is_kept)
    names = [name for name, kept in zip(found.members, is_kept, strict=True) if kept]
    n_members = np.array([len(found.members[name]) for name in names])
    rows: list[Row] = []
    for number, (metric, within) in enumerate(zip(METRICS, ((0.0, 1.0), (-np.inf, 1.0)), strict=True)):
        mean = mean_over_nodes(draws[number, 0], np.arange(len(names))[:, None], influences=influences[number])
        rows.append(summary_score(metric, mean, draws[number], within=within))
        of_labels = unit_scores(metric, names, draws[number], n_wells=n_members, end=1.0)
        rows += [replace(row, unit="perturbation") for row in of_labels]
        rows += influences_of(metric, found.names, influences[number])
    return rows


def _queries(found: LabelledProfiles) -> Iterator[Query]:
    """Label, querying place, listed places, and which are positives; a query needs a positive and a negative."""
    sharing: list[set[int]] = [set(np.flatnonzero(found.identity == own).tolist()) for own in found.identity]
    for members in found.members.values():
        for member in members:
            sharing[member].update(members.tolist())
    for label, members in enumerate(found.members.values()):
        for member in members:
            partner = np.array(sorted(sharing[member] - {int(member)}), dtype=np.int64)
            is_positive = np.isin(partner, members) & (found.identity[partner] != found.identity[member])
            if is_positive.any() and len(partner) < len(found.profiles) - 1:
                yield label, int(member), partner, is_positive


def _draws(
    found: LabelledProfiles, queries: list[Query], ranks: Ranks, n_permutations: int, rng: np.random.Generator
) -> tuple[Float[np.ndarray, "measure draw label"], Bool[np.ndarray, "label"]]:
    """Mean average precision of each label, plain and normalised, as observed (row 0) and with names permuted.

    Also which labels have a query.
    """
    permuted = (found.permuted(rng) for _ in range(n_permutations))
    placed = np.stack([np.arange(len(ranks)), *permuted])
    sums = np.zeros((len(METRICS), len(placed), len(found.members)))
    for start in range(0, len(queries), QUERIES_AT_ONCE):
        label, asking, partners, flags = zip(*queries[start : start + QUERIES_AT_ONCE], strict=True)
        for group in grouped_queries(asking, partners, flags):
            _add_to_labels(sums, np.array(label)[group.number], group, ranks, placed)
    counts = np.bincount([query[0] for query in queries], minlength=len(found.members))
    return sums[:, :, counts > 0] / counts[counts > 0], counts > 0


def _influences(
    queries: list[Query], ranks: Ranks, is_kept: Bool[np.ndarray, "label"]
) -> Float[np.ndarray, "measure profile"]:
    """By how much the mean would fall without each perturbation among the negatives of all labels but its own.

    Everything ranked after the perturbation moves up by one. For the normalised mean the change of the chance level is
    left out: it is the same for every model.
    """
    n_queries = np.bincount([query[0] for query in queries], minlength=len(is_kept))
    lost = np.zeros((len(METRICS), len(ranks)))
    for label, asking, partner, is_positive in queries:
        listed = np.sort(ranks[asking, partner])
        hits = np.sort(ranks[asking, partner[is_positive]]).astype(np.int64)
        n_found = np.arange(1, len(hits) + 1)
        n_looked_at = n_found + hits - np.searchsorted(listed, hits)
        gain = np.zeros(len(ranks))
        gain[hits] = (n_found / np.maximum(n_looked_at - 1, n_found) - n_found / n_looked_at) / len(hits)
        more = gain[::-1].cumsum()[::-1][ranks[asking]]
        more[partner], more[asking] = 0.0, 0.0
        n_negatives = np.array([len(ranks) - 1 - len(partner)])
        chance = float(expected_average_precision(np.array([len(hits)]), n_negatives)[0])
        lost[0] -= more / n_queries[label]
        lost[1] -= more / n_queries[label] / (1 - chance)
    return lost / is_kept.sum()


def _add_to_labels(
    sums: Float[np.ndarray, "measure draw label"],
    label: Int[np.ndarray, "query"],
    group: Queries,
    ranks: Ranks,
    placed: Int[np.ndarray, "draw place"],
) -> None:
    """Adds to each label the results of its queries; queries are sorted by label."""
    found = average_precisions(group, ranks, placed, are_others_negatives=True)
    n_negatives = np.full(len(label), len(ranks) - 1 - group.partner.shape[1])
    chance = expected_average_precision(group.is_positive.sum(axis=1), n_negatives)
    names, starts = np.unique(label, return_index=True)
    for number, values in enumerate((found, (found - chance) / (1 - chance))):
        sums[number][:, names] += np.add.reduceat(values, starts, axis=1)
