"""Masked autoencoding: the backbone sees some patches of an image, and a decoder draws the others.

The backbone is a vision transformer of `backbone.py`. The decoder is used only in training. Which patches are hidden
is drawn in `extras.py`.
"""

from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import nn
from transformers import ViTModel

from cellassets.training.backbone import EmbeddingNetwork
from cellassets.training.batches import Batch, normalised
from cellassets.training.neck import fit_neck
from cellassets.training.objective import LabelFreeObjective
from cellassets.training.positions import sine_positions
from cellassets.training.recipe import DinoV2Backbone, MaskedAutoencoding, VitBackbone

TARGET_EPS = 1e-6  # of the authors' released code
TOKEN_STD = 0.02


def patchify(images: Float[torch.Tensor, "b c y x"], patch_px: int) -> Float[torch.Tensor, "b patch pixel"]:
    """Returns the pixels of the patches of images, row by row; in each patch by row, column and channel.

    Args:
        images: height and width are multiples of `patch_px`.
        patch_px: side of a patch.
    """
    tiles = images.unflatten(3, (-1, patch_px)).unflatten(2, (-1, patch_px))  # b c row y column x
    return tiles.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2)


def unpatchify(
    patches: Float[torch.Tensor, "b patch pixel"], patch_px: int, n_rows: int
) -> Float[torch.Tensor, "b c y x"]:
    """Returns the images whose patches these are: the inverse of `patchify`.

    Args:
        patches: pixels of the patches.
        patch_px: side of a patch.
        n_rows: patches on top of each other.
    """
    tiles = patches.unflatten(1, (n_rows, -1)).unflatten(3, (patch_px, patch_px, -1))  # b row column y x c
    return tiles.permute(0, 5, 1, 3, 2, 4).flatten(4).flatten(2, 3)


def masked_error(
    drawn: Float[torch.Tensor, "b patch pixel"],
    target: Float[torch.Tensor, "b patch pixel"],
    is_hidden: Bool[torch.Tensor, "b patch"],
    *,
    is_normalised: bool,
) -> Float[torch.Tensor, ""]:
    """Returns the mean squared difference over the pixels of the hidden patches.

    Args:
        drawn: what the decoder says.
        target: the pixels of the images.
        is_hidden: which patches count.
        is_normalised: whether the pixels of each patch of the target are standardised before.

    Source: He et al. 2022, sections 3 and 4.1.
    """
    if is_normalised:
        variance, mean = torch.var_mean(target, dim=-1, keepdim=True)
        target = (target - mean) / torch.sqrt(variance + TARGET_EPS)
    return (drawn - target).square().mean(dim=-1)[is_hidden].mean()


class MaskedAutoencoder(LabelFreeObjective):
    """The decoder, and the error over hidden patches. The neck of the network is not learnt (`neck.py`)."""

    def __init__(
        self,
        parameters: MaskedAutoencoding,
        network: EmbeddingNetwork,
        backbone: VitBackbone | DinoV2Backbone,
        *,
        n_channels: int,
    ) -> None:
        super().__init__()
        self.parameters_, self.patch_px = parameters, backbone.patch_px
        network.neck.requires_grad_(requires_grad=False)
        width = parameters.decoder_dim
        self.projection = nn.Linear(backbone.width, width)
        self.hidden_token = nn.Parameter(TOKEN_STD * torch.randn(width))
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width,
                parameters.decoder_n_heads,
                4 * width,
                dropout=0.0,
                activation="gelu",
                batch_first=True,
                norm_first=True,
            )
            for _ in range(parameters.decoder_depth)
        )
        self.norm = nn.LayerNorm(width)
        self.pixels = nn.Linear(width, backbone.patch_px**2 * n_channels)

    def batch_loss(self, network: EmbeddingNetwork, batch: Batch) -> Float[torch.Tensor, ""]:
        """Returns the error over the hidden patches of a batch."""
        images, is_hidden = normalised(batch), batch.is_hidden
        if is_hidden is None:
            message = "a batch without hidden patches"
            raise ValueError(message)
        drawn = self.draw(network, images, is_hidden)
        with torch.autocast(images.device.type, enabled=False):
            target = patchify(images, self.patch_px)
            return masked_error(drawn.float(), target, is_hidden, is_normalised=self.parameters_.has_normalised_targets)

    def draw(
        self,
        network: EmbeddingNetwork,
        images: Float[torch.Tensor, "b c y x"],
        is_hidden: Bool[torch.Tensor, "b patch"],
    ) -> Float[torch.Tensor, "b patch pixel"]:
        """Returns the pixels that the decoder expects in every patch. The pixels of hidden patches are not used.

        Args:
            network: its backbone is a vision transformer.
            images: height and width are multiples of the side of a patch.
            is_hidden: which patches are hidden, equally many in each image.
        """
        order = is_hidden.to(torch.int8).argsort(dim=1, stable=True)  # the patches that are seen come first
        n_seen = is_hidden.shape[1] - int(is_hidden[0].sum())
        seen = encoded(network.backbone.model, images, order[:, :n_seen])
        tokens = self.projection(seen)
        hidden = self.hidden_token.to(tokens.dtype).expand(len(images), is_hidden.shape[1] - n_seen, -1)
        patches = torch.cat([tokens[:, 1:], hidden], dim=1)
        patches = patches.gather(1, order.argsort(dim=1)[:, :, None].expand_as(patches))
        n_rows, n_columns = (side // self.patch_px for side in images.shape[2:])
        patches = patches + sine_positions(patches.shape[2], n_rows, n_columns).to(patches)
        tokens = torch.cat([tokens[:, :1], patches], dim=1)
        for layer in self.layers:
            tokens = layer(tokens)
        found: torch.Tensor = self.pixels(self.norm(tokens))
        return found[:, 1:]

    @torch.no_grad()
    def settle(
        self, network: EmbeddingNetwork, features: Float[torch.Tensor, "b f"], labels: Int[torch.Tensor, "b"]
    ) -> None:
        """Makes the neck from the features of training sites, and then the centres of the classes."""
        fit_neck(network.neck, features)
        super().settle(network, features, labels)


def encoded(
    model: Any, images: Float[torch.Tensor, "b c y x"], seen: Int[torch.Tensor, "b seen"]
) -> Float[torch.Tensor, "b token w"]:
    """Returns the last layer of a vision transformer that sees some patches only: class token, then these patches.

    Args:
        model: a ViT or a DINOv2 of `transformers`.
        images: images of whole patches.
        seen: numbers of the patches that it sees, row by row.
    """
    is_vit = isinstance(model, ViTModel)
    options = {"interpolate_pos_encoding": True} if is_vit else {}  # DINOv2 always interpolates
    every = model.embeddings(images, **options)
    patches = every[:, 1:].gather(1, seen[:, :, None].expand(-1, -1, every.shape[2]))
    tokens = torch.cat([every[:, :1], patches], dim=1)
    for layer in model.layers if is_vit else model.encoder.layer:
        tokens = layer(tokens)
    found: torch.Tensor = model.layernorm(tokens)
    return found
