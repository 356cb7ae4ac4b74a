"""The part `backbone` of a recipe: which network, and how large. Nothing here imports torch.

`cellassets.training.backbone` builds the network.
"""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from cellassets.configuration import Parameters


def _check_stages(widths: tuple[int, ...], depths: tuple[int, ...]) -> None:
    if len(widths) != len(depths) or min((*widths, *depths)) < 1:
        message = f"widths {widths} and depths {depths}: expected the same number of both, all at least 1"
        raise ValueError(message)


def _check_heads(width: int, n_heads: int) -> None:
    if width % n_heads:
        message = f"width {width} is not a multiple of n_heads {n_heads}"
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
        _check_heads(self.width, self.n_heads)
        return self


class DinoV2Backbone(Parameters):
    """The vision transformer of DINOv2, with a learnt scale of every layer. Weights are not downloaded.

    Source: Oquab et al. 2023, DINOv2: learning robust visual features without supervision.
    """

    family: Literal["dinov2"] = "dinov2"
    width: int = Field(default=384, ge=1, description="Length of a token; a multiple of n_heads")
    depth: int = Field(default=12, ge=1, description="Number of blocks")
    n_heads: int = Field(default=6, ge=1, description="Attention heads per block")
    patch_px: int = Field(default=14, ge=1, description="Side of a patch in pixels")

    @model_validator(mode="after")
    def _heads_divide(self) -> "DinoV2Backbone":
        _check_heads(self.width, self.n_heads)
        return self


class DenseNetBackbone(Parameters):
    """A DenseNet: every layer sees the outputs of all layers of its block. It needs the optional package `monai`.

    The defaults are a DenseNet-121; DenseNet-161, of the winner of the RxRx1 competition, has stem_width 96,
    growth 48 and layers [6, 12, 36, 24].

    Source: Huang et al. 2017, Densely connected convolutional networks.
    """

    family: Literal["densenet"] = "densenet"
    stem_width: int = Field(default=64, ge=1, description="Channels after the stem")
    growth: int = Field(default=32, ge=1, description="Channels that each layer adds")
    layers: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        default=(6, 12, 24, 16), min_length=1, description="Layers of each block"
    )


class ZooBackbone(Parameters):
    """Any image model of `transformers` whose configuration has `num_channels`, with random weights.

    The last layer is averaged over positions; class and register tokens are left out. `num_channels` is set to the
    number of channels of the plates, and `image_size` to the size of the crops unless `config` sets it.
    """

    family: Literal["zoo"] = "zoo"
    model_type: str = Field(min_length=1, description="Name of the model in transformers, such as swin or regnet")
    config: dict[str, Any] = Field(
        default={}, description="Keys of the model's configuration in transformers; unknown ones are refused"
    )

    @model_validator(mode="after")
    def _channels_are_those_of_the_plates(self) -> "ZooBackbone":
        if "num_channels" in self.config:
            message = "config.num_channels is the number of channels of the plates: remove the key"
            raise ValueError(message)
        return self


Backbone = Annotated[
    ResNetBackbone | ConvNextBackbone | VitBackbone | DinoV2Backbone | DenseNetBackbone | ZooBackbone,
    Field(discriminator="family"),
]


def smallest_px(backbone: Backbone) -> int:
    """Returns the side of the smallest image that a backbone can take, in pixels.

    For a model of the zoo it is one patch, if its configuration names a size; it may need more.
    """
    match backbone:
        case VitBackbone() | DinoV2Backbone():
            return backbone.patch_px
        case ConvNextBackbone():  # cuts off what fills no patch, at its stem and at each later stage
            return 4 * 2 ** (len(backbone.widths) - 1)
        case DenseNetBackbone():
            return 4 * 2 ** (len(backbone.layers) - 1)
        case ZooBackbone():
            patch_px = backbone.config.get("patch_size")
            return patch_px if isinstance(patch_px, int) else 1
        case ResNetBackbone():  # pads every layer
            return 1
