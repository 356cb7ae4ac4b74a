"""Benchmarks of replicates: do they agree, and do they differ from controls?"""

from cellassets.benchmarks.definition import Benchmark, RankedBy

REPLICATES = (
    Benchmark(
        name="perturbation_consistency",
        title="Perturbation consistency",
        description=(
            "Share of random groups of wells from the same plates that agree less with each other than the replicates "
            "of a perturbation do (where a gene has several guides: random groups of guides, and wells of different "
            "guides; genes with one guide then stand apart); 0.5 by chance, 1 at best."
        ),
        code_version="4",
        function="cellassets.benchmarks.replicates.consistency:perturbation_consistency",
        ranked_by=RankedBy("consistency_percentile", "consistency_percentile"),
        published="cellassets.benchmarks.published.beside_wells:perturbation_consistency",
    ),
    Benchmark(
        name="perturbation_magnitude",
        title="Perturbation magnitude",
        description=(
            "Distance of the wells of a perturbation from the negative controls of their plates, as a share of the "
            "mean distance between a well and a control: 0 by chance, 1 where the wells of each kind are all equal."
        ),
        code_version="1",
        function="cellassets.benchmarks.replicates.magnitude:perturbation_magnitude",
        ranked_by=RankedBy("magnitude", "magnitude"),
        published="cellassets.benchmarks.published.beside_wells:perturbation_magnitude",
    ),
)
