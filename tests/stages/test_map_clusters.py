"""`map_clusters`: made once, made again when an input changes, made from the inputs of its plan, and read by SQL."""

import pytest

from cellassets.clustering.summary import MapClustersSummary
from cellassets.errors import StaleArtifact
from cellassets.stages.catalogue import open_snapshot, stage_named
from cellassets.stages.snapshot import NotReady
from cellassets.stages.stage import Context
from cellassets.stages.state import state_of
from cellassets.stages.tables import query_lake
from cellassets.tables.parquet import read_table, vectors, with_vectors
from cellassets.tables.schemas import CLUSTERS, ENRICHMENT

NAME, KEYS = "map_clusters", ("SIM", "m.v1")
SETTINGS = {"resolutions": [3, 9], "n_resamples": 19}


@pytest.fixture(scope="module")
def made(tmp_path_factory, empty_home, request):
    make = type(request.getfixturevalue("scored"))
    simulated = make(tmp_path_factory.mktemp("clustered") / "home", registry=empty_home, models={"m.v1": 4.0})
    simulated.set("clusters.yaml", SETTINGS)
    simulated.make("perturbation_map", *KEYS)
    simulated.annotate("complexes", simulated.known.sets)
    return simulated


@pytest.fixture
def mapped(made, tmp_path):
    return made.copy(tmp_path / "home")


def tables(published):
    return (
        read_table(published.path("clusters.parquet"), CLUSTERS),
        read_table(published.path("enrichment.parquet"), ENRICHMENT),
    )


def test_clusters_and_enriched_complexes_are_published(mapped):
    published = mapped.make(NAME, *KEYS)
    clusters, enrichment = tables(published)
    assert clusters.height == 2 * 36
    assert clusters.select("dataset_id", "model_key").unique().rows() == [KEYS]
    assert enrichment["q_value"].min() < 0.05
    summary = MapClustersSummary.model_validate(published.record.summary)
    assert summary.n_sets == {"sets/complexes": 8}
    assert [row.resolution for row in summary.resolutions] == [3, 9]
    assert mapped.make(NAME, *KEYS) == published


def test_it_waits_for_the_map_and_is_due_when_something_it_reads_changes(mapped):
    with pytest.raises(NotReady, match=r"perturbation_map of SIM\|n\.v1"):
        mapped.plan(NAME, "SIM", "n.v1")

    def status():
        return state_of(open_snapshot(mapped.deployment), NAME, *KEYS).status

    assert status() == "due"
    mapped.make(NAME, *KEYS)
    assert status() == "current"
    mapped.annotate("arms", mapped.known.gene_arms)
    assert status() == "due"
    assert mapped.make(NAME, *KEYS).record.summary["n_sets"] == {"sets/complexes": 8, "gene_arms/arms": 6}
    mapped.annotate("targets_of_nobody", "entity1,entity2\nA,B\n")
    assert status() == "current", "pairs are not read"
    mapped.set("clusters.yaml", {**SETTINGS, "resolutions": [4]})
    assert status() == "due"
    mapped.set("clusters.yaml", {"resolution": [4]})
    assert status() == "waiting"


def test_only_the_sources_of_the_dataset_are_read(mapped):
    mapped.annotate("arms", mapped.known.gene_arms)
    mapped.set("datasets/few.yaml", {"cell_types": ["SIM"], "annotation_sources": ["arms"]})
    mapped.make("perturbation_map", "few", "m.v1")
    assert mapped.make(NAME, "few", "m.v1").record.summary["n_sets"] == {"gene_arms/arms": 6}


def test_annotations_that_change_between_plan_and_clustering_are_refused(mapped):
    plan = mapped.plan(NAME, *KEYS)
    mapped.annotate("complexes", mapped.known.sets.head(9))
    with pytest.raises(StaleArtifact, match="annotations changed since the plan"):
        stage_named(NAME).make(Context(mapped.deployment), plan)
    assert mapped.lake.artifact(NAME, *KEYS).find_record() is None


def test_clusters_are_made_from_the_map_of_their_plan(mapped, made_from_pins, publish_newer):
    def jumbled(table):
        return with_vectors(table.drop("embedding"), vectors(table)[::-1])

    change = {"map.parquet": jumbled}
    made_from_pins(
        mapped, NAME, KEYS, lambda: publish_newer(mapped.deployment, "perturbation_map", *KEYS, change=change)
    )


def test_a_map_that_cannot_be_clustered_is_recorded_with_the_reason(mapped):
    mapped.set("clusters.yaml", {"min_perturbations": 100})
    published = mapped.make(NAME, *KEYS)
    assert published.record.summary["does_not_apply"].startswith("the map has 36 perturbations without controls")
    assert [table.height for table in tables(published)] == [0, 0]


def test_sql_reads_clusters_with_their_enriched_sets(mapped):
    mapped.make(NAME, *KEYS)
    rows = query_lake(
        mapped.lake,
        "SELECT set_id, count(*) AS n FROM enrichment JOIN clusters USING (dataset_id, model_key, resolution, "
        "cluster_index) WHERE q_value <= 0.05 GROUP BY set_id ORDER BY set_id",
    )
    assert rows.height >= 5
    assert rows["n"].min() >= 2


def test_two_runs_at_once_publish_one_clustering(mapped, made_once_by_two):
    made_once_by_two(mapped, NAME, *KEYS)
