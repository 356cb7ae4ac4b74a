"""Do compounds do what is known of them? Their targets, and the order of their doses."""

from typing import Any, Literal

from cellassets.benchmarks.definition import PermutationParameters, RankedBy, Score, benchmark


class TargetParameters(PermutationParameters):
    """Which genes a compound's targets are searched among.

    `candidates` are the map's genes that are targets of some compound (`targets`), or all of them (`all_genes`).
    """

    candidates: Literal["targets", "all_genes"] = "targets"


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
    from cellassets.benchmarks.compounds.compound_targets import compound_targets as score

    return score(judged, parameters)


@benchmark(
    title="Dose response",
    description=(
        "How steadily the effect of a compound grows with its dose: 0 by chance, 1 where every well of a higher dose "
        "lies farther from the controls than every well of a lower one on its plate."
    ),
    code_version="1",
    parameters=PermutationParameters,
    ranked_by=RankedBy("dose_trend", "dose_trend"),
)
def dose_response(judged: Any, parameters: PermutationParameters) -> list[Score]:
    """Returns the trend of each compound's effect with its dose, against doses permuted within plates."""
    from cellassets.benchmarks.compounds.dose_response import dose_response as score

    return score(judged, parameters)
