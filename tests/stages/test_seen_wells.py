"""What a model has seen decides where it is scored, ranked, compared and judged."""

import numpy as np
import polars as pl
import pytest

from cellassets.judging.comparison import Evidence, paired_difference
from cellassets.judging.leaderboard import rank_models
from cellassets.reconcile.wanted import idle_datasets, wanted_maps
from cellassets.registry.lineage import TrainedOn
from cellassets.stages.benchmark import BenchmarkSummary
from cellassets.stages.catalogue import open_snapshot
from cellassets.stages.leaderboard import published_scores
from cellassets.stages.models import parts_for
from cellassets.synthetic.embeddings import SimulatedWells
from cellassets.tables.parquet import read_table, vectors, with_vectors
from cellassets.tables.schemas import DIFFERENCES, GATE, INFLUENCES, LEADERBOARD, SCORES

CONSISTENCY = "perturbation_consistency"
DESIGN = {"seed": 5, "n_batches": 6, "n_complexes": 6, "n_lone_genes": 12, "gene_effect": 1.5}
SEEN = ("SIM-1", "SIM-2", "SIM-3")
UNSEEN = ("SIM-4", "SIM-5", "SIM-6")


def memorised(wells):
    """The wells as a network sees them that knows the labels of its training wells by heart, and of no others."""
    genes = np.unique(wells["perturbation_id"].to_numpy(), return_inverse=True)[1]
    codes = np.random.default_rng(0).standard_normal((genes.max() + 1, vectors(wells).shape[1]))
    is_treated = wells["control_kind"].is_null().to_numpy()
    is_seen = wells["experiment_id"].is_in(list(SEEN)).to_numpy() & is_treated
    noise = np.random.default_rng(2).standard_normal(vectors(wells).shape)
    return with_vectors(wells, np.where(is_seen[:, None], 8 * codes[genes] + noise, noise))


@pytest.fixture(scope="module")
def judged(tmp_path_factory, empty_home, simulated_deployment_at):
    """Classical features with weak biology, and a network that only knows its training wells by heart."""
    home = tmp_path_factory.mktemp("memorised") / "home"
    made = simulated_deployment_at(
        home, SimulatedWells(**DESIGN), models={"features.v1": DESIGN["gene_effect"]}, registry=empty_home
    )
    made.set("gate.yaml", {"deciding": CONSISTENCY, "deciding_datasets": ["SIM"], "guarded": []})
    made.register("network")
    made.registry.declare("network.v1", TrainedOn(experiments=SEEN[:2], validation_experiments=SEEN[2:]))
    made.add(memorised(made.wells), "network.v1")
    for model_key in ("features.v1", "network.v1"):
        made.make_all("SIM", model_key, benchmarks=[CONSISTENCY])
    return made


def headlines(deployment, model_key):
    published = deployment.lake.current(f"benchmark/{CONSISTENCY}", "SIM", model_key)
    rows = read_table(published.path("scores.parquet"), SCORES).filter(
        (pl.col("level") == "summary") & (pl.col("metric") == "consistency_percentile")
    )
    return {(row["exposure"], row["experiments"]): row for row in rows.iter_rows(named=True)}


def test_it_shines_on_the_wells_that_it_saw_and_is_at_chance_on_the_others(judged):
    by_part = headlines(judged, "network.v1")
    trained, watched, unseen = (
        by_part[key]
        for key in (
            ("training", "SIM-1, SIM-2"), ("validation", "SIM-3"), ("unseen_experiments", ", ".join(UNSEEN)),
        )
    )  # fmt: skip
    assert min(trained["value"], watched["value"]) > 0.95
    assert unseen["p_value"] > 0.05
    assert len(by_part) == 3
    assert {row["unseen_perturbations_frac"] for row in by_part.values()} == {None}, "nobody said which classes it had"


def test_compared_on_the_wells_that_it_saw_it_would_win(judged):
    scores = []
    for model_key in ("features.v1", "network.v1"):
        published = judged.lake.current(f"benchmark/{CONSISTENCY}", "SIM", model_key)
        scores.append(read_table(published.path("scores.parquet"), SCORES))
    units = pl.concat(scores).filter(
        pl.col("metric") == "consistency_percentile",
        pl.col("level") == "perturbation",
        pl.col("experiments") == "SIM-1, SIM-2",
    )
    found = paired_difference(Evidence(units, INFLUENCES.empty()), "network.v1", "features.v1")
    assert found.value > 0.1
    assert found.two_sided_p_value() < 1e-3


def test_it_is_ranked_behind_features_that_see_the_biology_everywhere(judged):
    judged.make("leaderboard")
    board = read_table(judged.lake.current("leaderboard").path("leaderboard.parquet"), LEADERBOARD)
    main = board.filter("is_main_part")
    assert main.select("model_key", "rank", "experiments").rows() == [
        ("features.v1", 1, ", ".join(UNSEEN)),
        ("network.v1", 2, ", ".join(UNSEEN)),
    ]
    assert board.filter(pl.col("exposure").is_in(["training", "validation"]))["rank"].null_count() == 2


def test_the_two_are_compared_on_the_wells_that_neither_has_seen(judged):
    judged.make("leaderboard")
    differences = read_table(judged.lake.current("leaderboard").path("differences.parquet"), DIFFERENCES)
    (row,) = differences.to_dicts()
    assert (row["model_key_a"], row["model_key_b"], row["experiments"]) == (
        "features.v1", "network.v1", ", ".join(UNSEEN),
    )  # fmt: skip
    assert row["difference"] > 0


def test_the_gate_keeps_it_out(judged, tmp_path):
    copy = judged.copy(tmp_path / "home")
    assert copy.make("production_model", candidate="features.v1").record.summary["decision"] == "promoted"
    decided = copy.make("production_model", candidate="network.v1")
    assert decided.record.summary["decision"] == "kept"
    assert read_table(decided.path("comparisons.parquet"), GATE)["gain"].item() < 0


def test_without_wells_that_neither_has_seen_the_gate_fails_closed(judged, tmp_path):
    copy = judged.copy(tmp_path / "home")
    copy.make("production_model", candidate="features.v1")
    copy.registry.declare("network.v1", TrainedOn(experiments=(*SEEN, *UNSEEN)))
    copy.make_all("SIM", "network.v1", benchmarks=[CONSISTENCY])
    copy.make_all("SIM", "features.v1", benchmarks=[CONSISTENCY])
    decided = copy.make("production_model", candidate="network.v1")
    assert decided.record.summary["decision"] == "kept"
    (reason,) = decided.record.summary["against"]
    assert "network.v1 has no score on wells that it has not seen (training)" in reason


def test_a_model_of_which_nobody_says_what_it_saw_is_not_ranked_and_not_promoted(judged, tmp_path):
    copy = judged.copy(tmp_path / "home")
    copy.registry.client().delete_model_version_tag("network", "1", "trained_on")
    copy.registry.client().set_model_version_tag("network", "1", "kind", "network")
    copy.make_all("SIM", "network.v1", benchmarks=[CONSISTENCY])
    (part,) = copy.lake.current(f"benchmark/{CONSISTENCY}", "SIM", "network.v1").record.summary["parts"]
    assert (part["part_id"], part["exposure"]) == ("all", "unknown")
    decided = copy.make("production_model", candidate="network.v1")
    assert decided.record.summary["decision"] == "kept"
    assert "no score on wells that it has not seen" in decided.record.summary["against"][0]


def test_another_declaration_makes_the_scores_due_and_nothing_else(judged, tmp_path):
    copy = judged.copy(tmp_path / "home")
    before = {
        name: copy.plan(name, "SIM", "network.v1").fingerprint
        for name in ("perturbation_map", f"benchmark/{CONSISTENCY}")
    }
    copy.registry.declare("network.v1", TrainedOn(experiments=SEEN))
    after = {name: copy.plan(name, "SIM", "network.v1").fingerprint for name in before}
    assert after["perturbation_map"] == before["perturbation_map"]
    assert after[f"benchmark/{CONSISTENCY}"] != before[f"benchmark/{CONSISTENCY}"]


def test_a_model_that_saw_other_wells_adds_a_part_to_the_others(judged, tmp_path):
    copy = judged.copy(tmp_path / "home")
    copy.register("other")
    copy.registry.declare("other.v1", TrainedOn(experiments=("SIM-4",)))
    parts = {part.experiments: part for part in parts_for(open_snapshot(copy.deployment), "network.v1", SEEN + UNSEEN)}
    assert parts["SIM-5", "SIM-6"].exposure == "unseen_experiments"
    assert parts["SIM-5", "SIM-6"].left_out == {*SEEN, "SIM-4"}


def test_scores_of_an_earlier_version_are_not_used(judged, tmp_path, publish_newer):
    copy = judged.copy(tmp_path / "home")
    publish_newer(copy.deployment, f"benchmark/{CONSISTENCY}", "SIM", "network.v1", summary={"parts": ()})
    found = published_scores(open_snapshot(copy.deployment))
    assert [score.keys for score in found if score.summary(BenchmarkSummary).parts] == [("SIM", "features.v1")]


def test_a_dataset_file_alone_adds_no_scores_and_moves_no_verdict(judged, tmp_path):
    copy = judged.copy(tmp_path / "home")
    copy.set("policy.yaml", {"datasets": {"active": ["SIM"]}})
    copy.make("production_model", candidate="features.v1")
    before = copy.plan("production_model", candidate="network.v1").fingerprint
    board = copy.plan("leaderboard").fingerprint
    copy.set("datasets/half.yaml", {"cell_types": ["SIM"], "experiment_ids": list(UNSEEN)})
    snapshot = open_snapshot(copy.deployment)
    assert {dataset for dataset, _ in wanted_maps(snapshot)} == {"SIM"}
    assert "scripts/backfill.py" in idle_datasets(snapshot)["half"]
    assert copy.plan("leaderboard").fingerprint == board
    copy.make_all("half", "features.v1", benchmarks=[CONSISTENCY])  # as a person may do
    assert copy.plan("production_model", candidate="network.v1").fingerprint == before


def test_ranks_and_main_parts_need_an_unseen_row():
    assert rank_models(SCORES.empty(), {}).is_empty()
