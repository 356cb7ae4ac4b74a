"""The classifier of a trained network: from its embeddings to scores of the classes that it was trained on.

`classifier.safetensors` is a file of the model folder, beside the weights of the network. It contains the heads of
`losses.py` with their weights, and the names of the classes. Embeddings do not need it.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Float32
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from upath import UPath

from cellassets.configuration import Parameters, in_words
from cellassets.errors import RegistryError
from cellassets.storage.artifact import write_bytes
from cellassets.training.losses import Heads
from cellassets.training.recipe import LossParameters
from cellassets.training.spec import CLASSIFIER_NAME

DESCRIPTION = "classifier"  # key in the metadata of the file
SITES_AT_ONCE = 4096


class ClassifierSpec(Parameters):
    """What the file says beside the weights."""

    format_version: Literal[1] = 1
    embedding_dim: int
    loss: LossParameters
    class_names: tuple[str, ...]


@dataclass(frozen=True)
class Classifier:
    """Trained heads and the names of their classes, which are perturbations."""

    heads: Heads
    class_names: tuple[str, ...]

    def scores(self, embeddings: Float32[np.ndarray, "site feature"]) -> Float32[np.ndarray, "site class"]:
        """Returns the class scores of sites; the largest is the prediction, as in the validation of the training.

        They are weighted sums of log-probabilities, or cosines if the losses have no class scores (`Heads.scores`).

        Raises:
            RegistryError: the embeddings have another length than those that the classifier was trained on.
        """
        expected = self.heads.linear.in_features
        if embeddings.shape[1] != expected:
            message = f"embeddings of length {embeddings.shape[1]}; this classifier takes those of length {expected}"
            raise RegistryError(message)
        blocks = range(0, len(embeddings), SITES_AT_ONCE)
        with torch.inference_mode():
            found = [self._scores(embeddings[start : start + SITES_AT_ONCE]) for start in blocks]
        return np.concatenate(found) if found else np.empty((0, len(self.class_names)), dtype=np.float32)

    def _scores(self, embeddings: Float32[np.ndarray, "site feature"]) -> Float[np.ndarray, "site class"]:
        return self.heads.scores(torch.from_numpy(embeddings.copy())).numpy()


def save_classifier(folder: Path, classifier: Classifier) -> None:
    """Writes the classifier into a model folder. The same classifier always gives the same bytes."""
    heads = classifier.heads
    spec = ClassifierSpec(
        embedding_dim=heads.linear.in_features, loss=heads.parameters_, class_names=classifier.class_names
    )
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in heads.state_dict().items()}
    # one entry: safetensors writes several ones in any order
    content = save(weights, metadata={DESCRIPTION: spec.model_dump_json()})
    write_bytes(UPath(folder / CLASSIFIER_NAME), content)


def load_classifier(folder: Path) -> Classifier:
    """Returns the classifier in a model folder.

    Raises:
        RegistryError: the model has none, or the file is damaged.
    """
    path = folder / CLASSIFIER_NAME
    if not path.is_file():
        message = (
            f"this model has no {CLASSIFIER_NAME}, so it cannot name classes. Only networks that learnt "
            "classes here have one; if an earlier version trained it, train the recipe again"
        )
        raise RegistryError(message)
    try:
        with safe_open(path, framework="pt") as file:
            description = (file.metadata() or {}).get(DESCRIPTION, "")
        spec = ClassifierSpec.model_validate_json(description)
        heads = Heads(spec.loss, embedding_dim=spec.embedding_dim, n_classes=len(spec.class_names))
        heads.load_state_dict(load_file(path))
    except (OSError, SafetensorError, ValidationError, RuntimeError) as error:
        words = in_words(error, ClassifierSpec) if isinstance(error, ValidationError) else error
        message = f"{path}: damaged, or not the classifier of a network: {words}"
        raise RegistryError(message) from error
    return Classifier(heads.eval(), spec.class_names)
