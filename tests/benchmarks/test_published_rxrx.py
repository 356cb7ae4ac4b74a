"""RxRx3-core's retrieval against plain loops that were compared with its code (data/derive_published.py)."""

import numpy as np
import polars as pl
import pytest

from cellassets.benchmarks.published.rxrx import (
    candidate_genes,
    compound_gene_retrieval,
    ranking_metrics,
    retrieval_summary,
)
from cellassets.errors import BenchmarkError


@pytest.fixture
def screen(published_table):
    """Returns compounds, genes and activities of the test data."""
    compounds, compound_vectors = published_table("compounds")
    genes, gene_vectors = published_table("genes")
    return (compound_vectors, compounds), (gene_vectors, genes["gene"].to_list()), published_table("activities")[0]


def test_retrieval_is_the_published_one(screen, published_expected):
    table = compound_gene_retrieval(*screen, seed=42)
    found = {
        f"{row['compound_id']}@{row['concentration_um'] or 'max'}": [row["average_precision"], row["auroc"]]
        for row in table.rows(named=True)
    }
    expected = published_expected["retrieval"]
    assert found.keys() == expected.keys()
    np.testing.assert_allclose([found[name] for name in expected], list(expected.values()), atol=1e-12)
    assert (table["n_negatives"] == 20).all()


def test_summary_averages_compounds_at_each_concentration(screen):
    table = compound_gene_retrieval(*screen)
    summary = retrieval_summary(table)
    assert summary["concentration_um"].to_list() == [0.1, 1.0, 10.0, None]
    assert (summary["n_compounds"] == 5).all()
    best = table.filter(pl.col("concentration_um").is_null())["average_precision"]
    assert summary["mean_average_precision"][3] == pytest.approx(best.mean())
    assert summary["median_average_precision"][3] == pytest.approx(best.median())


def test_random_scores_have_the_expected_average_precision(screen):
    tables = [compound_gene_retrieval(*screen, seed=seed) for seed in range(60)]
    table = pl.concat(tables)
    n_active, n_total = table["n_active"].to_numpy(), (table["n_active"] + table["n_negatives"]).to_numpy()
    harmonic = np.array([(1 / np.arange(1, n + 1)).sum() for n in n_total])
    expected = ((n_active - 1) / (n_total - 1) * (n_total - harmonic) + harmonic) / n_total
    error = table["random_average_precision"].to_numpy() - expected
    assert abs(error.mean()) < 4 * error.std() / np.sqrt(len(error))
    assert table["random_auroc"].mean() == pytest.approx(0.5, abs=0.02)


def test_genes_of_middling_activity_are_neither_active_nor_negative():
    genes = [f"G{number:02d}" for number in range(25)]
    activities = pl.DataFrame(
        [("K", gene, 1000.0 if gene == "G00" else 10_000.0 if gene < "G05" else 10_001.0) for gene in genes],
        schema=["compound_id", "gene_symbol", "activity_nm"],
        orient="row",
    )
    (found,) = candidate_genes(activities, genes, seed=0)
    assert found.n_active == 1
    assert sorted(found.genes) == [0, *range(5, 25)]
    assert candidate_genes(activities, genes[:24], seed=0) == []  # 19 negatives are too few


def test_metrics_by_hand():
    scores = np.array([[0.9, 0.2, 0.8, 0.3], [0.5, 0.5, 0.5, 0.1]])
    is_active = np.array([[True, True, False, False]] * 2)
    average_precision, auroc = ranking_metrics(scores, is_active)
    # second row: two actives tie with a negative that counts as first: (1/2 + 2/3) / 2
    np.testing.assert_allclose(average_precision, [(1 + 2 / 4) / 2, (1 / 2 + 2 / 3) / 2])
    np.testing.assert_allclose(auroc, [0.5, 0.75])


def test_the_sign_of_a_vector_does_not_matter(screen):
    (vectors, labels), genes, activities = screen
    before = compound_gene_retrieval((vectors, labels), genes, activities)
    after = compound_gene_retrieval((-3 * vectors, labels), genes, activities)
    np.testing.assert_allclose(before["average_precision"], after["average_precision"])


def test_names_that_do_not_match_are_refused(screen):
    compounds, (vectors, genes), activities = screen
    with pytest.raises(BenchmarkError, match="none of 5 compounds"):
        compound_gene_retrieval(compounds, (vectors, [gene.lower() for gene in genes]), activities)
