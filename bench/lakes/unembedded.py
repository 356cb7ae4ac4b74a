"""A cell type with real images that no model has embedded yet: the input of a backfill.

Each experiment has one plate with two wells of one small site. The stages check and store it as any other one.
"""

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import imagecodecs
import numpy as np
from lakes.current import CHANNELS

from cellassets.reconcile.work import PLATES
from cellassets.registry import Registry
from cellassets.registry.lineage import TAG, TrainedOn
from cellassets.stages.carry_out import carry_out
from cellassets.stages.catalogue import stage_named
from cellassets.storage.deployment import Deployment

CELL_TYPE = "ARPE19"
WELLS = {"A01": ("negative_control", "EMPTY"), "B02": ("treatment", "s1")}
SITE_PX = 48
COLUMNS = ("site_id", "well_id", "cell_type", "dataset", "experiment", "plate", "well", "site", "well_type", "sirna")


def land_and_store(deployment: Deployment, n_experiments: int) -> None:
    """Lands experiments of the cell type and makes manifest, store and quality of each."""
    rng = np.random.default_rng(1)
    for number in range(n_experiments):
        experiment_id = f"{CELL_TYPE}-{number:04d}"
        _land(Path(deployment.landing_root) / experiment_id, experiment_id, rng)
        for name in PLATES:
            carry_out(stage_named(name), deployment, {"experiment": experiment_id})


def _land(folder: Path, experiment_id: str, rng: np.random.Generator) -> None:
    (folder / "Plate1").mkdir(parents=True)
    with (folder / "metadata.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(COLUMNS)
        for well, (kind, name) in WELLS.items():
            well_id = f"{experiment_id}_1_{well}"
            writer.writerow(
                (f"{well_id}_1", well_id, CELL_TYPE, "train", experiment_id, "1", well, "1", kind, name),
            )
            for channel in range(1, len(CHANNELS) + 1):
                pixels = rng.integers(0, 256, (SITE_PX, SITE_PX), dtype=np.uint8)
                (folder / "Plate1" / f"{well}_s1_w{channel}.png").write_bytes(imagecodecs.png_encode(pixels))
    (folder / "_COMPLETE").touch()


def register_with_files(deployment: Deployment, name: str, trained_on: Sequence[str] = ()) -> str:
    """Returns the key of a model that can embed: classical features, registered with its files.

    Args:
        deployment: where the registry is.
        name: name of the model, which makes its files different from those of all others.
        trained_on: the experiments that it is said to have seen; its validation experiment is the last one.
    """
    folder = Path(deployment.work_root) / "unregistered" / name
    folder.mkdir(parents=True)
    parameters = {"n_channels": len(CHANNELS), "families": ["intensity"]}
    (folder / "encoder.json").write_text(json.dumps({"kind": "classical", "name": name, "parameters": parameters}))
    seen = TrainedOn(experiments=tuple(trained_on[:-1]), validation_experiments=tuple(trained_on[-1:]))
    tags = {"kind": "classical", **({TAG: seen.model_dump_json()} if trained_on else {})}
    registry = Registry(deployment.tracking_uri, deployment.model_root)
    return registry.register(folder, name=name, run_id=None, tags=tags).key
