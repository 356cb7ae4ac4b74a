"""Models of transformers by name: what is refused, and which tokens are averaged."""

import pytest
import torch

from cellassets.errors import RecipeError
from cellassets.training.backbone import build_backbone
from cellassets.training.recipe import ZooBackbone
from cellassets.training.zoo import build_zoo_model, check_zoo_sizes, zoo_config

VIT = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32, "patch_size": 8}


def zoo(model_type, **config) -> ZooBackbone:
    return ZooBackbone(model_type=model_type, config=config)


@pytest.mark.parametrize(
    ("backbone", "told"),
    [
        (zoo("alexnet"), "backbone.model_type: transformers has no model 'alexnet'"),
        (zoo("bert"), "bert has no num_channels"),
        (zoo("vit", hiden_size=16), r"backbone\.config\.hiden_size: unknown key of vit; the keys are .*hidden_size"),
        (zoo("vit", output_attentions=True), r"backbone\.config\.output_attentions: unknown key"),
        (zoo("vit", hidden_size="wide"), "not a configuration of vit"),
        (zoo("convnext", hidden_sizes=[8], depths=[1, 1, 1, 1]), "convnext cannot be built with"),
        (zoo("hgnet_v2"), "hgnet_v2 does not take images of 64 x 64 pixels"),
    ],
)
def test_what_transformers_would_take_silently_is_refused_by_key(backbone, told):
    with pytest.raises(RecipeError, match=told):
        build_backbone(backbone, n_channels=5, trained_px=64)


def test_channels_and_size_come_from_the_plates_unless_the_recipe_sets_the_size():
    config = zoo_config(zoo("vit", **VIT), n_channels=5, trained_px=70)
    assert (config.num_channels, config.image_size) == (5, 64)
    assert zoo_config(zoo("vit", **VIT, image_size=32), n_channels=5, trained_px=70).image_size == 32


@pytest.mark.parametrize(
    ("model_type", "more", "n_others"),
    [("vit", {}, 1), ("deit", {}, 2), ("dinov2_with_registers", {"num_register_tokens": 3}, 4), ("ijepa", {}, 0)],
)
def test_class_and_register_tokens_are_left_out_of_the_mean(model_type, more, n_others):
    config = {**VIT, **more}
    if model_type == "dinov2_with_registers":
        del config["intermediate_size"]
    model = build_zoo_model(zoo(model_type, **config), n_channels=2, trained_px=32).eval()
    images = torch.randn(1, 2, 35, 32)
    with torch.no_grad():
        tokens = model.model(images[..., :32, :]).last_hidden_state
        found = model(images)
    assert tokens.shape[1] == n_others + 16
    torch.testing.assert_close(found, tokens[:, n_others:].mean(dim=1))


def test_a_model_that_does_not_take_the_images_is_refused_before_it_is_trained():
    backbone = zoo(
        "levit", hidden_sizes=[16, 16, 16], num_attention_heads=[2, 2, 2], depths=[1, 1, 1], key_dim=[4, 4, 4]
    )
    model = build_zoo_model(backbone, n_channels=2, trained_px=64)
    check_zoo_sizes(model, backbone, 2, {(64, 64)})
    with pytest.raises(RecipeError, match="levit does not take images of 96 x 80 pixels"):
        check_zoo_sizes(model, backbone, 2, {(64, 64), (96, 80)})
