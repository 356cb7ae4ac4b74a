"""Three experiments of striped sites. The class is the direction of the stripes; with shuffled labels it is nothing.

Used by the tests in this folder, and run as a program that is killed:
`striped_screen.py WORK_DIR KILLED_AFTER_EPOCH [CHANGES_OF_THE_RECIPE_AS_JSON]`.
"""

import json
import math
import os
import signal
import sys
from pathlib import Path

import numpy as np
import torch
from upath import UPath

from cellassets.training.attempts import Attempt
from cellassets.training.backbone import build_network
from cellassets.training.fit import fit
from cellassets.training.module import OnEpoch, PerturbationClassifier  # noqa: F401  tests disturb its steps
from cellassets.training.objectives import batches_of, build_module
from cellassets.training.recipe import NetworkRecipe
from cellassets.training.sampling import order_of
from cellassets.training.sharing import WHOLE, Share
from cellassets.training.sites import LabelledSites, Split

N_CLASSES, SIZE = 4, 32


def recipe(**changes) -> NetworkRecipe:
    values = {
        "name": "stripes",
        "train_experiments": ["E-1", "E-2"],
        "validation_experiments": ["E-3"],
        "backbone": {"family": "resnet", "stem_width": 8, "widths": [8, 16], "depths": [1, 1]},
        "embedding_dim": 8,
        # turning or mirroring a stripe gives another class here
        "augmentation": {"crop_px": 24, "has_flips": False, "has_turns": False, "gain_jitter": 0.2},
        "optimiser": {"learning_rate": 3e-3},
        "n_epochs": 6,
        "batch_size": 16,
    }
    return NetworkRecipe.model_validate({**values, **changes})


def images_and_labels(n_sites: int = 192, *, is_shuffled: bool = False) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    labels = np.arange(n_sites) % N_CLASSES
    angles = (np.pi * labels / N_CLASSES + 0.1 * generator.standard_normal(n_sites))[:, None, None]
    y, x = np.mgrid[:SIZE, :SIZE]
    phase = 2 * np.pi * generator.random((n_sites, 1, 1))
    waves = np.sin(0.9 * (x * np.cos(angles) + y * np.sin(angles)) + phase)
    noise = generator.standard_normal((n_sites, 2, SIZE, SIZE))
    images = np.clip(100 + 25 * waves[:, None] + 25 * noise, 0, 255).astype(np.uint8)
    return images, generator.permutation(labels) if is_shuffled else labels


def labelled_sites(labels: np.ndarray, rows: np.ndarray, store_index: np.ndarray) -> LabelledSites:
    scale = np.full((len(rows), 2), 1 / 30, dtype=np.float32)
    return LabelledSites(store_index, rows, labels[rows], scale, -100 * scale)


def prepared(chosen: NetworkRecipe, on_epoch: OnEpoch, *, is_shuffled: bool = False, share: Share = WHOLE):
    images, labels = images_and_labels(is_shuffled=is_shuffled)
    rows = np.arange(len(labels)).reshape(3, -1)
    train_sites = labelled_sites(labels, rows[:2].ravel(), np.repeat([0, 1], rows.shape[1]))
    held_out = labelled_sites(labels, rows[2], np.full(rows.shape[1], 2))
    readers = tuple(
        lambda positions, sites=sites: images[sites.store_row[positions]] for sites in (train_sites, held_out)
    )
    network = build_network(chosen.backbone, n_channels=2, embedding_dim=8, trained_px=24, seed=chosen.seed)
    n_batches = order_of(chosen).n_batches(train_sites, chosen.batch_size)
    n_steps = chosen.n_epochs * math.ceil(n_batches / chosen.optimiser.n_batches_per_step)
    split = Split(train_sites, held_out, tuple("abcd"), {})
    module = build_module(network, chosen, split, n_steps=n_steps, on_epoch=on_epoch)
    return module, batches_of(module, split, readers, share=share)


def train(chosen: NetworkRecipe, work_dir: Path, on_epoch: OnEpoch, *, is_shuffled: bool = False):
    module, batches = prepared(chosen, on_epoch, is_shuffled=is_shuffled)
    fit(module, batches, recipe=chosen, attempt=Attempt.begin(UPath(work_dir)))
    return module


def main() -> None:
    torch.set_num_threads(1)  # as in the tests: sums over other parts have other last digits
    work_dir, killed_after = Path(sys.argv[1]), int(sys.argv[2])

    def on_epoch(epoch: int, metrics: dict[str, float]) -> None:  # noqa: ARG001
        print(epoch, flush=True)
        if epoch == killed_after:
            os.kill(os.getpid(), signal.SIGKILL)

    train(recipe(**json.loads(sys.argv[3] if len(sys.argv) > 3 else "{}")), work_dir, on_epoch)


if __name__ == "__main__":
    main()
