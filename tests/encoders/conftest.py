"""A stored tiny experiment, a registry with a network of random weights and a classical encoder."""

import pytest
from upath import UPath

from cellassets.images.pack import pack_experiment
from cellassets.registry import Registry
from cellassets.screens.ingest import ingest_plates
from cellassets.screens.policy import IngestPolicy
from cellassets.storage.lake import Lake
from cellassets.synthetic.presets import tiny_design
from cellassets.synthetic.screen import write_screen
from cellassets.training.backbone import build_network
from cellassets.training.checkpoint import save_model_folder
from cellassets.training.recipe import ClassicalParameters, ClassicalRecipe, ResNetBackbone
from cellassets.training.run import train_recipe
from cellassets.training.spec import NetworkSpec, Preprocessing

BACKBONE = ResNetBackbone(stem_width=8, widths=(8, 16), depths=(1, 1))
EXPERIMENT = "HUVEC-1"


def save_network(folder, *, n_channels=6, normalisation="plate"):
    network = build_network(BACKBONE, n_channels=n_channels, embedding_dim=12, trained_px=48, seed=3)
    spec = NetworkSpec(
        n_channels=n_channels,
        channel_names=tuple(f"C{number}" for number in range(n_channels)),
        embedding_dim=12,
        backbone=BACKBONE,
        trained_px=48,
        preprocessing=Preprocessing(normalisation=normalisation),
        recipe_name="random",
        recipe_fingerprint="none",
    )
    return save_model_folder(folder, network, spec)


@pytest.fixture(scope="session")
def embedding_lake(tmp_path_factory):
    root = tmp_path_factory.mktemp("embedding")
    write_screen(tiny_design(image_size=64), root / "landing", experiment_ids=[EXPERIMENT])
    lake = Lake(UPath(root / "lake"))
    ingest_plates(lake, UPath(root / "landing"), EXPERIMENT, policy=IngestPolicy())
    pack_experiment(lake, EXPERIMENT, landing=UPath(root / "landing"))
    return lake


@pytest.fixture(scope="session")
def models(tmp_path_factory, embedding_lake):
    """The registry: random.v1 (6 channels), four.v1 (4 channels), classical.v1."""
    root = tmp_path_factory.mktemp("models")
    registry = Registry(f"sqlite:///{root / 'mlflow.db'}", (root / "artifacts").as_uri())
    tags = {"kind": "network"}
    registry.register(save_network(root / "six"), name="random", run_id=None, tags=tags)
    registry.register(save_network(root / "four", n_channels=4), name="four", run_id=None, tags=tags)
    recipe = ClassicalRecipe(name="classical", parameters=ClassicalParameters(families=("intensity", "sizeshape")))
    train_recipe(embedding_lake, registry, recipe, work_dir=root / "work")
    return registry
