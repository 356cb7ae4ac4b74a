"""A stored tiny experiment, and folders of models: a network of random weights and classical features."""

import pytest
from upath import UPath

from cellassets.encoders.embed import embed_store
from cellassets.encoders.loading import load_encoder
from cellassets.images.pack import Packing, pack_plates
from cellassets.images.reader import ExperimentStore
from cellassets.screens.ingest import check_experiment
from cellassets.screens.policy import IngestPolicy
from cellassets.synthetic.presets import tiny_design
from cellassets.synthetic.screen import write_screen
from cellassets.training.classical import set_up_classical
from cellassets.training.recipe import ClassicalParameters, ClassicalRecipe

EXPERIMENT = "HUVEC-1"


@pytest.fixture(scope="session")
def store(tmp_path_factory):
    root = tmp_path_factory.mktemp("embedding")
    write_screen(tiny_design(image_size=64), root / "landing", experiment_ids=[EXPERIMENT])
    manifest = check_experiment(UPath(root / "landing"), EXPERIMENT, policy=IngestPolicy())
    packing = Packing(UPath(root / "landing" / EXPERIMENT), UPath(root / "packed"), manifest.imaging)
    packed = pack_plates(manifest.images, manifest.wells, packing)
    return ExperimentStore.open(packing.target, packed.files, EXPERIMENT)


@pytest.fixture(scope="session")
def models(tmp_path_factory, save_network):
    """Folder of each model by its key: random.v1 (6 channels), four.v1 (4 channels), classical.v1."""
    root = tmp_path_factory.mktemp("models")
    recipe = ClassicalRecipe(name="classical", parameters=ClassicalParameters(families=("intensity", "sizeshape")))
    return {
        "random.v1": save_network(root / "six"),
        "four.v1": save_network(root / "four", n_channels=4),
        "classical.v1": set_up_classical(recipe, root / "classical").folder,
    }


@pytest.fixture
def embed(store, models):
    """Embeds the experiment into a folder: `embed(folder, "random.v1", sites_per_part=20)`."""

    def embed(folder, model_key="random.v1", **options):
        encoder = load_encoder(models[model_key])
        try:
            return embed_store(store, encoder, UPath(folder), model_key=model_key, **options)
        finally:
            encoder.close()

    return embed
