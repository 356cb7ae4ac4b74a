"""Do compounds do what is known of them? Their targets, and the order of their doses."""

from typing import Any, Literal

from pydantic import Field

from cellassets.configuration import Parameters
from cellassets.scoring.definition import RankedBy, Score, benchmark


class TargetParameters(Parameters):
    """Which genes a compound's targets are searched among, and how many permutations the null is made of.

    `candidates` are the map's genes that are targets of some compound (`targets`), or all of them (`all_genes`).
    """

    candidates: Literal["targets", "all_genes"] = "targets"
    n_permutations: int = Field(default=1000, ge=99)
    seed: int = 0


@benchmark(
    title="Targets of compounds",
    description=(
        "Average precision of finding a compound's known targets by the similarity of its wells to those of genes; the "
        "chance level depends on the number of genes and stands beside the score, 1 at best."
    ),
    code_version="1",
    parameters=TargetParameters,
    ranked_by=RankedBy("target_average_precision", "target_average_precision"),
    uses=("targets",),
)
def compound_targets(judged: Any, parameters: TargetParameters) -> list[Score]:
    """Returns how well each compound's targets are found among genes."""
    from cellassets.scoring.compound_targets import compound_targets as score

    return score(judged, parameters)


class DoseParameters(Parameters):
    """How many permutations the null is made of."""

    n_permutations: int = Field(default=1000, ge=99)
    seed: int = 0


@benchmark(
    title="Dose response",
    description=(
        "How steadily the effect of a compound grows with its dose: 0 by chance, 1 where every well of a higher dose "
        "lies farther from the controls than every well of a lower one on its plate."
    ),
    code_version="1",
    parameters=DoseParameters,
    ranked_by=RankedBy("dose_trend", "dose_trend"),
)
def dose_response(judged: Any, parameters: DoseParameters) -> list[Score]:
    """Returns the trend of each compound's effect with its dose, against doses permuted within plates."""
    from cellassets.scoring.dose_response import dose_response as score

    return score(judged, parameters)
