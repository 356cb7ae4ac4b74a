"""What a container encoder is: the file that people write, and the two parts of it that the registry keeps.

`encoder.json` of the model folder holds what decides the vectors; the fingerprint of the model covers it. How much the
process needs to run is a tag of the model version, so it can be changed without a new version.
"""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from cellassets.configuration import Parameters
from cellassets.fingerprint import KEY_PATTERN, check_model_name
from cellassets.training.recipe import NormalisationKind

RUNNING_TAG = "running"
MAX_BATCH_SIZE = 2048  # a part of an embedding table has at most that many sites
PINNED = re.compile(r"[^\s@]+@sha256:[0-9a-f]{64}")


class Running(Parameters):
    """How a container encoder is run. None of it may change the vectors."""

    batch_size: int = Field(default=256, ge=1, le=MAX_BATCH_SIZE, description="Sites per process and per resumed part")
    n_cores: float = Field(default=1, gt=0, description="Processor cores of the pod")
    memory_gib: float = Field(default=2, gt=0, description="Memory of the pod in GiB, requested and limited")
    n_gpus: int = Field(default=0, ge=0, description="GPUs of the pod")
    scratch_gib: float = Field(default=1, gt=0, description="Size of the pod's writable `/tmp` in GiB")
    timeout_s: int = Field(default=3600, ge=1, description="Longest time that a pod may run for one batch")


PixelType = Literal["uint8", "uint16"]


def _is_default_type(pixel_types: tuple[str, ...]) -> bool:
    """True for what models have that were registered before there was a choice: their files stay as they are."""
    return tuple(pixel_types) == ("uint8",)


class ContainerSpec(Parameters):
    """Everything that decides the vectors of a container encoder; the content of its `encoder.json`."""

    kind: Literal["container"] = "container"
    format_version: Literal[1] = 1
    image: str | None = Field(default=None, description="Image by digest, `registry/name@sha256:...`")
    command: tuple[str, ...] = Field(default=(), description="Program in the image; empty: the image's own")
    local_command: tuple[str, ...] = Field(
        default=(), description="Program to run without an image, in a folder with a copy of `files`"
    )
    n_channels: int = Field(ge=1, description="Channels of the sites")
    channel_names: tuple[str, ...] | None = Field(
        default=None, description="Names that the channels of an experiment must have, in this order; null: any names"
    )
    pixel_types: tuple[PixelType, ...] = Field(
        default=("uint8",),
        min_length=1,
        exclude_if=_is_default_type,
        description="Types of pixels that the program reads. Images of 8 bits are given as `uint16` to a program that "
        "reads only these; images of 16 bits are refused for one that reads only `uint8`",
    )
    embedding_dim: int = Field(ge=1, le=65536, description="Length of every vector")
    normalisation: NormalisationKind = Field(
        default="site", description="Over what the mean and standard deviation in the manifest are computed"
    )

    @field_validator("image")
    @classmethod
    def _is_pinned(cls, image: str | None) -> str | None:
        if image is not None and not PINNED.fullmatch(image):
            message = (
                f"{image!r} is not pinned: expected registry/name@sha256:<64 hexadecimal digits>, because a tag can "
                "name another image tomorrow"
            )
            raise ValueError(message)
        return image

    @model_validator(mode="after")
    def _has_a_program(self) -> "ContainerSpec":
        if self.image is None and not self.local_command:
            message = "names no program: expected image, local_command or both"
            raise ValueError(message)
        if self.command and self.image is None:
            message = "command is the program in the image, and there is no image; expected image, or local_command"
            raise ValueError(message)
        if self.channel_names is not None and len(self.channel_names) != self.n_channels:
            message = f"channel_names has {len(self.channel_names)} names; expected n_channels = {self.n_channels}"
            raise ValueError(message)
        return self


class ContainerDeclaration(ContainerSpec):
    """A container encoder as people declare it. `cellassets model register FILE` registers it as a model.

    The name of the file is the name of the model.
    """

    name: Annotated[str, AfterValidator(check_model_name)]
    files: tuple[str, ...] = Field(
        default=(), description="Files beside the declaration that `local_command` needs; they are stored in the model"
    )
    running: Running = Field(default=Running(), description="How it is run; see `Running`")

    @field_validator("files")
    @classmethod
    def _are_plain_names(cls, files: tuple[str, ...]) -> tuple[str, ...]:
        for name in files:
            if not KEY_PATTERN.fullmatch(name) or name == "encoder.json":
                message = f"{name!r}: expected the name of a file beside the declaration, not a path or encoder.json"
                raise ValueError(message)
        return files

    def spec(self) -> ContainerSpec:
        """Returns the part that decides the vectors."""
        return ContainerSpec.model_validate(self.model_dump(include=set(ContainerSpec.model_fields)))
