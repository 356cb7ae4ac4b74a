"""Image models of `transformers` that a recipe chooses by name (`family: zoo`).

A model is built from its configuration; nothing is downloaded. `backbone.py` builds the other families.
"""

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import nn
from transformers import CONFIG_MAPPING, MODEL_MAPPING, PreTrainedConfig

from cellassets.errors import RecipeError
from cellassets.training.recipe import ZooBackbone


class PooledZooModel(nn.Module):
    """An image model of `transformers`, pooled over positions. Pixels that fill no patch are cut off."""

    def __init__(self, model: nn.Module, patch_px: int) -> None:
        super().__init__()
        self.model = model
        self.patch_px = patch_px
        takes = inspect.signature(model.forward).parameters
        self._options = {"interpolate_pos_encoding": True} if "interpolate_pos_encoding" in takes else {}

    def forward(self, images: Float[torch.Tensor, "b c y x"]) -> Float[torch.Tensor, "b f"]:
        """Returns the mean over positions of the last layer."""
        height, width = (side // self.patch_px for side in images.shape[-2:])
        cut = images[..., : height * self.patch_px, : width * self.patch_px]
        found = self.model(cut, **self._options)
        last = found.feature_maps[-1] if "feature_maps" in found else found.last_hidden_state
        if last.ndim == 4:
            return last.flatten(2).mean(dim=2)
        n_others = max(0, last.shape[1] - height * width) if self.patch_px > 1 else 0
        return last[:, n_others:].mean(dim=1)  # class and register tokens come first


def build_zoo_model(backbone: ZooBackbone, *, n_channels: int, trained_px: int) -> PooledZooModel:
    """Returns a model with random weights.

    Raises:
        RecipeError: `transformers` has no such image model, or the configuration does not fit it.
    """
    config = zoo_config(backbone, n_channels=n_channels, trained_px=trained_px)
    made: Any = MODEL_MAPPING[type(config)]
    takes = inspect.signature(made.__init__).parameters
    options = {"add_pooling_layer": False} if "add_pooling_layer" in takes else {}
    try:
        model = made(config, **options)
    except (ValueError, TypeError, LookupError, RuntimeError, ImportError, AttributeError) as error:
        message = f"backbone.config: {backbone.model_type} cannot be built with {backbone.config}: {error}"
        raise RecipeError(message) from error
    return PooledZooModel(model, _patch_px(config))


def zoo_config(backbone: ZooBackbone, *, n_channels: int, trained_px: int) -> PreTrainedConfig:
    """Returns the configuration of a model. `transformers` takes unknown keys silently; here they are refused.

    Raises:
        RecipeError: there is no such image model, it has no `num_channels`, or a key or a value is wrong.
    """
    own = _own_keys(backbone.model_type)
    unknown = sorted(set(backbone.config) - own)
    if unknown:
        message = (
            f"backbone.config.{unknown[0]}: unknown key of {backbone.model_type}; the keys are "
            f"{', '.join(sorted(own - {'num_channels'}))}"
        )
        raise RecipeError(message)
    made: Callable[..., PreTrainedConfig] = CONFIG_MAPPING[backbone.model_type]
    values: dict[str, Any] = {**backbone.config, "num_channels": n_channels}
    try:
        config = made(**values)
        if "image_size" in own and "image_size" not in values:
            config = made(**values, image_size=_image_size(config, trained_px))
    except Exception as error:  # the configurations raise errors that have no common base
        message = f"backbone.config: not a configuration of {backbone.model_type}: {error}"
        raise RecipeError(message) from error
    return config


def check_zoo_sizes(network: nn.Module, backbone: ZooBackbone, n_channels: int, sizes: set[tuple[int, int]]) -> None:
    """Checks by a trial that a network takes images of some heights and widths.

    Raises:
        RecipeError: it does not.
    """
    is_training = network.training
    network.eval()
    for height, width in sorted(sizes):
        try:
            with torch.no_grad():
                network(torch.zeros(1, n_channels, height, width))
        except (ValueError, RuntimeError, IndexError) as error:
            message = (
                f"backbone: {backbone.model_type} does not take images of {height} x {width} pixels with "
                f"{backbone.config}: {error}; set backbone.config, augmentation.crop_px or centre_crop_px"
            )
            raise RecipeError(message) from error
    network.train(is_training)


def _own_keys(model_type: str) -> set[str]:
    """The keys that the configuration of a model has beside those of every configuration."""
    if model_type not in CONFIG_MAPPING or CONFIG_MAPPING[model_type] not in MODEL_MAPPING:
        message = f"backbone.model_type: transformers has no model {model_type!r}"
        raise RecipeError(message)
    made = CONFIG_MAPPING[model_type]
    own = {one.name for one in dataclasses.fields(made)} - {one.name for one in dataclasses.fields(PreTrainedConfig)}
    own = {name for name in own if not name.startswith("_")}
    if "num_channels" not in own:
        message = (
            f"backbone.model_type: {model_type} has no num_channels: it takes no images with any number of channels"
        )
        raise RecipeError(message)
    return own


def _image_size(config: PreTrainedConfig, trained_px: int) -> int | list[int]:
    """The side of the crops, in whole patches, in the form that the configuration has by default."""
    side = trained_px // _patch_px(config) * _patch_px(config)
    return side if isinstance(config.image_size, int) else [side, side]


def _patch_px(config: PreTrainedConfig) -> int:
    patch_px = getattr(config, "patch_size", None)
    return patch_px if isinstance(patch_px, int) else 1
