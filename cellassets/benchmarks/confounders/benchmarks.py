"""Benchmarks of confounders: what makes genes similar without being their biology?"""

from cellassets.benchmarks.definition import Benchmark, RankedBy

CONFOUNDERS = (
    Benchmark(
        name="proximity_bias",
        title="Proximity bias",
        description=(
            "Probability that a gene is more similar to a gene of its own chromosome arm than to one of another arm; "
            "0.5 by chance, more where knock-outs damage the arm."
        ),
        code_version="2",
        function="cellassets.benchmarks.confounders.proximity:proximity_bias",
        ranked_by=RankedBy("proximity_bias", "arm_proximity", is_higher_better=False),
        uses=("gene_arms",),
        asks_about="chromosome_arms",
        published="cellassets.benchmarks.published.beside_genes:proximity_bias",
    ),
)
