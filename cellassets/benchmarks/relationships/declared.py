"""Is known biology in the map? Recall of known relationships."""

from typing import Annotated, Any, Literal

from pydantic import Field

from cellassets.benchmarks.definition import PermutationParameters, RankedBy, Score, benchmark


class RelationshipParameters(PermutationParameters):
    """Which pairs count as extreme, and how many permutations the null is made of.

    The first of `tail_fracs` is the share of all pairs of the map in each tail that the headline counts; recall at the
    others is reported beside it. `leave_out_within` takes pairs of genes on one chromosome, or one arm of it, out of
    the annotated pairs and out of those they are ranked among (knocking out a gene may cut off the arm). `min_pairs`
    annotated pairs must have both genes in the map.
    """

    tail_fracs: tuple[Annotated[float, Field(gt=0, lt=0.5)], ...] = Field(default=(0.05, 0.1), min_length=1)
    leave_out_within: Literal["nothing", "chromosome", "arm"] = "nothing"
    min_pairs: int = Field(default=5, ge=1)
    n_permutations: int = Field(default=2000, ge=99)


@benchmark(
    title="Recall of known relationships",
    description=(
        "Share of known gene pairs that lie among the 5% most similar or the 5% most opposite pairs of the map; 0.1 by "
        "chance, 1 at best."
    ),
    code_version="3",
    parameters=RelationshipParameters,
    ranked_by=RankedBy("recall", "pair_recalled"),
    uses=("pairs", "gene_arms"),
)
def known_relationships(judged: Any, parameters: RelationshipParameters) -> list[Score]:
    """Returns the recall of annotated pairs in both tails of the cosines between genes."""
    from cellassets.benchmarks.relationships.relationships import known_relationships as score

    return score(judged, parameters)
