"""`benchmark/<name>`: scored once, stale when what it reads changes, made from the map and annotations of its plan."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from cellassets.benchmarks.definition import PermutationParameters, Score
from cellassets.benchmarks.judged import JudgedMap
from cellassets.benchmarks.registry import BENCHMARKS
from cellassets.errors import AnnotationError, BenchmarkError, ConfigError, StaleArtifact
from cellassets.stages.benchmark import BenchmarkSummary, benchmark_stages, kind_of, name_of
from cellassets.stages.catalogue import open_snapshot, stage_named
from cellassets.stages.snapshot import NotReady
from cellassets.stages.stage import Context
from cellassets.stages.state import state_of
from cellassets.stages.tables import query_lake
from cellassets.synthetic.embeddings import SimulatedWells
from cellassets.tables.parquet import read_table, vectors, with_vectors
from cellassets.tables.schema import TableSchema
from cellassets.tables.schemas import INFLUENCES, LEADERBOARD, PUBLISHED, SCORES

KEYS = ("SIM", "m.v1")
MAGNITUDE = "perturbation_magnitude"


@pytest.fixture(scope="session")
def one_map(tmp_path_factory, empty_home, request):
    """One map of one model, and one annotation source of pairs."""
    make = type(request.getfixturevalue("scored"))
    made = make(tmp_path_factory.mktemp("mapped") / "home", registry=empty_home)
    made.make("perturbation_map", *KEYS)
    made.annotate("planted", made.known.pairs)
    return made


@pytest.fixture
def mapped(one_map, tmp_path):
    """A copy of this test's own."""
    return one_map.copy(tmp_path / "home")


def score(mapped, name, *keys):
    return mapped.make(kind_of(name), *(keys or KEYS))


def plans(mapped):
    return {name: mapped.plan(kind_of(name), *KEYS) for name in BENCHMARKS}


def scores_of(published):
    return read_table(published.path("scores.parquet"), SCORES)


def add_model(mapped, model_key):
    mapped.register(model_key.split(".v")[0])
    mapped.add(mapped.wells, model_key)
    mapped.make("perturbation_map", "SIM", model_key)


def add_cell_type(mapped, cell_type):
    wells = mapped.wells.with_columns(
        pl.lit(cell_type).alias("cell_type"), pl.col("experiment_id").str.replace("SIM", cell_type)
    )
    mapped.add(wells, "m.v1")
    mapped.make("perturbation_map", cell_type, "m.v1")


def returning(rows):
    """A benchmark function that returns these rows, whatever the map."""

    def rows_of(_judged: JudgedMap, _parameters: PermutationParameters) -> list[Score]:
        return rows

    return rows_of


@pytest.fixture
def use(monkeypatch):
    """Replaces parts of a registered benchmark."""

    def use(name, **changes):
        monkeypatch.setitem(BENCHMARKS, name, replace(BENCHMARKS[name], **changes))

    return use


def test_every_registered_benchmark_is_a_stage():
    assert [name_of(stage.name) for stage in benchmark_stages()] == sorted(BENCHMARKS)


@pytest.mark.parametrize("name", sorted(BENCHMARKS))
def test_scores_are_published_once_and_found_again(mapped, name):
    published = score(mapped, name)
    assert score(mapped, name) == published
    record = published.record
    assert record.generation == 1
    json.dumps(record.summary, allow_nan=False)
    summary = BenchmarkSummary.model_validate(record.summary)
    (part,) = summary.parts
    assert (part.part_id, part.exposure) == ("all", "unseen_experiments")
    assert part.protocol_fingerprint == record.inputs["parts"]["all"]["protocol_fingerprint"]
    table = scores_of(published)
    read_table(published.path("influences.parquet"), INFLUENCES)
    read_table(published.path("published.parquet"), PUBLISHED)
    if summary.does_not_apply:
        assert table.is_empty()
        return
    headline = table.filter((pl.col("level") == "summary") & (pl.col("metric") == BENCHMARKS[name].headline_metric))
    assert headline["value"].to_list() == [summary.value]
    assert headline["p_value"][0] == 0.01 or BENCHMARKS[name].asks_about != "perturbations"
    for column in ("value", "null_mean", "null_low", "null_high"):
        assert table[column].is_finite().all()
    assert table["p_value"].is_between(0, 1, closed="right").all()
    assert (table["n_units"] > 0).all()
    assert table["dataset_fingerprint"].unique().to_list() == [record.inputs["dataset_fingerprint"]]
    assert table.select("dataset_id", "model_key").unique().rows() == [KEYS]


@pytest.mark.parametrize("name", sorted(BENCHMARKS))
def test_other_parameters_and_other_maps_are_scored_anew(mapped, publish_newer, name):
    planned = mapped.plan(kind_of(name), *KEYS)
    mapped.set(f"benchmarks/{name}.yaml", {"n_permutations": 100})
    other = mapped.plan(kind_of(name), *KEYS)
    assert other.fingerprint != planned.fingerprint
    publish_newer(mapped.deployment, "perturbation_map", *KEYS)
    assert mapped.plan(kind_of(name), *KEYS).fingerprint != other.fingerprint


def test_only_benchmarks_that_use_annotations_of_a_kind_go_stale_with_them(mapped):
    before = plans(mapped)
    mapped.annotate("more", "entity1,entity2\nGENE000,GENE020\n")
    after = plans(mapped)
    changed = {name for name in BENCHMARKS if before[name].fingerprint != after[name].fingerprint}
    assert changed == {name for name, chosen in BENCHMARKS.items() if "pairs" in chosen.uses}


def test_another_code_version_makes_its_own_scores_stale_and_no_others(mapped, use):
    before = plans(mapped)
    use(MAGNITUDE, code_version="next")
    after = plans(mapped)
    assert [name for name in BENCHMARKS if before[name].fingerprint != after[name].fingerprint] == [MAGNITUDE]


def test_scores_in_the_form_of_an_earlier_version_are_scored_again_and_not_read_until_then(mapped, monkeypatch):
    earlier = TableSchema("scores", tuple(column for column in SCORES.columns if column.name != "z_score"))
    with monkeypatch.context() as patched:
        patched.setattr("cellassets.stages.benchmark.ROWS_VERSION", "1")
        patched.setattr("cellassets.tables.schemas.SCORES", earlier)
        old = score(mapped, MAGNITUDE)
    assert "z_score" not in pl.read_parquet(str(old.path("scores.parquet"))).columns
    score(mapped, "perturbation_consistency")
    snapshot = open_snapshot(mapped.deployment)
    assert state_of(snapshot, kind_of(MAGNITUDE), *KEYS).status == "due"
    assert state_of(snapshot, kind_of("perturbation_consistency"), *KEYS).status == "current"
    ranked = read_table(mapped.make("leaderboard").path("leaderboard.parquet"), LEADERBOARD)
    assert ranked["benchmark_name"].to_list() == ["perturbation_consistency"]
    names = "SELECT DISTINCT benchmark_name FROM scores ORDER BY 1"
    assert query_lake(mapped.lake, names)["benchmark_name"].to_list() == ["perturbation_consistency"]
    score(mapped, MAGNITUDE)
    assert query_lake(mapped.lake, names).height == 2
    assert read_table(mapped.make("leaderboard").path("leaderboard.parquet"), LEADERBOARD).height == 2


def test_a_dataset_is_judged_against_the_sources_that_it_names(mapped):
    mapped.annotate("other", "entity1,entity2\nGENE000,GENE020\n")
    for name, sources in (("every", None), ("one", ["planted"])):
        mapped.set(f"datasets/{name}.yaml", {"cell_types": ["SIM"], "annotation_sources": sources})
        mapped.make("perturbation_map", name, "m.v1")
    planned = {name: mapped.plan("benchmark/known_relationships", name, "m.v1") for name in ("every", "one")}
    assert sorted(planned["every"].inputs["annotations"]) == ["other", "planted"]
    assert sorted(planned["one"].inputs["annotations"]) == ["planted"]
    mapped.set("datasets/one.yaml", {"cell_types": ["SIM"], "annotation_sources": ["CORUM"]})
    with pytest.raises(AnnotationError, match=r"no annotation source \['CORUM'\]; there are \['other', 'planted'\]"):
        mapped.plan("benchmark/known_relationships", "one", "m.v1")


def test_protocols_of_two_models_are_equal(mapped):
    add_model(mapped, "n.v1")
    ours, theirs = (mapped.plan(kind_of(MAGNITUDE), "SIM", key) for key in ("m.v1", "n.v1"))
    assert ours.fingerprint != theirs.fingerprint
    assert ours.inputs["parts"] == theirs.inputs["parts"]


def test_a_map_is_compared_with_maps_of_other_cell_types_alone(mapped, publish_newer):
    name = kind_of("cell_type_generalisation")
    mapped.set("datasets/SIM-strict.yaml", {"cell_types": ["SIM"], "quality": {"min_nuclei": 1}})
    mapped.make("perturbation_map", "SIM-strict", "m.v1")
    assert mapped.plan(name, *KEYS).inputs["other_maps"] == {}
    add_cell_type(mapped, "U2OS")
    before = mapped.plan(name, *KEYS)
    assert sorted(before.inputs["other_maps"]) == ["U2OS"]
    assert mapped.make(name, *KEYS).record.summary["value"] == 1.0
    publish_newer(mapped.deployment, "perturbation_map", "U2OS", "m.v1")
    again = mapped.plan(name, *KEYS)
    assert again.fingerprint != before.fingerprint
    assert again.inputs["parts"] == before.inputs["parts"]
    publish_newer(mapped.deployment, "perturbation_map", "U2OS", "m.v1", summary={"protocol_fingerprint": "another"})
    assert mapped.plan(name, *KEYS).inputs["parts"] != before.inputs["parts"]


def test_a_benchmark_that_returns_no_headline_is_refused(mapped, use):
    use(MAGNITUDE, function=returning([]))
    with pytest.raises(BenchmarkError, match="perturbation_magnitude returned 0 summary rows of 'magnitude'"):
        score(mapped, MAGNITUDE)
    assert mapped.lake.artifact(kind_of(MAGNITUDE), *KEYS).find_record() is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"value": float("nan")}, "expected finite numbers"),
        ({"p_value": 0.0}, r"a p-value in \(0, 1\]"),
        ({"perturbation_id": "q"}, "two rows of magnitude q at level perturbation"),
    ],
)
def test_rows_that_would_spoil_every_comparison_are_refused(mapped, use, changes, message):
    row = Score("magnitude", "perturbation", 0.5, 0.0, -1.0, 1.0, 0.5, n_units=2, unit="well", perturbation_id="p")
    rows = [row, replace(row, perturbation_id="q"), replace(row, **{"perturbation_id": "r", **changes})]
    use(MAGNITUDE, function=returning(rows))
    with pytest.raises(BenchmarkError, match=message):
        score(mapped, MAGNITUDE)


def test_a_score_is_due_until_it_is_made_and_again_after_a_change_of_settings(mapped):
    def statuses():
        snapshot = open_snapshot(mapped.deployment)
        return [state_of(snapshot, kind_of(MAGNITUDE), "SIM", key).status for key in ("m.v1", "n.v1")]

    add_model(mapped, "n.v1")
    assert statuses() == ["due", "due"]
    score(mapped, MAGNITUDE)
    assert statuses() == ["current", "due"]
    mapped.set(f"benchmarks/{MAGNITUDE}.yaml", {"n_permutations": 100})
    assert statuses() == ["due", "due"]
    mapped.set(f"benchmarks/{MAGNITUDE}.yaml", {"n_permutation": 100})
    assert statuses() == ["waiting", "waiting"]
    assert "n_permutation" in state_of(open_snapshot(mapped.deployment), kind_of(MAGNITUDE), *KEYS).reason
    with pytest.raises(ConfigError, match="no stage 'benchmark/x'"):
        stage_named("benchmark/x")


def test_each_source_has_its_own_recall_and_is_counted(mapped):
    lines = ["entity1,entity2", *(f"GENE{a:03d},GENE{a + 1:03d}" for a in range(24, 34)), "GENE000,NOWHERE"]
    mapped.annotate("chance", "\n".join(lines))
    mapped.annotate("strangers", "entity1,entity2\nTP53,MDM2\n")
    published = score(mapped, "known_relationships")
    assert published.record.summary["n_pairs"] == {"chance": 11, "planted": 24, "strangers": 1}
    summary = scores_of(published).filter(pl.col("level") == "summary")
    recall = dict(summary.select("metric", "p_value").rows())
    assert recall["recall[planted]"] == 0.01 < recall["recall[chance]"]
    assert "recall[strangers]" not in recall
    n_units = dict(summary.select("metric", "n_units").rows())
    assert (n_units["recall[planted]"], n_units["recall[chance]"]) == (24, 10)


def test_where_nothing_is_known_the_benchmark_does_not_apply_and_says_why(mapped):
    (mapped.lake.annotations / "planted.csv").unlink()
    published = score(mapped, "known_relationships")
    assert "no annotation source of pairs or sets" in published.record.summary["does_not_apply"]
    assert scores_of(published).is_empty()
    assert score(mapped, "perturbation_consistency").record.summary["value"] > 0.5


def test_strange_genes_are_refused_with_their_number(mapped):
    mapped.annotate("planted", "entity1,entity2\nTP53,MDM2\nGENE000,GENE001\n")
    with pytest.raises(BenchmarkError, match="of 2 annotated pairs 1 have both genes among the map's 36"):
        score(mapped, "known_relationships")


def test_a_map_that_is_not_there_is_waited_for(mapped):
    with pytest.raises(NotReady, match=r"perturbation_map of SIM\|n\.v1"):
        mapped.plan("benchmark/known_relationships", "SIM", "n.v1")


def jumbled(table):
    order = np.random.default_rng(0).permutation(table.height)
    return with_vectors(table.drop("embedding"), vectors(table)[order])


@pytest.fixture(scope="session")
def rich_maps(tmp_path_factory, empty_home, one_map):
    """Maps of two cell types on which every benchmark applies."""
    design = SimulatedWells(
        n_complexes=10,
        n_lone_genes=10,
        n_guides_per_gene=2,
        n_combinations=6,
        n_compounds=5,
        n_doses=4,
        n_arms=2,
        n_positive_controls=3,
        n_annotated_compounds=36,
    )
    made = type(one_map)(tmp_path_factory.mktemp("rich") / "home", design, registry=empty_home)
    made.make("perturbation_map", *KEYS)
    add_cell_type(made, "U2OS")
    for name in ("pairs", "sets", "targets", "gene_arms"):
        made.annotate(name, getattr(made.known, name))
    made.set("benchmarks/proximity_bias.yaml", {"n_permutations": 99, "min_genes": 4})
    return made


@pytest.mark.parametrize("name", sorted(BENCHMARKS))
def test_scores_are_those_of_the_maps_of_their_plan(rich_maps, tmp_path, made_from_pins, publish_newer, name):
    mapped = rich_maps.copy(tmp_path / "home")

    def publish():
        for dataset_id in ("SIM", "U2OS"):
            change = {"map.parquet": jumbled, "wells.parquet": jumbled}
            publish_newer(mapped.deployment, "perturbation_map", dataset_id, "m.v1", change=change)

    made_from_pins(mapped, kind_of(name), KEYS, publish)
    assert "value" in mapped.lake.artifact(kind_of(name), *KEYS).record_of(1).summary, "it applies"


def test_annotations_that_change_between_plan_and_scoring_are_refused(mapped):
    stage, plan = stage_named("benchmark/known_relationships"), mapped.plan("benchmark/known_relationships", *KEYS)
    mapped.annotate("planted", mapped.known.pairs.head(5))
    with pytest.raises(StaleArtifact, match="annotations changed since the plan"):
        stage.make(Context(mapped.deployment), plan)
    mapped.annotate("planted", mapped.known.pairs)
    mapped.annotate("more", mapped.known.pairs.head(3))
    with pytest.raises(StaleArtifact, match="annotations changed since the plan"):
        stage.make(Context(mapped.deployment), plan)
    assert mapped.lake.artifact("benchmark/known_relationships", *KEYS).find_record() is None


def test_settings_that_change_between_plan_and_scoring_change_nothing(mapped):
    expected = score(mapped.copy(mapped.home.parent / "untouched"), MAGNITUDE).record
    plan = mapped.plan(kind_of(MAGNITUDE), *KEYS)
    mapped.set(f"benchmarks/{MAGNITUDE}.yaml", {"n_permutations": 19})
    assert stage_named(kind_of(MAGNITUDE)).make(Context(mapped.deployment), plan).files == expected.files


def test_two_runs_at_once_publish_one_table_of_scores(mapped, made_once_by_two):
    made_once_by_two(mapped, kind_of(MAGNITUDE), *KEYS)


def test_a_full_disk_leaves_nothing_visible(mapped, monkeypatch):
    def no_space(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(OSError, match="No space left"):
        score(mapped, MAGNITUDE)
    monkeypatch.undo()
    artifact = mapped.lake.artifact(kind_of(MAGNITUDE), *KEYS)
    assert artifact.find_record() is None
    assert list(artifact.data.iterdir()) == []


def test_the_stages_load_neither_scipy_nor_torch():
    code = "import sys; from cellassets.benchmarks.registry import BENCHMARKS; import cellassets.stages.catalogue; "
    code += "from cellassets.stages.catalogue import stages; stages(); "
    code += "print(sorted({'scipy', 'torch', 'sklearn', 'matplotlib', 'mlflow'} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
