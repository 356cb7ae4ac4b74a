"""What is in the map that is no biology of the perturbed gene? Proximity on the chromosome."""

from typing import Any

from pydantic import Field

from cellassets.benchmarks.definition import PermutationParameters, RankedBy, Score, benchmark


class ProximityParameters(PermutationParameters):
    """Which arms are judged.

    Arms with more than `min_genes` genes in the map are judged.
    """

    min_genes: int = Field(default=5, ge=1)


@benchmark(
    title="Proximity bias",
    description=(
        "Probability that a gene is more similar to a gene of its own chromosome arm than to one of another arm; 0.5 "
        "by chance, more where knock-outs damage the arm."
    ),
    code_version="1",
    parameters=ProximityParameters,
    ranked_by=RankedBy("proximity_bias", "arm_proximity", is_higher_better=False),
    uses=("gene_arms",),
    asks_about="chromosome_arms",
)
def proximity_bias(judged: Any, parameters: ProximityParameters) -> list[Score]:
    """Returns how often a cosine within a chromosome arm is greater than one between arms."""
    from cellassets.benchmarks.confounders.proximity import proximity_bias as score

    return score(judged, parameters)
