"""Benchmarks of relationships: does the map show known biology?"""

from cellassets.benchmarks.definition import Benchmark, RankedBy

RELATIONSHIPS = (
    Benchmark(
        name="known_relationships",
        title="Recall of known relationships",
        description=(
            "Share of known gene pairs that are among the 5% most similar or the 5% most opposite pairs of the map; "
            "0.1 by chance, 1 at best."
        ),
        code_version="5",
        function="cellassets.benchmarks.relationships.relationships:known_relationships",
        ranked_by=RankedBy("recall", "pair_recalled"),
        uses=("pairs", "sets", "gene_arms"),
        published="cellassets.benchmarks.published.beside_genes:known_relationships",
    ),
)
