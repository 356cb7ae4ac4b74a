"""Benchmarks that JUMP-CP reports. None of them is a headline benchmark."""

from cellassets.benchmarks.definition import Benchmark, RankedBy

JUMP = (
    Benchmark(
        name="positive_controls",
        title="Positive controls",
        description=(
            "Mean average precision of retrieving the wells of a positive control before the negative controls of the "
            "same plates; 1 at best. The chance level depends on the numbers of wells and is shown beside the score."
        ),
        code_version="1",
        function="cellassets.benchmarks.jump.positive_controls:positive_controls",
        ranked_by=RankedBy("mean_average_precision", "mean_average_precision"),
        published="cellassets.benchmarks.published.beside_known:positive_controls",
        is_headline=False,
    ),
    Benchmark(
        name="compound_gene_matching",
        title="Matching of compounds and genes",
        description=(
            "Mean average precision of finding the compounds that target a gene by the similarity of their wells to "
            "those of the gene; 1 at best. The chance level depends on the number of compounds and is shown beside it."
        ),
        code_version="2",
        function="cellassets.benchmarks.jump.compound_gene_matching:compound_gene_matching",
        ranked_by=RankedBy("gene_average_precision", "gene_average_precision"),
        uses=("targets",),
        is_headline=False,
    ),
)
