"""Measures that profiling papers report. None is a headline benchmark."""

from cellassets.benchmarks.definition import Benchmark, RankedBy

KNOWN_MEASURES = (
    Benchmark(
        name="percent_replicating",
        title="Percent replicating",
        description=(
            "Share of treatments whose median correlation between replicates is above the 95th percentile of random "
            "groups of wells from the same plates; 0.05 by chance, 1 at best."
        ),
        code_version="1",
        function="cellassets.benchmarks.known_measures.percent_replicating:percent_replicating",
        ranked_by=RankedBy("replicating_frac", "replicating_frac"),
        published="cellassets.benchmarks.published.beside_known:percent_replicating",
        is_headline=False,
    ),
    Benchmark(
        name="percent_matching",
        title="Percent matching",
        description=(
            "Share of genes (or sets, or targets) whose perturbations correlate above the 95th percentile of random "
            "perturbations of the same plates; 0.05 by chance, 1 at best."
        ),
        code_version="1",
        function="cellassets.benchmarks.known_measures.percent_matching:percent_matching",
        ranked_by=RankedBy("matching_frac", "matching_frac"),
        uses=("sets", "targets"),
        published="cellassets.benchmarks.published.beside_known:percent_matching",
        is_headline=False,
    ),
    Benchmark(
        name="grit",
        title="Grit",
        description=(
            "Mean correlation between the replicates of a treatment, in standard deviations of their correlations with "
            "negative controls; compare it with the mean of the null distribution, which is about 0 only where treated "
            "wells have nothing in common."
        ),
        code_version="1",
        function="cellassets.benchmarks.known_measures.grit:grit",
        ranked_by=RankedBy("grit", "grit"),
        published="cellassets.benchmarks.published.beside_known:grit",
        is_headline=False,
    ),
    Benchmark(
        name="mp_value",
        title="Multidimensional perturbation value",
        description=(
            "Share of treatments with an mp-value of at most 0.05: their mean is far from the controls, measured by "
            "the covariance of controls; 0.05 by chance, 1 at best."
        ),
        code_version="1",
        function="cellassets.benchmarks.known_measures.mp_value:mp_value",
        ranked_by=RankedBy("mp_active_frac", "mp_active_frac"),
        published="cellassets.benchmarks.published.beside_known:mp_value",
        is_headline=False,
    ),
)
