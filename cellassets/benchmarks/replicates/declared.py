"""Do replicates agree, and do they differ from controls? Consistency and magnitude."""

from typing import Any

from pydantic import Field

from cellassets.benchmarks.definition import PermutationParameters, RankedBy, Score, benchmark


@benchmark(
    title="Perturbation consistency",
    description=(
        "Share of random groups of wells from the same plates that agree less with each other than the replicates of a "
        "perturbation do; 0.5 by chance, 1 at best."
    ),
    code_version="2",
    parameters=PermutationParameters,
    ranked_by=RankedBy("consistency_percentile", "consistency_percentile"),
)
def perturbation_consistency(judged: Any, parameters: PermutationParameters) -> list[Score]:
    """Returns the mean pairwise cosine of each perturbation's wells, against labels shuffled within plates."""
    from cellassets.benchmarks.replicates.consistency import perturbation_consistency as score

    return score(judged, parameters)


class MagnitudeParameters(PermutationParameters):
    """How many permutations; how many wells are compared with each other at once.

    `max_controls_per_plate` bounds the controls that a perturbation is compared with, `max_joint_wells` the treated
    wells, and the controls, of the joint permutations behind the summary's null; where there are more, some are drawn
    at random, perturbations as a whole.
    """

    max_controls_per_plate: int = Field(default=32, ge=3)
    max_joint_wells: int = Field(default=800, ge=20)


@benchmark(
    title="Perturbation magnitude",
    description=(
        "How far a perturbation's wells lie from the negative controls of their plates, as a share of the mean "
        "distance between the two: 0 by chance, 1 where they lie apart and do not vary at all."
    ),
    code_version="1",
    parameters=MagnitudeParameters,
    ranked_by=RankedBy("magnitude", "magnitude"),
)
def perturbation_magnitude(judged: Any, parameters: MagnitudeParameters) -> list[Score]:
    """Returns the energy distance of each perturbation's wells to the negative controls of the same plates."""
    from cellassets.benchmarks.replicates.magnitude import perturbation_magnitude as score

    return score(judged, parameters)
