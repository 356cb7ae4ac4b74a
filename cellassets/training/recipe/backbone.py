"""The part `backbone` of a recipe: which network, and how large. Nothing here imports torch.

`cellassets.training.backbone` builds the network.
"""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from cellassets.configuration import Parameters


def _check_stages(widths: tuple[int, ...], depths: tuple[int, ...]) -> None:
    if len(widths) != len(depths) or min((*widths, *depths)) < 1:
        message = f"widths {widths} and depths {depths}: expected the same number of both, all at least 1"
        raise ValueError(message)


class ResNetBackbone(Parameters):
    """A ResNet: a 7x7 stem with a stride of 4, then stages that halve the image, except the first one.

    Source: He et al. 2016, Deep residual learning for image recognition, with its 'basic' and 'bottleneck' blocks.
    """

    family: Literal["resnet"] = "resnet"
    stem_width: int = Field(default=64, ge=1, description="Channels after the stem")
    widths: tuple[int, ...] = Field(default=(64, 128, 256, 512), min_length=1, description="Channels of each stage")
    depths: tuple[int, ...] = Field(default=(2, 2, 2, 2), description="Blocks of each stage")
    block: Literal["basic", "bottleneck"] = Field(default="basic", description="Kind of residual block")

    @model_validator(mode="after")
    def _stages_match(self) -> "ResNetBackbone":
        _check_stages(self.widths, self.depths)
        return self


class ConvNextBackbone(Parameters):
    """A ConvNeXt: patches of 4 pixels, then stages that halve the image.

    Source: Liu et al. 2022, A ConvNet for the 2020s.
    """

    family: Literal["convnext"] = "convnext"
    widths: tuple[int, ...] = Field(default=(96, 192, 384, 768), min_length=1, description="Channels of each stage")
    depths: tuple[int, ...] = Field(default=(3, 3, 9, 3), description="Blocks of each stage")

    @model_validator(mode="after")
    def _stages_match(self) -> "ConvNextBackbone":
        _check_stages(self.widths, self.depths)
        return self


class VitBackbone(Parameters):
    """A vision transformer. Position embeddings are learnt for the size of the crop and interpolated for other sizes.

    Source: Dosovitskiy et al. 2021, An image is worth 16x16 words.
    """

    family: Literal["vit"] = "vit"
    width: int = Field(default=384, ge=1, description="Length of a token; a multiple of n_heads")
    depth: int = Field(default=12, ge=1, description="Number of blocks")
    n_heads: int = Field(default=6, ge=1, description="Attention heads per block")
    patch_px: int = Field(default=16, ge=1, description="Side of a patch in pixels")

    @model_validator(mode="after")
    def _heads_divide(self) -> "VitBackbone":
        if self.width % self.n_heads:
            message = f"width {self.width} is not a multiple of n_heads {self.n_heads}"
            raise ValueError(message)
        return self


Backbone = Annotated[ResNetBackbone | ConvNextBackbone | VitBackbone, Field(discriminator="family")]


def smallest_px(backbone: Backbone) -> int:
    """Returns the side of the smallest image that a backbone can take, in pixels."""
    if isinstance(backbone, VitBackbone):
        return backbone.patch_px
    # a ResNet pads every layer; a ConvNeXt cuts off what fills no patch, at its stem and at each later stage
    return 1 if isinstance(backbone, ResNetBackbone) else 4 * 2 ** (len(backbone.widths) - 1)
