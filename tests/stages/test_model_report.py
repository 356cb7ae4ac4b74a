"""`model_report`: one page per model, made once, from the tables and images of its plan."""

import os
import re

import polars as pl
import pytest

from cellassets.errors import RegistryError, StaleArtifact
from cellassets.registry import Registry
from cellassets.stages.catalogue import open_snapshot, stage_named
from cellassets.stages.model_report import ModelReportSummary
from cellassets.stages.snapshot import NotReady
from cellassets.stages.stage import Context
from cellassets.stages.state import state_of
from cellassets.tables.parquet import read_table, vectors, with_vectors
from cellassets.tables.schemas import LEADERBOARD

KIND = "model_report"
HOSTILE = "<script>alert(1)</script>"
MAGNITUDE = "benchmark/perturbation_magnitude"


@pytest.fixture
def scored(scored, tmp_path):
    """A copy of the scored deployment of this test's own."""
    return scored.copy(tmp_path / "home")


def text_of(published):
    return published.path("report.html").read_text()


def test_the_page_says_what_it_was_made_from_and_shows_images(scored):
    published = scored.make(KIND, "good.v1")
    text = text_of(published)
    summary = ModelReportSummary.model_validate(published.record.summary)
    assert (summary.n_datasets, summary.n_bytes) == (1, len(text.encode()))
    entry, map_ = scored.registry.find("good.v1"), scored.lake.current("perturbation_map", "SIM", "good.v1").record
    board = scored.lake.current("leaderboard").record
    for fact in (
        entry.fingerprint,
        entry.run_id,
        map_.fingerprint,
        map_.inputs["dataset_fingerprint"],
        board.fingerprint,
    ):
        assert fact in text
    for fact in ("SIM-1, SIM-2, SIM-3", "pca → centre_scale → tvn", "clearly more than"):
        assert fact in text
    assert text.count("data:image/jpeg;base64,") == 2 * 4, "four perturbations, each beside a control"
    assert re.search(r"SIM-\d Plate\d [A-Z]\d\d site 1", text)


def score_tags(scored):
    return {name: text for name, text in scored.registry.find("good.v1").tags.items() if name.startswith("score ")}


def test_the_model_version_has_the_scores_of_the_report_and_loses_those_of_a_dataset_that_is_gone(scored):
    version = ("good", "1", "score GONE/perturbation_magnitude", "0.5")
    scored.registry.client().set_model_version_tag(*version)
    found = score_tags(scored.make(KIND, "good.v1") and scored)
    board = read_table(scored.lake.current("leaderboard").file("leaderboard.parquet"), LEADERBOARD)
    own = board.filter(pl.col("model_key") == "good.v1")
    assert set(found) == {f"score SIM/{name}" for name in own["benchmark_name"]}
    (magnitude,) = own.filter(pl.col("benchmark_name") == "perturbation_magnitude").iter_rows(named=True)
    assert found["score SIM/perturbation_magnitude"].startswith(f"{magnitude['value']:.3f} (")
    assert "score " not in text_of(scored.make(KIND, "good.v1")).split("MLflow run")[-1], "not twice on the page"


def test_a_registry_that_does_not_answer_costs_the_report_nothing_and_gets_the_scores_later(scored, monkeypatch):
    def refuse(*_):
        message = "the model registry does not answer"
        raise RegistryError(message)

    monkeypatch.setattr(Registry, "note_scores", refuse)
    first = scored.make(KIND, "good.v1")
    assert score_tags(scored) == {}
    monkeypatch.undo()
    assert scored.make(KIND, "good.v1") == first, "nothing is made again"
    assert score_tags(scored)


def test_making_it_again_does_nothing_until_something_changed(scored):
    first = scored.make(KIND, "good.v1")
    assert scored.make(KIND, "good.v1") == first
    assert scored.plan(KIND, "fair.v1").fingerprint != first.record.fingerprint
    scored.registry.move_alias("champion", "good.v1")
    again = scored.make(KIND, "good.v1").record
    assert (again.generation, again.inputs["model"]["aliases"]) == (2, ["champion"])


def test_a_benchmark_that_was_not_scored_is_named(scored):
    scored.lake.artifact(MAGNITUDE, "SIM", "good.v1").record_path(1).unlink()
    scored.lake.scan()
    scored.make("leaderboard")
    text = text_of(scored.make(KIND, "good.v1"))
    assert "Not scored yet on these wells: perturbation_magnitude." in text


def test_a_report_waits_for_the_first_map(scored):
    scored.register("unknown")
    with pytest.raises(NotReady, match=r"waits for the first map: no dataset has one by unknown\.v1"):
        scored.plan(KIND, "unknown.v1")


def test_a_hostile_gene_on_the_map_stays_text(scored, publish_newer):
    first = pl.when(pl.col("gene_symbol") == "GENE000").then(pl.lit(HOSTILE)).otherwise("gene_symbol")
    change = {"map.parquet": lambda table: table.with_columns(first.alias("gene_symbol"))}
    publish_newer(scored.deployment, "perturbation_map", "SIM", "good.v1", change=change)
    text = text_of(scored.make(KIND, "good.v1"))
    assert HOSTILE not in text


def test_what_is_not_there_is_named(scored, simulate):
    with pytest.raises(RegistryError, match=r"model nobody\.v1 is not in the registry"):
        scored.plan(KIND, "nobody.v1")
    with pytest.raises(NotReady, match="leaderboard"):
        simulate(name="empty", n_batches=1).plan(KIND, "m.v1")


def test_a_report_does_not_wait_for_a_dataset_that_was_removed(scored):
    scored.set("datasets/extra.yaml", {"cell_types": ["SIM"], "quality": {"min_nuclei": 1}})
    scored.make("perturbation_map", "extra", "good.v1")
    scored.make(MAGNITUDE, "extra", "good.v1")
    scored.make("leaderboard")
    assert scored.make(KIND, "good.v1").record.summary["n_datasets"] == 2
    (scored.home / "configs/datasets/extra.yaml").unlink()
    scored.make("leaderboard")
    state = state_of(open_snapshot(scored.deployment), KIND, "good.v1")
    assert state.status == "due", state.reason
    assert scored.make(KIND, "good.v1").record.summary["n_datasets"] == 1


def jumbled(table):
    return with_vectors(table.drop("embedding"), vectors(table)[::-1])


NEWER = {
    "leaderboard": ("leaderboard", (), {"leaderboard.parquet": lambda t: t.with_columns(pl.col("value") / 2)}),
    "map": ("perturbation_map", ("SIM", "good.v1"), {"map.parquet": jumbled}),
    "scores": (MAGNITUDE, ("SIM", "good.v1"), {"scores.parquet": lambda t: t.with_columns(pl.col("value") * 2)}),
    "clusters": (
        "map_clusters",
        ("SIM", "good.v1"),
        {"clusters.parquet": lambda t: t.with_columns(pl.col("stability") / 2)},
    ),
    "quality": (
        "plate_quality",
        ("SIM-1",),
        {"quality.parquet": lambda t: t.with_columns((pl.col("site_index") == 1).alias("is_flagged"))},
    ),
}


def test_the_page_is_made_from_the_inputs_of_its_plan(scored, made_from_pins, publish_newer):
    def publish():
        for kind, keys, change in NEWER.values():
            publish_newer(scored.deployment, kind, *keys, change=change)

    made_from_pins(scored, KIND, ("good.v1",), publish)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("what", NEWER)
def test_each_newer_input_gives_another_page_and_changes_nothing_in_one_that_is_planned(
    scored, made_from_pins, publish_newer, what
):
    kind, keys, change = NEWER[what]
    made_from_pins(scored, KIND, ("good.v1",), lambda: publish_newer(scored.deployment, kind, *keys, change=change))


def test_images_are_those_of_the_store_of_the_plan(scored, made_from_pins):
    def publish():
        for experiment_id in ("SIM-1", "SIM-2", "SIM-3"):
            scored.paint(experiment_id, 7)
            scored.make("plate_store", experiment_id)

    made_from_pins(scored, KIND, ("good.v1",), publish)


def test_annotations_that_change_between_plan_and_page_are_refused(scored):
    plan = scored.plan(KIND, "good.v1")
    scored.annotate("planted", scored.known.pairs.head(5))
    with pytest.raises(StaleArtifact, match="annotations changed since the plan"):
        stage_named(KIND).make(Context(scored.deployment), plan)
    assert scored.lake.artifact(KIND, "good.v1").find_record() is None


def test_the_gates_policy_that_changes_between_plan_and_page_changes_nothing(scored, tmp_path):
    expected = scored.copy(tmp_path / "untouched").make(KIND, "good.v1").record
    plan = scored.plan(KIND, "good.v1")
    scored.set("gate.yaml", {"deciding": "perturbation_consistency", "deciding_datasets": ["SIM"]})
    assert stage_named(KIND).make(Context(scored.deployment), plan).files == expected.files
    assert scored.make(KIND, "good.v1").record.files != expected.files


def test_the_page_says_that_the_gate_asks_about_active_datasets_alone(scored):
    scored.set("gate.yaml", {"deciding": "perturbation_consistency"})
    policy = scored.plan(KIND, "good.v1").settings["policy"]
    assert (policy.deciding_datasets, policy.datasets) == (("SIM",), ("SIM",))
    scored.set("policy.yaml", {"datasets": {"active": []}})
    policy = scored.plan(KIND, "good.v1").settings["policy"]
    assert (policy.deciding_datasets, policy.datasets) == ((), ())


def test_two_runs_at_once_publish_one_page(scored, made_once_by_two):
    made_once_by_two(scored, KIND, "good.v1")


def test_a_full_disk_leaves_nothing_visible(scored, monkeypatch):
    def no_space(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(OSError, match="No space left"):
        scored.make(KIND, "good.v1")
    monkeypatch.undo()
    assert scored.lake.artifact(KIND, "good.v1").find_record() is None
