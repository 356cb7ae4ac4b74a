"""Is known biology in the map? Recall of known relationships."""

from typing import Any

from pydantic import Field

from cellassets.configuration import Parameters
from cellassets.scoring.definition import RankedBy, Score, benchmark


class RelationshipParameters(Parameters):
    """Which pairs count as extreme, and how many permutations the null is made of.

    `tail_frac` of all pairs of the map lie in each tail. `min_pairs` annotated pairs must have both genes in the map.
    """

    tail_frac: float = Field(default=0.05, gt=0, lt=0.5)
    min_pairs: int = Field(default=5, ge=1)
    n_permutations: int = Field(default=2000, ge=99)
    seed: int = 0


@benchmark(
    title="Recall of known relationships",
    description=(
        "Share of known gene pairs that lie among the 5% most similar or the 5% most opposite pairs of the map; 0.1 by "
        "chance, 1 at best."
    ),
    code_version="1",
    parameters=RelationshipParameters,
    ranked_by=RankedBy("recall", "pair_recalled"),
    uses=("pairs", "gene_arms"),
)
def known_relationships(judged: Any, parameters: RelationshipParameters) -> list[Score]:
    """Returns the recall of annotated pairs in both tails of the cosines between genes."""
    from cellassets.scoring.relationships import known_relationships as score

    return score(judged, parameters)
