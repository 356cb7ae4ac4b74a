"""A network that learnt its training wells by heart does not pass for better than simple features.

The labels of a small screen are shuffled within plates, so that no perturbation does anything. A real network is
trained until it knows the labels of its training wells. On these wells it looks far better than mean grey levels.
"""

import json

import numpy as np
import polars as pl
import pytest
from upath import UPath

from cellassets.judging.comparison import Evidence, paired_difference
from cellassets.stages.carry_out import carry_out
from cellassets.stages.catalogue import stage_named
from cellassets.storage.deployment import Deployment
from cellassets.synthetic.presets import tiny_design
from cellassets.synthetic.screen import write_screen
from cellassets.tables.parquet import read_table
from cellassets.tables.schemas import DIFFERENCES, INFLUENCES, LEADERBOARD, SCORES

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(600)]
CONSISTENCY = "perturbation_consistency"
TRAINED, WATCHED = ("HUVEC-1", "HUVEC-2"), ("HUVEC-3",)
UNSEEN = ("HUVEC-4", "HUVEC-5", "HUVEC-6")
RECIPE = {
    "kind": "network",
    "train_experiments": TRAINED,
    "validation_experiments": WATCHED,
    "backbone": {"family": "resnet", "stem_width": 16, "widths": [24, 48], "depths": [1, 1]},
    "embedding_dim": 32,
    "augmentation": {"has_flips": False, "has_turns": False},
    "optimiser": {"learning_rate": 3e-3, "weight_decay": 0.0},
    "n_epochs": 100,
    "validate_every_n_epochs": 100,
    "batch_size": 16,
}
SETTINGS = {
    "policy.yaml": {},
    "mapping.yaml": {"steps": [{"kind": "centre_scale"}], "n_judged_wells": 100},
    "gate.yaml": {"deciding": CONSISTENCY, "deciding_datasets": ["HUVEC"], "guarded": []},
    "recipes/network.yaml": RECIPE,
}


@pytest.fixture(scope="module")
def memorised(tmp_path_factory, grey_levels):
    """Maps and scores of the network, and of mean grey levels, on a screen whose labels are shuffled."""
    root = tmp_path_factory.mktemp("memorised")
    design = tiny_design(cell_types=[{"name": "HUVEC", "n_experiments": 6}], n_compounds=0)
    write_screen(design, root / "landing")
    for number, experiment_id in enumerate((*TRAINED, *WATCHED, *UNSEEN)):
        shuffle_labels(root / "landing" / experiment_id, seed=number)
    for name, values in SETTINGS.items():
        path = root / "configs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values))
    deployment = Deployment.of({}, home=root, configs=UPath(root / "configs"))
    for experiment_id in (*TRAINED, *WATCHED, *UNSEEN):
        for name in ("raw_plates", "plate_store", "plate_quality"):
            make(deployment, name, experiment=experiment_id)
    make(deployment, "checkpoint", recipe="network")
    grey_levels.register(deployment)
    for experiment_id in (*TRAINED, *WATCHED, *UNSEEN):
        grey_levels.embed(deployment, experiment_id)
        make(deployment, "site_embeddings", experiment=experiment_id, model="network.v1")
    for model_key in ("network.v1", "means.v1"):
        for name in ("perturbation_map", f"benchmark/{CONSISTENCY}"):
            make(deployment, name, dataset="HUVEC", model=model_key)
    return deployment


def make(deployment, name, **keys):
    return carry_out(stage_named(name), deployment, keys)


def shuffle_labels(folder, *, seed):
    """Gives the treatments of an experiment's wells to one another; controls stay, because alignment uses them."""
    table = pl.read_csv(folder / "metadata.csv")
    wells = table.unique("well_id", maintain_order=True)
    treated = wells.filter(pl.col("well_type") == "treatment")
    names = ["sirna", "sirna_id", "perturbation_kind", "gene_symbol", "guide_id", "compound_id", "concentration_um"]
    order = np.random.default_rng(seed).permutation(treated.height)
    given = treated.select("well_id").hstack(treated.select(names)[order])
    shuffled = table.drop(names).join(given, on="well_id", how="left", maintain_order="left")
    kept = table.select(names).rename({name: f"{name}_before" for name in names})
    restored = shuffled.hstack(kept).with_columns(pl.coalesce(name, f"{name}_before").alias(name) for name in names)
    restored.select(table.columns).write_csv(folder / "metadata.csv")


def scores_of(deployment, model_key):
    published = deployment.lake.current(f"benchmark/{CONSISTENCY}", "HUVEC", model_key)
    return read_table(published.path("scores.parquet"), SCORES)


def on(scores, experiments):
    return scores.filter(pl.col("metric") == "consistency_percentile", pl.col("experiments") == ", ".join(experiments))


def test_it_knows_its_training_wells_by_heart(memorised):
    network, means = (on(scores_of(memorised, key), TRAINED) for key in ("network.v1", "means.v1"))
    both = pl.concat([network, means]).filter(pl.col("level") == "perturbation")
    gain = paired_difference(Evidence(both, INFLUENCES.empty()), "network.v1", "means.v1")
    assert network.filter(pl.col("level") == "summary")["exposure"].item() == "training"
    assert gain.value > 0.2
    assert gain.two_sided_p_value() < 0.001


def test_on_unseen_wells_it_is_at_chance_and_not_better(memorised):
    unseen = on(scores_of(memorised, "network.v1"), UNSEEN).filter(pl.col("level") == "summary").row(0, named=True)
    assert unseen["exposure"] == "unseen_experiments"
    assert unseen["p_value"] > 0.05
    board = make(memorised, "leaderboard")
    (row,) = read_table(board.path("differences.parquet"), DIFFERENCES).to_dicts()
    assert row["experiments"] == ", ".join(UNSEEN)
    assert (row["model_key_a"], row["model_key_b"]) == ("means.v1", "network.v1")
    assert row["difference"] > -0.1 or row["p_value"] > 0.05, "the network is not better"
    ranked = read_table(board.path("leaderboard.parquet"), LEADERBOARD).filter(pl.col("rank").is_not_null())
    assert set(ranked.filter(pl.col("model_key") == "network.v1")["experiments"]) == {", ".join(UNSEEN)}


def test_the_gate_does_not_let_it_pass(memorised):
    decided = carry_out(
        stage_named("production_model"), memorised, {}, options={"candidate": "network.v1", "override": None}
    )
    assert decided.record.summary["decision"] == "kept"
    assert "chance, unseen experiments (HUVEC-4, HUVEC-5, HUVEC-6)" in decided.record.summary["against"][0]
