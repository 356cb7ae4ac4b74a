"""Networks: a standard backbone for any number of channels, and a neck whose output is the embedding.

Backbones are built from configurations of `transformers`, a DenseNet by MONAI; nothing is downloaded. Weights come from
training, from `checkpoint.py` or from `start.py`. Heads and losses are in `losses.py`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import nn
from torch.nn import functional
from transformers import (
    ConvNextConfig,
    ConvNextModel,
    Dinov2Config,
    Dinov2Model,
    ResNetConfig,
    ResNetModel,
    ViTConfig,
    ViTModel,
)

from cellassets.errors import RecipeError
from cellassets.training.patch_convolutions import keep_patch_convolutions_exact
from cellassets.training.recipe import (
    Backbone,
    ConvNextBackbone,
    DenseNetBackbone,
    DinoV2Backbone,
    ResNetBackbone,
    VitBackbone,
    ZooBackbone,
)
from cellassets.training.zoo import build_zoo_model, check_zoo_sizes


class EmbeddingNetwork(nn.Module):
    """Turns normalised images into embeddings: backbone, pooling, and a linear neck with batch normalisation.

    No non-linearity follows the neck. Features that classes share therefore stay linear in the embedding.
    """

    def __init__(self, backbone: Backbone, *, n_channels: int, embedding_dim: int, trained_px: int) -> None:
        super().__init__()
        self.backbone, n_features = build_backbone(backbone, n_channels=n_channels, trained_px=trained_px)
        self.neck = nn.Sequential(nn.Linear(n_features, embedding_dim, bias=False), nn.BatchNorm1d(embedding_dim))

    def forward(self, images: Float[torch.Tensor, "b c y x"]) -> Float[torch.Tensor, "b d"]:
        """Returns the embeddings of normalised images."""
        return self.neck(self.backbone(images))


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seeds torch's random generator inside the block and restores its state afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def build_network(
    backbone: Backbone, *, n_channels: int, embedding_dim: int, trained_px: int, seed: int
) -> EmbeddingNetwork:
    """Returns a network with random weights that depend only on `seed`."""
    with seeded(seed):
        return EmbeddingNetwork(backbone, n_channels=n_channels, embedding_dim=embedding_dim, trained_px=trained_px)


def build_backbone(backbone: Backbone, *, n_channels: int, trained_px: int) -> tuple[nn.Module, int]:
    """Returns a module from images [b, c, y, x] to pooled features [b, f], and f.

    Raises:
        RecipeError: a model of the zoo cannot be built as configured, or the package that a family needs is missing.
    """
    match backbone:
        case ResNetBackbone():
            return PooledConvolutions(_resnet(backbone, n_channels)), backbone.widths[-1]
        case ConvNextBackbone():
            return PooledConvolutions(_convnext(backbone, n_channels)), backbone.widths[-1]
        case VitBackbone():
            return PooledPatches(_vit(backbone, n_channels, trained_px), backbone.patch_px), backbone.width
        case DinoV2Backbone():
            return PooledPatches(_dinov2(backbone, n_channels, trained_px), backbone.patch_px), backbone.width
        case DenseNetBackbone():
            return _counted(PooledDenseNet(_densenet(backbone, n_channels)), n_channels, trained_px)
        case ZooBackbone():
            model = build_zoo_model(backbone, n_channels=n_channels, trained_px=trained_px)
            check_zoo_sizes(model, backbone, n_channels, {(trained_px, trained_px)})
            return _counted(keep_patch_convolutions_exact(model), n_channels, trained_px)


class PooledConvolutions(nn.Module):
    """A convolutional model of `transformers`, pooled over the image."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Float[torch.Tensor, "b c y x"]) -> Float[torch.Tensor, "b f"]:
        """Returns the mean over positions of the last feature map."""
        return self.model(images).pooler_output.flatten(1)


class PooledPatches(nn.Module):
    """A vision transformer, pooled over its patches. Pixels at the right and bottom that fill no patch are cut off."""

    def __init__(self, model: nn.Module, patch_px: int) -> None:
        super().__init__()
        self.model = model
        self.patch_px = patch_px
        # DINOv2 always interpolates
        self.options = {"interpolate_pos_encoding": True} if isinstance(model, ViTModel) else {}

    def forward(self, images: Float[torch.Tensor, "b c y x"]) -> Float[torch.Tensor, "b f"]:
        """Returns the mean over patches of the last layer."""
        height, width = (side // self.patch_px * self.patch_px for side in images.shape[-2:])
        found = self.model(images[..., :height, :width], **self.options)
        return found.last_hidden_state[:, 1:].mean(dim=1)


class PooledDenseNet(nn.Module):
    """A DenseNet of MONAI, pooled over the image."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Float[torch.Tensor, "b c y x"]) -> Float[torch.Tensor, "b f"]:
        """Returns the mean over positions of the last feature map."""
        return functional.relu(self.model(images)).mean(dim=(2, 3))


def _counted(model: nn.Module, n_channels: int, trained_px: int) -> tuple[nn.Module, int]:
    """The model, and the length of its features, which a trial shows."""
    model.eval()
    with torch.no_grad():
        n_features = model(torch.zeros(1, n_channels, trained_px, trained_px)).shape[1]
    return model.train(), n_features


def _resnet(backbone: ResNetBackbone, n_channels: int) -> nn.Module:
    return ResNetModel(
        ResNetConfig(
            num_channels=n_channels,
            embedding_size=backbone.stem_width,
            hidden_sizes=list(backbone.widths),
            depths=list(backbone.depths),
            layer_type=backbone.block,
        )
    )


def _convnext(backbone: ConvNextBackbone, n_channels: int) -> nn.Module:
    config = ConvNextConfig(
        num_channels=n_channels,
        num_stages=len(backbone.widths),
        hidden_sizes=list(backbone.widths),
        depths=list(backbone.depths),
    )
    return keep_patch_convolutions_exact(ConvNextModel(config))


def _vit(backbone: VitBackbone, n_channels: int, trained_px: int) -> nn.Module:
    config = ViTConfig(**_patches(backbone, n_channels, trained_px), intermediate_size=4 * backbone.width)
    return keep_patch_convolutions_exact(ViTModel(config, add_pooling_layer=False))


def _dinov2(backbone: DinoV2Backbone, n_channels: int, trained_px: int) -> nn.Module:
    return keep_patch_convolutions_exact(Dinov2Model(Dinov2Config(**_patches(backbone, n_channels, trained_px))))


def _patches(backbone: VitBackbone | DinoV2Backbone, n_channels: int, trained_px: int) -> dict[str, Any]:
    """What the configurations of all transformers over patches have in common."""
    return {
        "num_channels": n_channels,
        "image_size": trained_px // backbone.patch_px * backbone.patch_px,
        "patch_size": backbone.patch_px,
        "hidden_size": backbone.width,
        "num_hidden_layers": backbone.depth,
        "num_attention_heads": backbone.n_heads,
    }


def _densenet(backbone: DenseNetBackbone, n_channels: int) -> nn.Module:
    try:
        from monai.networks.nets.densenet import DenseNet
    except ImportError as error:
        message = (
            f"backbone.family densenet needs the package monai, which is not installed ({error}): install "
            "cellassets[densenet], or choose another family"
        )
        raise RecipeError(message) from error
    model = DenseNet(
        spatial_dims=2,
        in_channels=n_channels,
        out_channels=1,
        init_features=backbone.stem_width,
        growth_rate=backbone.growth,
        block_config=backbone.layers,
    )
    return model.features
