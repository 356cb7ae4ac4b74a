"""OpenPhenom's encoder: a channel-agnostic vision transformer, small, patches of 16 pixels, crops of 256 pixels.

Every channel is cut into patches by the same convolution. Each patch of each channel is a token; the position of a
patch is encoded by sines and cosines, and is the same in all channels. So the model takes any channels, up to 11.

Source: github.com/recursionpharma/maes_microscopy (huggingface_mae.py at fb9dcbf: `MAEModel.predict`; vit.py and
mae_modules.py at 5799f12) and timm 1.0.15 (`ParallelScalingBlock`, `vit_small_patch16_224`). Written here again from
their description of the computation; compared with their code as docs/models-from-elsewhere.md says.
"""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import nn
from torch.nn import functional

from cellassets.encoders.elsewhere.declaration import ElsewhereSpec
from cellassets.encoders.elsewhere.torch_modules import ModuleForward
from cellassets.errors import EncoderError
from cellassets.training.positions import sine_positions

MODEL_TYPE = "MAE"
PREFIX = "encoder.vit_backbone."
WIDTH, DEPTH, N_HEADS, PATCH_PX, SIDE_PX = 384, 12, 6, 16, 256
MAX_CHANNELS = 11
UNUSED = "fc_norm."  # of a head that `predict` does not call
NORM_EPS = 1e-6  # of timm's vision transformers


class ParallelBlock(nn.Module):
    """Attention and a perceptron side by side, from one projection.

    Source: Dehghani et al. 2023, Scaling vision transformers to 22 billion parameters; timm's `ParallelScalingBlock`.
    """

    def __init__(self, width: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads, self.split = n_heads, [4 * width, width, width, width]
        self.in_norm = nn.LayerNorm(width, eps=NORM_EPS)
        self.in_proj = nn.Linear(width, 7 * width, bias=False)
        self.mlp_bias = nn.Parameter(torch.zeros(4 * width))
        self.q_norm = nn.LayerNorm(width // n_heads, eps=NORM_EPS)
        self.k_norm = nn.LayerNorm(width // n_heads, eps=NORM_EPS)
        self.attn_out_proj = nn.Linear(width, width)
        self.mlp_out_proj = nn.Linear(4 * width, width)
        self.ls = nn.ParameterDict({"gamma": torch.ones(width)})

    def forward(self, tokens: Float[torch.Tensor, "b t w"]) -> Float[torch.Tensor, "b t w"]:
        """Returns the tokens after the block."""
        # the zeros of the bias stand before the perceptron's, while the perceptron's part is the first one of the
        # projection: the published weights were trained with this order
        bias = functional.pad(self.mlp_bias, (sum(self.split) - len(self.mlp_bias), 0))
        mixed, *heads = functional.linear(self.in_norm(tokens), self.in_proj.weight, bias).split(self.split, dim=-1)
        q, k, v = (one.unflatten(-1, (self.n_heads, -1)) for one in heads)
        q, k, v = self.q_norm(q).transpose(1, 2), self.k_norm(k).transpose(1, 2), v.transpose(1, 2)
        attended = functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return tokens + (self.attn_out_proj(attended) + self.mlp_out_proj(functional.gelu(mixed))) * self.ls["gamma"]


class OpenPhenom(nn.Module):
    """The encoder without the decoder: from grey levels 0 to 255 to tokens [b, 1 + channel * patch, w]."""

    positions: torch.Tensor

    def __init__(self, *, width: int = WIDTH, depth: int = DEPTH, n_heads: int = N_HEADS) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(1, width, PATCH_PX, stride=PATCH_PX)})
        self.blocks = nn.ModuleList(ParallelBlock(width, n_heads) for _ in range(depth))
        self.register_buffer("positions", encoding(width, SIDE_PX // PATCH_PX), persistent=False)

    def forward(self, images: Float[torch.Tensor, "b c y x"]) -> Float[torch.Tensor, "b t w"]:
        """Returns the tokens of grey levels from 0 to 255; the first one is CLS."""
        standardised = functional.instance_norm(images / 255.0)
        n_channels = images.shape[1]
        each = [self.patch_embed["proj"](standardised[:, c : c + 1]) for c in range(n_channels)]
        patches = torch.stack(each, dim=2)
        tokens = patches.flatten(2).transpose(1, 2) + self.positions.repeat(1, n_channels, 1)
        tokens = torch.cat([self.cls_token.expand(len(images), -1, -1), tokens], dim=1)
        for block in self.blocks:
            tokens = block(tokens)
        return tokens


def encoding(width: int, n_rows: int) -> Float[torch.Tensor, "1 patch w"]:
    """Returns the position encoding of the patches of a square: sine and cosine of the row, then of the column."""
    return sine_positions(width, n_rows, n_rows)[None]


def open_phenom_forward(
    values: Mapping[str, Any], weights: Mapping[str, torch.Tensor], spec: ElsewhereSpec
) -> ModuleForward:
    """Returns the encoder with the weights of a folder in OpenPhenom's format.

    Raises:
        EncoderError: the folder has another architecture, or the declaration asks for what it cannot do.
    """
    _check(values, spec)
    network = OpenPhenom()
    own = {name.removeprefix(PREFIX): tensor for name, tensor in weights.items() if name.startswith(PREFIX)}
    own = {name: tensor for name, tensor in own.items() if not name.startswith(UNUSED)}
    stored = own.pop("pos_embed", None)
    try:
        network.load_state_dict(own)
    except RuntimeError as error:
        message = f"the weights are not those of a channel-agnostic ViT-S/16 as OpenPhenom has it: {str(error)[:600]}"
        raise EncoderError(message) from error
    n_patches = network.positions.shape[1]
    if stored is None or not torch.allclose(stored[:, 1 : 1 + n_patches], network.positions, atol=1e-5):
        message = "pos_embed of the weights is missing, or is not the encoding by sines and cosines that is expected"
        raise EncoderError(message)
    network.positions = stored[:, 1 : 1 + n_patches].contiguous()
    return ModuleForward(network, (None, spec.input.n_used, SIDE_PX, SIDE_PX), _Tokens(spec))


class _Tokens:
    """Takes the tokens of patches: one mean per channel, or all of them."""

    def __init__(self, spec: ElsewhereSpec) -> None:
        self.n_channels, self.pools_each_channel = spec.input.n_used, spec.output.pools_each_channel

    def __call__(self, network: nn.Module, images: torch.Tensor) -> torch.Tensor:
        tokens = network(images)
        if not self.pools_each_channel:
            return tokens
        return tokens[:, 1:].unflatten(1, (self.n_channels, -1)).mean(dim=2).flatten(1)


def _check(values: Mapping[str, Any], spec: ElsewhereSpec) -> None:
    problems = []
    if (
        spec.input.normalisation != "fixed"
        or spec.input.scale.divide_by != 1
        or spec.input.size_px != (SIDE_PX, SIDE_PX)
    ):
        problems.append(
            f"it standardises crops of {SIDE_PX} x {SIDE_PX} pixels itself: declare normalisation: fixed, scale: "
            f"{{divide_by: 1}}, and centre_crop or resize to {SIDE_PX}"
        )
    if spec.input.n_used > MAX_CHANNELS:
        problems.append(f"it takes at most {MAX_CHANNELS} channels, found {spec.input.n_used}")
    pool = "none" if spec.output.pools_each_channel else "mean"
    if (
        (spec.output.pool, spec.output.skip_tokens) != (pool, int(pool == "mean"))
        or spec.output.name
        or spec.output.layer
    ):
        problems.append("declare output: {pool: mean, skip_tokens: 1}, or output: {pools_each_channel: true}")
    if values.get("trim_encoder_blocks") or values.get("crop_size", -1) not in (-1, SIDE_PX):
        problems.append("config.json trims the encoder or changes the crop, which is not supported here")
    if problems:
        raise EncoderError("OpenPhenom's format: " + "; ".join(problems))
