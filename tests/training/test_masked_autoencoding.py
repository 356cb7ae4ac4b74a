"""Patches, the error over hidden ones, and what the network sees of an image."""

import numpy as np
import pytest
import torch

from cellassets.errors import RecipeError
from cellassets.training.backbone import build_network
from cellassets.training.batches import TrainBatches
from cellassets.training.extras import Extras
from cellassets.training.masked_autoencoding import MaskedAutoencoder, encoded, masked_error, patchify, unpatchify
from cellassets.training.neck import fit_neck
from cellassets.training.recipe import DinoV2Backbone, MaskedAutoencoding, NetworkRecipe, VitBackbone
from cellassets.training.sites import LabelledSites

SMALL = {"width": 16, "depth": 2, "n_heads": 2, "patch_px": 4}
VIT, DINO = VitBackbone(**SMALL), DinoV2Backbone(**SMALL)
OBJECTIVE = MaskedAutoencoding(decoder_dim=8, decoder_depth=1, decoder_n_heads=2)


def network_of(backbone=VIT, n_channels=3):
    return build_network(backbone, n_channels=n_channels, embedding_dim=4, trained_px=16, seed=0)


def test_patches_are_cut_row_by_row_and_put_together_again():
    images = torch.arange(2 * 3 * 8 * 12, dtype=torch.float32).reshape(2, 3, 8, 12)
    patches = patchify(images, 4)
    assert patches.shape == (2, 6, 48)
    expected = images[1, :, 0:4, 8:12].permute(1, 2, 0).flatten()  # by row, column and channel
    assert torch.equal(patches[1, 2], expected)
    assert torch.equal(unpatchify(patches, 4, n_rows=2), images)


@pytest.mark.parametrize("is_normalised", [True, False])
def test_only_hidden_patches_count(is_normalised):
    generator = torch.Generator().manual_seed(0)
    drawn, target = torch.randn(2, 3, 8, generator=generator), torch.randn(2, 3, 8, generator=generator)
    is_hidden = torch.tensor([[True, False, True], [False, True, True]])

    def error(target):
        return masked_error(drawn, target, is_hidden, is_normalised=is_normalised).item()

    goal = target.numpy()
    if is_normalised:
        goal = (goal - goal.mean(2, keepdims=True)) / np.sqrt(goal.var(2, ddof=1, keepdims=True) + 1e-6)
    assert error(target) == pytest.approx(np.mean((drawn.numpy() - goal)[is_hidden.numpy()] ** 2), rel=1e-5)
    seen, hidden = target.clone(), target.clone()
    seen[~is_hidden] += torch.arange(8.0)
    hidden[0, 0] += torch.arange(8.0)
    assert error(seen) == error(target) != error(hidden)


@pytest.mark.parametrize("backbone", [VIT, DINO])
def test_a_backbone_that_sees_every_patch_says_what_it_always_says(backbone):
    model = network_of(backbone).eval().backbone.model
    images = torch.randn(2, 3, 16, 24, generator=torch.Generator().manual_seed(0))
    everything = torch.arange(24).expand(2, -1)
    options = {"interpolate_pos_encoding": True} if backbone is VIT else {}
    torch.testing.assert_close(encoded(model, images, everything), model(images, **options).last_hidden_state)


def test_what_is_drawn_does_not_depend_on_hidden_pixels_but_on_seen_ones():
    network = network_of()
    decoder = MaskedAutoencoder(OBJECTIVE, network, VIT, n_channels=3).eval()
    images = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    is_hidden = torch.tensor([[True] * 12 + [False] * 4, [False, True, True, True] * 4])
    drawn = decoder.draw(network.eval(), images, is_hidden)
    assert drawn.shape == (2, 16, 48)
    patches = patchify(images, 4)
    other = unpatchify(torch.where(is_hidden[:, :, None], patches + 1, patches), 4, n_rows=4)
    assert torch.equal(decoder.draw(network, other, is_hidden), drawn)
    other = unpatchify(torch.where(is_hidden[:, :, None], patches, patches + 1), 4, n_rows=4)
    assert not torch.allclose(decoder.draw(network, other, is_hidden), drawn)
    assert not torch.allclose(drawn[0, 0], drawn[0, 1]), "patches are distinguished by their positions"


def test_hidden_patches_depend_on_seed_epoch_and_batch_alone():
    recipe = NetworkRecipe.model_validate(
        {
            "name": "r",
            "train_experiments": ["A"],
            "validation_experiments": ["B"],
            "backbone": VIT,
            "embedding_dim": 4,
            "objective": OBJECTIVE,
            "augmentation": {"crop_px": 16},
        }
    )
    n = 24
    ones = np.ones((n, 1), dtype=np.float32)
    sites = LabelledSites(np.zeros(n, int), np.arange(n), np.zeros(n, int), ones, ones)
    images = np.random.default_rng(0).integers(0, 255, (n, 1, 20, 20), dtype=np.uint8)

    def masks(seed, epoch, **options):
        found = TrainBatches(
            sites, lambda rows: images[rows], recipe.augmentation, batch_size=8, seed=seed, epoch=epoch, **options
        )
        return [batch.is_hidden for batch in found]

    extras = Extras(recipe)
    first, again = masks(0, 0, extras=extras), masks(0, 0, extras=extras, n_threads=1)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert all((mask.sum(dim=1) == 12).all() for mask in first), "three quarters of 16 patches"
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first[0], masks(0, 1, extras=extras)[0])
    assert not torch.equal(first[0], masks(1, 0, extras=extras)[0])
    assert masks(0, 0) == [None, None, None]


def test_the_neck_gives_principal_components_of_equal_variance():
    neck = network_of().neck.eval()
    generator = np.random.default_rng(0)
    features = generator.standard_normal((300, 16)) * np.arange(1, 17) + 5
    fit_neck(neck, torch.tensor(features, dtype=torch.float32))
    found = neck(torch.tensor(features, dtype=torch.float32)).detach().numpy()
    np.testing.assert_allclose(found.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(np.cov(found.T, bias=True), np.eye(4), atol=1e-3)
    left = np.linalg.svd(features - features.mean(axis=0), full_matrices=False)[0][:, :4] * np.sqrt(300)
    np.testing.assert_allclose(np.abs(np.sum(found * left, axis=0) / 300), 1, atol=1e-3)


def test_too_few_sites_for_the_embedding_are_refused():
    with pytest.raises(RecipeError, match=r"embedding_dim is 4, and 4 training sites .* at most 3 .*lower embedding"):
        fit_neck(network_of().neck, torch.randn(4, 16))
