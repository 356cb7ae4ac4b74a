"""`leaderboard`: made once, of current scores; stale ones are shown as stale and compared with none."""

import os

import polars as pl
import pytest

from cellassets.benchmarks.registry import BENCHMARKS
from cellassets.stages.catalogue import open_snapshot
from cellassets.stages.leaderboard import LeaderboardSummary
from cellassets.stages.snapshot import NotReady
from cellassets.stages.state import is_current
from cellassets.synthetic.embeddings import simulate_wells
from cellassets.tables.parquet import read_table
from cellassets.tables.schemas import DIFFERENCES, LEADERBOARD

MAGNITUDE = "benchmark/perturbation_magnitude"


@pytest.fixture
def scored(scored, tmp_path):
    """A copy of the scored deployment of this test's own."""
    return scored.copy(tmp_path / "home")


def board(published):
    return read_table(published.path("leaderboard.parquet"), LEADERBOARD)


def differences(published):
    return read_table(published.path("differences.parquet"), DIFFERENCES)


def embed_again(scored, model_key):
    """Publishes other embeddings of one experiment, as other files of the model would give."""
    wells, _ = simulate_wells(scored.design.model_copy(update={"gene_effect": 2.0, "seed": 9}))
    name = model_key.split(".v")[0]
    scored.registry.client().set_model_version_tag(name, "1", "fingerprint", "of other files")
    scored.add(wells, model_key)


def test_every_score_is_shown_and_the_summary_counts(scored):
    published = scored.make("leaderboard")
    rows = board(published)
    summary = LeaderboardSummary.model_validate(published.record.summary)
    assert summary.model_dump(mode="json") == published.record.summary
    assert (summary.n_models, summary.n_datasets, summary.n_stale) == (3, 1, 0)
    assert summary.n_comparisons == differences(published).height > 0
    assert set(rows["benchmark_name"]) < set(BENCHMARKS)
    assert rows.group_by("benchmark_name").len()["len"].unique().to_list() == [3]


def test_making_it_again_does_nothing_until_a_score_is_published(scored):
    first = scored.make("leaderboard")
    assert first.record.generation == 1, "the fixture made it"
    wells, _ = simulate_wells(scored.design.model_copy(update={"gene_effect": 2.0}))
    scored.register("new")
    scored.add(wells, "new.v1")
    scored.make("perturbation_map", "SIM", "new.v1")
    assert scored.plan("leaderboard").fingerprint == first.record.fingerprint
    scored.make("benchmark/known_relationships", "SIM", "new.v1")
    second = scored.make("leaderboard")
    assert second.record.generation == 2
    assert "new.v1" in set(board(second)["model_key"])


def test_scores_of_embeddings_that_were_made_anew_are_stale_and_not_compared(scored):
    embed_again(scored, "good.v1")
    assert not is_current(open_snapshot(scored.deployment), MAGNITUDE, "SIM", "good.v1")
    published = scored.make("leaderboard")
    rows = board(published)
    assert rows.filter("is_stale")["model_key"].unique().to_list() == ["good.v1"]
    best = rows.filter(~pl.col("is_stale") & (pl.col("benchmark_name") == "perturbation_magnitude"))
    assert best.sort("rank")["rank"].to_list() == [1, 2], "a stale score takes no rank from a fresh one"
    found = differences(published)
    assert found.height
    assert "good.v1" not in {*found["model_key_a"], *found["model_key_b"]}
    assert published.record.summary["n_stale"] == rows.filter("is_stale").height


def test_scores_of_a_map_that_was_made_anew_are_stale_until_they_are_taken_again(scored):
    embed_again(scored, "good.v1")
    scored.make("perturbation_map", "SIM", "good.v1")
    assert "good.v1" in set(board(scored.make("leaderboard")).filter("is_stale")["model_key"])
    for name in BENCHMARKS:
        scored.make(f"benchmark/{name}", "SIM", "good.v1")
    assert not board(scored.make("leaderboard"))["is_stale"].any()


def test_scores_that_could_not_be_taken_now_are_stale(scored):
    scored.set("benchmarks/perturbation_magnitude.yaml", {"n_permutation": 99})
    rows = board(scored.make("leaderboard"))
    assert rows.filter("is_stale")["benchmark_name"].unique().to_list() == ["perturbation_magnitude"]


def test_scores_are_stale_where_another_map_that_they_are_of_was_made_anew(simulate):
    simulated = simulate(seed=1, n_batches=2)
    name = "benchmark/cell_type_generalisation"
    for dataset_id, cell_type in (("SIM", "SIM"), ("VERO", "VERO")):
        if dataset_id == "VERO":
            wells = simulated.wells.with_columns(
                pl.lit("VERO").alias("cell_type"), pl.col("experiment_id").str.replace("SIM", cell_type)
            )
            simulated.add(wells, "m.v1")
        simulated.make("perturbation_map", dataset_id, "m.v1")
    scored = simulated.make(name, "SIM", "m.v1")
    assert sorted(scored.record.inputs["made_from_maps"]) == ["VERO"]
    assert is_current(open_snapshot(simulated.deployment), name, "SIM", "m.v1")
    simulated.judge_quality_again("VERO-1", {("Plate1", "A01", 1)})
    assert not is_current(open_snapshot(simulated.deployment), name, "SIM", "m.v1")
    assert board(simulated.make("leaderboard"))["is_stale"].all()


def test_a_lake_without_scores_has_no_leaderboard_to_make(simulate):
    with pytest.raises(NotReady, match="waits for the first scores"):
        simulate(n_batches=1).plan("leaderboard")


def test_scores_are_those_of_the_plan(scored, made_from_pins, publish_newer):
    scored.lake.artifact("leaderboard").record_path(1).unlink()
    scored.lake.scan()
    better = {"scores.parquet": lambda table: table.with_columns(pl.col("value") + 1)}
    made_from_pins(
        scored, "leaderboard", (), lambda: publish_newer(scored.deployment, MAGNITUDE, "SIM", "good.v1", change=better)
    )


def test_two_runs_at_once_publish_one_leaderboard(scored, made_once_by_two):
    scored.lake.artifact("leaderboard").record_path(1).unlink()
    scored.lake.scan()
    made_once_by_two(scored, "leaderboard")


def test_a_full_disk_leaves_the_earlier_leaderboard(scored, monkeypatch):
    first = scored.make("leaderboard").record
    scored.set("benchmarks/perturbation_magnitude.yaml", {"n_permutation": 99})

    def no_space(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", no_space)
        with pytest.raises(OSError, match="No space left"):
            scored.make("leaderboard")
    artifact = scored.lake.artifact("leaderboard")
    assert artifact.record() == first
    assert [path.name for path in artifact.data.iterdir()] == [first.folder]
