"""What a model from elsewhere is: the file that people write, and the part of it that the registry keeps.

Container encoders and tables of profiles have files of their own (`encoders.container`, `profiles`). Light to import.
"""

from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from cellassets.configuration import Parameters
from cellassets.encoders.elsewhere.input import Input
from cellassets.fingerprint import check_model_name
from cellassets.training.recipe import Backbone

Pool = Literal["none", "mean", "first"]
MAX_DIM = 65536


def check_inside(name: str) -> str:
    """Returns a relative path that does not leave its folder."""
    path = PurePosixPath(name)
    if not name or path.is_absolute() or ".." in path.parts or "\0" in name or path.name != name.rpartition("/")[2]:
        message = f"{name!r}: expected a path inside the folder of the declaration, without `..`"
        raise ValueError(message)
    return name


InnerPath = Annotated[str, AfterValidator(check_inside)]


class Output(Parameters):
    """What of the model becomes the embedding."""

    name: str | None = Field(
        default=None,
        description="Name of the output (ONNX), its number from 0 (exported), or `last_hidden_state` or "
        "`pooler_output` (huggingface). null: the first output, or last_hidden_state",
    )
    layer: int | None = Field(
        default=None, description="huggingface: hidden state of this number, 0 is before the first layer, -1 the last"
    )
    pool: Pool = Field(
        default="none",
        description="`none` for vectors, `mean` over tokens or positions, `first` for the first token (often CLS)",
    )
    skip_tokens: int = Field(
        default=0, ge=0, description="Tokens at the start that `mean` leaves out, such as CLS and register tokens"
    )
    pools_each_channel: bool = Field(
        default=False,
        description="openphenom: one mean per channel, one after the other, in place of the mean over all tokens",
    )

    @model_validator(mode="after")
    def _fits_together(self) -> "Output":
        if self.skip_tokens and self.pool != "mean":
            message = f"skip_tokens is for pool: mean, found pool: {self.pool}"
            raise ValueError(message)
        if self.layer is not None and self.name is not None:
            message = "name and layer exclude each other: give one of them"
            raise ValueError(message)
        return self


class Declared(Parameters):
    """What all declarations of this package have."""

    name: Annotated[str, AfterValidator(check_model_name)] = Field(
        description="Name of the model; without it the name of the file"
    )
    input: Input = Field(description="Which images the model gets")
    output: Output = Field(default=Output(), description="What of the model becomes the embedding")


class NetworkDeclaration(Declared):
    """Weights in safetensors, and a backbone of cellassets."""

    kind: Literal["network"]
    file: InnerPath = Field(description="Safetensors; the names of the tensors are those of `EmbeddingNetwork`")
    backbone: Backbone = Field(description="The network, as in a recipe")
    embedding_dim: int = Field(ge=2, le=MAX_DIM, description="Length of the vectors: the width of the neck")
    trained_px: int = Field(ge=1, description="Side of the crops in training; sets the position embeddings of a `vit`")


class ExportedDeclaration(Declared):
    """A program of `torch.export`."""

    kind: Literal["exported"]
    file: InnerPath = Field(description="The `.pt2` file of `torch.export.save`")


class OnnxDeclaration(Declared):
    """An ONNX graph."""

    kind: Literal["onnx"]
    file: InnerPath = Field(description="The `.onnx` file")
    files: tuple[InnerPath, ...] = Field(
        default=(), description="Files with external data, by the names that the graph uses; beside the `.onnx` file"
    )


class HuggingFaceDeclaration(Declared):
    """A folder of Hugging Face with `config.json` and `model.safetensors`."""

    kind: Literal["huggingface"]
    folder: InnerPath = Field(description="The folder")


Declaration = NetworkDeclaration | ExportedDeclaration | OnnxDeclaration | HuggingFaceDeclaration


class ElsewhereSpec(Parameters):
    """The content of `encoder.json`: everything about the model except its weights.

    Attributes:
        kind: what the weights are.
        format_version: 2, because `network` in version 1 is a network that was trained here.
        input: which images it gets.
        output: what of it becomes the embedding.
        embedding_dim: length of the vectors, as a trial run at registration gave them.
        backbone: the architecture, for `network`.
        trained_px: side of the crops in training, for `network`.
    """

    kind: Literal["network", "exported", "onnx", "huggingface"]
    format_version: Literal[2] = 2
    input: Input
    output: Output
    embedding_dim: int = Field(ge=1, le=MAX_DIM)
    backbone: Backbone | None = None
    trained_px: int | None = None
