"""What of batches and plates is left in a map after alignment?"""

from typing import Any, Literal

from pydantic import Field

from cellassets.benchmarks.definition import PermutationParameters, RankedBy, Score, benchmark


class LeftoverBatchParameters(PermutationParameters):
    """Which wells are judged, how many, and how many permutations.

    `held_out_controls` are alike whatever their batch; judge by `treated_wells` only where every perturbation is on
    every plate. `max_wells_per_plate` of them count, the others are left out at random. `n_neighbours` make up a
    neighbourhood; `max_queries` bounds the treated wells that ask for a replicate in another batch.
    """

    wells: Literal["held_out_controls", "treated_wells"] = "held_out_controls"
    max_wells_per_plate: int = Field(default=64, ge=2)
    n_neighbours: int = Field(default=10, ge=2)
    max_queries: int = Field(default=5000, ge=10)


@benchmark(
    title="Leftover batch effect",
    description=(
        "How often the batch of a control well is told from wells of other plates: lower is better; what chance gives, "
        "about one in the number of batches, is the mean of the null."
    ),
    code_version="1",
    parameters=LeftoverBatchParameters,
    ranked_by=RankedBy("batch_predictability", "batch_predictability", is_higher_better=False),
    asks_about="batches",
)
def leftover_batch_effect(judged: Any, parameters: LeftoverBatchParameters) -> list[Score]:
    """Returns how well batches and plates are predicted after alignment, beside batch mixing and biology kept."""
    from cellassets.benchmarks.batches.leftover_batch_effect import leftover_batch_effect as score

    return score(judged, parameters)
