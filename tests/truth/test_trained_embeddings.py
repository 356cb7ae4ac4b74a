"""On a simulated screen, a trained network finds the planted complexes: better than chance, better than pixel means."""

import polars as pl
import pytest
from upath import UPath

from cellassets.benchmarks.registry import BENCHMARKS
from cellassets.benchmarks.run import score_map
from cellassets.encoders.run import embed_experiment
from cellassets.images.pack import pack_experiment
from cellassets.mapping.build import MapParameters, build_map
from cellassets.mapping.dataset import Dataset
from cellassets.mapping.steps import CentreScale, PrincipalComponents, TypicalVariation
from cellassets.quality.inspect import inspect_experiment
from cellassets.registry import Registry
from cellassets.screens.ingest import ingest_plates
from cellassets.screens.policy import IngestPolicy
from cellassets.storage.artifact import Plan
from cellassets.storage.lake import Lake
from cellassets.synthetic.presets import demo_design
from cellassets.synthetic.screen import write_screen
from cellassets.synthetic.truth import write_truth
from cellassets.tables.parquet import read_table, vectors, with_vectors, write_table
from cellassets.tables.schemas import BATCH_EFFECT, SCORES, SITE_EMBEDDINGS, SITES
from cellassets.training.recipe import NetworkRecipe
from cellassets.training.run import train_recipe

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
EXPERIMENTS = ("HUVEC-1", "HUVEC-2", "HUVEC-3")
RECIPE = {
    "name": "small",
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
MAP = MapParameters(steps=(PrincipalComponents(n_components=16), CentreScale(), TypicalVariation()))
DATASET = Dataset(dataset_id="HUVEC", cell_types=("HUVEC",))


@pytest.fixture(scope="module")
def screened(tmp_path_factory):
    """The first cell type of the demo's screen, smaller images, embedded by a trained network and by pixel means."""
    root = tmp_path_factory.mktemp("screened")
    design = demo_design(image_size=128)
    write_screen(design, root / "landing", experiment_ids=EXPERIMENTS)
    write_truth(design, root / "truth")
    lake = Lake(UPath(root / "lake"))
    for experiment_id in EXPERIMENTS:
        ingest_plates(lake, UPath(root / "landing"), experiment_id, policy=IngestPolicy())
        pack_experiment(lake, experiment_id, landing=UPath(root / "landing"))
        inspect_experiment(lake, experiment_id)
        embed_by_pixel_means(lake, experiment_id)
    lake.annotations.mkdir(parents=True)
    (lake.annotations / "planted.csv").write_bytes((root / "truth" / "gene_pairs.csv").read_bytes())
    registry = Registry(f"sqlite:///{root / 'mlflow.db'}", (root / "models").as_uri())
    trained = train_recipe(lake, registry, NetworkRecipe.model_validate(RECIPE), work_dir=root / "work")
    for experiment_id in EXPERIMENTS:
        embed_experiment(lake, registry, experiment_id, model_key="small.v1")
    for model_key in ("small.v1", "means.v1"):
        build_map(lake, DATASET, model_key=model_key, parameters=MAP)
    return lake, trained


def embed_by_pixel_means(lake, experiment_id):
    """Publishes each site's mean grey levels as if they were an embedding."""
    sites = read_table(lake.plate_store(experiment_id).path("sites.parquet"), SITES)
    labels = sites.drop("row_index", "channel_mean", "channel_std").with_columns(pl.lit("means.v1").alias("model_key"))
    artifact, plan = lake.site_embeddings(experiment_id, "means.v1"), Plan("site_embeddings", {"of": experiment_id})
    table = with_vectors(labels, vectors(sites, "channel_mean"))
    write_table(table, artifact.folder(plan.fingerprint) / "part-00000.parquet", SITE_EMBEDDINGS)
    artifact.publish(plan, ["part-00000.parquet"], {})


def headline(lake, name, model_key):
    benchmark = BENCHMARKS[name]
    score_map(lake, name, DATASET, model_key=model_key, parameters=benchmark.parameters())
    rows = read_table(lake.scores(name, "HUVEC", model_key).path("scores.parquet"), SCORES)
    return rows.filter((pl.col("level") == "summary") & (pl.col("metric") == benchmark.headline_metric)).row(
        0, named=True
    )


def test_the_network_tells_perturbations_apart_in_an_experiment_that_it_never_saw(screened):
    _, trained = screened
    assert trained.summary["validation_accuracy"] > 4 * trained.summary["chance_accuracy"]


def test_planted_complexes_are_recovered_better_than_by_chance_and_than_from_pixel_means(screened):
    lake, _ = screened
    network, means = (headline(lake, "known_relationships", key) for key in ("small.v1", "means.v1"))
    assert network["p_value"] < 0.01
    assert network["value"] > 3 * network["null_mean"]
    assert network["value"] > means["value"] + 0.1


@pytest.mark.parametrize("name", ["perturbation_consistency", "perturbation_magnitude"])
def test_planted_effects_stand_out_of_the_null(screened, name):
    lake, _ = screened
    network = headline(lake, name, "small.v1")
    assert network["p_value"] < 0.02
    assert network["value"] > network["null_high"]


def test_alignment_lowers_the_batch_effect_of_pixel_means_and_keeps_their_biology(screened):
    """Of pixel means, since the network was taught to ignore batches: there is little left in it to remove."""
    lake, _ = screened
    steps = read_table(lake.perturbation_map("HUVEC", "means.v1").path("batch_effect.parquet"), BATCH_EFFECT)
    batch, biology = (
        steps.filter(pl.col("metric") == metric)["value"].to_list()
        for metric in ("batch_accuracy", "replicate_retrieval")
    )
    assert batch[0] > 0.7
    assert batch[-1] < batch[0] - 0.15
    assert biology[-1] > biology[0]
