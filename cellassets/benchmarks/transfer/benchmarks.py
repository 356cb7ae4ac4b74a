"""Benchmarks of transfer: are neighbours kept in other cell types, and do parts predict combinations?"""

from cellassets.benchmarks.definition import Benchmark, RankedBy

TRANSFER = (
    Benchmark(
        name="cell_type_generalisation",
        title="Generalisation over cell types",
        description=(
            "Share of the five nearest neighbours of a perturbation that it keeps in maps of other cell types "
            "(Jaccard index); 1 at best. The chance level depends on how many perturbations the maps share."
        ),
        code_version="2",
        function="cellassets.benchmarks.transfer.generalisation:cell_type_generalisation",
        ranked_by=RankedBy("neighbours_kept", "neighbours_kept"),
        uses=("other_maps",),
    ),
    Benchmark(
        name="analogies",
        title="Analogies of combinations",
        description=(
            "Reciprocal rank of the true combination A+B among all perturbations, by similarity to the sum of A and "
            "B: 1 where every combination is the nearest to the sum of its parts, about ln(n)/n by chance."
        ),
        code_version="3",
        function="cellassets.benchmarks.transfer.analogies:analogies",
        ranked_by=RankedBy("analogy_reciprocal_rank", "analogy_reciprocal_rank"),
    ),
)
