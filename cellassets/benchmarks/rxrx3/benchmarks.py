"""The benchmark of RxRx3-core. It repeats the question of `compound_targets`, so it is not a headline benchmark."""

from cellassets.benchmarks.definition import Benchmark, RankedBy

RXRX3 = (
    Benchmark(
        name="rxrx3_core_targets",
        title="Targets of compounds, as in RxRx3-core",
        description=(
            "Average precision of the known targets of a compound among drawn other genes, twice as many and at least "
            "20, on the published scale; 1 at best. The chance level is shown beside the score."
        ),
        code_version="1",
        function="cellassets.benchmarks.rxrx3.rxrx3_core_targets:rxrx3_core_targets",
        ranked_by=RankedBy("average_precision", "average_precision"),
        uses=("targets",),
        is_headline=False,
    ),
)
