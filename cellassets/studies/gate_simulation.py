"""Streams of candidates against one champion: how often the gate promotes equal models and better ones.

A stream is one dataset of annotated pairs, of which each model recalls some: pairs share genes, and a pair is easy or
hard for all models, as on real maps. The p-values are those of the gate (`cellassets.judging.gain`), for all candidates
of a stream at once. `cellassets.studies.gate_page` runs the study; guards are in `cellassets.studies.gate_guards`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
from jaxtyping import Bool, Float, Int

from cellassets.configuration import Parameters
from cellassets.judging.sequence import COUNTED_UP_TO, level_of

ALPHA = 0.05
Levels = Callable[[int, int], float]  # of the candidate's place in the stream and its number in the sequence, from 1


class SimulatedStream(Parameters):
    """One dataset and the models that are judged on it.

    Attributes:
        n_genes: genes, in complexes of four; all six pairs of a complex are annotated.
        recall: share of the pairs that the champion recalls on average.
        shared_frac: part of a pair's variance that is the same in all models.
        gene_frac: part that belongs to the model's genes, so that pairs of one gene depend on each other.
        seed: of the random numbers.
    """

    n_genes: int = 240
    recall: float = 0.4
    shared_frac: float = 0.5
    gene_frac: float = 0.2
    seed: int = 0


@dataclass(frozen=True)
class Stream:
    """Models that were scored on one dataset; the first is the champion.

    Attributes:
        recalled: model by pair, whether the pair was recalled.
        genes: the two genes of each pair.
    """

    recalled: Bool[np.ndarray, "model pair"]
    genes: Int[np.ndarray, "pair 2"]

    @cached_property
    def _is_of_gene(self) -> Float[np.ndarray, "pair gene"]:
        found = np.zeros((len(self.genes), int(self.genes.max()) + 1))
        for column in self.genes.T:
            found[np.arange(len(self.genes)), column] += 1
        return found

    def p_values(self, champion: int) -> Float[np.ndarray, "model"]:
        """Returns the gate's one-sided p-value of every model's gain over the champion, 1 for itself."""
        from scipy.stats import t

        differences = self.recalled.astype(np.float64) - self.recalled[champion]
        means = differences.mean(axis=1)
        residuals = differences - means[:, None]
        own = (residuals**2).sum(axis=1)
        n_pairs, n_genes = self._is_of_gene.shape
        scale = (1 - 1 / n_genes) / (1 - self._is_of_gene.sum(axis=0) / n_pairs)  # as in `dependent_squares`
        twice = self._is_of_gene @ scale**2 / 2
        dependent = ((residuals @ self._is_of_gene * scale) ** 2).sum(axis=1) - residuals**2 @ twice
        errors = np.sqrt(np.maximum(dependent, own) * n_genes / (n_genes - 1)) / differences.shape[1]
        found = np.ones(len(means))
        has_error = errors > 0
        found[has_error] = t.sf(means[has_error] / errors[has_error], n_genes - 1)
        return np.maximum(found, 2.0**-n_genes)


def simulate_stream(design: SimulatedStream, gains: Sequence[float]) -> Stream:
    """Returns a champion, and one candidate per gain.

    Args:
        design: the dataset.
        gains: by how much each candidate recalls more than the champion, on average over datasets.
    """
    from scipy.stats import norm

    rng = np.random.default_rng(design.seed)
    quartets = np.arange(design.n_genes).reshape(-1, 4)
    first, second = np.triu_indices(4, 1)
    genes = np.stack([quartets[:, first].ravel(), quartets[:, second].ravel()], axis=1)
    n_models, n_pairs = 1 + len(gains), len(genes)
    of_pair = np.sqrt(design.shared_frac) * rng.standard_normal(n_pairs)
    of_gene = np.sqrt(design.gene_frac / 2) * rng.standard_normal((n_models, design.n_genes))
    own = np.sqrt(1 - design.shared_frac - design.gene_frac) * rng.standard_normal((n_models, n_pairs))
    ease = norm.ppf(design.recall + np.array([0.0, *gains]))[:, None]
    return Stream(ease + of_pair + of_gene[:, genes[:, 0]] + of_gene[:, genes[:, 1]] + own > 0, genes)


METHODS: dict[str, Levels] = {
    "no correction": lambda _place, _number: ALPHA,
    "1/k² of alpha": lambda place, _number: ALPHA * 6 / (np.pi * place) ** 2,
    "the gate": lambda _place, number: level_of(number, ALPHA),
}


def promotions(p_values_against: Callable[[int], Float[np.ndarray, "model"]], levels: Levels) -> list[int]:
    """Returns the candidates that are promoted, in order; each becomes the champion of a new sequence.

    Args:
        p_values_against: returns the p-values of all models against a champion, which is model 0 at first.
        levels: of the method.
    """
    found: list[int] = []
    champion, start = 0, 1
    while True:
        p_values = p_values_against(champion)[start:]
        is_counted = (p_values <= COUNTED_UP_TO).astype(np.int64)
        numbers = (1 + np.cumsum(is_counted) - is_counted).tolist()
        limits = np.array([levels(place, number) for place, number in enumerate(numbers, start=1)])
        passed = np.flatnonzero(p_values <= limits)
        if not len(passed):
            return found
        champion = start + int(passed[0])
        start = champion + 1
        found.append(champion)


def n_promotions(design: SimulatedStream, n_candidates: int) -> dict[str, int]:
    """Returns by method how many of the candidates, all equal to the champion, are promoted."""
    p_values_against = cache(simulate_stream(design, [0.0] * n_candidates).p_values)
    return {name: len(promotions(p_values_against, levels)) for name, levels in METHODS.items()}


def is_promoted(design: SimulatedStream, gains: Sequence[float], before: Sequence[float]) -> dict[str, list[bool]]:
    """Returns by method whether a candidate with each of the gains would be promoted.

    Args:
        design: the dataset.
        gains: of the candidate.
        before: gains of the candidates that were judged before it and not promoted.
    """
    p_values = simulate_stream(design, [*before, *gains]).p_values(0)[1:]
    number = 1 + int((p_values[: len(before)] <= COUNTED_UP_TO).sum())
    place = len(before) + 1
    return {name: (p_values[len(before) :] <= levels(place, number)).tolist() for name, levels in METHODS.items()}
