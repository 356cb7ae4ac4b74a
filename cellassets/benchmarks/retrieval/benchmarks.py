"""Benchmarks of retrieval: does a well find its replicates and relatives among all others?"""

from cellassets.benchmarks.definition import Benchmark, RankedBy

RETRIEVAL = (
    Benchmark(
        name="phenotypic_activity",
        title="Phenotypic activity",
        description=(
            "Mean average precision of finding the other wells of a perturbation before the negative controls of its "
            "plates; 1 at best. Chance depends on how many of each there are, and is the mean of the null "
            "distribution."
        ),
        code_version="1",
        function="cellassets.benchmarks.retrieval.phenotypic_activity:phenotypic_activity",
        ranked_by=RankedBy("mean_average_precision", "mean_average_precision"),
        published="cellassets.benchmarks.published.beside_wells:phenotypic_activity",
    ),
    Benchmark(
        name="phenotypic_consistency",
        title="Phenotypic consistency",
        description=(
            "Mean average precision of finding the perturbations that share a gene (or set, or target) before all "
            "others; 1 at best. Chance is the mean of the null distribution."
        ),
        code_version="2",
        function="cellassets.benchmarks.retrieval.phenotypic_consistency:phenotypic_consistency",
        ranked_by=RankedBy("mean_average_precision", "mean_average_precision"),
        uses=("sets", "targets"),
        published="cellassets.benchmarks.published.beside_wells:phenotypic_consistency",
    ),
    Benchmark(
        name="held_out_batch_classification",
        title="Classification in a held-out batch",
        description=(
            "How often the nearest neighbour of a well in other batches has the same perturbation (of a gene: the same "
            "guide); 1 at best. Chance, about one in the number of perturbations, is the mean of the null distribution."
        ),
        code_version="2",
        function="cellassets.benchmarks.retrieval.held_out_batch:held_out_batch_classification",
        ranked_by=RankedBy("nearest_neighbour_accuracy", "nearest_neighbour_accuracy"),
    ),
)
