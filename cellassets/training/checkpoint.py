"""Model folders of trained networks: `encoder.json` and `weights.safetensors`. Pickles are never written or read.

Written after training, read by `cellassets.encoders`. The registry decides where folders are kept.
"""

from pathlib import Path

from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import nn
from upath import UPath

from cellassets.configuration import in_words
from cellassets.errors import RecipeError, RegistryError
from cellassets.storage.artifact import write_bytes
from cellassets.training.backbone import EmbeddingNetwork, build_network
from cellassets.training.spec import SPEC_NAME, WEIGHTS_NAME, NetworkSpec


def save_model_folder(folder: Path, network: EmbeddingNetwork, spec: NetworkSpec) -> Path:
    """Returns `folder` after writing the network into it. The same network always gives the same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    write_bytes(UPath(folder / WEIGHTS_NAME), save(weights))  # save_file makes files that only their owner can read
    write_bytes(UPath(folder / SPEC_NAME), spec.model_dump_json(indent=1).encode())
    return folder


def read_spec(folder: Path) -> NetworkSpec:
    """Returns the specification in `encoder.json` of a trained network.

    Raises:
        RegistryError: the file is missing, or does not describe a network.
    """
    path = folder / SPEC_NAME
    try:
        return NetworkSpec.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        message = f"{path}: no such file; a model folder holds {SPEC_NAME} and, for networks, {WEIGHTS_NAME}"
        raise RegistryError(message) from error
    except ValidationError as error:
        words = in_words(error, NetworkSpec)
        message = f"{path}: this is not the {SPEC_NAME} of a network that this version can read: {words}"
        raise RegistryError(message) from error


def load_network(folder: Path) -> tuple[nn.Module, NetworkSpec]:
    """Returns a trained network in evaluation mode, and its specification.

    The module takes normalised float32 images [b, c, y, x] of any size and gives embeddings [b, d].

    Raises:
        RegistryError: a file is missing or damaged, the backbone in `encoder.json` cannot be built here, or the weights
            do not fit it.
    """
    spec = read_spec(folder)
    try:
        network = build_network(
            spec.backbone,
            n_channels=spec.n_channels,
            embedding_dim=spec.embedding_dim,
            trained_px=spec.trained_px,
            seed=0,
        )
    except RecipeError as error:
        message = f"{folder / SPEC_NAME}: {error}"
        raise RegistryError(message) from error
    path = folder / WEIGHTS_NAME
    try:
        network.load_state_dict(load_file(path))
    except (FileNotFoundError, SafetensorError, RuntimeError) as error:
        message = f"{path}: the weights do not fit the {spec.backbone.family} in {SPEC_NAME}: {error}"
        raise RegistryError(message) from error
    return network.eval(), spec
