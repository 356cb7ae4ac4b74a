"""Benchmarks of compounds: are their known targets found, and are their doses in order?"""

from cellassets.benchmarks.definition import Benchmark, RankedBy

COMPOUNDS = (
    Benchmark(
        name="compound_targets",
        title="Targets of compounds",
        description=(
            "Average precision of finding the known targets of a compound by the similarity of its wells to those of "
            "genes; 1 at best. The chance level depends on the number of genes and is shown beside the score."
        ),
        code_version="2",
        function="cellassets.benchmarks.compounds.compound_targets:compound_targets",
        ranked_by=RankedBy("target_average_precision", "target_average_precision"),
        uses=("targets",),
        published="cellassets.benchmarks.published.beside_genes:compound_targets",
    ),
    Benchmark(
        name="dose_response",
        title="Dose response",
        description=(
            "How steadily the effect of a compound grows with its dose: 0 by chance, 1 where every well of a higher "
            "dose is farther from the controls than every well of a lower dose on its plate."
        ),
        code_version="1",
        function="cellassets.benchmarks.compounds.dose_response:dose_response",
        ranked_by=RankedBy("dose_trend", "dose_trend"),
    ),
)
