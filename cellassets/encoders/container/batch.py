"""Writes a batch of sites for a container encoder: `images.npy` with the pixels and `manifest.json` with the rest.

docs/container_encoders.md describes both files for people who write encoders.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Integer

from cellassets.encoders.container.declaration import ContainerSpec
from cellassets.images.reader import ExperimentStore

MANIFEST_NAME, IMAGES_NAME = "manifest.json", "images.npy"
SITES_PER_BLOCK = 16
SITE = ("plate_id", "well_id", "site_index")


def write_batch(
    folder: Path,
    store: ExperimentStore,
    indices: Integer[np.ndarray, "site"],
    moments: tuple[Float32[np.ndarray, "site channel"], Float32[np.ndarray, "site channel"]],
    described: dict[str, Any],
) -> None:
    """Writes some sites of a store into `folder`, block by block.

    Args:
        folder: an existing folder.
        store: the experiment's sites.
        indices: rows of `store.sites`; the order of the batch.
        moments: mean and standard deviation of each channel of these sites, in grey levels.
        described: further keys of the manifest.
    """
    shape = (len(indices), store.n_channels, store.height, store.width)
    with (folder / IMAGES_NAME).open("wb") as stream:
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(stream, header)
        data_offset = stream.tell()
        for _, images in store.blocks(SITES_PER_BLOCK, indices=indices):
            stream.write(np.ascontiguousarray(images, dtype=np.uint8).tobytes())
    manifest = {
        "format_version": 1,
        "experiment_id": store.experiment_id,
        **described,
        "n_sites": shape[0],
        "n_channels": shape[1],
        "height": shape[2],
        "width": shape[3],
        "channel_names": list(store.channel_names),
        "images": {"file": IMAGES_NAME, "dtype": "uint8", "axes": "site channel y x", "data_offset": data_offset},
        "sites": _sites(store, indices, moments),
    }
    (folder / MANIFEST_NAME).write_text(json.dumps(manifest, indent=1))


def described_by(spec: ContainerSpec, model_key: str) -> dict[str, Any]:
    """Returns what the manifest says about the model."""
    return {"model_key": model_key, "embedding_dim": spec.embedding_dim, "normalisation": spec.normalisation}


def _sites(
    store: ExperimentStore,
    indices: Integer[np.ndarray, "site"],
    moments: tuple[Float32[np.ndarray, "site channel"], Float32[np.ndarray, "site channel"]],
) -> list[dict[str, Any]]:
    mean, std = moments
    places = store.sites[indices].select(SITE).to_dicts()
    return [
        {"row": row, **place, "channel_mean": mean[row].tolist(), "channel_std": std[row].tolist()}
        for row, place in enumerate(places)
    ]
