"""Does what a map says hold elsewhere? Neighbours in other cell types, and combinations from their parts."""

from typing import Any, Literal

from pydantic import Field

from cellassets.benchmarks.definition import PermutationParameters, RankedBy, Score, benchmark


class GeneralisationParameters(PermutationParameters):
    """How many neighbours are compared.

    `persistence` is the p of the rank-biased overlap: 0.9 puts 86% of the weight on the first ten ranks.
    """

    n_neighbours: int = Field(default=5, ge=1)
    persistence: float = Field(default=0.9, gt=0, lt=1)


@benchmark(
    title="Generalisation over cell types",
    description=(
        "Share of a perturbation's five nearest neighbours that it keeps in maps of other cell types (Jaccard index); "
        "the chance level depends on how many perturbations the maps share, 1 at best."
    ),
    code_version="1",
    parameters=GeneralisationParameters,
    ranked_by=RankedBy("neighbours_kept", "neighbours_kept"),
    uses=("other_maps",),
)
def cell_type_generalisation(judged: Any, parameters: GeneralisationParameters) -> list[Score]:
    """Returns how many neighbours of each perturbation are its neighbours in the model's other maps too."""
    from cellassets.benchmarks.transfer.generalisation import cell_type_generalisation as score

    return score(judged, parameters)


class AnalogyParameters(PermutationParameters):
    """What a combination is searched among, and what counts as a hit.

    `candidates` are all perturbations of the map but the two parts (`all`), or combinations only (`combinations`).
    """

    candidates: Literal["all", "combinations"] = "all"
    n_hits: int = Field(default=10, ge=1)


@benchmark(
    title="Analogies of combinations",
    description=(
        "Reciprocal rank of the true combination A+B among all perturbations, by similarity to the sum of A and B; 1 "
        "where every combination is the nearest to the sum of its parts, about ln(n)/n by chance."
    ),
    code_version="1",
    parameters=AnalogyParameters,
    ranked_by=RankedBy("analogy_reciprocal_rank", "analogy_reciprocal_rank"),
)
def analogies(judged: Any, parameters: AnalogyParameters) -> list[Score]:
    """Returns how well the sum of two perturbations points to their combination."""
    from cellassets.benchmarks.transfer.analogies import analogies as score

    return score(judged, parameters)
