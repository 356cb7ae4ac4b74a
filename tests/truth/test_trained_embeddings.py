"""On a simulated screen, a trained network finds the planted complexes: better than chance, better than pixel means."""

import json

import polars as pl
import pytest

from cellassets.benchmarks.registry import BENCHMARKS
from cellassets.encoders.summary import SiteEmbeddingsSummary
from cellassets.registry import Registry
from cellassets.stages.carry_out import carry_out
from cellassets.stages.catalogue import open_snapshot, stage_named
from cellassets.storage.deployment import Deployment
from cellassets.synthetic.presets import demo_design
from cellassets.synthetic.screen import write_screen
from cellassets.synthetic.truth import write_truth
from cellassets.tables.parquet import read_table, vectors, with_vectors, write_table
from cellassets.tables.schemas import BATCH_EFFECT, SCORES, SITE_EMBEDDINGS, SITES

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
EXPERIMENTS = ("HUVEC-1", "HUVEC-2", "HUVEC-3")
RECIPE = {
    "kind": "network",
    "train_experiments": EXPERIMENTS[:2],
    "validation_experiments": EXPERIMENTS[2:],
    "backbone": {"family": "resnet", "stem_width": 16, "widths": [24, 48, 96], "depths": [1, 1, 1]},
    "embedding_dim": 64,
    "loss": {"label_smoothing": 0.1},
    "augmentation": {"crop_px": 96, "gain_jitter": 0.2, "offset_jitter": 0.2},
    "optimiser": {"learning_rate": 2e-3, "weight_decay": 0.05},
    "n_epochs": 16,
    "validate_every_n_epochs": 16,
}
MAP = {"steps": [{"kind": "pca", "n_components": 16}, {"kind": "centre_scale"}, {"kind": "tvn"}]}


def make(deployment, name, *keys):
    stage = stage_named(name)
    return carry_out(stage, deployment, stage.by_axis(keys))


@pytest.fixture(scope="module")
def screened(tmp_path_factory):
    """The first cell type of the demo's screen, smaller images, embedded by a trained network and by pixel means."""
    root = tmp_path_factory.mktemp("screened")
    design = demo_design(image_size=128)
    write_screen(design, root / "landing", experiment_ids=EXPERIMENTS)
    write_truth(design, root / "truth")
    settings = {"policy.yaml": {}, "mapping.yaml": MAP, "recipes/small.yaml": RECIPE}
    for name, values in settings.items():
        (root / "configs" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "configs" / name).write_text(json.dumps(values))  # JSON is YAML
    deployment = Deployment.of({}, home=root, configs=root / "configs")
    for experiment_id in EXPERIMENTS:
        for name in ("raw_plates", "plate_store", "plate_quality"):
            make(deployment, name, experiment_id)
    deployment.lake.annotations.mkdir(parents=True)
    (deployment.lake.annotations / "planted.csv").write_bytes((root / "truth" / "gene_pairs.csv").read_bytes())
    trained = make(deployment, "checkpoint", "small").record
    (root / "means").mkdir()
    (root / "means" / "encoder.json").write_text(json.dumps({"kind": "classical"}))
    registry = Registry(deployment.tracking_uri, deployment.model_root)
    registry.register(root / "means", name="means", run_id=None, tags={"kind": "classical"})
    for experiment_id in EXPERIMENTS:
        make(deployment, "site_embeddings", experiment_id, "small.v1")
        embed_by_pixel_means(deployment, experiment_id)
    for model_key in ("small.v1", "means.v1"):
        make(deployment, "perturbation_map", "HUVEC", model_key)
    return deployment, trained


def embed_by_pixel_means(deployment, experiment_id):
    """Publishes each site's mean grey levels as if they were an embedding."""
    lake = deployment.lake
    sites = read_table(lake.current("plate_store", experiment_id).path("sites.parquet"), SITES)
    labels = sites.drop("row_index", "channel_mean", "channel_std").with_columns(pl.lit("means.v1").alias("model_key"))
    table = with_vectors(labels, vectors(sites, "channel_mean"))
    keys = {"experiment": experiment_id, "model": "means.v1"}
    summary = SiteEmbeddingsSummary(
        n_sites=table.height, embedding_dim=6, precision="fp32", device="cpu", n_parts=1, n_parts_resumed=0
    )
    with lake.draft(stage_named("site_embeddings").plan(open_snapshot(deployment), keys)) as draft:
        write_table(table, draft.folder / "part-00000.parquet", SITE_EMBEDDINGS)
        draft.publish(["part-00000.parquet"], summary)


def headline(deployment, name, model_key):
    published = make(deployment, f"benchmark/{name}", "HUVEC", model_key)
    rows = read_table(published.path("scores.parquet"), SCORES)
    return rows.filter((pl.col("level") == "summary") & (pl.col("metric") == BENCHMARKS[name].headline_metric)).row(
        0, named=True
    )


def test_the_network_tells_perturbations_apart_in_an_experiment_that_it_never_saw(screened):
    _, trained = screened
    assert trained.summary["validation_accuracy"] > 4 * trained.summary["chance_accuracy"]


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
