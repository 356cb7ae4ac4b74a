"""Where a training starts: from a registered network, or from a file of weights; and which weights stay frozen.

Input: a network with random weights from `backbone.py`, and the recipe. The network is changed in place.
"""

import fnmatch
import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from cellassets.errors import RecipeError
from cellassets.training.backbone import EmbeddingNetwork, build_network
from cellassets.training.checkpoint import load_network, read_spec
from cellassets.training.recipe import Backbone, InitialWeights, NetworkRecipe
from cellassets.training.spec import NetworkSpec

N_NAMED = 5
TRIED_PX = 224  # of a network that is built for the names of its weights
ALIKE = ("backbone", "n_channels", "embedding_dim")
logger = logging.getLogger(__name__)


def continue_from(network: EmbeddingNetwork, spec: NetworkSpec, folder: Path, key: str) -> None:
    """Gives a network the weights of a registered version.

    Args:
        network: the network to train.
        spec: its specification.
        folder: model folder of the version.
        key: its model key, for messages.

    Raises:
        RecipeError: the two networks differ; the message says in what.
        RegistryError: the folder is damaged.
    """
    parent, found = load_network(folder)
    wanted = Wanted(spec.backbone, spec.embedding_dim, spec.channel_names)
    check_alike(found, wanted, key)
    _load(network, dict(parent.state_dict()), f"start_from: {key}")


@dataclass(frozen=True)
class Wanted:
    """What a network must have so that a recipe can start from it; no names of channels if they are not known yet."""

    backbone: Backbone
    embedding_dim: int
    channel_names: tuple[str, ...] | None = None

    @property
    def n_channels(self) -> int | None:
        """How many channels it takes; None if that is not known yet."""
        return None if self.channel_names is None else len(self.channel_names)


def check_alike(found: NetworkSpec, wanted: Wanted, key: str) -> None:
    """Compares a registered network with what a recipe needs that starts from it.

    Args:
        found: specification of the version.
        wanted: what the recipe needs.
        key: model key of the version, for messages.

    Raises:
        RecipeError: the two networks differ; the message says in what.
    """
    for name in ALIKE:
        expected = getattr(wanted, name)
        if expected is not None and getattr(found, name) != expected:
            message = (
                f"start_from: {name} of {key} is {getattr(found, name)!r}, that of this recipe is {expected!r}: "
                "expected the same"
            )
            raise RecipeError(message)
    if wanted.channel_names is None or found.channel_names == wanted.channel_names:
        return
    names = f"{', '.join(found.channel_names)} in {key}, {', '.join(wanted.channel_names)} here"
    if sorted(found.channel_names) == sorted(wanted.channel_names):
        message = f"start_from: the channels are in another order: {names}"
        raise RecipeError(message)
    logger.warning("start_from: the channels have other names: %s", names)


def check_start(recipe: NetworkRecipe, channel_names: tuple[str, ...] | None, parent: Path | None) -> None:
    """Compares a recipe with the network that it starts from, and its frozen weights, before anything is trained.

    Args:
        recipe: what is to be trained.
        channel_names: channels of the images; None if they are not known yet.
        parent: model folder of the version that it starts from, if it names one.

    Raises:
        RecipeError: the training would refuse it.
        RegistryError: the folder is damaged.
    """
    if parent is not None:
        check_alike(
            read_spec(parent), Wanted(recipe.backbone, recipe.embedding_dim, channel_names), str(recipe.start_from)
        )
    if recipe.frozen:
        network = build_network(
            recipe.backbone,
            n_channels=len(channel_names or "n"),
            embedding_dim=recipe.embedding_dim,
            trained_px=recipe.augmentation.crop_px or TRIED_PX,
            seed=recipe.seed,
        )
        freeze(network, recipe.frozen)


def load_backbone_weights(backbone: nn.Module, weights: InitialWeights, n_channels: int) -> None:
    """Gives a backbone the weights of a file. Names in the file may have a common prefix, and other names are ignored.

    Raises:
        RecipeError: the file is missing, damaged or another one, or its weights do not fit; the message says which.
    """
    found = _with_expected_names(_read(weights), backbone)
    first = next(
        (name for name, part in backbone.named_modules() if isinstance(part, nn.Conv2d) and part.groups == 1), None
    )
    given = found.get(f"{first}.weight")
    if weights.other_channels == "mean" and given is not None and given.shape[1] != n_channels:
        spread = given.mean(dim=1, keepdim=True) * (given.shape[1] / n_channels)
        found[f"{first}.weight"] = spread.repeat(1, n_channels, 1, 1)
    _load(backbone, found, f"weights: {weights.file}")


def freeze(network: nn.Module, patterns: tuple[str, ...]) -> None:
    """Freezes the weights whose names match one of the patterns (`*` stands for any characters).

    Raises:
        RecipeError: a pattern matches nothing, or nothing would be left to train.
    """
    names = [name for name, _ in network.named_parameters()]
    for pattern in patterns:
        if not fnmatch.filter(names, pattern):
            message = f"frozen: {pattern!r} matches none of the weights, such as {', '.join(names[:N_NAMED])}"
            raise RecipeError(message)
    for name, weight in network.named_parameters():
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns):
            weight.requires_grad = False
    if not any(weight.requires_grad for weight in network.parameters()):
        message = f"frozen: {', '.join(patterns)} match all weights of the network: nothing would be trained"
        raise RecipeError(message)


def keep_frozen_still(network: nn.Module) -> None:
    """Puts modules whose weights are all frozen into evaluation mode, so that their statistics are frozen too."""
    for module in network.modules():
        weights = list(module.parameters())
        if weights and not any(weight.requires_grad for weight in weights):
            module.eval()


def _read(weights: InitialWeights) -> dict[str, torch.Tensor]:
    path = Path(weights.file)
    try:
        with path.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        message = f"weights.file: {path} cannot be read on this machine: {error}"
        raise RecipeError(message) from error
    if found != weights.sha256:
        message = f"weights.sha256: {path} has {found}, expected {weights.sha256}: the file is another one"
        raise RecipeError(message)
    try:
        return load_file(path)
    except SafetensorError as error:
        message = f"weights.file: {path} is not a .safetensors file: {error}"
        raise RecipeError(message) from error


def _with_expected_names(found: dict[str, torch.Tensor], backbone: nn.Module) -> dict[str, torch.Tensor]:
    """The tensors that a backbone has, by its names. The prefix is taken from the first weight."""
    expected = list(backbone.state_dict())
    first = expected[0].removeprefix("model.")
    prefix = next((name.removesuffix(first) for name in sorted(found, key=len) if name.endswith(first)), "")
    renamed = {f"model.{name.removeprefix(prefix)}": value for name, value in found.items() if name.startswith(prefix)}
    ignored = sorted(set(renamed) - set(expected))
    if ignored:
        logger.info("weights: %d tensors are not of the backbone, such as %s", len(ignored), ignored[0])
    return {name: value for name, value in renamed.items() if name in expected}


def _load(network: nn.Module, found: dict[str, torch.Tensor], what: str) -> None:
    expected = network.state_dict()
    missing = [name for name in expected if name not in found]
    differing = [
        f"{name} is {tuple(found[name].shape)}, expected {tuple(value.shape)}"
        for name, value in expected.items()
        if name in found and found[name].shape != value.shape
    ]
    if missing or differing:
        parts = [f"{len(missing)} weights are missing ({', '.join(missing[:N_NAMED])})"] if missing else []
        parts += [f"{len(differing)} have another shape ({'; '.join(differing[:N_NAMED])})"] if differing else []
        message = f"{what}: the weights do not fit the network: {'; '.join(parts)}"
        raise RecipeError(message)
    network.load_state_dict(found)
