"""On a simulated screen, a trained network finds the planted complexes: better than chance, better than pixel means."""

import json

import polars as pl
import pytest
from upath import UPath

from cellassets.benchmarks.registry import BENCHMARKS
from cellassets.mapping.build import MapParameters
from cellassets.mapping.steps import CentreScale, PrincipalComponents, TypicalVariation
from cellassets.stages.carry_out import carry_out
from cellassets.stages.catalogue import stage_named
from cellassets.storage.deployment import Deployment
from cellassets.synthetic.presets import demo_design
from cellassets.synthetic.screen import write_screen
from cellassets.synthetic.truth import write_truth
from cellassets.tables.parquet import read_table
from cellassets.tables.schemas import BATCH_EFFECT, SCORES
from cellassets.training.summary import CheckpointSummary

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(600)]
EXPERIMENTS = ("HUVEC-1", "HUVEC-2", "HUVEC-3", "HUVEC-4", "HUVEC-5")
UNSEEN = "HUVEC-4, HUVEC-5"
RECIPE = {
    "kind": "network",
    "train_experiments": EXPERIMENTS[:2],
    "validation_experiments": EXPERIMENTS[2:3],
    "backbone": {"family": "resnet", "stem_width": 16, "widths": [24, 48, 96], "depths": [1, 1, 1]},
    "embedding_dim": 64,
    "loss": {"label_smoothing": 0.1},
    "augmentation": {"crop_px": 96, "gain_jitter": 0.2, "offset_jitter": 0.2},
    "optimiser": {"learning_rate": 2e-3, "weight_decay": 0.05},
    "n_epochs": 16,
    "validate_every_n_epochs": 16,
}
MAP = MapParameters(steps=(PrincipalComponents(n_components=16), CentreScale(), TypicalVariation()))


@pytest.fixture(scope="module")
def screened(tmp_path_factory, grey_levels):
    """One cell type of the demo's screen, with smaller images; its maps by a trained network and by pixel means."""
    root = tmp_path_factory.mktemp("screened")
    design = demo_design(image_size=128)
    write_screen(design, root / "landing", experiment_ids=EXPERIMENTS)
    write_truth(design, root / "truth")
    for name in ("recipes", "benchmarks", "datasets"):
        (root / "configs" / name).mkdir(parents=True)
    (root / "configs/recipes/small.yaml").write_text(json.dumps(RECIPE))
    (root / "configs/policy.yaml").write_text("{}")
    (root / "configs/mapping.yaml").write_text(json.dumps(MAP.model_dump(mode="json")))
    deployment = Deployment.of({}, home=root, configs=UPath(root / "configs"))
    deployment.lake.annotations.mkdir(parents=True)
    (deployment.lake.annotations / "planted.csv").write_bytes((root / "truth" / "gene_pairs.csv").read_bytes())
    grey_levels.register(deployment)
    for experiment_id in EXPERIMENTS:
        for name in ("raw_plates", "plate_store", "plate_quality"):
            carry_out(stage_named(name), deployment, {"experiment": experiment_id})
        grey_levels.embed(deployment, experiment_id)
    trained = carry_out(stage_named("checkpoint"), deployment, {"recipe": "small"})
    for experiment_id in EXPERIMENTS:
        carry_out(stage_named("site_embeddings"), deployment, {"experiment": experiment_id, "model": "small.v1"})
    for model_key in ("small.v1", "means.v1"):
        carry_out(stage_named("perturbation_map"), deployment, {"dataset": "HUVEC", "model": model_key})
    return deployment, CheckpointSummary.model_validate(trained.record.summary)


def headline(deployment, name, model_key):
    keys = {"dataset": "HUVEC", "model": model_key}
    rows = read_table(carry_out(stage_named(f"benchmark/{name}"), deployment, keys).path("scores.parquet"), SCORES)
    is_headline = (pl.col("level") == "summary") & (pl.col("metric") == BENCHMARKS[name].headline_metric)
    return rows.filter(is_headline, pl.col("experiments") == UNSEEN).row(0, named=True)


def test_the_network_tells_perturbations_apart_in_an_experiment_that_it_never_saw(screened):
    _, trained = screened
    assert trained.validation_accuracy > 4 * trained.chance_accuracy


def test_planted_complexes_are_recovered_better_than_by_chance_and_than_from_pixel_means(screened):
    deployment, _ = screened
    network, means = (headline(deployment, "known_relationships", key) for key in ("small.v1", "means.v1"))
    assert network["p_value"] < 0.01
    assert network["value"] > 3 * network["null_mean"]
    assert network["value"] > means["value"] + 0.1


@pytest.mark.parametrize("name", ["perturbation_consistency", "perturbation_magnitude"])
def test_planted_effects_stand_out_of_the_null(screened, name):
    deployment, _ = screened
    network = headline(deployment, name, "small.v1")
    assert network["p_value"] < 0.02
    assert network["value"] > network["null_high"]


def test_alignment_lowers_the_batch_effect_of_pixel_means_and_keeps_their_biology(screened):
    """Of pixel means, since the network was taught to ignore batches: there is little left in it to remove."""
    deployment, _ = screened
    steps = read_table(
        deployment.lake.current("perturbation_map", "HUVEC", "means.v1").path("batch_effect.parquet"), BATCH_EFFECT
    )
    batch, biology = (
        steps.filter(pl.col("metric") == metric)["value"].to_list()
        for metric in ("batch_accuracy", "replicate_retrieval")
    )
    assert batch[0] > 0.7
    assert batch[-1] < batch[0] - 0.15
    assert biology[-1] > biology[0]
