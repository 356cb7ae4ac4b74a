"""Weights to start from, weights that stay frozen, and what is refused about them."""

import hashlib
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from cellassets.errors import RecipeError
from cellassets.training.backbone import build_network
from cellassets.training.checkpoint import save_model_folder
from cellassets.training.recipe import InitialWeights, ResNetBackbone, VitBackbone
from cellassets.training.spec import NetworkSpec, Preprocessing
from cellassets.training.start import continue_from, freeze, keep_frozen_still, load_backbone_weights

RESNET = ResNetBackbone(stem_width=8, widths=(8, 16), depths=(1, 1))
VIT = VitBackbone(width=16, depth=1, n_heads=2, patch_px=8)
STEM = "model.embedder.embedder.convolution.weight"


def network_of(seed=0, backbone=RESNET, n_channels=3, trained_px=64):
    return build_network(backbone, n_channels=n_channels, embedding_dim=4, trained_px=trained_px, seed=seed)


def spec_of(backbone=RESNET, channel_names=("a", "b", "c"), trained_px=64) -> NetworkSpec:
    return NetworkSpec(
        n_channels=len(channel_names),
        channel_names=channel_names,
        embedding_dim=4,
        backbone=backbone,
        trained_px=trained_px,
        preprocessing=Preprocessing(normalisation="plate"),
        recipe_name="r",
        recipe_fingerprint="f",
    )


def file_of(folder: Path, weights: dict[str, torch.Tensor], **changes) -> InitialWeights:
    path = folder / "weights.safetensors"
    save_file({name: value.contiguous() for name, value in weights.items()}, path)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    return InitialWeights.model_validate({"file": str(path), "sha256": sha256, **changes})


def same(a, b) -> bool:
    return all(torch.equal(a.state_dict()[name], value) for name, value in b.state_dict().items())


def test_a_network_goes_on_from_a_registered_one(tmp_path):
    parent, child = network_of(seed=1), network_of(seed=2)
    continue_from(child, spec_of(), save_model_folder(tmp_path, parent, spec_of()), "resnet.v1")
    assert same(child, parent)


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        (spec_of(VIT), "backbone of resnet.v1 is ResNetBackbone"),
        (spec_of(channel_names=("a", "b")), "n_channels of resnet.v1 is 3, that of this recipe is 2"),
        (spec_of(channel_names=("b", "a", "c")), "channels are in another order: a, b, c in resnet.v1, b, a, c here"),
    ],
)
def test_a_parent_that_differs_is_refused_by_what_differs(tmp_path, spec, told):
    folder = save_model_folder(tmp_path, network_of(), spec_of())
    with pytest.raises(RecipeError, match=told):
        continue_from(network_of(), spec, folder, "resnet.v1")


def test_a_transformer_of_another_crop_is_refused_by_its_position_embeddings(tmp_path):
    folder = save_model_folder(tmp_path, network_of(backbone=VIT), spec_of(VIT))
    with pytest.raises(RecipeError, match=r"position_embeddings is \(1, 65, 16\), expected \(1, 17, 16\)"):
        continue_from(network_of(backbone=VIT, trained_px=32), spec_of(VIT, trained_px=32), folder, "vit.v1")


@pytest.mark.parametrize("prefix", ["", "resnet.", "backbone.model."])
def test_a_backbone_takes_the_weights_of_a_file_whatever_their_prefix(tmp_path, prefix):
    given, network = network_of(seed=1), network_of(seed=2)
    names = {f"{prefix}{name}": value for name, value in given.backbone.model.state_dict().items()}
    load_backbone_weights(network.backbone, file_of(tmp_path, {**names, "classifier.bias": torch.zeros(2)}), 3)
    assert same(network.backbone, given.backbone)
    assert not torch.equal(network.neck[0].weight, given.neck[0].weight)


def test_weights_for_other_channels_are_refused_or_spread_evenly(tmp_path):
    given, network = network_of(seed=1), network_of(n_channels=6)
    weights = dict(given.backbone.model.state_dict())
    with pytest.raises(RecipeError, match=r"1 have another shape \(model\.embedder.*\(8, 3, 7, 7\), expected \(8, 6"):
        load_backbone_weights(network.backbone, file_of(tmp_path, weights), 6)
    load_backbone_weights(network.backbone, file_of(tmp_path, weights, other_channels="mean"), 6)
    grey = torch.rand(1, 1, 32, 32)
    found, expected = (n.eval().backbone(grey.expand(-1, c, -1, -1)) for n, c in ((network, 6), (given, 3)))
    torch.testing.assert_close(found, expected)  # an image with equal channels gives what it gave


def test_missing_weights_another_file_and_no_file_are_refused(tmp_path):
    network, weights = network_of(), dict(network_of().backbone.model.state_dict())
    lacking = {name: value for name, value in weights.items() if not name.startswith("encoder.stages.1")}
    with pytest.raises(RecipeError, match=r"weights are missing \(model\.encoder\.stages\.1"):
        load_backbone_weights(network.backbone, file_of(tmp_path, lacking), 3)
    with pytest.raises(RecipeError, match=r"weights\.sha256: .* the file is another one"):
        load_backbone_weights(network.backbone, file_of(tmp_path, weights, sha256="0" * 64), 3)
    gone = InitialWeights(file=str(tmp_path / "gone.safetensors"), sha256="0" * 64)
    with pytest.raises(RecipeError, match=r"weights\.file: .*gone\.safetensors cannot be read"):
        load_backbone_weights(network.backbone, gone, 3)


def test_frozen_parts_keep_weights_and_statistics_and_the_rest_learns():
    network = network_of()
    freeze(network, ("backbone.model.embedder.*",))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    network.train()
    keep_frozen_still(network)
    optimiser = torch.optim.SGD([w for w in network.parameters() if w.requires_grad], lr=0.1)
    network(torch.randn(4, 3, 32, 32)).square().sum().backward()
    optimiser.step()
    for name, value in network.state_dict().items():
        is_frozen = name.startswith("backbone.model.embedder.")
        if is_frozen or value.ndim == 4:
            assert torch.equal(value, before[name]) == is_frozen, name
    assert network.backbone.model.encoder.training


def test_patterns_that_match_nothing_or_everything_are_refused():
    with pytest.raises(RecipeError, match=r"frozen: 'stem\.\*' matches none of the weights, such as backbone\.model"):
        freeze(network_of(), ("backbone.*", "stem.*"))
    with pytest.raises(RecipeError, match="match all weights of the network"):
        freeze(network_of(), ("*",))
