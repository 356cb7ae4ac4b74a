"""The same images on scales of 8, 12 and 16 bits train the same network, also mixed; so do images of any shape."""

from dataclasses import replace

import numpy as np
import pytest
from upath import UPath

from cellassets.errors import RecipeError
from cellassets.images.pack import Packing, pack_plates
from cellassets.images.reader import ExperimentStore
from cellassets.screens.ingest import check_experiment
from cellassets.screens.policy import IngestPolicy
from cellassets.training.attempts import Attempt
from cellassets.training.checkpoint import load_network
from cellassets.training.data import image_reader, open_training_data
from cellassets.training.recipe import NetworkRecipe
from cellassets.training.train import train_network

RESNET = {"family": "resnet", "stem_width": 8, "widths": [8, 16], "depths": [1, 1]}
BACKBONES = {
    "resnet": RESNET,
    "convnext": {"family": "convnext", "widths": [8, 16], "depths": [1, 1]},
    "vit": {"family": "vit", "width": 16, "depth": 1, "n_heads": 2, "patch_px": 8},
}


def recipe(**changes):
    values = {
        "name": "scales",
        "train_experiments": ["HUVEC-1"],
        "validation_experiments": ["HUVEC-2"],
        "backbone": RESNET,
        "embedding_dim": 8,
        "augmentation": {"crop_px": 32, "gain_jitter": 0.2, "offset_jitter": 0.1},
        "n_epochs": 2,
        "batch_size": 8,
        "uses_flagged_sites": True,
    }
    return NetworkRecipe.model_validate({**values, **changes})


def trained(folder, chosen, stores):
    """The outcome of a training, and the loss of every epoch."""
    losses = []
    opened = open_training_data(chosen, stores, [None] * len(stores))
    outcome = train_network(
        chosen,
        opened,
        folder=folder,
        attempt=Attempt.begin(UPath(folder / "states")),
        on_epoch=lambda _epoch, metrics: losses.append(metrics["train_loss"]),
    )
    return outcome, losses


@pytest.mark.parametrize("normalisation", ["site", "plate"])
def test_the_loss_curve_does_not_depend_on_the_scale_of_grey_levels(tmp_path, scaled_store, normalisation):
    chosen, curves = recipe(normalisation=normalisation), {}
    for scales in (("8 bit",) * 2, ("16 bit",) * 2, ("12 bit",) * 2, ("8 bit", "16 bit")):
        stores = [scaled_store(name, scale) for name, scale in zip(("HUVEC-1", "HUVEC-2"), scales, strict=True)]
        outcome, curves[scales] = trained(tmp_path / "-".join(scales), chosen, stores)
        assert np.isfinite(outcome.metrics["validation_accuracy"])
    first, *others = curves.values()
    assert first[0] != pytest.approx(first[1], rel=1e-3), "it learns"
    for curve in others:
        assert curve == pytest.approx(first, rel=1e-3)


def test_training_sites_of_8_and_16_bits_are_normalised_alike(scaled_store):
    chosen = recipe(train_experiments=["HUVEC-1", "HUVEC-2"], validation_experiments=["HUVEC-3"])
    splits = []
    for scales in (("8 bit", "8 bit"), ("8 bit", "16 bit")):
        stores = [scaled_store(name, scale) for name, scale in zip(("HUVEC-1", "HUVEC-2"), scales, strict=True)]
        opened = open_training_data(chosen, [*stores, stores[0]], [None] * 3)
        images = image_reader(opened.stores, opened.split.train)(np.arange(opened.split.train.n_sites))
        assert images.dtype == ("uint8" if scales[1] == "8 bit" else "uint16")
        scale, shift = (getattr(opened.split.train, name)[:, :, None, None] for name in ("scale", "shift"))
        splits.append(images * scale + shift)
    np.testing.assert_allclose(splits[0], splits[1], atol=2e-4)


def test_images_of_16_bits_are_kept_in_memory_only_if_their_bytes_fit(scaled_store, monkeypatch):
    reads = []
    honest = ExperimentStore.read
    monkeypatch.setattr(
        ExperimentStore, "read", lambda store, rows: (reads.append(store.dtype), honest(store, rows))[1]
    )
    for scale, n_reads in (("8 bit", 1), ("16 bit", 2)):
        store = scaled_store("HUVEC-1", scale)
        opened = open_training_data(recipe(), [store, store], [None] * 2)
        sites = opened.split.train
        n_pixels = sites.n_sites * store.n_channels * store.height * store.width
        read = image_reader(
            [store], replace(sites, store_index=np.zeros_like(sites.store_index)), memory_bytes=n_pixels
        )
        for _ in range(2):
            read(np.arange(2))
        assert len(reads) == n_reads, f"{scale}: kept, or read again for every batch"
        reads.clear()


@pytest.fixture
def shaped_stores(zone, tmp_path):
    """Two stores of images of any shape: `shaped_stores((33, 70), 12, "uint16")`."""

    def shaped_stores(size, n_channels, dtype):
        landing = replace(zone, size=size, n_channels=n_channels, dtype=dtype, root=tmp_path / dtype)
        policy = IngestPolicy()
        stores = []
        for name in ("E-1", "E-2"):
            landing.land(name, plates=(1,), wells=("A01", "B02", "B03", "C03"))
            manifest = check_experiment(UPath(landing.root), name, policy=policy)
            packing = Packing(UPath(landing.root / name), UPath(tmp_path / "packed" / dtype / name), manifest.imaging)
            packed = pack_plates(manifest.images, manifest.wells, packing)
            stores.append(ExperimentStore.open(packing.target, packed.files, name))
        return stores

    return shaped_stores


SHAPED = {"train_experiments": ["E-1"], "validation_experiments": ["E-2"], "n_epochs": 1, "batch_size": 4}


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize(("n_channels", "dtype"), [(1, "uint8"), (1, "uint16"), (12, "uint16")])
def test_images_of_any_shape_and_number_of_channels_train(tmp_path, shaped_stores, backbone, n_channels, dtype):
    stores = shaped_stores((33, 70), n_channels, dtype)
    assert (stores[0].height, stores[0].width, stores[0].n_channels, stores[0].dtype) == (33, 70, n_channels, dtype)
    for augmentation in ({"has_turns": False}, {"crop_px": 24}):
        chosen = recipe(**SHAPED, backbone=BACKBONES[backbone], augmentation=augmentation)
        outcome, losses = trained(tmp_path / f"{len(augmentation)}{'crop_px' in augmentation}", chosen, stores)
        assert np.isfinite(losses).all()
        assert load_network(outcome.folder)[1].n_channels == n_channels


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"augmentation": {"crop_px": 34}}, r"augmentation.crop_px is 34, the sites are 33 x 70 pixels"),
        ({"centre_crop_px": 40}, r"centre_crop_px is 40, the sites are 33 x 70 pixels"),
        ({"augmentation": {}}, r"sites of 33 x 70 pixels cannot be turned by 90 degrees"),
        ({"backbone": {"family": "convnext"}, "augmentation": {"crop_px": 31}}, r"convnext needs .* at least 32 x 32"),
        ({"backbone": {"family": "vit", "patch_px": 40, "width": 12, "n_heads": 2}}, r"vit needs .* at least 40 x 40"),
    ],
)
def test_crops_that_do_not_fit_are_refused_before_an_image_is_read(shaped_stores, monkeypatch, changes, message):
    stores = shaped_stores((33, 70), 3, "uint8")
    monkeypatch.setattr(ExperimentStore, "read", None)
    with pytest.raises(RecipeError, match=message):
        open_training_data(recipe(**{**SHAPED, **changes}), stores, [None, None])
