"""The part `weights` of a recipe: where a network gets its first weights. `cellassets.training.start` loads them."""

from pathlib import PurePosixPath
from typing import Literal

from pydantic import Field, field_validator

from cellassets.configuration import Parameters


class InitialWeights(Parameters):
    """A file with weights of the backbone. Its names are those of the model in `transformers` or MONAI.

    The file is read when the training starts, on the machine that trains. Its checksum stands in the recipe, so another
    file needs another recipe.
    """

    file: str = Field(description="Absolute path of a .safetensors file")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="SHA-256 of the file, as `sha256sum` prints it")
    other_channels: Literal["refuse", "mean"] = Field(
        default="refuse",
        description=(
            "What is done if the first convolution takes another number of channels. refuse: nothing; mean: every "
            "channel gets the mean over the channels of the file, scaled so that the sum stays the same"
        ),
    )

    @field_validator("file")
    @classmethod
    def _is_absolute(cls, value: str) -> str:
        if not PurePosixPath(value).is_absolute() or not value.endswith(".safetensors"):
            message = f"found {value!r}; expected the absolute path of a .safetensors file"
            raise ValueError(message)
        return value
