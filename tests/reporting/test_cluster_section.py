"""What people see of clusters: each set once, a chart of every cluster beside its null, and reasons for what lacks."""

from dataclasses import replace

import polars as pl
import pytest

from cellassets.clustering.map_clusters import cluster_map
from cellassets.clustering.parameters import ClusterParameters
from cellassets.clustering.summary import MapClustersSummary
from cellassets.reporting.cluster_section import RICH, ClusterTables, clearest_sets, cluster_section, clusters_chart
from cellassets.reporting.page import render
from cellassets.studies.simulated import simulate_map
from cellassets.synthetic.embeddings import SimulatedWells
from cellassets.tables.schemas import CLUSTERS, ENRICHMENT

DESIGN = SimulatedWells(n_complexes=8, genes_per_complex=5, n_lone_genes=20, gene_effect=4.0)

pytestmark = pytest.mark.usefixtures("_drawn_once")


@pytest.fixture(scope="module")
def found():
    made = cluster_map(simulate_map(DESIGN), ClusterParameters(resolutions=(4, 10), n_resamples=19))
    return ClusterTables(made.clusters, made.enrichment, made.summary)


@pytest.fixture
def page(report_page, found):
    def page(clusters=found):
        (dataset,) = report_page.datasets
        return render(replace(report_page, datasets=(replace(dataset, clusters=clusters),)))

    return page


def test_each_enriched_set_stands_once_in_its_clearest_cluster(found):
    rows = clearest_sets(found.enrichment)
    names = [row["set_id"] for row in rows]
    assert len(names) == len(set(names)) >= 6
    assert not {row["source_kind"] for row in rows} & {"gene_arms"}
    for row in rows:
        same = found.enrichment.filter(pl.col("set_id") == row["set_id"], pl.col("source_kind") == row["source_kind"])
        assert row["p_permutation"] == same["p_permutation"].min()


def test_the_chart_has_one_dot_for_every_cluster_of_two_or_more(found):
    chart = clusters_chart(found.clusters, found.enrichment)
    rows = chart.spec["datasets"]["clusters"]
    expected = found.clusters.filter(pl.col("n_members") >= 2).select("resolution", "cluster_index").n_unique()
    assert len(rows) == expected
    rich = found.enrichment.filter(pl.col("q_value") <= 0.05, pl.col("source_kind") == "sets")
    assert sum(row["outcome"] == RICH for row in rows) == rich.select("resolution", "cluster_index").n_unique()
    assert chart.svg().count("<path") > expected


def test_without_stability_there_is_no_chart(found):
    empty = found.clusters.with_columns(pl.lit(None, pl.Float64).alias("stability"))
    assert clusters_chart(empty, found.enrichment) is None


def test_the_page_shows_resolutions_sets_and_chart(page):
    text = page()
    assert ">Clusters</h3>" in text
    assert "complex03" in text
    assert "at 2 resolutions" in text
    assert text.count("mean number of perturbations per cluster") >= 1


def test_the_page_says_why_a_map_is_not_clustered(page):
    refused = MapClustersSummary(does_not_apply="the map has collapsed")
    text = page(ClusterTables(CLUSTERS.empty(), ENRICHMENT.empty(), refused))
    assert "The map is not clustered: the map has collapsed." in text


def test_the_page_says_what_is_missing_and_nothing_of_clusters_that_are_not_published(page, found):
    missing = found.summary.model_copy(update={"enrichment_missing": "no annotation source of sets"})
    assert "No annotation source of sets." in page(replace(found, summary=missing))
    assert ">Clusters</h3>" not in page(None)
    assert cluster_section(None) is None
