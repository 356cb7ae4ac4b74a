"""Networks: a standard backbone for any number of channels, and a neck whose output is the embedding.

Backbones are built from configurations of `transformers`; nothing is downloaded. Weights come from training or from
`checkpoint.py`. Heads and losses are in `losses.py`.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import nn
from transformers import ConvNextConfig, ConvNextModel, ResNetConfig, ResNetModel, ViTConfig, ViTModel

from cellassets.training.recipe import Backbone, ConvNextBackbone, ResNetBackbone, VitBackbone


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
    """Returns a module from images [b, c, y, x] to pooled features [b, f], and f."""
    if isinstance(backbone, ResNetBackbone):
        return PooledConvolutions(_resnet(backbone, n_channels)), backbone.widths[-1]
    if isinstance(backbone, ConvNextBackbone):
        return PooledConvolutions(_convnext(backbone, n_channels)), backbone.widths[-1]
    return PooledPatches(_vit(backbone, n_channels, trained_px), backbone.patch_px), backbone.width


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

    def forward(self, images: Float[torch.Tensor, "b c y x"]) -> Float[torch.Tensor, "b f"]:
        """Returns the mean over patches of the last layer."""
        height, width = (side // self.patch_px * self.patch_px for side in images.shape[-2:])
        found = self.model(images[..., :height, :width], interpolate_pos_encoding=True)
        return found.last_hidden_state[:, 1:].mean(dim=1)


class FullPrecisionConv2d(nn.Conv2d):
    """A convolution that autocast leaves in float32.

    On some CPUs torch 2.13 computes bfloat16 convolutions with stride = kernel wrongly and without a warning (relative
    errors above 1 for six channels and patches of 16 pixels). Float32 in this one layer costs little time.
    """

    def forward(self, input: Float[torch.Tensor, "b c y x"]) -> Float[torch.Tensor, "b f h w"]:  # noqa: A002
        """Returns the convolution, computed in float32."""
        with torch.autocast(device_type=input.device.type, enabled=False):
            return super().forward(input.float())


def keep_patch_convolutions_exact(model: nn.Module) -> nn.Module:
    """Returns `model` after replacing each convolution with stride = kernel by one that stays in float32."""
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.Conv2d) and child.kernel_size == child.stride and child.kernel_size != (1, 1):
                setattr(module, name, _exact(child))
    return model


def _exact(convolution: nn.Conv2d) -> FullPrecisionConv2d:
    height, width = convolution.kernel_size
    exact = FullPrecisionConv2d(
        convolution.in_channels, convolution.out_channels, (height, width), stride=(height, width)
    )
    exact.load_state_dict(convolution.state_dict())
    return exact


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
    config = ViTConfig(
        num_channels=n_channels,
        image_size=trained_px // backbone.patch_px * backbone.patch_px,
        patch_size=backbone.patch_px,
        hidden_size=backbone.width,
        num_hidden_layers=backbone.depth,
        num_attention_heads=backbone.n_heads,
        intermediate_size=4 * backbone.width,
    )
    return keep_patch_convolutions_exact(ViTModel(config, add_pooling_layer=False))
