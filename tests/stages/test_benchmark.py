"""The stages `benchmark/<name>`: plans, published scores, and what makes them stale."""

from dataclasses import replace
from itertools import count

import polars as pl
import pytest
from upath import UPath

from cellassets.benchmarks.registry import BENCHMARKS
from cellassets.errors import AnnotationError, ArtifactMissing, BenchmarkError
from cellassets.mapping.summary import PerturbationMapSummary
from cellassets.stages.benchmark import BenchmarkSummary, plan
from cellassets.stages.carry_out import carry_out
from cellassets.stages.catalogue import open_snapshot, stage_named
from cellassets.storage.deployment import Deployment
from cellassets.storage.plan import Plan
from cellassets.studies.simulated import SIMULATED_MAP, simulate_map
from cellassets.synthetic.embeddings import SimulatedWells
from cellassets.tables.parquet import read_table, write_table
from cellassets.tables.schemas import INFLUENCES, PERTURBATION_MAP, PUBLISHED, SCORES, WELL_EMBEDDINGS

MODEL = "m.v1"
NUMBER = count()


class Home:
    """A deployment with one published map of dataset SIM and one annotation source."""

    def __init__(self, root):
        self.configs = root / "configs"
        self.deployment = Deployment.of({}, home=root, configs=self.configs)
        self.lake = self.deployment.lake
        (self.configs / "datasets").mkdir(parents=True)
        (self.configs / "benchmarks").mkdir()
        for name in ("SIM", "U2OS", "SIM-strict"):
            (self.configs / "datasets" / f"{name}.yaml").write_text("{}")
        for name in BENCHMARKS:
            self.set(name, 99)
        self.judged = simulate_map(SimulatedWells(seed=1))
        self.publish_map()
        self.lake.annotations.mkdir(parents=True)
        self.annotate("planted", self.judged.annotations.pairs["planted"].write_csv())

    def set(self, name, n_permutations):
        (self.configs / f"benchmarks/{name}.yaml").write_text(f"n_permutations: {n_permutations}\n")

    def annotate(self, name, text):
        (self.lake.annotations / f"{name}.csv").write_text(text)

    def publish_map(self, dataset="SIM", model_key=MODEL, cell_types=("SIM",), protocol="p"):
        """Publishes the same map again, as one that was made from something else."""
        inputs = {"parameters": SIMULATED_MAP.model_dump(mode="json"), "of": next(NUMBER)}
        summary = PerturbationMapSummary(
            dataset_fingerprint="wells", protocol_fingerprint=protocol, experiments=("E",), cell_types=cell_types,
            n_perturbations=36, n_wells=1, n_wells_dropped=0, n_sites_flagged=0, n_batches=1, one_place_frac=0.0,
            n_controls_held_out=1, embedding_dim=16, has_position_step=False, batch_effect={},
        )  # fmt: skip
        generation = self.lake.artifact("perturbation_map", dataset, model_key).generation()
        made = Plan("perturbation_map", (dataset, model_key), inputs, replaces=generation)
        with self.lake.draft(made) as draft:
            write_table(self.judged.map_table, draft.folder / "map.parquet", PERTURBATION_MAP)
            write_table(self.judged.wells, draft.folder / "wells.parquet", WELL_EMBEDDINGS)
            draft.publish(["map.parquet", "wells.parquet"], summary)

    def planned(self, name, model_key=MODEL):
        return plan(name, open_snapshot(self.deployment), {"dataset": "SIM", "model": model_key})

    def planned_all(self):
        return {name: self.planned(name).fingerprint for name in BENCHMARKS}

    def run(self, name):
        return carry_out(stage_named(f"benchmark/{name}"), self.deployment, {"dataset": "SIM", "model": MODEL})


@pytest.fixture
def home(tmp_path):
    return Home(UPath(tmp_path))


def summary_of(published):
    return BenchmarkSummary.model_validate(published.record.summary)


@pytest.mark.parametrize("name", sorted(BENCHMARKS))
def test_scores_are_published_once_and_found_again(home, name):
    published = home.run(name)
    assert published.record == home.run(name).record
    files = {"scores": SCORES, "influences": INFLUENCES, "published": PUBLISHED}
    tables = {file: read_table(published.path(f"{file}.parquet"), schema) for file, schema in files.items()}
    summary, scores = summary_of(published), tables["scores"]
    assert summary.protocol_fingerprint == home.planned(name).inputs["protocol_fingerprint"]
    if summary.does_not_apply is not None:
        assert [table.height for table in tables.values()] == [0, 0, 0]
        return
    headline = scores.filter((pl.col("level") == "summary") & (pl.col("metric") == BENCHMARKS[name].headline_metric))
    assert headline["value"].to_list() == [summary.value]
    assert headline["p_value"][0] == 0.01 or BENCHMARKS[name].asks_about != "perturbations"
    assert scores["dataset_fingerprint"].unique().to_list() == ["wells"]


@pytest.mark.parametrize("name", sorted(BENCHMARKS))
def test_other_parameters_and_other_maps_are_scored_again(home, name):
    planned = home.planned(name).fingerprint
    home.set(name, 100)
    other = home.planned(name).fingerprint
    assert other != planned
    home.publish_map()
    assert home.planned(name).fingerprint not in {other, planned}


def test_only_benchmarks_that_use_annotations_of_a_kind_go_stale_with_them(home):
    before = home.planned_all()
    home.annotate("more", "entity1,entity2\nGENE000,GENE020\n")
    after = home.planned_all()
    changed = {name for name in BENCHMARKS if before[name] != after[name]}
    assert changed == {name for name, chosen in BENCHMARKS.items() if "pairs" in chosen.uses}


def test_another_code_version_makes_its_own_scores_stale_and_no_others(home, monkeypatch):
    before = home.planned_all()
    changed = replace(BENCHMARKS["perturbation_magnitude"], code_version="next")
    monkeypatch.setitem(BENCHMARKS, "perturbation_magnitude", changed)
    after = home.planned_all()
    assert [name for name in BENCHMARKS if before[name] != after[name]] == ["perturbation_magnitude"]


def test_a_dataset_is_judged_against_the_sources_that_it_names(home):
    home.annotate("other", "entity1,entity2\nGENE000,GENE020\n")
    file = home.configs / "datasets/SIM.yaml"
    for text, expected in (("{}", ["other", "planted"]), ("annotation_sources: [planted]", ["planted"])):
        file.write_text(text)
        assert sorted(home.planned("known_relationships").inputs["annotations"]) == expected
    file.write_text("annotation_sources: [CORUM]")
    with pytest.raises(AnnotationError, match=r"no annotation source \['CORUM'\]; there are \['other', 'planted'\]"):
        home.planned("known_relationships")


def test_protocols_of_two_models_are_equal(home):
    home.publish_map(model_key="n.v1")
    ours, theirs = (home.planned("perturbation_magnitude", key) for key in (MODEL, "n.v1"))
    assert ours.fingerprint != theirs.fingerprint
    assert ours.inputs["protocol_fingerprint"] == theirs.inputs["protocol_fingerprint"]


def test_a_map_is_compared_only_with_maps_of_other_cell_types(home):
    name = "cell_type_generalisation"
    home.publish_map("SIM-strict")
    assert home.planned(name).inputs["other_maps"] == {}
    home.publish_map("U2OS", cell_types=("U2OS",))
    assert sorted(home.planned(name).inputs["other_maps"]) == ["U2OS"]
    assert summary_of(home.run(name)).value == 1.0
    before = home.planned(name)
    home.publish_map("U2OS", cell_types=("U2OS",))
    assert home.planned(name).fingerprint != before.fingerprint
    assert home.planned(name).inputs["protocol_fingerprint"] == before.inputs["protocol_fingerprint"]
    home.publish_map("U2OS", cell_types=("U2OS",), protocol="other")
    assert home.planned(name).inputs["protocol_fingerprint"] != before.inputs["protocol_fingerprint"]


def test_each_source_has_its_own_recall_and_is_counted(home):
    lines = ["entity1,entity2", *(f"GENE{a:03d},GENE{a + 1:03d}" for a in range(24, 34)), "GENE000,NOWHERE"]
    home.annotate("chance", "\n".join(lines))
    home.annotate("strangers", "entity1,entity2\nTP53,MDM2\n")
    published = home.run("known_relationships")
    assert summary_of(published).n_pairs == {"chance": 11, "planted": 24, "strangers": 1}
    summary = read_table(published.path("scores.parquet"), SCORES).filter(pl.col("level") == "summary")
    recall = dict(summary.select("metric", "p_value").rows())
    assert recall["recall[planted]"] == 0.01 < recall["recall[chance]"]
    assert "recall[strangers]" not in recall
    n_units = dict(summary.select("metric", "n_units").rows())
    assert (n_units["recall[planted]"], n_units["recall[chance]"]) == (24, 10)


def test_where_nothing_is_known_the_benchmark_does_not_apply_and_says_why(home):
    (home.lake.annotations / "planted.csv").unlink()
    assert "no annotation source of pairs or sets" in summary_of(home.run("known_relationships")).does_not_apply
    assert summary_of(home.run("perturbation_consistency")).value > 0.5


def test_unknown_genes_are_refused_with_their_number(home):
    home.annotate("planted", "entity1,entity2\nTP53,MDM2\nGENE000,GENE001\n")
    with pytest.raises(BenchmarkError, match="of 2 annotated pairs 1 have both genes among the map's 36"):
        home.run("known_relationships")


def test_an_unknown_benchmark_is_refused_with_the_known_ones(home):
    with pytest.raises(BenchmarkError, match=r"no benchmark 'x'; there are .*known_relationships, .*perturbation_con"):
        home.planned("x")


def test_a_missing_map_is_refused(home):
    with pytest.raises(ArtifactMissing):
        home.planned("known_relationships", "n.v1")
