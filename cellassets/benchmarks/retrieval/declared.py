"""Are wells found again among others? Phenotypic activity and consistency, and classification in a held-out batch."""

from typing import Any, Literal

from pydantic import Field

from cellassets.benchmarks.definition import PermutationParameters, RankedBy, Score, benchmark


class ActivityParameters(PermutationParameters):
    """Which wells count as replicates, how many controls they are told from, and how many permutations.

    With `is_across_plates` only wells on other plates are replicates to find. `max_controls` negative controls at most,
    spread evenly over its plates, are ranked with a perturbation's wells; `max_joint_wells` bounds the treated wells,
    and the controls, of the joint permutations behind the summary's null. Where there are more, some are drawn at
    random, perturbations as a whole.
    """

    is_across_plates: bool = False
    max_controls: int = Field(default=512, ge=3)
    max_joint_wells: int = Field(default=500, ge=20)


@benchmark(
    title="Phenotypic activity",
    description=(
        "Mean average precision of finding a perturbation's other wells before the negative controls of its plates: 1 "
        "at best; what chance gives depends on how many of each there are, and is the mean of the null."
    ),
    code_version="1",
    parameters=ActivityParameters,
    ranked_by=RankedBy("mean_average_precision", "mean_average_precision"),
)
def phenotypic_activity(judged: Any, parameters: ActivityParameters) -> list[Score]:
    """Returns the mean average precision of retrieving replicates against negative controls."""
    from cellassets.benchmarks.retrieval.phenotypic_activity import phenotypic_activity as score

    return score(judged, parameters)


class PhenotypicConsistencyParameters(PermutationParameters):
    """What perturbations have in common: their `gene`, an annotated `set`, or an annotated `target` of compounds.

    A label with more than `max_members` perturbations is left out. Where the labelled perturbations are more than
    `max_perturbations`, some labels are drawn at random.
    """

    label: Literal["gene", "set", "target"] = "gene"
    max_members: int = Field(default=200, ge=2)
    max_perturbations: int = Field(default=6000, ge=10)


@benchmark(
    title="Phenotypic consistency",
    description=(
        "Mean average precision of finding the perturbations that share a gene (or set, or target) before all others: "
        "1 at best; what chance gives is the mean of the null."
    ),
    code_version="1",
    parameters=PhenotypicConsistencyParameters,
    ranked_by=RankedBy("mean_average_precision", "mean_average_precision"),
    uses=("sets", "targets"),
)
def phenotypic_consistency(judged: Any, parameters: PhenotypicConsistencyParameters) -> list[Score]:
    """Returns the mean average precision of retrieving perturbations of the same label among all others."""
    from cellassets.benchmarks.retrieval.phenotypic_consistency import phenotypic_consistency as score

    return score(judged, parameters)


class HeldOutBatchParameters(PermutationParameters):
    """What is held out at a time, how much of it, and how many permutations the null is made of.

    Each `batch` (or `plate`) in turn is the test set; where there are more than `n_splits`, so many are drawn. The
    linear probe answers for `max_probe_wells` test wells at most and is permuted `n_probe_permutations` times.
    """

    split_by: Literal["batch", "plate"] = "batch"
    n_splits: int = Field(default=20, ge=1)
    max_probe_wells: int = Field(default=20_000, ge=10)
    n_permutations: int = Field(default=499, ge=99)
    n_probe_permutations: int = Field(default=99, ge=99)


@benchmark(
    title="Classification in a held-out batch",
    description=(
        "How often the perturbation of a well is that of its nearest neighbour in other batches: 1 at best; chance, "
        "about one in the number of perturbations, is the mean of the null."
    ),
    code_version="1",
    parameters=HeldOutBatchParameters,
    ranked_by=RankedBy("nearest_neighbour_accuracy", "nearest_neighbour_accuracy"),
)
def held_out_batch_classification(judged: Any, parameters: HeldOutBatchParameters) -> list[Score]:
    """Returns how well perturbations are told in batches never seen, by the nearest neighbour and a linear probe."""
    from cellassets.benchmarks.retrieval.held_out_batch import held_out_batch_classification as score

    return score(judged, parameters)
