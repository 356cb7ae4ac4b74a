"""Benchmarks of batches: what does alignment leave of batches and plates in a map?"""

from cellassets.benchmarks.definition import Benchmark, OverCorrection, RankedBy

BATCHES = (
    Benchmark(
        name="leftover_batch_effect",
        title="Leftover batch effect",
        description=(
            "How often a linear probe finds the batch of a control well from wells of other plates; lower is better. "
            "Chance, about one in the number of batches, is the mean of the null distribution."
        ),
        code_version="3",
        function="cellassets.benchmarks.batches.leftover_batch_effect:leftover_batch_effect",
        ranked_by=RankedBy("batch_predictability", "batch_predictability", is_higher_better=False),
        asks_about="batches",
        over_correction=OverCorrection(
            "batch_over_correction",
            "plates of one batch are less alike than plates of different batches, so the alignment has moved them "
            "apart. Fit it on more controls, or on each plate (batch_by: plate)",
        ),
    ),
)
