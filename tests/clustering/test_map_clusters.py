"""The clusters of a whole map: the same for a seed, and refused with a reason where a map has nothing to cluster."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from cellassets.clustering.lookup import clusters_with, enriched_clusters
from cellassets.clustering.map_clusters import cluster_map
from cellassets.clustering.parameters import ClusterParameters
from cellassets.errors import BenchmarkError, DatasetError
from cellassets.knowledge.annotations import Annotations
from cellassets.studies.simulated import simulate_map
from cellassets.synthetic.embeddings import SimulatedWells
from cellassets.tables.parquet import vectors, with_vectors

PARAMETERS = ClusterParameters(resolutions=(3, 9), n_resamples=19)
DESIGN = SimulatedWells(n_complexes=10, genes_per_complex=4, n_lone_genes=20, gene_effect=4.0)


@pytest.fixture(scope="module")
def judged():
    return simulate_map(DESIGN)


@pytest.fixture(scope="module")
def found(judged):
    return cluster_map(judged, PARAMETERS)


def test_every_perturbation_has_one_cluster_at_every_resolution(judged, found):
    names = judged.map_table.filter(pl.col("control_kind").is_null())["perturbation_id"].sort().to_list()
    assert len(names) == found.summary.n_perturbations == 60
    for (resolution,), rows in found.clusters.group_by("resolution"):
        assert rows["perturbation_id"].sort().to_list() == names
        assert rows["cluster_index"].n_unique() == {3: 20, 9: 7}[resolution]
        sizes = rows.group_by("cluster_index").agg(pl.len(), pl.col("n_members").unique()).sort("cluster_index")
        assert sizes["len"].to_list() == [size for (size,) in sizes["n_members"].to_list()]
        assert sizes["len"].is_sorted(descending=True)
    assert found.clusters["stability"].is_between(0, 1).all()


def test_planted_complexes_are_clusters_and_are_enriched(found):
    rich = enriched_clusters(found.clusters, found.enrichment)
    assert set(rich.filter(pl.col("source_kind") == "sets")["set_id"]) >= {f"complex{n:02d}" for n in range(8)}
    assert found.summary.n_sets == {"sets/planted": 10, "gene_arms/planted": 6}
    assert [row.n_of_one_arm for row in found.summary.resolutions] == [0, 0]


def test_one_seed_gives_equal_tables_and_another_one_other_resamples(judged, found):
    again = cluster_map(judged, PARAMETERS)
    assert again.clusters.equals(found.clusters)
    assert again.enrichment.equals(found.enrichment)
    assert again.summary == found.summary
    other = cluster_map(judged, PARAMETERS.model_copy(update={"seed": 1}))
    assert other.clusters.drop("stability", "null_mean", "null_high").equals(
        found.clusters.drop("stability", "null_mean", "null_high")
    )
    assert not other.clusters["stability"].equals(found.clusters["stability"])
    assert other.enrichment.equals(found.enrichment)


def test_a_resolution_that_leaves_one_cluster_is_left_out(judged):
    summary = cluster_map(judged, PARAMETERS.model_copy(update={"resolutions": (50, 6)})).summary
    assert [row.resolution for row in summary.resolutions] == [6]


def test_chromosome_arms_are_counted_apart_from_biology():
    design = DESIGN.model_copy(update={"gene_effect": 0.5, "arm_effect": 4.0})
    found = cluster_map(simulate_map(design), PARAMETERS)
    (row,) = [row for row in found.summary.resolutions if row.resolution == 9]
    assert row.n_of_one_arm >= 5
    assert row.n_enriched == 0


def of_vectors(judged, change):
    values = vectors(judged.map_table).copy()
    is_own = judged.map_table["control_kind"].is_null().to_numpy()
    values[is_own] = change(values[is_own])
    return replace(judged, map_table=with_vectors(judged.map_table.drop("embedding"), values))


def halves(values, other):
    return np.where(np.arange(len(values))[:, None] < len(values) // 2, values, other)


NOISE = np.random.default_rng(0)
COLLAPSED = {
    "constant": np.ones_like,
    "zero": np.zeros_like,
    "rounding noise": lambda values: 1 + 1e-7 * NOISE.standard_normal(values.shape).astype(np.float32),
    "one dimension": lambda values: values * (np.arange(values.shape[1]) == 0),
    "two clusters": lambda values: halves(np.ones_like(values), -np.ones_like(values)),
    "half of the genes share one vector": lambda values: halves(values, values[:1]),
    "every gene twice": lambda values: np.repeat(values[::2], 2, axis=0),
}


@pytest.mark.parametrize("kind", COLLAPSED)
def test_a_collapsed_map_is_refused(judged, kind):
    found = cluster_map(of_vectors(judged, COLLAPSED[kind]), PARAMETERS)
    assert "have the same direction as another one" in found.summary.does_not_apply
    assert "the map has collapsed" in found.summary.does_not_apply
    assert found.clusters.is_empty()
    assert found.enrichment.is_empty()


def test_two_genes_of_one_vector_are_no_collapse(judged):
    found = cluster_map(of_vectors(judged, lambda values: np.vstack([values[:1], values[:1], values[2:]])), PARAMETERS)
    assert found.summary.does_not_apply is None


def test_a_map_of_few_perturbations_is_refused(judged):
    few = replace(judged, map_table=judged.map_table.head(12))
    assert cluster_map(few, PARAMETERS).summary.does_not_apply == (
        f"the map has {few.map_table['control_kind'].null_count()} perturbations without controls, fewer than "
        "min_perturbations 20 of clusters.yaml"
    )


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_vector_that_is_not_finite_is_named(judged, value):
    def spoil(values):
        values[3, 1] = value
        return values

    name = judged.map_table.filter(pl.col("control_kind").is_null())["perturbation_id"][3]
    with pytest.raises(BenchmarkError, match=rf"the vector of {name} is not finite \(1 such"):
        cluster_map(of_vectors(judged, spoil), PARAMETERS)


def test_without_replicates_there_is_no_stability():
    design = DESIGN.model_copy(update={"n_batches": 1, "n_plates_per_batch": 1})
    found = cluster_map(simulate_map(design), PARAMETERS)
    assert found.summary.stability_missing == "0 of 60 perturbations have two wells or more: wells cannot be resampled"
    assert found.clusters["stability"].null_count() == found.clusters.height == 120
    assert [row.p_value for row in found.summary.resolutions] == [None, None]


def test_without_sets_there_is_no_enrichment_and_the_summary_says_why(judged):
    def missing(annotations):
        found = cluster_map(replace(judged, annotations=annotations), PARAMETERS)
        assert found.enrichment.is_empty()
        return found.summary.enrichment_missing

    assert missing(Annotations()).startswith("no annotation source of sets, targets or chromosome arms")
    other = pl.DataFrame({"set_id": ["x"] * 3, "member": ["ensg1", "ensg2", "ensg3"]})
    assert missing(Annotations(sets={"s": other})).startswith("no set of sets/s has enough members in the map")


def test_the_clusters_of_a_gene_come_with_their_members(found):
    rows = clusters_with(found.clusters, found.enrichment, "GENE000").to_dicts()
    assert [row["resolution"] for row in rows] == [3, 9]
    assert all("GENE000" in row["members"].split(";") for row in rows)
    assert [len(row["members"].split(";")) for row in rows] == [row["n_members"] for row in rows]
    with pytest.raises(DatasetError, match="no perturbation 'GENEX' in the clusters of this map"):
        clusters_with(found.clusters, found.enrichment, "GENEX")
