"""The stage: plans, published scores, and what is refused."""

import json
from dataclasses import replace

import polars as pl
import pytest
from upath import UPath

from cellassets.benchmarks.registry import BENCHMARKS
from cellassets.benchmarks.run import plan_scores, score_map
from cellassets.errors import AnnotationError, ArtifactMissing, BenchmarkError
from cellassets.mapping.build import MapParameters
from cellassets.mapping.dataset import Dataset
from cellassets.reconcile.scores import unscored_maps
from cellassets.storage.artifact import Plan
from cellassets.storage.lake import Lake
from cellassets.tables.parquet import read_table, write_table
from cellassets.tables.schemas import PERTURBATION_MAP, SCORES, WELL_EMBEDDINGS

DATASET = Dataset(dataset_id="SIM")
MODEL = "m.v1"
PARAMETERS = MapParameters.model_validate(
    {"steps": ({"kind": "pca", "n_components": 16}, {"kind": "centre_scale"}, {"kind": "tvn"})}
)


@pytest.fixture
def lake(tmp_path, judge):
    """A lake with one published map and one annotation source."""
    lake = Lake(UPath(tmp_path))
    judged = judge(seed=1)
    artifact = lake.perturbation_map("SIM", MODEL)
    inputs = {"model_key": MODEL, "dataset_fingerprint": "wells", "parameters": PARAMETERS.model_dump(mode="json")}
    plan = Plan("perturbation_map", inputs)
    write_table(judged.map_table, artifact.folder(plan.fingerprint) / "map.parquet", PERTURBATION_MAP)
    write_table(judged.wells, artifact.folder(plan.fingerprint) / "wells.parquet", WELL_EMBEDDINGS)
    artifact.publish(plan, ["map.parquet", "wells.parquet"], {"cell_types": ["SIM"]})
    lake.annotations.mkdir()
    judged.annotations.pairs["planted"].write_csv(str(lake.annotations / "planted.csv"))
    return lake


def quick(name):
    return BENCHMARKS[name].parameters(n_permutations=99)


def copy_map(source, target, cell_types=("SIM",), **inputs):
    """Publishes the files of a map as another one."""
    record = source.record()
    plan = Plan("perturbation_map", {**record.inputs, **inputs})
    for entry in record.files:
        path = target.folder(plan.fingerprint) / entry.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(source.path(entry.name, record).read_bytes())
    target.publish(plan, [entry.name for entry in record.files], {"cell_types": list(cell_types)})


def run(lake, name):
    return score_map(lake, name, DATASET, model_key=MODEL, parameters=quick(name))


@pytest.mark.parametrize("name", sorted(BENCHMARKS))
def test_scores_are_published_once_and_found_again(lake, name):
    record = run(lake, name)
    assert record == run(lake, name)
    assert record.generation == 1
    json.dumps(record.summary, allow_nan=False)
    table = read_table(lake.scores(name, "SIM", MODEL).path("scores.parquet"), SCORES)
    if "does_not_apply" in record.summary:
        assert table.is_empty()
        return
    headline = table.filter((pl.col("level") == "summary") & (pl.col("metric") == BENCHMARKS[name].headline_metric))
    assert headline["value"].to_list() == [record.summary["value"]]
    assert headline["p_value"][0] == 0.01 or BENCHMARKS[name].asks_about != "perturbations"
    for column in ("value", "null_mean", "null_low", "null_high"):
        assert table[column].is_finite().all()
    assert table["p_value"].is_between(0, 1, closed="right").all()
    assert (table["n_units"] > 0).all()
    assert table["dataset_fingerprint"].unique().to_list() == ["wells"]


@pytest.mark.parametrize("name", sorted(BENCHMARKS))
def test_other_parameters_and_other_maps_are_scored_anew(lake, name):
    planned = plan_scores(lake, name, DATASET, model_key=MODEL, parameters=quick(name))
    other = BENCHMARKS[name].parameters(n_permutations=100)
    assert plan_scores(lake, name, DATASET, model_key=MODEL, parameters=other).fingerprint != planned.fingerprint
    artifact = lake.perturbation_map("SIM", MODEL)
    copy_map(artifact, artifact, code_version="2")
    again = plan_scores(lake, name, DATASET, model_key=MODEL, parameters=quick(name))
    assert again.fingerprint != planned.fingerprint


def test_only_benchmarks_that_use_annotations_of_a_kind_go_stale_with_them(lake):
    before = {name: plan_scores(lake, name, DATASET, model_key=MODEL, parameters=quick(name)) for name in BENCHMARKS}
    (lake.annotations / "more.csv").write_text("entity1,entity2\nGENE000,GENE020\n")
    after = {name: plan_scores(lake, name, DATASET, model_key=MODEL, parameters=quick(name)) for name in BENCHMARKS}
    changed = {name for name in BENCHMARKS if before[name].fingerprint != after[name].fingerprint}
    assert changed == {name for name, chosen in BENCHMARKS.items() if "pairs" in chosen.uses}


def test_another_code_version_makes_its_own_scores_stale_and_no_others(lake, monkeypatch):
    before = {name: plan_scores(lake, name, DATASET, model_key=MODEL, parameters=quick(name)) for name in BENCHMARKS}
    changed = replace(BENCHMARKS["perturbation_magnitude"], code_version="next")
    monkeypatch.setitem(BENCHMARKS, "perturbation_magnitude", changed)
    after = {name: plan_scores(lake, name, DATASET, model_key=MODEL, parameters=quick(name)) for name in BENCHMARKS}
    assert [name for name in BENCHMARKS if before[name] != after[name]] == ["perturbation_magnitude"]


def test_a_dataset_is_judged_against_the_sources_that_it_names(lake):
    (lake.annotations / "other.csv").write_text("entity1,entity2\nGENE000,GENE020\n")
    parameters = quick("known_relationships")
    for sources, expected in ((None, ["other", "planted"]), (("planted",), ["planted"])):
        dataset = DATASET.model_copy(update={"annotation_sources": sources})
        planned = plan_scores(lake, "known_relationships", dataset, model_key=MODEL, parameters=parameters)
        assert sorted(planned.inputs["annotations"]) == expected
    missing = DATASET.model_copy(update={"annotation_sources": ("CORUM",)})
    with pytest.raises(AnnotationError, match=r"no annotation source \['CORUM'\]; there are \['other', 'planted'\]"):
        plan_scores(lake, "known_relationships", missing, model_key=MODEL, parameters=parameters)


def test_protocols_are_equal_but_for_the_model(lake):
    ours, twin = lake.perturbation_map("SIM", MODEL), lake.perturbation_map("SIM", "n.v1")
    copy_map(ours, twin, model_key="n.v1", site_embeddings={"E": "other"})
    ours, theirs = (
        plan_scores(lake, "perturbation_magnitude", DATASET, model_key=key, parameters=quick("perturbation_magnitude"))
        for key in (MODEL, "n.v1")
    )
    assert ours.fingerprint != theirs.fingerprint
    assert ours.inputs["protocol_fingerprint"] == theirs.inputs["protocol_fingerprint"]


def test_a_map_is_compared_with_maps_of_other_cell_types_alone(lake):
    name, ours = "cell_type_generalisation", lake.perturbation_map("SIM", MODEL)

    def planned(model_key=MODEL):
        return plan_scores(lake, name, DATASET, model_key=model_key, parameters=quick(name))

    copy_map(ours, lake.perturbation_map("SIM-strict", MODEL), dataset_id="SIM-strict")
    assert planned().inputs["other_maps"] == {}
    copy_map(ours, lake.perturbation_map("U2OS", MODEL), ["U2OS"], dataset_id="U2OS")
    assert sorted(planned().inputs["other_maps"]) == ["U2OS"]
    assert run(lake, name).summary["value"] == 1.0
    before = planned()
    copy_map(ours, lake.perturbation_map("U2OS", MODEL), ["U2OS"], dataset_id="U2OS", site_embeddings={"E": "other"})
    assert planned().fingerprint != before.fingerprint
    assert planned().inputs["protocol_fingerprint"] == before.inputs["protocol_fingerprint"]
    copy_map(ours, lake.perturbation_map("U2OS", MODEL), ["U2OS"], dataset_id="U2OS", parameters={"seed": 1})
    assert planned().inputs["protocol_fingerprint"] != before.inputs["protocol_fingerprint"]


def test_maps_that_a_benchmark_has_not_scored_as_it_would_now_are_found(lake, tmp_path):
    name, configs = "perturbation_magnitude", UPath(tmp_path / "configs")
    (configs / "benchmarks").mkdir(parents=True)
    copy_map(lake.perturbation_map("SIM", MODEL), lake.perturbation_map("SIM", "old.v1"), model_key="old.v1")

    def unscored():
        return [work.keys["model"] for work in unscored_maps(lake, name, datasets=[DATASET], configs=configs).work]

    assert unscored() == [MODEL, "old.v1"]
    (configs / f"benchmarks/{name}.yaml").write_text("n_permutations: 99\n")
    run(lake, name)
    assert unscored() == ["old.v1"]
    (configs / f"benchmarks/{name}.yaml").write_text("n_permutations: 100\n")
    assert unscored() == [MODEL, "old.v1"]
    (configs / f"benchmarks/{name}.yaml").write_text("n_permutation: 100\n")
    found = unscored_maps(lake, name, datasets=[DATASET], configs=configs)
    assert (found.work, len(found.waiting)) == ([], 2)
    with pytest.raises(BenchmarkError, match="no benchmark 'x'"):
        unscored_maps(lake, "x", datasets=[DATASET], configs=configs)


def test_each_source_has_its_own_recall_and_is_counted(lake):
    lines = ["entity1,entity2", *(f"GENE{a:03d},GENE{a + 1:03d}" for a in range(24, 34)), "GENE000,NOWHERE"]
    (lake.annotations / "chance.csv").write_text("\n".join(lines))
    (lake.annotations / "strangers.csv").write_text("entity1,entity2\nTP53,MDM2\n")
    record = run(lake, "known_relationships")
    assert record.summary["n_pairs"] == {"chance": 11, "planted": 24, "strangers": 1}
    table = read_table(lake.scores("known_relationships", "SIM", MODEL).path("scores.parquet"), SCORES)
    summary = table.filter(pl.col("level") == "summary")
    recall = dict(summary.select("metric", "p_value").rows())
    assert recall["recall[planted]"] == 0.01 < recall["recall[chance]"]
    assert "recall[strangers]" not in recall
    n_units = dict(summary.select("metric", "n_units").rows())
    assert (n_units["recall[planted]"], n_units["recall[chance]"]) == (24, 10)


def test_where_nothing_is_known_the_benchmark_does_not_apply_and_says_why(lake):
    (lake.annotations / "planted.csv").unlink()
    record = run(lake, "known_relationships")
    assert "no annotation source of pairs or sets" in record.summary["does_not_apply"]
    assert read_table(lake.scores("known_relationships", "SIM", MODEL).path("scores.parquet"), SCORES).is_empty()
    assert run(lake, "perturbation_consistency").summary["value"] > 0.5


def test_strange_genes_are_refused_with_their_number(lake):
    (lake.annotations / "planted.csv").write_text("entity1,entity2\nTP53,MDM2\nGENE000,GENE001\n")
    with pytest.raises(BenchmarkError, match="of 2 annotated pairs 1 have both genes among the map's 36"):
        run(lake, "known_relationships")


def test_an_unknown_benchmark_is_refused_with_the_known_ones(lake):
    with pytest.raises(BenchmarkError, match=r"no benchmark 'x'; there are .*known_relationships, .*perturbation_con"):
        plan_scores(lake, "x", DATASET, model_key=MODEL, parameters=quick("known_relationships"))


def test_a_missing_map_is_refused(lake):
    with pytest.raises(ArtifactMissing):
        plan_scores(lake, "known_relationships", DATASET, model_key="n.v1", parameters=quick("known_relationships"))
