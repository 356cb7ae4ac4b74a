import sys

import numpy as np
import pytest
import torch

from cellassets.encoders.network import NetworkEncoder
from cellassets.errors import RecipeError, RegistryError
from cellassets.training.backbone import build_network
from cellassets.training.checkpoint import load_network, save_model_folder
from cellassets.training.patch_convolutions import FullPrecisionConv2d
from cellassets.training.recipe import (
    ConvNextBackbone,
    DenseNetBackbone,
    DinoV2Backbone,
    ResNetBackbone,
    VitBackbone,
    ZooBackbone,
)
from cellassets.training.spec import NetworkSpec, Preprocessing

BACKBONES = {
    "resnet": ResNetBackbone(stem_width=8, widths=(8, 16), depths=(1, 1)),
    "bottleneck": ResNetBackbone(stem_width=8, widths=(8, 16), depths=(1, 1), block="bottleneck"),
    "convnext": ConvNextBackbone(widths=(8, 16), depths=(1, 1)),
    "vit": VitBackbone(width=32, depth=1, n_heads=2),
    "dinov2": DinoV2Backbone(width=32, depth=1, n_heads=2),
    "densenet": DenseNetBackbone(stem_width=8, growth=4, layers=(2, 2)),
    "swinv2": ZooBackbone(model_type="swinv2", config={"embed_dim": 8, "depths": [1, 1], "num_heads": [2, 2]}),
    "regnet": ZooBackbone(
        model_type="regnet", config={"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "groups_width": 8}
    ),
    "beit": ZooBackbone(
        model_type="beit",
        config={"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64},
    ),
}


def spec_of(backbone, n_channels=6) -> NetworkSpec:
    return NetworkSpec(
        n_channels=n_channels,
        channel_names=tuple(f"w{i}" for i in range(n_channels)),
        embedding_dim=8,
        backbone=backbone,
        trained_px=64,
        preprocessing=Preprocessing(normalisation="plate"),
        recipe_name="r",
        recipe_fingerprint="f",
    )


def network_of(spec, seed=0):
    return build_network(
        spec.backbone,
        n_channels=spec.n_channels,
        embedding_dim=spec.embedding_dim,
        trained_px=spec.trained_px,
        seed=seed,
    ).eval()


@pytest.mark.parametrize("name", BACKBONES)
@pytest.mark.parametrize("n_channels", [1, 5, 6])
def test_every_backbone_takes_any_number_of_channels_and_any_size(name, n_channels):
    network = network_of(spec_of(BACKBONES[name], n_channels))
    for size in ((64, 64), (48, 100), (96, 80)):
        assert network(torch.randn(2, n_channels, *size)).shape == (2, 8)


@pytest.mark.parametrize("name", BACKBONES)
def test_a_model_folder_gives_the_same_embeddings_back(name, tmp_path):
    spec = spec_of(BACKBONES[name])
    network, images = network_of(spec, seed=3), torch.randn(2, 6, 64, 64)
    loaded, found = load_network(save_model_folder(tmp_path, network, spec))
    assert found == spec
    assert not loaded.training
    assert torch.equal(loaded(images), network(images))


def test_the_same_network_is_saved_as_the_same_bytes(tmp_path):
    spec = spec_of(BACKBONES["resnet"])
    for folder in ("a", "b"):
        save_model_folder(tmp_path / folder, network_of(spec), spec)
    for name in ("weights.safetensors", "encoder.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_weights_depend_on_the_seed_alone_and_leave_torchs_generator_as_it_was():
    spec = spec_of(BACKBONES["resnet"])
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    first, again, other = network_of(spec), network_of(spec), network_of(spec, seed=1)
    assert torch.equal(torch.rand(1), expected)
    weights = [network.neck[0].weight for network in (first, again, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


@pytest.mark.parametrize("name", ["convnext", "vit", "dinov2", "swinv2", "beit"])
def test_patch_convolutions_stay_in_float32_under_autocast(name):
    network = network_of(spec_of(BACKBONES[name]))
    patches = [module for module in network.modules() if isinstance(module, FullPrecisionConv2d)]
    assert patches
    images = torch.randn(1, patches[0].in_channels, 64, 64)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = patches[0](images)
    assert found.dtype == torch.float32
    assert torch.equal(found, patches[0](images))


@pytest.mark.parametrize("n_channels", [5, 6])
@pytest.mark.parametrize("name", ["dinov2", "densenet", "swinv2", "regnet", "beit"])
def test_newer_backbones_embed_sites_by_encoder_json_alone(name, n_channels, tmp_path):
    spec = spec_of(BACKBONES[name], n_channels)
    encoder = NetworkEncoder(save_model_folder(tmp_path, network_of(spec), spec))
    generator = np.random.default_rng(0)
    for height, width in ((64, 64), (96, 80)):
        encoder.check_size(height, width)
        images = generator.integers(0, 255, (3, n_channels, height, width), dtype=np.uint8)
        mean, std = images.mean(axis=(2, 3)).astype(np.float32), images.std(axis=(2, 3)).astype(np.float32)
        found = encoder.embed(images, mean, std)
        assert found.shape == (3, 8)
        assert np.isfinite(found).all()


def test_a_densenet_without_its_package_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "monai.networks.nets.densenet", None)
    with pytest.raises(RecipeError, match=r"densenet needs the package monai.*install cellassets\[densenet\]"):
        network_of(spec_of(BACKBONES["densenet"]))


@pytest.mark.parametrize("damage", ["missing", "truncated", "other backbone", "no spec", "no json"])
def test_a_damaged_model_folder_is_refused_by_file_name(damage, tmp_path):
    spec = spec_of(BACKBONES["resnet"])
    save_model_folder(tmp_path, network_of(spec), spec)
    weights, described = tmp_path / "weights.safetensors", tmp_path / "encoder.json"
    if damage == "missing":
        weights.unlink()
    elif damage == "truncated":
        weights.write_bytes(weights.read_bytes()[:-50])
    elif damage == "other backbone":
        described.write_text(spec_of(BACKBONES["convnext"]).model_dump_json())
    elif damage == "no spec":
        described.unlink()
    else:
        described.write_text("{}")
    told = "encoder.json" if damage.startswith("no ") else "weights.safetensors"
    with pytest.raises(RegistryError, match=told):
        load_network(tmp_path)
